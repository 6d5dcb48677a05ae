//! Hostile HTML made safe (ammonia) and its text (html2text).
//!
//! Sanitised once here and again wherever it is shown. Remote images are counted and stay: whoever shows a mail takes them
//! out until a person asks for them, because opening a mail must not tell its sender. Elements that once led to mutation XSS (svg, math, style, title, textarea, noscript, iframe) never pass.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hilo_kit::html::{cost, scanned};

use super::limits::{HTML_BYTES, HTML_COST, HTML_SCANNED};

/// Elements dropped together with what they contain.
const DROPPED: [&str; 16] = [
    "script", "style", "title", "textarea", "noscript", "iframe", "svg", "math", "template", "object",
    "embed", "noembed", "noframes", "xmp", "head", "select",
];

/// Sanitised HTML.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Clean {
    /// What may be shown.
    pub html: String,
    /// How many images point elsewhere; they are not to be shown unasked.
    pub remote_images: usize,
}

/// Why HTML was not sanitised; it is then kept as an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Larger than [`HTML_BYTES`].
    TooLarge,
    /// Would cost the parser too much.
    TooComplex,
}

/// Sanitises HTML.
///
/// # Errors
/// When it is too large or too complex to be parsed safely.
pub fn sanitise(html: &str) -> Result<Clean, Refused> {
    if html.len() > HTML_BYTES {
        return Err(Refused::TooLarge);
    }
    if cost(html) > HTML_COST || scanned(html) > HTML_SCANNED {
        return Err(Refused::TooComplex);
    }
    let remote = Arc::new(AtomicUsize::new(0));
    let counter = remote.clone();
    let mut builder = ammonia::Builder::default();
    builder
        .clean_content_tags(DROPPED.into_iter().collect())
        .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "cid"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .attribute_filter(move |element, attribute, value| filter(element, attribute, value, &counter));
    let html = builder.clean(html).to_string();
    Ok(Clean { html, remote_images: remote.load(Ordering::Relaxed) })
}

fn filter<'v>(element: &str, attribute: &str, value: &'v str, remote: &AtomicUsize) -> Option<Cow<'v, str>> {
    match (element, attribute) {
        ("img", "src") => {
            if !is_content_id(value) {
                remote.fetch_add(1, Ordering::Relaxed);
            }
            Some(value.into())
        }
        // Nothing shows these, and they name addresses.
        (_, "cite" | "longdesc") => None,
        _ => Some(value.into()),
    }
}

fn is_content_id(url: &str) -> bool {
    url.trim_start().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:"))
}

/// Plain text of HTML that was sanitised before.
pub fn to_text(html: &str) -> String {
    html2text::config::plain_no_decorate()
        .raw_mode(true)
        .no_table_borders()
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), 1_000)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Plain text as HTML, for mails that mix both.
pub fn from_text(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<div>{}</div>", escaped.replace('\n', "<br>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scripts_and_styles_go_images_stay_and_remote_ones_are_counted() {
        let clean = sanitise(
            "<p onclick=x>Hola <b>Ana</b><script>x</script><style>p{}</style><img src=\"https://t/1.gif\" alt=t>\
             <img src=\"CID:logo\"><a href=\"javascript:x\">l</a><svg><title>t</title></svg></p>",
        )
        .unwrap();
        assert_eq!(clean.remote_images, 1);
        assert_eq!(
            clean.html,
            "<p>Hola <b>Ana</b><img src=\"https://t/1.gif\" alt=\"t\"><img src=\"CID:logo\"><a rel=\"noopener noreferrer nofollow\">l</a></p>"
        );
        assert!(to_text(&clean.html).starts_with("Hola Ana"));
    }

    #[test]
    fn cleaning_twice_changes_nothing_and_forbidden_elements_never_pass() {
        let hostile = [
            "<math><annotation-xml encoding=\"text/html\"><img src=x onerror=alert(1)></annotation-xml></math>",
            "<svg><style><img src=x onerror=alert(1)></style></svg>",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "<textarea><title></textarea><img src=x onerror=alert(1)></title>",
            "<iframe srcdoc=\"<script>1</script>\"></iframe>",
        ];
        for input in hostile {
            let once = sanitise(input).unwrap().html;
            assert_eq!(sanitise(&once).unwrap().html, once, "{input}");
            assert!(!once.contains("onerror") || !once.contains("<img"), "{once}");
        }
    }

    /// Without the bound each takes minutes in this build, and seconds in a release.
    #[test]
    fn text_that_costs_too_much_to_write_out_is_refused() {
        for (one, count) in [("&", 1_000_000), ("&amp;", 200_000), ("¿", 500_000), ("&</x>", 200_000)] {
            assert_eq!(sanitise(&one.repeat(count)), Err(Refused::TooComplex), "{one}");
        }
        let mail = "<tr><td>Precio:&nbsp;S/&nbsp;30 &amp; ¿más?</td></tr>\n".repeat(6_000);
        assert!(sanitise(&format!("<table>{mail}</table>")).is_ok(), "{} bytes of a newsletter", mail.len());
    }

    #[test]
    fn formatting_bombs_are_refused() {
        let bomb = (0..2_000).map(|n| format!("<b a={n}>")).collect::<String>() + &"<p>x".repeat(2_000);
        assert_eq!(sanitise(&bomb), Err(Refused::TooComplex));
        assert_eq!(sanitise(&"x".repeat(HTML_BYTES + 1)), Err(Refused::TooLarge));
        assert!(sanitise(&"<p><b>x</b></p>".repeat(10_000)).is_ok());
    }

    proptest! {
        #[test]
        fn any_html_is_survived_and_stable(text in "[<>/a-z=\"' ]{0,200}") {
            let once = sanitise(&text).unwrap().html;
            prop_assert_eq!(&sanitise(&once).unwrap().html, &once);
            let _ = to_text(&once);
        }
    }
}
