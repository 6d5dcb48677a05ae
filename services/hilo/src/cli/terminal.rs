//! Text on its way to a person's terminal. What customers wrote is hostile until it is shown: escape sequences, other
//! control characters and direction overrides never reach the terminal.

use std::io::{IsTerminal as _, Write as _};

use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Failure;

/// Direction marks and overrides (Unicode TR36): they can make a text read as another.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// One line: every control character (line feeds too) becomes a space, direction marks disappear.
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| !is_direction_mark(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Several lines, each cleaned; a tab becomes spaces.
pub fn clean_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| clean(&line.replace('\t', "    ")).trim_end().to_owned()).collect()
}

/// The first `limit` characters of one line, with an ellipsis when something was cut off.
pub fn shorten(text: &str, limit: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= limit {
        return text;
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `1 file`, `2 files`.
pub fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// RFC 3339 in UTC, to the second; `-` when it is absent or absurd.
pub fn instant(timestamp: Option<&Timestamp>) -> String {
    let seconds = timestamp.map(|timestamp| timestamp.seconds);
    let instant = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    instant.and_then(|instant| instant.format(&Rfc3339).ok()).unwrap_or_else(|| "-".to_owned())
}

/// `HH:MM:SS` in UTC.
pub fn time_of_day(timestamp: Option<&Timestamp>) -> String {
    let text = instant(timestamp);
    text.get(11..19).map_or_else(|| "-".to_owned(), str::to_owned)
}

/// Standard output, line by line; a reader that went away ends the command quietly instead of with a panic.
#[derive(Debug, Default)]
pub struct Output {
    /// Lines kept instead of written; tests read them.
    kept: Option<Vec<String>>,
}

impl Output {
    /// Writes to standard output.
    pub fn stdout() -> Self {
        Self::default()
    }

    /// Keeps the lines, for tests.
    pub fn kept() -> Self {
        Self { kept: Some(Vec::new()) }
    }

    /// What was kept since the last call.
    pub fn take(&mut self) -> Vec<String> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Writes a line and flushes it.
    ///
    /// # Errors
    /// When standard output cannot be written; a closed pipe has exit code 0.
    pub fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        if let Some(kept) = &mut self.kept {
            kept.push(line.as_ref().to_owned());
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", line.as_ref())?;
        stdout.flush()?;
        Ok(())
    }

    /// Writes without ending the line, for a prompt or a bell; only when a person watches.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn to_person(&mut self, text: &str) -> Result<(), Failure> {
        if self.kept.is_none() && std::io::stdout().is_terminal() {
            let mut stdout = std::io::stdout().lock();
            write!(stdout, "{text}")?;
            stdout.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_direction_overrides_never_pass() {
        assert_eq!(clean("a\u{1b}[2Jb\u{7}c\nd"), "a [2Jb c d");
        assert_eq!(clean("inv\u{202e}oice"), "invoice");
        assert_eq!(clean_lines("uno\r\ndos\u{1b}]0;x\u{7}\n\ttres"), vec!["uno", "dos ]0;x", "    tres"]);
        assert_eq!(clean("áéíóú ñ 漢字 👍"), "áéíóú ñ 漢字 👍");
    }

    #[test]
    fn instants_are_utc() {
        let timestamp = Timestamp { seconds: 1_795_000_000, nanos: 5 };
        assert_eq!(instant(Some(&timestamp)), "2026-11-18T11:06:40Z");
        assert_eq!(time_of_day(Some(&timestamp)), "11:06:40");
        assert_eq!(instant(None), "-");
        assert_eq!(instant(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), "-");
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shorten("ñandú", 5), "ñandú");
        assert_eq!(shorten("ñandúes", 5), "ñand…");
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_printable_text_is_left(text in ".*") {
            proptest::prop_assert!(!clean(&text).chars().any(|c| c.is_control() || is_direction_mark(c)));
        }
    }
}
