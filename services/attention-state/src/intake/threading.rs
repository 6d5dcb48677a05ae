//! Which attention a mail belongs to, decided from the evidence alone (pure).
//!
//! A known Message-ID or a keyed token names the thread; the right to be in it needs more: From must be a participant, and
//! the sender authenticated by DMARC, or of a domain that publishes no policy, or accepted by the account's one named
//! switch. A DMARC failure never joins, and a failed look-up is not "no policy" (design rule 8, hardening rule 10).

use hilo_proto::inbound::v1::DmarcResult;

use crate::attention::domain::{AttentionId, MailClass};

/// What the mail says of itself.
#[derive(Clone, Debug)]
pub(super) struct Claim<'a> {
    /// Normalised author; empty when the mail had none.
    pub from: &'a str,
    pub dmarc: DmarcResult,
    /// The account's switch `accept_unauthenticated_replies`.
    pub unauthenticated_accepted: bool,
    pub class: MailClass,
    /// True when the envelope sender is known to be empty.
    pub null_sender: bool,
}

/// An attention that a verified token or a known Message-ID names, best evidence first.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub attention: AttentionId,
    pub participants: &'a [String],
    /// True when the mail names a mail that we sent in this attention.
    pub sent: bool,
}

/// Where the mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Into this attention, or its open successor.
    Join { attention: AttentionId, verified: bool },
    /// Into a new attention, linked to the one it claims and visibly unverified.
    Unverified { claims: AttentionId },
    /// Into a new attention that claims nothing, or nothing that could be looked at.
    New { verified: bool },
}

/// Decides.
pub(super) fn verdict(claim: &Claim<'_>, candidates: &[Candidate<'_>]) -> Verdict {
    let authenticated = match claim.dmarc {
        DmarcResult::Pass | DmarcResult::NoPolicy => true,
        DmarcResult::Fail | DmarcResult::TemporaryError | DmarcResult::Unspecified => {
            claim.unauthenticated_accepted
        }
    };
    if authenticated {
        let member = candidates.iter().find(|candidate| belongs(claim, candidate));
        if let Some(candidate) = member {
            return Verdict::Join { attention: candidate.attention, verified: !is_report(claim.class) };
        }
    }
    match (candidates.first(), claim.dmarc) {
        (None, DmarcResult::Fail) => Verdict::New { verified: authenticated },
        (None, DmarcResult::Pass | DmarcResult::NoPolicy) => Verdict::New { verified: true },
        // Nothing is claimed, so there was nothing to authenticate for.
        (None, DmarcResult::TemporaryError | DmarcResult::Unspecified) => Verdict::New { verified: true },
        (Some(_), DmarcResult::TemporaryError | DmarcResult::Unspecified) => Verdict::New { verified: false },
        (Some(first), DmarcResult::Fail | DmarcResult::Pass | DmarcResult::NoPolicy) => {
            Verdict::Unverified { claims: first.attention }
        }
    }
}

/// A participant's mail, or a machine's report on a mail that we really sent there: its author is no participant, it makes
/// nobody one, and it is shown by its class. A report has no envelope sender (RFC 3464 section 2), so a mail that merely
/// calls itself one needs a participant like any other.
fn belongs(claim: &Claim<'_>, candidate: &Candidate<'_>) -> bool {
    let participant = !claim.from.is_empty() && candidate.participants.iter().any(|p| p == claim.from);
    let report = match claim.class {
        MailClass::DeliveryReport => claim.null_sender && candidate.sent,
        MailClass::OwnLoop => candidate.sent,
        MailClass::Human | MailClass::AutoReply | MailClass::Complaint | MailClass::Bulk => false,
    };
    participant || report
}

