//! What leaves is one mail with the intended fields, whatever the texts hold.

use super::*;
use crate::domain::fields::Fields;
use crate::domain::{body, mime};
use proptest::prelude::*;

fn address(address: &str, name: &str) -> EmailAddress {
    EmailAddress { address: address.into(), name: name.into() }
}

fn email() -> OutboundEmail {
    OutboundEmail {
        message_id: "0198.abc@hilo.example".into(),
        from: Some(address("ventas@hilo.example", "Ventas – Niño")),
        to: vec![address("ana@example.com", "Ana"), address("ANA@example.com", "")],
        cc: vec![address("luis@example.com", "")],
        bcc: vec![address("jefe@example.com", "")],
        subject: "¿Qué tal?".into(),
        text: "Hola\nñandú\n.\nfin".into(),
        html: "<p>Hola <img src=\"cid:logo\"></p>".into(),
        in_reply_to: "m1@example.com".into(),
        references: vec!["m0@example.com".into(), "m1@example.com".into()],
        reply_to: "ventas+token@hilo.example".into(),
        ..OutboundEmail::default()
    }
}

fn built(email: &OutboundEmail, files: Vec<Enclosure>) -> Vec<u8> {
    compose(email, files, SystemTime::UNIX_EPOCH, "send-1").unwrap()
}

fn file(name: &str, inline: bool) -> Enclosure {
    let attachment = Attachment {
        file_name: name.into(),
        media_type: "image/png".into(),
        content_id: "logo".into(),
        inline,
        ..Attachment::default()
    };
    Enclosure { attachment, content: b"\n.\nMAIL FROM:<x>\n".to_vec() }
}

#[test]
fn the_mail_says_what_was_meant_and_never_names_bcc() {
    let bytes = built(&email(), vec![file("á.png", false), file("logo.png", true)]);
    let fields = Fields::read(&bytes);
    assert_eq!(fields.first("message-id"), Some("<0198.abc@hilo.example>"));
    assert_eq!(fields.first("in-reply-to"), Some("<m1@example.com>"));
    assert_eq!(fields.first("references"), Some("<m0@example.com> <m1@example.com>"));
    assert_eq!(fields.first("reply-to"), Some("ventas+token@hilo.example"));
    assert_eq!(fields.first("auto-submitted"), None);
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(!text.contains("jefe@example.com") && !text.to_lowercase().contains("bcc"));
    let read = body::read(&mime::split(&bytes).ok().unwrap());
    assert_eq!(read.text, "Hola\nñandú\n.\nfin");
    assert!(read.html.contains("cid:logo"), "{}", read.html);
    let mut names: Vec<_> = read.files.iter().map(|f| (f.name.as_str(), f.inline)).collect();
    names.sort_unstable();
    assert_eq!(names, vec![("logo.png", true), ("á.png", false)]);
    assert!(read.files.iter().all(|f| f.content == b"\n.\nMAIL FROM:<x>\n"));
}

#[test]
fn the_same_send_gives_the_same_bytes() {
    assert_eq!(built(&email(), vec![file("a", true)]), built(&email(), vec![file("a", true)]));
}

#[test]
fn recipients_are_each_once() {
    assert_eq!(recipients(&email()), vec!["ana@example.com", "luis@example.com", "jefe@example.com"]);
}

#[test]
fn what_can_never_be_sent_is_said() {
    let nobody = OutboundEmail { to: vec![], cc: vec![], bcc: vec![], ..email() };
    let at = SystemTime::UNIX_EPOCH;
    assert_eq!(compose(&nobody, vec![], at, "s").unwrap_err(), Unbuildable::NoRecipients);
    let id = OutboundEmail { message_id: "a b".into(), ..email() };
    assert_eq!(compose(&id, vec![], at, "s").unwrap_err(), Unbuildable::MessageId);
    let from = OutboundEmail { from: Some(address("nobody", "")), ..email() };
    assert_eq!(compose(&from, vec![], at, "s").unwrap_err(), Unbuildable::Sender);
}

