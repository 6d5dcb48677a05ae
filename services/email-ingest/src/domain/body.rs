//! Which parts are the body and which are attachments (the algorithm of RFC 8621 section 4.1.4), and their content.

use mail_parser::MimeHeaders;

use super::html::{self, Refused};
use super::limits::TEXT_CHARS;
use super::mime::Part;
use super::{decode, text};

/// A file of a mail with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Name as shown; may be empty.
    pub name: String,
    /// Media type as declared, cleaned.
    pub media_type: String,
    /// Content-ID without angle brackets; may be empty.
    pub content_id: String,
    /// Shown inside the body.
    pub inline: bool,
    /// Decoded content.
    pub content: Vec<u8>,
}

/// What a person reads, and the rest.
#[derive(Debug, Default)]
pub struct Body {
    /// Plain text.
    pub text: String,
    /// Sanitised HTML; empty when the mail has none.
    pub html: String,
    /// Attachments and inline parts.
    pub files: Vec<File>,
    /// Stable words.
    pub anomalies: Vec<&'static str>,
}

#[derive(Default)]
struct Chosen<'m, 'a> {
    text: Vec<&'m Part<'a>>,
    html: Vec<&'m Part<'a>>,
    files: Vec<(&'m Part<'a>, bool)>,
}

/// Chooses and decodes.
pub fn read(root: &Part<'_>) -> Body {
    let mut chosen = Chosen::default();
    choose(std::slice::from_ref(root), "mixed", false, (true, true), &mut chosen);
    let mut body = Body::default();
    read_html(&chosen, &mut body);
    read_text(&chosen, &mut body);
    body.files.extend(chosen.files.iter().map(|(part, inline)| file(part, *inline)));
    body
}

/// `wanted` says which of (text, HTML) still take parts at this place of the tree.
fn choose<'m, 'a>(
    parts: &'m [Part<'a>],
    multipart: &str,
    in_alternative: bool,
    wanted: (bool, bool),
    chosen: &mut Chosen<'m, 'a>,
) {
    let (mut want_text, mut want_html) = wanted;
    let (texts, htmls) = (chosen.text.len(), chosen.html.len());
    for (index, part) in parts.iter().enumerate() {
        let media = is_media(part);
        if part.is_multipart() {
            let alternative = in_alternative || part.subtype == "alternative";
            choose(&part.children, &part.subtype, alternative, (want_text, want_html), chosen);
        } else if !is_body(part, index, multipart) || media {
            chosen.files.push((part, is_inline(part, multipart)));
        } else if multipart == "alternative" {
            if part.subtype == "html" { chosen.html.push(part) } else { chosen.text.push(part) }
        } else {
            if in_alternative && part.subtype == "plain" {
                want_html = false;
            }
            if in_alternative && part.subtype == "html" {
                want_text = false;
            }
            if want_text {
                chosen.text.push(part);
            }
            if want_html {
                chosen.html.push(part);
            }
        }
    }
    if multipart == "alternative" && want_text && want_html {
        // Only one form was found: it serves as both.
        if chosen.text.len() == texts {
            let only: Vec<_> = chosen.html.get(htmls..).unwrap_or_default().to_vec();
            chosen.text.extend(only);
        } else if chosen.html.len() == htmls {
            let only: Vec<_> = chosen.text.get(texts..).unwrap_or_default().to_vec();
            chosen.html.extend(only);
        }
    }
}

fn is_body(part: &Part<'_>, index: usize, multipart: &str) -> bool {
    let text = part.kind == "text" && matches!(part.subtype.as_str(), "plain" | "html");
    let attached = part
        .headers()
        .and_then(MimeHeaders::content_disposition)
        .is_some_and(|disposition| disposition.ctype().eq_ignore_ascii_case("attachment"));
    let placed = index == 0 || (multipart != "related" && raw_name(part).is_none());
    text && !attached && placed
}

fn is_media(part: &Part<'_>) -> bool {
    matches!(part.kind.as_str(), "image" | "audio" | "video")
}

fn is_inline(part: &Part<'_>, multipart: &str) -> bool {
    let disposition = part.headers().and_then(MimeHeaders::content_disposition).map(|value| value.ctype());
    match disposition {
        Some(word) if word.eq_ignore_ascii_case("attachment") => false,
        Some(word) if word.eq_ignore_ascii_case("inline") => is_media(part),
        _ => is_media(part) && (multipart == "related" || !content_id(part).is_empty()),
    }
}

fn read_html(chosen: &Chosen<'_, '_>, body: &mut Body) {
    if !chosen.html.iter().any(|part| part.subtype == "html") {
        return;
    }
    let mut joined = String::new();
    for part in &chosen.html {
        let (content, unknown) = decode::text(part);
        note(body, unknown, "unknown-charset");
        joined.push_str(&if part.subtype == "html" { content } else { html::from_text(&content) });
    }
    match html::sanitise(&text::body(&joined)) {
        Ok(clean) => {
            note(body, clean.remote_images > 0, "remote-images");
            body.html = clean.html;
        }
        Err(refused) => {
            body.anomalies.push(match refused {
                Refused::TooLarge => "html-too-large",
                Refused::TooComplex => "html-too-complex",
            });
            body.files.push(whole("message.html", "text/html", joined));
        }
    }
}

