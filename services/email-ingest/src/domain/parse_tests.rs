//! Whole mails through the parser: ordinary, malformed, hostile.

use super::*;
use hilo_kit::thread_token;
use hilo_proto::inbound::v1::MailClass;
use proptest::prelude::*;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn arrival<'a>(raw: &'a [u8], recipients: &'a [String], own: &'a [String]) -> Arrival<'a> {
    Arrival {
        raw,
        account_key: "ventas",
        account_address: "ventas@hilo.example",
        own_addresses: own,
        envelope_sender: None,
        envelope_recipients: recipients,
        thread_key: KEY,
    }
}

fn parsed(raw: &[u8]) -> InboundEmail {
    parse(&arrival(raw, &[], &["ventas@hilo.example".to_owned()])).unwrap().email
}

#[test]
fn an_answer_carries_its_evidence() {
    let id = Uuid::now_v7();
    let token = thread_token::make(KEY, id);
    let raw = format!(
        "From: =?utf-8?q?Ana_Mar=C3=ADa?= <Ana@EXAMPLE.com>\r\nTo: <ventas+{token}@hilo.example>\r\n\
         Cc: Luis <luis@example.com>\r\nSubject: Re: =?iso-8859-1?Q?cotizaci=F3n?= [#5804]\r\n\
         Message-ID: <m2@example.com>\r\nIn-Reply-To: <m1.{token}@hilo.example>\r\nReferences: <m0@x> <m1.{token}@hilo.example>\r\n\
         Date: Fri, 21 Nov 2025 10:00:00 -0500\r\n\r\nHola\r\n"
    );
    let recipients = vec![format!("ventas+{token}@hilo.example")];
    let email = parse(&arrival(raw.as_bytes(), &recipients, &[])).unwrap().email;
    let from = email.from.clone().unwrap();
    assert_eq!((from.address.as_str(), from.name.as_str()), ("Ana@example.com", "Ana María"));
    assert_eq!(email.subject, "Re: cotización [#5804]");
    assert_eq!(email.message_id, "m2@example.com");
    assert_eq!(email.text, "Hola");
    assert_eq!(email.sent_at.map(|at| at.seconds), Some(1_763_737_200));
    assert_eq!(email.mail_class(), MailClass::Human);
    let evidence = email.evidence.unwrap();
    assert_eq!(evidence.token_attention_ids, vec![id.to_string()]);
    assert_eq!(evidence.subject_token, "5804");
    assert_eq!(evidence.references.first(), Some(&format!("m1.{token}@hilo.example")));
    assert!(email.anomalies.is_empty(), "{:?}", email.anomalies);
}

#[test]
fn what_is_missing_or_double_is_named() {
    let email = parsed(b"Subject: x\r\n\r\nbody");
    assert_eq!(email.anomalies, vec!["missing-from", "missing-message-id"]);
    assert!(email.message_id.ends_with("@derived.invalid"));
    assert_eq!(parsed(b"Subject: x\r\n\r\nbody").message_id, email.message_id);
    let two = parsed(b"From: a@x.example, b@y.example\r\nMessage-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n");
    assert_eq!(two.anomalies, vec!["multiple-from", "duplicate-message-id"]);
    assert_eq!(two.message_id, "1@x");
    let fetched = parsed(b"Return-Path: <>\r\nDelivered-To: ventas+abc@hilo.example\r\nFrom: a@x.example\r\nMessage-ID: <1@x>\r\n\r\n");
    assert_eq!(fetched.envelope_recipients, vec!["ventas+abc@hilo.example"]);
    assert_eq!(fetched.mail_class(), MailClass::AutoReply);
}

#[test]
fn groups_and_empty_addresses_are_survived() {
    let email = parsed(
        b"From: \"\" <>\r\nTo: Amigos: ana@x.example, luis@y.example;, undisclosed-recipients:;\r\n\r\n",
    );
    let to: Vec<_> = email.to.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(to, vec!["ana@x.example", "luis@y.example"]);
}

#[test]
fn the_ordering_key_is_the_author_in_any_case() {
    let key = |raw: &str| conversation_key("ventas", raw.as_bytes());
    assert_eq!(key("From: Ana <ana@x.example>\r\n\r\n1"), key("FROM: ANA@X.example\n\n2"));
    assert_ne!(key("From: ana@x.example\n\n"), key("From: luis@x.example\n\n"));
    assert_ne!(key("From: ana@x.example\n\n"), conversation_key("soporte", b"From: ana@x.example\n\n"));
    assert!(has_message_id(b"Message-Id: <a@b>\r\n\r\n"));
    assert!(!has_message_id(b"Subject: x\r\n\r\nMessage-ID: <a@b>"));
}