/// Written by a machine about our own mail.
pub(super) fn is_report(class: MailClass) -> bool {
    match class {
        MailClass::DeliveryReport | MailClass::OwnLoop => true,
        MailClass::Human | MailClass::AutoReply | MailClass::Complaint | MailClass::Bulk => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DmarcResult::{Fail, NoPolicy, Pass, TemporaryError, Unspecified};

    const A: AttentionId = AttentionId(uuid::Uuid::from_u128(1));
    const B: AttentionId = AttentionId(uuid::Uuid::from_u128(2));

    fn decide(
        dmarc: DmarcResult,
        switch: bool,
        from: &str,
        class: MailClass,
        candidates: &[AttentionId],
    ) -> Verdict {
        let participants = ["eva@cliente.example".to_owned()];
        let of_b = ["otto@cliente.example".to_owned()];
        let candidates: Vec<Candidate<'_>> = candidates
            .iter()
            .map(|id| Candidate {
                attention: *id,
                participants: if *id == A { &participants } else { &of_b },
                sent: *id == A,
            })
            .collect();
        let null_sender = class == MailClass::DeliveryReport;
        verdict(&Claim { from, dmarc, unauthenticated_accepted: switch, class, null_sender }, &candidates)
    }

    #[test]
    fn the_rule_as_a_table() {
        let join = Verdict::Join { attention: A, verified: true };
        let unverified = Verdict::Unverified { claims: A };
        let (new, doubtful) = (Verdict::New { verified: true }, Verdict::New { verified: false });
        let rows = [
            // DMARC, switch, participant, claims a thread → verdict
            (Pass, false, true, true, join),
            (Pass, false, false, true, unverified),
            (Pass, false, true, false, new),
            (NoPolicy, false, true, true, join),
            (NoPolicy, false, false, true, unverified),
            (NoPolicy, false, true, false, new),
            (Fail, false, true, true, unverified),
            (Fail, false, false, true, unverified),
            (Fail, false, true, false, doubtful),
            (TemporaryError, false, true, true, doubtful),
            (TemporaryError, false, false, true, doubtful),
            (TemporaryError, false, true, false, new),
            (Unspecified, false, true, true, doubtful),
            // The switch replaces authentication, never participation.
            (Fail, true, true, true, join),
            (Fail, true, false, true, unverified),
            (Fail, true, true, false, new),
            (TemporaryError, true, true, true, join),
            (TemporaryError, true, false, true, doubtful),
            (NoPolicy, true, true, true, join),
        ];
        for (dmarc, switch, participant, claims, expected) in rows {
            let from = if participant { "eva@cliente.example" } else { "mallory@otro.example" };
            let candidates: &[AttentionId] = if claims { &[A] } else { &[] };
            let found = decide(dmarc, switch, from, MailClass::Human, candidates);
            assert_eq!(
                found, expected,
                "{dmarc:?} switch={switch} participant={participant} claims={claims}"
            );
        }
    }

    #[test]
    fn the_first_thread_the_sender_belongs_to_wins() {
        let found = decide(Pass, false, "otto@cliente.example", MailClass::Human, &[A, B]);
        assert_eq!(found, Verdict::Join { attention: B, verified: true });
    }

    #[test]
    fn an_empty_author_is_nobody() {
        assert_eq!(decide(NoPolicy, false, "", MailClass::Human, &[A]), Verdict::Unverified { claims: A });
    }

    /// Each part of the condition in `belongs` taken out turns a row red.
    #[test]
    fn only_a_real_report_on_a_real_send_joins_without_a_participant() {
        use MailClass::{DeliveryReport, Human, OwnLoop};
        let (joins, apart) =
            (Verdict::Join { attention: A, verified: false }, Verdict::Unverified { claims: A });
        let rows = [
            // class, null sender, names a send of ours → verdict
            (DeliveryReport, true, true, joins),
            (DeliveryReport, false, true, apart),
            (DeliveryReport, true, false, apart),
            (OwnLoop, false, true, joins),
            (OwnLoop, true, false, apart),
            (Human, true, true, apart),
        ];
        for (class, null_sender, sent, expected) in rows {
            let claim = Claim {
                from: "mailer-daemon@otro.example",
                dmarc: NoPolicy,
                unauthenticated_accepted: false,
                class,
                null_sender,
            };
            let candidate =
                Candidate { attention: A, participants: &["eva@cliente.example".to_owned()], sent };
            assert_eq!(verdict(&claim, &[candidate]), expected, "{class:?} {null_sender} {sent}");
        }
    }

    #[test]
    fn a_delivery_report_is_appended_by_evidence_but_never_with_a_dmarc_failure() {
        let daemon = "mailer-daemon@otro.example";
        let found = decide(NoPolicy, false, daemon, MailClass::DeliveryReport, &[A]);
        assert_eq!(found, Verdict::Join { attention: A, verified: false });
        assert_eq!(
            decide(Fail, false, daemon, MailClass::DeliveryReport, &[A]),
            Verdict::Unverified { claims: A }
        );
        assert_eq!(
            decide(NoPolicy, false, daemon, MailClass::DeliveryReport, &[]),
            Verdict::New { verified: true }
        );
    }
}
