//! How text becomes words: lower case, compatibility forms composed (Unicode NFKC), everything but letters and digits a
//! separator. Texts and searches take the same way, so what is written can be found; the database adds stems and
//! drops accents.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters of a word that count; longer ones (encoded data, as a rule) are cut, in texts and in searches.
pub const MAX_WORD: usize = 64;
/// Bytes of one part: a tsvector may hold 1 MiB and every word up to four forms.
const MAX_PART: usize = 60_000;
/// Parts of one thread; words beyond them (some 300,000 different ones) are not searchable.
pub const MAX_PARTS: usize = 48;

/// The words of a text in order.
pub fn split(text: &str) -> Vec<String> {
    let plain: String =
        text.nfkc().flat_map(char::to_lowercase).nfkc().filter(|c| !is_combining_mark(*c)).collect();
    plain
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(MAX_WORD).collect())
        .collect()
}

/// The different words of several texts, joined by blanks, in parts small enough for one tsvector each.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    seen: HashSet<String>,
    parts: Vec<String>,
}

impl Parts {
    /// Adds the words of a text; beyond [`MAX_PARTS`] they are left out.
    pub fn add(&mut self, text: &str) {
        if self.is_full() {
            return;
        }
        for word in split(text) {
            if self.seen.contains(&word) {
                continue;
            }
            let full = self.parts.len() == MAX_PARTS;
            match self.parts.last_mut().filter(|part| part.len() + word.len() < MAX_PART) {
                Some(part) => {
                    part.push(' ');
                    part.push_str(&word);
                }
                None if full => return,
                None => self.parts.push(word.clone()),
            }
            self.seen.insert(word);
        }
    }

    /// True when the last part is nearly full too, so that words may be missing.
    pub fn is_full(&self) -> bool {
        let nearly = |part: &String| part.len() + MAX_WORD * 4 >= MAX_PART;
        self.parts.len() == MAX_PARTS && self.parts.last().is_some_and(nearly)
    }

    /// The parts.
    pub fn into_parts(self) -> Vec<String> {
        self.parts
    }
}

/// Lower case without accents and with single blanks, for comparing parts of names, addresses and subjects. The database
/// also takes off what Unicode does not decompose (`ø`, `ł`), on both sides.
pub fn fold(text: &str) -> String {
    let plain: String = text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect();
    plain
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_what_people_see_as_words() {
        let text = "¡El Camión n.º 7, de \"José/Peña\" <jose@ejemplo.pe>! camio\u{301}n ﬁn İstanbul";
        let words = split(text);
        assert_eq!(words[..6], ["el", "camión", "n", "o", "7", "de"]);
        assert_eq!(words[6..], ["josé", "peña", "jose", "ejemplo", "pe", "camión", "fin", "istanbul"]);
    }

    #[test]
    fn parts_hold_every_word_once_and_stay_small() {
        let text: String = (0..30_000).map(|n| format!("w{n} ")).collect();
        let mut gathered = Parts::default();
        gathered.add(&text);
        gathered.add("w1 w2");
        let parts = gathered.into_parts();
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= MAX_PART));
        assert_eq!(parts.iter().map(|part| part.split(' ').count()).sum::<usize>(), 30_000);
    }

    #[test]
    fn folding_takes_accents_case_and_blanks() {
        assert_eq!(fold("  MARÍA  Ñáñez\n<Maria@Ejemplo.PE> "), "maria nanez <maria@ejemplo.pe>");
    }

    proptest! {
        #[test]
        fn splitting_never_panics_and_is_stable(text in "\\PC*") {
            let words = split(&text);
            prop_assert_eq!(split(&words.join(" ")), words);
        }

        #[test]
        fn folding_is_stable(text in "\\PC*") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
