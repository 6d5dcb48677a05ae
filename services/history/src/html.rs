//! HTML at output: sanitised again, whatever it was when it came in (hardening against mutation and against defects of
//! an earlier release), and nothing that would fetch from elsewhere.

use std::borrow::Cow;
use std::sync::LazyLock;

use ammonia::Builder;

use crate::domain::thread::Message;

/// Formatting only: no script, style, svg, math, frame or form; images only from the mail itself (`cid:`, RFC 2392).
static OUTPUT: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .link_rel(Some("noopener noreferrer nofollow"))
        .url_schemes(["http", "https", "mailto", "tel", "cid"].into())
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("img", "src") if !is_content_id(value) => None,
            // Quotations and edits name sources that a browser would not fetch, but nobody needs them either.
            (_, "cite" | "longdesc" | "srcset" | "background") => None,
            _ => Some(Cow::Borrowed(value)),
        });
    builder
});

/// Nothing but the text between the tags.
static TEXT: LazyLock<Builder<'static>> = LazyLock::new(Builder::empty);

fn is_content_id(url: &str) -> bool {
    url.trim_start().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:"))
}

/// HTML that is safe to show.
pub fn safe(html: &str) -> String {
    if html.is_empty() { String::new() } else { OUTPUT.clean(html).to_string() }
}

/// The text whose words a search finds: the plain text, or what is left of the HTML when there is none.
pub fn text_for_search(message: &Message) -> String {
    if !message.text.is_empty() || message.html.is_empty() {
        return message.text.clone();
    }
    // A blank before every tag keeps the words of neighbouring cells apart.
    let text = TEXT.clean(&message.html.replace('<', " <")).to_string();
    text.replace("&nbsp;", " ").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::thread::samples::message;

    #[test]
    fn what_could_run_or_fetch_is_gone_and_stays_gone() {
        let hostile = [
            "<script>alert(1)</script>hola",
            "<img src=x onerror=alert(1)>",
            "<img src=https://espia.example/p.gif><img src='cid:foto'>",
            "<svg><script>alert(1)</script></svg><math><style><img src=x onerror=1></style></math>",
            "<a href='javascript:alert(1)'>x</a><iframe src=//x></iframe><p style='background:url(//x)'>y</p>",
            "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
            "<table background='//x'><td>z</table><form action=//x><input></form><base href=//x>",
        ];
        for html in hostile {
            let once = safe(html);
            for bad in [
                "<script",
                "onerror",
                "javascript:",
                "<svg",
                "<iframe",
                "style",
                "espia",
                "background",
                "<form",
                "<base",
            ] {
                assert!(!once.contains(bad), "{bad} in {once}");
            }
            assert_eq!(safe(&once), once, "a second pass changes nothing");
        }
        assert!(safe(hostile[2]).contains("cid:foto"));
    }

    #[test]
    fn words_come_from_html_only_without_a_text() {
        let mut mail = message("");
        mail.html =
            "<table><tr><td>uno</td><td>dos</td></tr></table>&ntilde;and&uacute; <script>tres</script>"
                .into();
        let words = crate::domain::words::split(&text_for_search(&mail));
        assert_eq!(words, ["uno", "dos", "ñandú"]);
        mail.text = "cuatro".into();
        assert_eq!(text_for_search(&mail), "cuatro");
    }
}
