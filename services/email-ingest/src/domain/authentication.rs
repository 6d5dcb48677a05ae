//! What is known about who sent a mail (SPF, DKIM, DMARC), in the words of the contract.

use hilo_proto::inbound::v1::{DmarcResult, ThreadingEvidence};

/// Outcome of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// DMARC for the From domain; unspecified when nobody could look anything up at all.
    pub dmarc: DmarcResult,
    /// SPF of the envelope sender, word of RFC 7208.
    pub spf: &'static str,
    /// DKIM, word of RFC 8601.
    pub dkim: &'static str,
}

impl Verdict {
    /// No data: this installation has no resolver. A failed look-up, not "no policy": such a mail joins a thread only
    /// where the account's named switch says so.
    pub const UNCHECKED: Verdict = Verdict { dmarc: DmarcResult::Unspecified, spf: "none", dkim: "none" };
    /// The look-ups failed for now.
    pub const TEMPORARY: Verdict =
        Verdict { dmarc: DmarcResult::TemporaryError, spf: "temperror", dkim: "temperror" };

    /// True when looking again later may give an answer.
    pub fn is_temporary(self) -> bool {
        self.dmarc == DmarcResult::TemporaryError
    }

    /// Writes it into the evidence.
    pub fn write(self, evidence: &mut ThreadingEvidence) {
        evidence.dmarc = self.dmarc.into();
        self.spf.clone_into(&mut evidence.spf);
        self.dkim.clone_into(&mut evidence.dkim);
    }
}

/// One identifier check inside DMARC (RFC 7489 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aligned {
    /// Passed and aligned.
    Pass,
    /// The look-up failed for now.
    Temporary,
    /// Anything else.
    No,
}

/// DMARC of a mail: one aligned pass is enough; otherwise an open look-up means "do not know"; a published policy that is
/// not met is a failure, also when it asks for nothing (`p=none`). A mail without exactly one author fails: which
/// domain's policy would count?
pub fn dmarc(authors: usize, spf: Aligned, dkim: Aligned, policy_published: bool) -> DmarcResult {
    match (authors, spf, dkim) {
        (1, Aligned::Pass, _) | (1, _, Aligned::Pass) => DmarcResult::Pass,
        (1, Aligned::Temporary, _) | (1, _, Aligned::Temporary) => DmarcResult::TemporaryError,
        (1, Aligned::No, Aligned::No) if !policy_published => DmarcResult::NoPolicy,
        _ => DmarcResult::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_look_up_is_not_no_policy_and_a_missed_policy_is_a_failure() {
        use Aligned::{No, Pass, Temporary};
        let table = [
            (1, Pass, No, true, DmarcResult::Pass),
            (1, No, Pass, true, DmarcResult::Pass),
            (1, Temporary, Pass, true, DmarcResult::Pass),
            (1, No, No, true, DmarcResult::Fail),
            (1, No, No, false, DmarcResult::NoPolicy),
            (1, Temporary, No, true, DmarcResult::TemporaryError),
            (1, Temporary, Temporary, false, DmarcResult::TemporaryError),
            (2, Pass, Pass, true, DmarcResult::Fail),
            (0, No, No, false, DmarcResult::Fail),
        ];
        for (authors, spf, dkim, published, expected) in table {
            assert_eq!(
                dmarc(authors, spf, dkim, published),
                expected,
                "{authors} {spf:?} {dkim:?} {published}"
            );
        }
    }
}
