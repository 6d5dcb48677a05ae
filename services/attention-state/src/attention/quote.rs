//! The quoted original below an answer, and the whole original below a forward; as text and as HTML.

use super::store::message::{StoredAddress, StoredAttachment};
use crate::conversation::html;

/// Longest quotation, in characters of its text; the rest is left out, visibly.
const MAX_QUOTED: usize = 50_000;
/// Longest HTML that is quoted as HTML, in bytes; a longer one is quoted by its text.
const MAX_QUOTED_HTML: usize = 200_000;

/// What is quoted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Original {
    pub from: Option<StoredAddress>,
    pub to: Vec<StoredAddress>,
    pub cc: Vec<StoredAddress>,
    /// In the installation's time zone, as people write it.
    pub date: String,
    pub subject: String,
    pub text: String,
    /// As stored.
    pub html: String,
    pub attachments: Vec<StoredAttachment>,
}

impl Original {
    /// Below an answer, as text.
    pub(crate) fn quoted_text(&self) -> String {
        let lines: Vec<String> = self
            .shortened()
            .lines()
            .map(|line| if line.starts_with('>') { format!(">{line}") } else { format!("> {line}") })
            .collect();
        format!("{}\n{}", self.attribution(), lines.join("\n"))
    }

    /// Below an answer, as HTML.
    pub(crate) fn quoted_html(&self) -> String {
        format!("<p>{}</p><blockquote>{}</blockquote>", html::escape(&self.attribution()), self.content())
    }

    /// Below a forward, as text.
    pub(crate) fn forwarded_text(&self) -> String {
        format!("---------- Mensaje reenviado ----------\n{}\n\n{}", self.head().join("\n"), self.shortened())
    }

    /// Below a forward, as HTML.
    pub(crate) fn forwarded_html(&self) -> String {
        let head: Vec<String> = self.head().iter().map(|line| html::escape(line)).collect();
        let head = head.join("<br>");
        format!("<p>---------- Mensaje reenviado ----------<br>{head}</p><div>{}</div>", self.content())
    }

    /// Images that a quoted HTML shows, and therefore needs.
    pub(crate) fn shown_in(&self, html: &str) -> Vec<StoredAttachment> {
        let shown = |one: &&StoredAttachment| {
            one.inline && !one.content_id.is_empty() && html.contains(&format!("cid:{}", one.content_id))
        };
        self.attachments.iter().filter(shown).cloned().collect()
    }

    /// Files beside the text.
    pub(crate) fn files(&self) -> Vec<StoredAttachment> {
        self.attachments.iter().filter(|one| !one.inline).cloned().collect()
    }

    fn attribution(&self) -> String {
        format!("El {}, {} escribió:", self.date, self.from.as_ref().map(written).unwrap_or_default())
    }

    fn head(&self) -> Vec<String> {
        let list = |list: &[StoredAddress]| list.iter().map(written).collect::<Vec<_>>().join(", ");
        let mut head = vec![
            format!("De: {}", self.from.as_ref().map(written).unwrap_or_default()),
            format!("Fecha: {}", self.date),
            format!("Asunto: {}", one_line(&self.subject)),
            format!("Para: {}", list(&self.to)),
        ];
        if !self.cc.is_empty() {
            head.push(format!("Cc: {}", list(&self.cc)));
        }
        head
    }

    fn shortened(&self) -> String {
        let mut kept: String = self.text.chars().take(MAX_QUOTED).collect();
        if kept.len() < self.text.len() {
            kept.push_str("\n[...]");
        }
        kept
    }

    fn content(&self) -> String {
        let fits = !self.html.is_empty() && self.html.len() <= MAX_QUOTED_HTML;
        let clean = if fits { html::outgoing(&self.html) } else { None };
        clean.unwrap_or_else(|| html::from_text(&self.shortened()))
    }
}

fn written(address: &StoredAddress) -> String {
    let name = one_line(&address.name);
    if name.trim().is_empty() {
        return address.address.clone();
    }
    format!("{} <{}>", name.trim(), address.address)
}

/// Without anything that would begin a new line.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Original {
        let address =
            |address: &str, name: &str| StoredAddress { address: address.into(), name: name.into() };
        Original {
            from: Some(address("eva@cliente.example", "Eva\r\n<b>Quispe")),
            to: vec![address("soporte@ejemplo.pe", "")],
            date: "21/11/2026 14:05".into(),
            subject: "No\nllegó".into(),
            text: "Hola,\n> antes\nadiós".into(),
            html: "<p onclick=x()>Hola <img src=\"cid:foto\"></p>".into(),
            attachments: vec![file("foto", true), file("otra", true), file("", false)],
            ..Original::default()
        }
    }

    fn file(content_id: &str, inline: bool) -> StoredAttachment {
        StoredAttachment {
            sha256: "x".into(),
            file_name: "f".into(),
            media_type: "image/png".into(),
            size_bytes: 1,
            content_id: content_id.into(),
            inline,
        }
    }

    #[test]
    fn an_answer_quotes_line_by_line() {
        assert_eq!(
            original().quoted_text(),
            "El 21/11/2026 14:05, Eva  <b>Quispe <eva@cliente.example> escribió:\n> Hola,\n>> antes\n> adiós"
        );
        assert_eq!(
            original().quoted_html(),
            "<p>El 21/11/2026 14:05, Eva  &lt;b&gt;Quispe &lt;eva@cliente.example&gt; escribió:</p>\
             <blockquote><p>Hola <img src=\"cid:foto\"></p></blockquote>"
        );
    }

    #[test]
    fn a_forward_says_what_it_was() {
        let text = original().forwarded_text();
        assert!(text.contains("\nAsunto: No llegó\nPara: soporte@ejemplo.pe\n\nHola,"), "{text}");
        let html = original().forwarded_html();
        assert!(html.contains("&lt;b&gt;Quispe") && !html.contains("onclick"), "{html}");
    }

    #[test]
    fn images_follow_the_html_that_shows_them() {
        let ids = |files: Vec<StoredAttachment>| files.into_iter().map(|f| f.content_id).collect::<Vec<_>>();
        assert_eq!(ids(original().shown_in("<img src=\"cid:foto\">")), ["foto"]);
        assert_eq!(ids(original().files()), [""]);
    }

    #[test]
    fn long_originals_are_cut_visibly() {
        let long = Original { text: "ñ".repeat(MAX_QUOTED + 1), html: String::new(), ..original() };
        assert!(long.quoted_text().ends_with("\n> [...]"));
        assert!(long.quoted_html().contains("[...]"));
    }
}
