//! HTML of a conversation made safe wherever it leaves this service: to a desk, and to a customer.
//!
//! What came in was sanitised by the channel service already; a defect there, or of an earlier release, must not reach a browser.
//! Remote images would tell their sender that, when and where a mail was read, so a desk gets them only when a person asked.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use hilo_kit::html::{cost, scanned};
use hilo_proto::history::v1::ThreadMessage;

/// Elements dropped together with what they contain (mutation XSS lives in them).
const DROPPED: [&str; 16] = [
    "script", "style", "title", "textarea", "noscript", "iframe", "svg", "math", "template", "object",
    "embed", "noembed", "noframes", "xmp", "head", "select",
];
/// Work of the parser that a mail may cost, in nodes; an ordinary mail costs some hundred.
const MAX_COST: usize = 400_000;
/// Bytes that writing it out may read: a tenth of a second. An ordinary mail costs a thousandth of it.
const MAX_SCANNED: usize = 1 << 30;

/// What an agent wrote, safe to send and to keep; `None` when it would cost the parser too much.
pub(crate) fn outgoing(html: &str) -> Option<String> {
    (!is_costly(html)).then(|| clean(html, true).0)
}

/// Makes a message fit for a desk. Without `remote` images from elsewhere lose their source and are counted.
pub(crate) fn show(message: &mut ThreadMessage, remote: bool) {
    if message.html.is_empty() {
        return;
    }
    if is_costly(&message.html) {
        // The text says the same.
        message.html.clear();
        return;
    }
    let (html, blocked) = clean(&message.html, remote);
    message.html = html;
    message.remote_images_blocked = blocked;
}

fn clean(html: &str, remote: bool) -> (String, i32) {
    let blocked = Arc::new(AtomicI32::new(0));
    let counter = blocked.clone();
    let mut builder = ammonia::Builder::default();
    builder
        .clean_content_tags(DROPPED.into_iter().collect())
        .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "cid"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") if remote || is_content_id(value) => Some(Cow::Borrowed(value)),
            ("img", "src") => {
                counter.fetch_add(1, Ordering::Relaxed);
                None
            }
            (_, "cite" | "longdesc") => None,
            _ => Some(Cow::Borrowed(value)),
        });
    let html = builder.clean(html).to_string();
    (html, blocked.load(Ordering::Relaxed))
}

fn is_content_id(url: &str) -> bool {
    url.trim_start().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:"))
}

/// Plain text as HTML.
pub(crate) fn from_text(text: &str) -> String {
    format!("<div>{}</div>", escape(text).replace('\n', "<br>"))
}

/// Text that may stand between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\r' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

fn is_costly(html: &str) -> bool {
    cost(html) > MAX_COST || scanned(html) > MAX_SCANNED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(html: &str) -> ThreadMessage {
        ThreadMessage { html: html.into(), ..ThreadMessage::default() }
    }

    #[test]
    fn remote_images_wait_until_they_are_asked_for() {
        let html = "<p>Hola<img src=\"https://espia.example/p.gif\"><img src=\"cid:logo\"></p>";
        let mut closed = message(html);
        show(&mut closed, false);
        assert_eq!(closed.html, "<p>Hola<img><img src=\"cid:logo\"></p>");
        assert_eq!(closed.remote_images_blocked, 1);
        let mut asked = message(html);
        show(&mut asked, true);
        assert_eq!((asked.html.as_str(), asked.remote_images_blocked), (html, 0));
    }

    #[test]
    fn what_could_run_never_leaves_and_a_second_pass_changes_nothing() {
        for hostile in [
            "<script>alert(1)</script>hola",
            "<img src=x onerror=alert(1)>",
            "<svg><style><img src=x onerror=alert(1)></style></svg>",
            "<math><annotation-xml encoding=\"text/html\"><img src=x onerror=alert(1)></annotation-xml></math>",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "<a href=\"javascript:alert(1)\">x</a><p style=\"background:url(//x)\">y</p>",
            "<img src=\"data:image/svg+xml,<svg onload=alert(1)>\">",
            "<form action=//x><input></form><base href=//x><iframe src=//x></iframe>",
        ] {
            for remote in [false, true] {
                let mut shown = message(hostile);
                show(&mut shown, remote);
                for bad in [
                    "<script",
                    "onerror=",
                    "javascript:",
                    "<svg",
                    "style",
                    "<form",
                    "<base",
                    "<iframe",
                    "data:",
                ] {
                    assert!(!shown.html.contains(bad), "{bad} in {}", shown.html);
                }
                let mut again = shown.clone();
                show(&mut again, remote);
                assert_eq!(again.html, shown.html);
            }
            assert!(outgoing(hostile).is_some_and(|html| !html.contains("onerror=")));
        }
    }

    #[test]
    fn bombs_are_not_parsed() {
        let bomb = (0..2_000).map(|n| format!("<b a={n}>")).collect::<String>() + &"<p>x".repeat(2_000);
        assert_eq!(outgoing(&bomb), None);
        let mut shown = ThreadMessage { text: "x".into(), ..message(&bomb) };
        show(&mut shown, false);
        assert_eq!((shown.html.as_str(), shown.text.as_str()), ("", "x"));
        assert!(outgoing(&"<p><b>x</b></p>".repeat(5_000)).is_some());
    }

    /// Without the bound each takes minutes in this build, and seconds in a release.
    #[test]
    fn text_that_costs_too_much_to_write_out_is_not_cleaned() {
        for (one, count) in [("&", 400_000), ("&amp;", 80_000), ("¿", 200_000), ("&</x>", 66_000)] {
            assert_eq!(outgoing(&one.repeat(count)), None, "{one}");
        }
        let mail = "<tr><td>Precio:&nbsp;S/&nbsp;30 &amp; ¿más?</td></tr>\n".repeat(6_000);
        assert!(
            outgoing(&format!("<table>{mail}</table>")).is_some(),
            "{} bytes of a newsletter",
            mail.len()
        );
    }

    #[test]
    fn text_becomes_html_without_becoming_tags() {
        assert_eq!(from_text("a < b\r\n\"c\""), "<div>a &lt; b<br>&quot;c&quot;</div>");
    }
}
