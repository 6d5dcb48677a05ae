//! Links: nothing in them can be altered, names cannot leave their header.

use super::*;
use proptest::prelude::*;

fn link(name: &str) -> Link {
    Link {
        sha256: Digest256::of(b"x"),
        file_name: name.into(),
        media_type: "image/png".into(),
        inline: false,
        until: 1_000,
    }
}

fn check(links: &Links, url: &str, now: i64) -> Result<Link, Refused> {
    let (path, query) = url.split_once('?').unwrap();
    links.check(path, query, now)
}

#[test]
fn a_link_opens_what_it_was_made_for_until_its_end() {
    let links = Links::new(b"a key of sixteen bytes");
    let link = link("Informe ñandú 100%.pdf");
    let url = links.path(&link);
    assert_eq!(check(&links, &url, 999), Ok(link));
    assert_eq!(check(&links, &url, 1_000), Err(Refused::Expired));
    assert_eq!(check(&Links::new(b"another key of sixteen"), &url, 1), Err(Refused::Altered));
}

#[test]
fn every_part_is_bound() {
    let links = Links::new(b"a key of sixteen bytes");
    let url = links.path(&link("a.png"));
    let other = Digest256::of(b"y").to_string();
    for (from, to) in [
        (Digest256::of(b"x").to_string().as_str(), other.as_str()),
        ("a.png", "b.png"),
        ("image%2Fpng", "text%2Fhtml"),
        ("show=attachment", "show=inline"),
        ("until=1000", "until=9000"),
        ("&sig=", "&more=1&sig="),
        ("/files/v1/", "/files/v2/"),
    ] {
        assert!(url.contains(from), "{url} {from}");
        assert_eq!(check(&links, &url.replacen(from, to, 1), 1), Err(Refused::Altered), "{from}");
    }
    let cut = url.split_once("&sig").unwrap().0;
    assert_eq!(check(&links, cut, 1), Err(Refused::Altered));
}

#[test]
fn names_are_only_names() {
    for (written, expected) in [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x\\y.txt", "C:_x_y.txt"),
        ("a\r\nSet-Cookie: x.pdf", "a__Set-Cookie: x.pdf"),
        ("fdp.\u{202e}exe", "fdp._exe"),
        (" .hidden ", "hidden"),
        ("", "file"),
        ("...", "file"),
        ("informe ñ.pdf", "informe ñ.pdf"),
    ] {
        assert_eq!(file_name(written), expected, "{written:?}");
    }
    let long = file_name(&format!("{}.pdf", "a".repeat(500)));
    assert_eq!((long.chars().count(), long.ends_with(".pdf")), (150, true));
}

#[test]
fn a_disposition_keeps_quotes_and_lines_out() {
    assert_eq!(
        disposition(&link("a\"b\\ñ%.png")),
        "attachment; filename=\"a_b___.png\"; filename*=UTF-8''a%22b%5C%C3%B1%25.png"
    );
    assert!(disposition(&Link { inline: true, ..link("a") }).starts_with("inline; "));
}

proptest! {
    #[test]
    fn any_name_comes_back_and_makes_a_header(name in ".*", inline: bool) {
        let links = Links::new(b"a key of sixteen bytes");
        let link = Link { inline, ..link(&file_name(&name)) };
        prop_assert_eq!(check(&links, &links.path(&link), 1), Ok(link.clone()));
        prop_assert!(http::HeaderValue::from_str(&disposition(&link)).is_ok());
        prop_assert!(links.path(&link).parse::<http::Uri>().is_ok());
    }

    #[test]
    fn any_text_is_survived(path in ".*", query in ".*") {
        let links = Links::new(b"a key of sixteen bytes");
        prop_assert_eq!(links.check(&path, &query, 1), Err(Refused::Altered));
        prop_assert_eq!(links.check(&format!("{PREFIX}{path}"), &query, 1), Err(Refused::Altered));
    }
}