#[test]
fn injected_fields_and_ends_of_data_stay_text() {
    let attacks = [
        "x\r\nBcc: evil@example.com",
        "x\nBcc: evil@example.com",
        "x\u{2028}Bcc: evil@example.com",
        "=?utf-8?q?x=0d=0aBcc:_evil@example.com?=",
        "\r\n.\r\nMAIL FROM:<evil@example.com>",
        "\n.\nMAIL FROM:<evil@example.com>",
        "\r.\rMAIL FROM:<evil@example.com>",
        "\n.\r\nMAIL FROM:<evil@example.com>",
    ];
    let plain = Fields::read(&built(&email(), vec![file("a", false)]));
    for attack in attacks {
        let hostile = OutboundEmail {
            subject: attack.into(),
            text: attack.into(),
            html: attack.into(),
            from: Some(address("ventas@hilo.example", attack)),
            to: vec![address("ana@example.com", attack), address(attack, attack)],
            in_reply_to: attack.into(),
            references: vec![attack.into(), "m0@example.com".into()],
            ..email()
        };
        let bytes = built(&hostile, vec![file(attack, false)]);
        assert!(is_safe(&bytes), "{attack:?}");
        let fields = Fields::read(&bytes);
        assert_eq!(fields.first("bcc"), None, "{attack:?}");
        for name in ["from", "to", "subject", "message-id", "references", "content-type"] {
            assert_eq!(fields.all(name).count(), plain.all(name).count(), "{name} {attack:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_gives_a_safe_mail_or_none(subject in ".*", name in ".*", body in "(.|\n|\r){0,300}") {
        let mail = OutboundEmail {
            subject, text: body.clone(), html: body, from: Some(address("v@hilo.example", &name)), ..email()
        };
        if let Ok(bytes) = compose(&mail, vec![], SystemTime::UNIX_EPOCH, "s") {
            prop_assert!(is_safe(&bytes));
            prop_assert_eq!(Fields::read(&bytes).all("subject").count(), 1);
        }
    }
}

/// What the receiver reads of one attached file: name, type, whether it is inline.
fn received(file: Enclosure) -> (String, String, bool) {
    let bytes = built(&email(), vec![file]);
    let read = body::read(&mime::split(&bytes).ok().unwrap());
    let found = read.files.into_iter().next().unwrap();
    (found.name, found.media_type, found.inline)
}

#[test]
fn file_names_arrive_readable_or_harmless() {
    let long = format!("{}.pdf", "ñandú ".repeat(60));
    let table = [
        ("Cotización n.º 7 (final).pdf", "Cotización n.º 7 (final).pdf"),
        ("a\"b;c=d.txt", "a\"b;c=d.txt"),
        ("日本語 🙂.txt", "日本語 🙂.txt"),
        ("x\r\nContent-Type: text/html\r\n\r\n<b>.txt", "x Content-Type_ text_html <b>.txt"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("\u{200b}.htaccess", "htaccess"),
        ("factura\u{202e}fdp.exe", "facturafdp.exe"),
        ("a%0d%0ab''c.txt", "a%0d%0ab''c.txt"),
        // Readers that decode words in names show no line end either.
        ("=?utf-8?q?a=0d=0ab?=", "a b"),
        ("", "file"),
    ];
    for (written, arrives) in table {
        assert_eq!(received(file(written, false)).0, arrives, "{written:?}");
    }
    let name = received(file(&long, false)).0;
    assert!(long.starts_with(name.trim_end()) && name.chars().count() <= 255, "{name}");
}

#[test]
fn types_are_only_types_and_nothing_pretends_to_be_a_part_of_the_mail() {
    let table = [
        ("image/png", "image/png"),
        ("text/csv; charset=utf-8; name=\"x\"", "text/csv"),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("multipart/mixed; boundary=x", UNKNOWN_TYPE),
        ("MESSAGE/rfc822", UNKNOWN_TYPE),
        ("text/html\r\nBcc: x", UNKNOWN_TYPE),
        ("text", UNKNOWN_TYPE),
        ("a/b/c", UNKNOWN_TYPE),
        ("", UNKNOWN_TYPE),
    ];
    for (declared, arrives) in table {
        assert_eq!(media_type(declared), arrives, "{declared:?}");
        let mut file = file("a", false);
        file.attachment.media_type = declared.into();
        assert_eq!(received(file).1, arrives, "{declared:?}");
    }
}

#[test]
fn an_inline_file_that_nothing_shows_is_attached() {
    assert!(received(file("logo.png", true)).2);
    let mut other = file("logo.png", true);
    other.attachment.content_id = "another".into();
    assert!(!received(other).2);
    let mut nameless = file("logo.png", true);
    nameless.attachment.content_id = String::new();
    assert!(!received(nameless).2);
}

#[test]
fn only_what_no_person_wrote_says_so_and_has_no_return_path() {
    let automatic = OutboundEmail { automatic: true, ..email() };
    let fields = Fields::read(&built(&automatic, vec![]));
    assert_eq!(fields.first("auto-submitted"), Some("auto-replied"));
    assert_eq!(fields.first("x-auto-response-suppress"), Some("All"));
    assert_eq!(fields.first("message-id"), Some("<0198.abc@hilo.example>"));
    assert_eq!(return_path(&automatic), Ok(None));
    assert!(
        matches!(return_path(&email()), Ok(Some(address)) if address.to_string() == "ventas@hilo.example")
    );
    let person = Fields::read(&built(&email(), vec![]));
    assert_eq!((person.first("auto-submitted"), person.first("x-auto-response-suppress")), (None, None));
    let nobody = OutboundEmail { from: None, ..email() };
    assert_eq!(return_path(&nobody), Err(Unbuildable::Sender));
}
