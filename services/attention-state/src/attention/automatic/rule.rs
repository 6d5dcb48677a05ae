//! Whether an automatic reply that is due is sent (pure). Who wrote was judged when the mail was taken in.

use super::{Answered, BUDGET_PER_HOUR, own_address};

/// What is counted in the database.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// Seconds since the mail was taken in.
    pub age_seconds: i64,
    /// Automatic replies to the address within a day.
    pub to_address: i64,
    /// Automatic replies to anybody within an hour.
    pub to_all: i64,
    /// True when the address is one of ours.
    pub ours: bool,
}

/// Everything the decision needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The interaction is queued or open.
    pub live: bool,
    /// The interaction holds the most messages allowed.
    pub full: bool,
    /// Something was sent in the attention already.
    pub answered: bool,
    /// The campaign's text as it is now.
    pub text: &'a str,
    /// Whom it would go to.
    pub to: &'a str,
    /// Our address.
    pub own: &'a str,
    /// The mail answered; none of a WhatsApp item, which came to us alone.
    pub named: Option<&'a Answered>,
    /// What is no template may not be sent by WhatsApp.
    pub window_closed: bool,
    pub counted: Counted,
}

/// A reply that is older tells nothing any more.
const MAX_AGE_SECONDS: i64 = 3600;

/// Why the reply is withheld, a stable word; `None` sends it.
pub(super) fn withheld(facts: &Facts<'_>) -> Option<&'static str> {
    let own = own_address(facts.own);
    let named = facts.named.is_none_or(|mail| {
        let mut written_to = mail.to.iter().chain(&mail.cc);
        written_to.any(|one| own_address(&one.address) == own)
    });
    let rules = [
        (facts.counted.age_seconds > MAX_AGE_SECONDS, "late"),
        (!facts.live, "ended"),
        (facts.full, "full"),
        (facts.answered, "answered"),
        (facts.text.is_empty(), "no_text"),
        (facts.window_closed, "window_closed"),
        (facts.counted.ours || own_address(facts.to) == own, "own_address"),
        // A mail that names us nowhere came by a list or as a blind copy (RFC 5230 section 4.5).
        (!named, "not_addressed"),
        (facts.counted.to_address > 0, "within_a_day"),
        (facts.counted.to_all >= BUDGET_PER_HOUR, "budget"),
    ];
    rules.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::store::message::StoredAddress;

    fn mail(to: &[&str], cc: &[&str]) -> Answered {
        let list = |all: &[&str]| {
            all.iter().map(|one| StoredAddress { address: (*one).into(), name: String::new() }).collect()
        };
        Answered {
            from: StoredAddress { address: "eva@cliente.example".into(), name: String::new() },
            to: list(to),
            cc: list(cc),
            reply_to: Vec::new(),
            outbound: false,
            answerable: true,
            purged: false,
            internet_message_id: String::new(),
            reference_ids: Vec::new(),
            original: crate::attention::quote::Original::default(),
        }
    }

    #[test]
    fn every_rule_withholds_by_itself() {
        let (ours, others) = (mail(&["Soporte+abc@Ejemplo.pe"], &[]), mail(&["lista@cliente.example"], &[]));
        let copied = mail(&["jefa@cliente.example"], &["soporte@ejemplo.pe"]);
        let good = Facts {
            live: true,
            full: false,
            answered: false,
            text: "Volvemos el lunes.",
            to: "eva@cliente.example",
            own: "soporte@ejemplo.pe",
            named: Some(&ours),
            window_closed: false,
            counted: Counted { age_seconds: 3600, to_all: BUDGET_PER_HOUR - 1, ..Counted::default() },
        };
        let counted = good.counted;
        for (facts, expected) in [
            (good, None),
            (Facts { named: Some(&copied), ..good }, None),
            (Facts { named: None, ..good }, None),
            (Facts { window_closed: true, ..good }, Some("window_closed")),
            (Facts { counted: Counted { age_seconds: 3601, ..counted }, ..good }, Some("late")),
            (Facts { live: false, ..good }, Some("ended")),
            (Facts { full: true, ..good }, Some("full")),
            (Facts { answered: true, ..good }, Some("answered")),
            (Facts { text: "", ..good }, Some("no_text")),
            (Facts { to: "soporte+x@ejemplo.pe", ..good }, Some("own_address")),
            (Facts { counted: Counted { ours: true, ..counted }, ..good }, Some("own_address")),
            (Facts { named: Some(&others), ..good }, Some("not_addressed")),
            (Facts { counted: Counted { to_address: 1, ..counted }, ..good }, Some("within_a_day")),
            (Facts { counted: Counted { to_all: BUDGET_PER_HOUR, ..counted }, ..good }, Some("budget")),
        ] {
            assert_eq!(withheld(&facts), expected, "{facts:?}");
        }
    }
}
