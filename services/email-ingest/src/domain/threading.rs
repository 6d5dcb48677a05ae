//! What a mail says about the thread it belongs to. Only evidence: attention-state decides whether it joins.

use hilo_kit::thread_token;

use super::fields::Fields;
use super::limits::REFERENCES;

/// Message-IDs that the mail refers to: In-Reply-To first, then References from the nearest (its last) on; each once.
pub fn references(fields: &Fields) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let chain = fields.message_ids("references").into_iter().rev();
    for id in fields.message_ids("in-reply-to").into_iter().chain(chain) {
        if found.len() == REFERENCES {
            break;
        }
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

/// Attentions whose keyed token was verified in the references or in the addresses written to, nearest first.
pub fn token_attention_ids<'a>(
    key: &[u8],
    references: &'a [String],
    addresses: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in addresses.chain(references.iter().map(String::as_str)) {
        for id in thread_token::find(key, text) {
            let id = id.to_string();
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

/// `5804` of `[#5804]` in a subject; weak, since anybody can write it.
pub fn subject_token(subject: &str) -> Option<String> {
    subject.split("[#").skip(1).find_map(|rest| {
        let (number, _) = rest.split_once(']')?;
        let plausible = (1..=18).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        plausible.then(|| number.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilo_kit::ids::Uuid;

    const KEY: &[u8] = b"0123456789abcdef";

    #[test]
    fn references_are_nearest_first_without_loops_and_bounded() {
        let fields = Fields::read(b"References: <a@x> <b@x> <c@x>\nIn-Reply-To: <c@x>\n");
        assert_eq!(references(&fields), vec!["c@x", "b@x", "a@x"]);
        let long: String = (0..300).map(|n| format!("<{n}@x> ")).collect();
        let found = references(&Fields::read(format!("References: {long}").as_bytes()));
        assert_eq!((found.len(), found.first().map(String::as_str)), (REFERENCES, Some("299@x")));
    }

    #[test]
    fn tokens_count_only_under_our_key() {
        let id = Uuid::now_v7();
        let token = thread_token::make(KEY, id);
        let references = vec![format!("m.{token}@hilo.example")];
        let address = format!("ventas+{token}@hilo.example");
        assert_eq!(
            token_attention_ids(KEY, &references, [address.as_str()].into_iter()),
            vec![id.to_string()]
        );
        assert!(
            token_attention_ids(b"another key 16 b", &references, [address.as_str()].into_iter()).is_empty()
        );
    }

    #[test]
    fn the_subject_token_is_a_number_in_brackets() {
        assert_eq!(subject_token("Re: [x] pedido [#5804] urgente").as_deref(), Some("5804"));
        assert_eq!(subject_token("Re: [#58a4] [#]"), None);
    }
}
