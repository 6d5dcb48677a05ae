//! Person or machine (RFC 3834, 3464, 5965, 2369, 2919), with the reasons. Nothing is dropped for its class.

use hilo_proto::inbound::v1::MailClass;

use super::fields::Fields;

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Header fields of the mail.
    pub fields: &'a Fields,
    /// Type and subtype of the whole mail, lower case.
    pub media_type: (&'a str, &'a str),
    /// `report-type` of a multipart/report, lower case.
    pub report_type: &'a str,
    /// Envelope sender; `Some("")` is the null sender, `None` unknown.
    pub envelope_sender: Option<&'a str>,
    /// Author, domain in lower case; may be empty.
    pub from: &'a str,
    /// Whether the author is one of our own accounts.
    pub from_is_ours: bool,
}

/// A class and why, in stable words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The class.
    pub class: MailClass,
    /// Every rule that spoke, also those that did not decide.
    pub reasons: Vec<&'static str>,
}

/// Decides. The order is from the most telling to the weakest sign.
pub fn classify(evidence: &Evidence<'_>) -> Classified {
    let mut reasons = Vec::new();
    let mut class = MailClass::Human;
    let rules = [
        (MailClass::OwnLoop, own_loop(evidence)),
        (MailClass::Complaint, complaint(evidence)),
        (MailClass::DeliveryReport, delivery_report(evidence)),
        (MailClass::AutoReply, auto_reply(evidence)),
        (MailClass::Bulk, bulk(evidence)),
        (MailClass::AutoReply, machine_sender(evidence)),
    ];
    for (found, words) in rules {
        if !words.is_empty() && class == MailClass::Human {
            class = found;
        }
        reasons.extend(words);
    }
    Classified { class, reasons }
}

fn own_loop(evidence: &Evidence<'_>) -> Vec<&'static str> {
    words([(evidence.from_is_ours, "from-own-address")])
}

fn complaint(evidence: &Evidence<'_>) -> Vec<&'static str> {
    let feedback = evidence.report_type == "feedback-report" && is_report(evidence);
    words([(feedback, "feedback-report")])
}

fn delivery_report(evidence: &Evidence<'_>) -> Vec<&'static str> {
    let report = is_report(evidence) && evidence.report_type != "feedback-report";
    let bare = evidence.media_type == ("message", "delivery-status");
    // About half of real bounces carry no RFC 3464 part: the null sender with a postmaster as author tells.
    let bounce = evidence.envelope_sender == Some("") && local_part(evidence.from).is_some_and(is_postmaster);
    let failed = evidence.fields.first("x-failed-recipients").is_some();
    words([
        (report, "multipart-report"),
        (bare, "delivery-status"),
        (bounce, "bounce-sender"),
        (failed, "failed-recipients"),
    ])
}

fn auto_reply(evidence: &Evidence<'_>) -> Vec<&'static str> {
    let fields = evidence.fields;
    let submitted = fields.word("auto-submitted").is_some_and(|word| word != "no");
    let precedence = fields.word("precedence").is_some_and(|word| word == "auto_reply");
    let marked = fields.first("x-autoreply").is_some() || fields.first("x-autorespond").is_some();
    words([
        (submitted, "auto-submitted"),
        (precedence, "precedence-auto-reply"),
        (marked, "auto-reply-field"),
        (evidence.envelope_sender == Some(""), "null-sender"),
    ])
}

fn bulk(evidence: &Evidence<'_>) -> Vec<&'static str> {
    let precedence = evidence.fields.word("precedence");
    let bulk = precedence.is_some_and(|word| matches!(word.as_str(), "bulk" | "list" | "junk"));
    let list = evidence.fields.any_with_prefix("list-");
    let feedback = evidence.fields.first("feedback-id").is_some();
    words([(bulk, "precedence-bulk"), (list, "list-fields"), (feedback, "feedback-id")])
}

fn machine_sender(evidence: &Evidence<'_>) -> Vec<&'static str> {
    let local = local_part(evidence.from).unwrap_or_default().to_ascii_lowercase();
    let machine = is_postmaster(&local)
        || ["noreply", "no-reply", "donotreply", "do-not-reply", "no.reply"]
            .iter()
            .any(|word| local.contains(word))
        || local.ends_with("-request")
        || local.starts_with("owner-");
    words([(machine, "machine-sender")])
}

fn is_report(evidence: &Evidence<'_>) -> bool {
    evidence.media_type == ("multipart", "report")
}

fn is_postmaster(local: &str) -> bool {
    let local = local.to_ascii_lowercase();
    matches!(local.as_str(), "mailer-daemon" | "postmaster" | "mailerdaemon")
}

fn local_part(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(local, _)| local)
}

fn words<const N: usize>(rules: [(bool, &'static str); N]) -> Vec<&'static str> {
    rules.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(
        header: &str,
        sender: Option<&str>,
        from: &str,
        report: &str,
    ) -> (MailClass, Vec<&'static str>) {
        let fields = Fields::read(header.as_bytes());
        let classified = classify(&Evidence {
            fields: &fields,
            media_type: if report.is_empty() { ("text", "plain") } else { ("multipart", "report") },
            report_type: report,
            envelope_sender: sender,
            from,
            from_is_ours: from == "ventas@hilo.example",
        });
        (classified.class, classified.reasons)
    }

    #[test]
    fn every_sign_gives_its_class_and_its_reason() {
        let some = Some("ana@example.com");
        let table = [
            ("", some, "ana@example.com", "", MailClass::Human, ""),
            ("Auto-Submitted: no", some, "ana@example.com", "", MailClass::Human, ""),
            (
                "Auto-Submitted: auto-replied (vacation)",
                some,
                "ana@example.com",
                "",
                MailClass::AutoReply,
                "auto-submitted",
            ),
            ("X-Autoreply: yes", some, "ana@example.com", "", MailClass::AutoReply, "auto-reply-field"),
            ("", Some(""), "ana@example.com", "", MailClass::AutoReply, "null-sender"),
            ("", Some(""), "MAILER-DAEMON@example.com", "", MailClass::DeliveryReport, "bounce-sender"),
            ("", Some(""), "x@example.com", "delivery-status", MailClass::DeliveryReport, "multipart-report"),
            ("", some, "x@example.com", "feedback-report", MailClass::Complaint, "feedback-report"),
            ("List-Id: <l.example>", some, "x@example.com", "", MailClass::Bulk, "list-fields"),
            ("Precedence: bulk", some, "x@example.com", "", MailClass::Bulk, "precedence-bulk"),
            ("", some, "No-Reply@example.com", "", MailClass::AutoReply, "machine-sender"),
            ("", some, "noreply@example.com", "", MailClass::AutoReply, "machine-sender"),
            ("", some, "ventas@hilo.example", "", MailClass::OwnLoop, "from-own-address"),
        ];
        for (header, sender, from, report, class, reason) in table {
            let (found, reasons) = class_of(header, sender, from, report);
            assert_eq!(found, class, "{header} {from}");
            assert!(reason.is_empty() || reasons.contains(&reason), "{header} {from}: {reasons:?}");
        }
    }
}
