//! Broken engines and a broken writer, one for each invariant: a check that none of these can upset checks nothing.

use hilo_routing::domain::*;

use super::draw::Draw;
use super::reference::{Line, Reference};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// An item is offered to two agents at once.
    OfferTwice,
    /// The writer commits what rests on an old version, and without looking at capacities.
    BlindWriter,
    /// Somebody who is full gets the offer.
    ToTheFull,
    /// Somebody absent or paused gets the offer.
    ToTheAbsent,
    /// Somebody who does not master what is asked gets the offer.
    ToTheUnskilled,
    /// A younger item is offered instead of the one whose turn it is.
    YoungerFirst,
    /// A decision is never sent, and never answered.
    Swallow,
    /// An item that somebody could have is left waiting.
    Leave,
    /// The first eligible agent always gets it.
    Favourite,
    /// The first eligible agent gets one in three by favour.
    Bias,
    /// What is of another kind than the first 64 that wait is left waiting.
    Crowd,
    /// An overflow or the end of an offer is due and not decided.
    Dawdle,
    /// The record of a decision names another next best.
    Misreport,
    /// The engine asks to be called again at once, for ever.
    Restless,
}

/// Kinds of items beyond which the engine that is broken so has no place.
const PLACES: usize = 64;

impl Sabotage {
    /// True where the reference can follow: it decides as an engine does that is not broken, but for what is looked for.
    pub fn is_followed(self) -> bool {
        matches!(self, Self::None | Self::Dawdle | Self::Misreport | Self::Restless)
    }

    /// What becomes of a decision; `draw` decides which ones are spoiled.
    pub fn spoil(self, decision: Decision, mind: &Reference, draw: &mut Draw) -> Vec<Decision> {
        let (Decision::Offer(offer), true) = (decision, self != Self::None) else {
            return if self == Self::Dawdle { Vec::new() } else { vec![decision] };
        };
        let Target::Agent(winner) = offer.target else { return vec![decision] };
        let loads = mind.loads();
        let config = &mind.campaigns[&offer.campaign].config;
        let kept_away = |agent: AgentId| mind.kept_away(agent, config.channel, &loads);
        let to = |agent: Option<AgentId>| {
            let target = agent.map_or(offer.target, Target::Agent);
            vec![Decision::Offer(Offer { target, ..offer })]
        };
        let first = |wanted: &dyn Fn(AgentId) -> bool| {
            config.members.iter().copied().find(|agent| *agent != winner && wanted(*agent))
        };
        let Some(line) = mind.lines.get(&offer.interaction) else { return vec![decision] };
        let unfit = |agent: AgentId| mind.unfit(&mind.need(line), agent, config.channel, &loads);
        let fits = |agent: AgentId| {
            kept_away(agent).is_none() && unfit(agent).is_none() && !line.view.passed_by.contains(&agent)
        };
        match self {
            // What is swallowed is decided all the same; it is lost on its way.
            Self::None | Self::BlindWriter | Self::Swallow | Self::Dawdle | Self::Restless => vec![decision],
            Self::Misreport => {
                let record = DecisionRecord { next_best: Some(winner), ..offer.record };
                vec![Decision::Offer(Offer { record, ..offer })]
            }
            Self::Crowd if is_crowded_out(&offer, mind) => Vec::new(),
            Self::Crowd => vec![decision],
            Self::OfferTwice => [vec![decision], to(first(&fits))].concat(),
            Self::ToTheFull => to(first(&|agent| kept_away(agent) == Some(Rule::Full))),
            Self::ToTheAbsent => {
                to(first(&|agent| matches!(kept_away(agent), Some(Rule::Absent | Rule::Paused))))
            }
            Self::ToTheUnskilled => {
                to(first(&|agent| kept_away(agent).is_none() && unfit(agent) == Some(Rule::Skill)))
            }
            Self::YoungerFirst => vec![younger(&offer, winner, mind).map_or(decision, Decision::Offer)],
            Self::Leave if draw.chance(5) => Vec::new(),
            Self::Leave => vec![decision],
            Self::Favourite => to(config.members.iter().copied().find(|agent| fits(*agent))),
            Self::Bias if draw.chance(33) => to(config.members.iter().copied().find(|agent| fits(*agent))),
            Self::Bias => vec![decision],
        }
    }
}

/// True when items of so many other kinds have waited for longer that an engine with so many places had none left.
fn is_crowded_out(offer: &Offer, mind: &Reference) -> bool {
    let since = |line: &Line| line.queued().map(|queued| queued.waiting_since);
    let Some(own) = mind.lines.get(&offer.interaction) else { return false };
    let before = mind.lines.values().filter(|line| line.waits() && since(line) < since(own));
    let kinds: std::collections::BTreeSet<_> = before.map(|line| mind.need(line)).collect();
    kinds.len() >= PLACES && !kinds.contains(&mind.need(own))
}

/// The same offer of an item of the campaign whose turn comes later.
fn younger(offer: &Offer, winner: AgentId, mind: &Reference) -> Option<Offer> {
    let first = mind.lines.get(&offer.interaction).filter(|line| !line.view.passed_by.contains(&winner))?;
    let turn = mind.turn(first);
    let later = |line: &&Line| {
        line.is_ready(mind.now)
            && line.view.campaign == offer.campaign
            && !line.view.passed_by.contains(&winner)
            && mind.eligible(line, &mind.loads()).contains(&winner)
    };
    let line = mind.lines.values().filter(later).find(|line| mind.turn(line) > turn)?;
    Some(Offer { interaction: line.view.interaction, version: line.view.version, ..*offer })
}
