//! Why nobody has a queued item now: the rules of a decision, applied to every member by name.

use super::agent::{Standing, Traits};
use super::decision::{RULES, Rule};

/// A member of the campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<Name> {
    /// Who.
    pub name: Name,
    /// What the rules look at.
    pub traits: Traits,
    /// True when he let the item pass in this round.
    pub passed: bool,
    /// Why the item is not for him although he takes offers: `Reserved`, `Skill` or `TooHeavy`.
    pub unfit: Option<Rule>,
}

/// What became of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sifted<Name> {
    /// Every rule that removes somebody, in the order of application; each member counts for the first one.
    pub removed: Vec<(Rule, Vec<Name>)>,
    /// Who could take the item now.
    pub eligible: Vec<Name>,
}

impl<Name> Candidate<Name> {
    /// The first rule that removes him; `None` when he could take the item now.
    pub fn rule(&self) -> Option<Rule> {
        Rule::of(Standing::of(self.traits)).or(self.unfit).or(self.passed.then_some(Rule::Passed))
    }
}

/// Applies the rules to the members, whose order is kept.
pub fn sift<Name: Clone>(candidates: &[Candidate<Name>]) -> Sifted<Name> {
    let named = |wanted: Option<Rule>| -> Vec<Name> {
        let fitting = candidates.iter().filter(|candidate| candidate.rule() == wanted);
        fitting.map(|candidate| candidate.name.clone()).collect()
    };
    let removed = RULES.into_iter().map(|rule| (rule, named(Some(rule))));
    Sifted { removed: removed.filter(|(_, names)| !names.is_empty()).collect(), eligible: named(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::Presence;

    #[test]
    fn each_member_counts_for_the_first_rule_that_removes_him() {
        let free = Traits {
            active: true,
            presence: Presence::Present,
            paused: false,
            load: 0,
            capacity: 1,
            held: false,
            saving: false,
        };
        let gone = Traits { presence: Presence::Absent, paused: true, ..free };
        let rows = [
            ("ana", free, false),
            ("beto", Traits { active: false, ..gone }, false),
            ("caro", gone, true),
            ("dora", Traits { presence: Presence::Unknown, ..free }, false),
            ("eva", Traits { paused: true, load: 1, ..free }, false),
            ("fito", Traits { load: 1, ..free }, true),
            ("gabi", free, true),
            ("hugo", Traits { held: true, ..free }, false),
            ("ines", gone, false),
            ("juan", Traits { saving: true, ..free }, true),
            ("kati", free, true),
        ];
        let candidates: Vec<Candidate<&str>> = rows
            .into_iter()
            .map(|(name, traits, passed)| {
                let unfit = (name == "kati").then_some(Rule::Skill);
                Candidate { name, traits, passed, unfit }
            })
            .collect();
        let sifted = sift(&candidates);
        assert_eq!(sifted.eligible, ["ana"]);
        let words: Vec<(&str, Vec<&str>)> =
            sifted.removed.into_iter().map(|(rule, names)| (rule.word(), names)).collect();
        assert_eq!(
            words,
            [
                ("inactive", vec!["beto"]),
                ("absent", vec!["caro", "ines"]),
                ("unknown", vec!["dora"]),
                ("paused", vec!["eva"]),
                ("full", vec!["fito"]),
                ("held", vec!["hugo"]),
                ("saving", vec!["juan"]),
                ("unskilled", vec!["kati"]),
                ("passed", vec!["gabi"]),
            ]
        );
    }
}
