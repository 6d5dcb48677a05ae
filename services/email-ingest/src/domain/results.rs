//! What a receiver of the installation found out about a sender (`Authentication-Results`, RFC 8601), for mail that was
//! fetched: there the sending server's address is gone, and only that receiver could check SPF.
//!
//! Believed is only the topmost field, and only when it names a receiver that the configuration trusts; such a receiver
//! removes fields that claim its name (RFC 8601 section 5). Anybody can write the others.

use hilo_proto::inbound::v1::DmarcResult;

use super::authentication::Verdict;
use super::fields::Fields;

/// The verdict of a trusted receiver on this author's domain; `None` when there is none.
pub fn trusted(fields: &Fields, receivers: &[String], from: &str) -> Option<Verdict> {
    let field = without_comments(fields.first("authentication-results")?);
    let mut parts = field.split(';');
    let receiver = parts.next()?.split_whitespace().next()?;
    if !receivers.iter().any(|known| known.eq_ignore_ascii_case(receiver)) {
        return None;
    }
    let results: Vec<Vec<(String, String)>> = parts.map(properties).collect();
    let find =
        |method: &str| results.iter().find(|result| result.first().is_some_and(|(name, _)| name == method));
    let word = |method: &str| {
        find(method).and_then(|result| result.first()).map_or("none", |(_, word)| word.as_str())
    };
    let dmarc = find("dmarc")?;
    let (_, domain) = from.rsplit_once('@')?;
    let about = dmarc.iter().find(|(name, _)| name == "header.from").map(|(_, value)| value.as_str());
    if about.is_some_and(|about| !about.eq_ignore_ascii_case(domain)) {
        return None;
    }
    let outcome = match word("dmarc") {
        "pass" => DmarcResult::Pass,
        // "Best guess" is the receiver's own invention where the domain publishes nothing.
        "none" | "bestguesspass" => DmarcResult::NoPolicy,
        "temperror" => DmarcResult::TemporaryError,
        _ => DmarcResult::Fail,
    };
    Some(Verdict { dmarc: outcome, spf: known(word("spf")), dkim: known(word("dkim")) })
}

/// `method=result` and the properties behind it, lower-cased.
fn properties(part: &str) -> Vec<(String, String)> {
    let pairs = part.split_whitespace().filter_map(|word| word.split_once('='));
    pairs
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches('"').to_ascii_lowercase()))
        .collect()
}

/// RFC 5322 comments, nested, with quoted pairs.
fn without_comments(text: &str) -> String {
    let mut depth = 0u32;
    let mut escaped = false;
    let mut kept = String::with_capacity(text.len());
    for character in text.chars() {
        match (character, escaped) {
            (_, true) => escaped = false,
            ('\\', false) => escaped = true,
            ('(', false) => depth += 1,
            (')', false) => {
                depth = depth.saturating_sub(1);
                kept.push(' ');
            }
            (character, false) if depth == 0 => kept.push(character),
            (_, false) => {}
        }
    }
    kept
}

fn known(word: &str) -> &'static str {
    const WORDS: [&str; 9] =
        ["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror", "policy", "hardfail"];
    WORDS.into_iter().find(|known| *known == word).unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dmarc(field: &str) -> Option<(DmarcResult, &'static str, &'static str)> {
        let fields = Fields::read(format!("{field}\r\n").as_bytes());
        let verdict = trusted(&fields, &["mx.hilo.example".to_owned()], "ana@cliente.example")?;
        Some((verdict.dmarc, verdict.spf, verdict.dkim))
    }

    #[test]
    fn only_the_topmost_field_of_a_trusted_receiver_about_this_author_counts() {
        let pass = "Authentication-Results: MX.hilo.example 1; spf=pass smtp.mailfrom=cliente.example;\r\n \
                    dkim=fail (bad; dmarc=fail) header.d=x; dmarc=pass (p=none) header.from=cliente.example";
        assert_eq!(dmarc(pass), Some((DmarcResult::Pass, "pass", "fail")));
        let table = [
            ("Authentication-Results: evil.example; dmarc=pass header.from=cliente.example", None),
            ("Authentication-Results: mx.hilo.example; dmarc=pass header.from=other.example", None),
            ("Authentication-Results: mx.hilo.example; spf=pass", None),
            ("Authentication-Results: mx.hilo.example; none", None),
            ("Authentication-Results: (mx.hilo.example) evil.example; dmarc=pass", None),
            ("Subject: x", None),
            ("Authentication-Results: mx.hilo.example; dmarc=fail", Some(DmarcResult::Fail)),
            ("Authentication-Results: mx.hilo.example; dmarc=permerror", Some(DmarcResult::Fail)),
            ("Authentication-Results: mx.hilo.example; dmarc=bestguesspass", Some(DmarcResult::NoPolicy)),
            ("Authentication-Results: mx.hilo.example; dmarc=none", Some(DmarcResult::NoPolicy)),
            ("Authentication-Results: mx.hilo.example; dmarc=temperror", Some(DmarcResult::TemporaryError)),
            (
                "Authentication-Results: evil.example; x=y\r\nAuthentication-Results: mx.hilo.example; dmarc=pass",
                None,
            ),
        ];
        for (field, expected) in table {
            assert_eq!(dmarc(field).map(|(dmarc, ..)| dmarc), expected, "{field}");
        }
    }
}