#[test]
fn a_mail_always_fits_a_message() {
    let html = format!("<p>{}</p>", "ñ".repeat(400_000));
    let to: String = (0..900).map(|n| format!("\"{}\" <a{n}@x.example>,\r\n ", "N".repeat(240))).collect();
    let raw = format!(
        "From: a@x.example\r\nTo: {to}b@x.example\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}"
    );
    let mut parsed = parse(&arrival(raw.as_bytes(), &[], &[])).unwrap();
    fit(&mut parsed);
    assert!(parsed.email.encoded_len() <= ENCODED_BYTES, "{}", parsed.email.encoded_len());
    assert_eq!(parsed.contents.len(), parsed.email.attachments.len());
    assert!(parsed.email.anomalies.contains(&"html-too-large".to_owned()));
}

#[test]
fn too_many_addresses_are_over_the_limit() {
    let to: String = (0..1_100).map(|n| format!("a{n}@x.example,")).collect();
    let raw = format!("From: a@x.example\r\nTo: {to}\r\n\r\n");
    assert_eq!(parse(&arrival(raw.as_bytes(), &[], &[])).unwrap_err(), OverLimit::Addresses);
}

#[test]
fn every_mail_of_the_corpus_is_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/mail");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let raw = std::fs::read(&path).unwrap();
        let result = parse(&arrival(&raw, &[], &["ventas@hilo.example".to_owned()]));
        let over = path.file_name().unwrap().to_string_lossy().starts_with("over-");
        assert_eq!(result.is_err(), over, "{}", path.display());
        if let Ok(parsed) = result {
            assert!(!parsed.email.message_id.is_empty(), "{}", path.display());
            for text in [&parsed.email.text, &parsed.email.html, &parsed.email.subject] {
                assert!(!text.contains('\0'), "{}", path.display());
            }
            assert!(
                !parsed.email.html.contains("<script") && !parsed.email.html.contains("onerror="),
                "{}",
                path.display()
            );
        }
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_bytes_are_survived(raw in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = parse(&arrival(&raw, &[], &[]));
        let _ = conversation_key("ventas", &raw);
    }

    #[test]
    fn any_mime_like_text_is_survived(lines in proptest::collection::vec(line(), 0..60)) {
        let raw = lines.join("\r\n");
        if let Ok(mut parsed) = parse(&arrival(raw.as_bytes(), &[], &[])) {
            fit(&mut parsed);
            prop_assert!(!parsed.email.text.contains('\0'));
            prop_assert_eq!(parsed.contents.len(), parsed.email.attachments.len());
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("Content-Type: multipart/mixed; boundary=\"b\"".to_owned()),
        Just("Content-Type: multipart/alternative; boundary=c".to_owned()),
        Just("Content-Type: text/html; charset=x".to_owned()),
        Just("Content-Type: message/rfc822".to_owned()),
        Just("Content-Transfer-Encoding: base64".to_owned()),
        Just("Content-Transfer-Encoding: quoted-printable".to_owned()),
        Just("--b".to_owned()),
        Just("--b--".to_owned()),
        Just("--c".to_owned()),
        Just("From: =?utf-8?b?w?= <a@b".to_owned()),
        Just("Subject: =?x?q?=00?=".to_owned()),
        "[ -~]{0,60}",
        ".{0,30}",
    ]
}

/// Time and memory stay small whatever the mail holds (debug build, so the limit is generous).
#[test]
fn bombs_are_read_or_refused_quickly() {
    let repeat = |head: &str, piece: &str, bytes: usize| {
        let mut mail = format!("From: a@x.example\r\n{head}\r\n\r\n").into_bytes();
        while mail.len() < bytes {
            mail.extend_from_slice(piece.as_bytes());
        }
        mail
    };
    let multipart = "Content-Type: multipart/mixed; boundary=b";
    let encoded = "Content-Type: application/zip\r\nContent-Transfer-Encoding: base64";
    let bombs = [
        ("parts", repeat(multipart, "--b\r\n\r\n", 2_000_000), true),
        (
            "boundaries never found",
            repeat(multipart, "\r\n--b\r\nContent-Type: multipart/mixed; boundary=never\r\n", 2_000_000),
            true,
        ),
        ("fields", repeat("X: y", "X: y\r\n", 600_000).iter().copied().filter(|b| *b != 0).collect(), false),
        (
            "zeros in base 64",
            repeat(encoded, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n", 8_000_000),
            false,
        ),
        (
            "nested messages",
            repeat(
                multipart,
                "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n",
                2_000_000,
            ),
            true,
        ),
        ("open tags", repeat("Content-Type: text/html", "<b a=1><font color=2><table><tr>", 900_000), false),
        ("one word", repeat("Content-Type: text/html", "x", 900_000), false),
    ];
    for (name, mail, refused) in bombs {
        let began = std::time::Instant::now();
        let result = parse(&arrival(&mail, &[], &[]));
        assert_eq!(result.is_err(), refused, "{name}");
        assert!(began.elapsed() < std::time::Duration::from_secs(15), "{name}: {:?}", began.elapsed());
    }
}