fn read_text(chosen: &Chosen<'_, '_>, body: &mut Body) {
    let mut joined = String::new();
    let mut derived = false;
    for part in &chosen.text {
        if part.subtype == "html" {
            // One HTML text is enough: the sanitised body holds all of them.
            if !std::mem::replace(&mut derived, true) {
                append(&mut joined, &html::to_text(&body.html));
            }
            continue;
        }
        let (content, unknown) = decode::text(part);
        note(body, unknown, "unknown-charset");
        append(&mut joined, &content);
    }
    if joined.trim().is_empty() && !body.html.is_empty() {
        joined = html::to_text(&body.html);
    }
    let mut shown = text::body(&joined).trim_end().to_owned();
    if text::cut(&mut shown, TEXT_CHARS) {
        body.anomalies.push("text-truncated");
        body.files.push(whole("message.txt", "text/plain", joined));
    }
    body.text = shown;
}

fn append(joined: &mut String, content: &str) {
    if !joined.is_empty() && !content.is_empty() && !joined.ends_with('\n') {
        joined.push('\n');
    }
    joined.push_str(content);
}

fn whole(name: &str, media_type: &str, content: String) -> File {
    File {
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        content_id: String::new(),
        inline: false,
        content: content.into_bytes(),
    }
}

fn note(body: &mut Body, happened: bool, word: &'static str) {
    if happened && !body.anomalies.contains(&word) {
        body.anomalies.push(word);
    }
}

fn file(part: &Part<'_>, inline: bool) -> File {
    let content = decode::content(part);
    let mut name = raw_name(part).map(|name| text::file_name(&name)).unwrap_or_default();
    if name.is_empty() && part.kind == "message" && part.subtype == "rfc822" {
        "forwarded.eml".clone_into(&mut name);
    }
    File { name, media_type: media_type(part), content_id: content_id(part), inline, content }
}

fn raw_name(part: &Part<'_>) -> Option<String> {
    let name = part.headers().and_then(MimeHeaders::attachment_name)?;
    (!name.trim().is_empty()).then(|| name.to_owned())
}

fn content_id(part: &Part<'_>) -> String {
    let id = part.headers().and_then(MimeHeaders::content_id).unwrap_or_default();
    text::line(id.trim_matches(['<', '>']), super::limits::NAME_CHARS)
}

fn media_type(part: &Part<'_>) -> String {
    let token = |text: &str| {
        !text.is_empty()
            && text.len() <= 100
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    if token(&part.kind) && token(&part.subtype) {
        format!("{}/{}", part.kind, part.subtype)
    } else {
        "application/octet-stream".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mime::split;

    fn body_of(mail: &str) -> Body {
        read(&split(mail.as_bytes()).ok().unwrap())
    }

    #[test]
    fn alternative_with_related_image_and_attachment() {
        let body = body_of(
            "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/alternative; boundary=a\n\n\
             --a\nContent-Type: text/plain\n\nHola\n--a\nContent-Type: multipart/related; boundary=r\n\n\
             --r\nContent-Type: text/html\n\n<p>Hola <img src=\"cid:logo\"></p>\n\
             --r\nContent-Type: image/png\nContent-ID: <logo>\nContent-Transfer-Encoding: base64\n\naGk=\n--r--\n--a--\n\
             --m\nContent-Type: application/pdf; name=\"../f.pdf\"\nContent-Disposition: attachment\n\nPDF\n--m--\n",
        );
        assert_eq!(body.text, "Hola");
        assert_eq!(body.html.trim(), "<p>Hola <img src=\"cid:logo\"></p>");
        let files: Vec<_> = body
            .files
            .iter()
            .map(|f| (f.name.as_str(), f.media_type.as_str(), f.inline, f.content.as_slice()))
            .collect();
        assert_eq!(
            files,
            vec![("", "image/png", true, &b"hi"[..]), ("_f.pdf", "application/pdf", false, &b"PDF"[..])]
        );
    }

    #[test]
    fn text_is_derived_from_html_alone() {
        let body = body_of("Content-Type: text/html; charset=utf-8\n\n<p>Hola</p><p>¿Qué tal?</p>");
        assert_eq!(body.text.split_whitespace().collect::<Vec<_>>(), vec!["Hola", "¿Qué", "tal?"]);
    }

    #[test]
    fn several_texts_of_a_mixed_mail_are_joined_and_a_named_text_is_a_file() {
        let body = body_of(
            "Content-Type: multipart/mixed; boundary=m\n\n--m\n\none\n--m\nContent-Type: text/plain\n\ntwo\n\
             --m\nContent-Type: text/plain; name=log.txt\n\nthree\n--m--",
        );
        assert_eq!((body.text.as_str(), body.files.len()), ("one\ntwo", 1));
    }

    #[test]
    fn a_long_text_is_cut_and_kept_whole() {
        let body = body_of(&format!("Subject: x\n\n{}", "a".repeat(TEXT_CHARS + 5)));
        assert_eq!(body.text.len(), TEXT_CHARS);
        assert_eq!(body.files.first().map(|f| f.content.len()), Some(TEXT_CHARS + 5));
        assert_eq!(body.anomalies, vec!["text-truncated"]);
    }

    #[test]
    fn a_forwarded_mail_stays_an_attachment() {
        let body = body_of(
            "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nsee\n--m\nContent-Type: message/rfc822\n\nSubject: inner\n\nx\n--m--",
        );
        assert_eq!(body.files.first().map(|f| f.name.as_str()), Some("forwarded.eml"));
    }
}
