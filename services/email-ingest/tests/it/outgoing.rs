//! What a mail carries, as a lax server at the far end sees it.

use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};

use crate::rig::{Rig, VENTAS, send};
use crate::sending::rig;
use crate::server::{After, Taken};

fn mail(change: impl FnOnce(&mut OutboundEmail)) -> OutboundEnvelope {
    let mut mail = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
    let Some(Content::Email(email)) = &mut mail.content else { panic!("no mail") };
    change(email);
    mail
}

async fn due_now(rig: &Rig) {
    sqlx::query("UPDATE mail.send SET next_at = now() WHERE next_at IS NOT NULL")
        .execute(rig.db.pool())
        .await
        .unwrap();
}

fn address(address: &str) -> EmailAddress {
    EmailAddress { address: address.into(), name: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_inline_images_and_blind_copies_arrive_as_meant() {
    let (mut rig, server) = rig().await;
    let pdf = rig.file("Cotización n.º 7.pdf", "application/pdf", b"%PDF-1.7 \r\n.\r\nfin").await;
    let logo = rig.file("logo.png", "image/png", b"\x89PNG").await;
    let logo = Attachment { inline: true, content_id: "logo@hilo.example".into(), ..logo };
    rig.publish(&mail(|email| {
        email.bcc = vec![address("jefe@hilo.example")];
        email.html = "<p>Hola <img src=\"cid:logo@hilo.example\"></p>".into();
        email.attachments = vec![pdf, logo];
    }))
    .await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    let taken = server.taken().remove(0);
    assert_eq!(taken.recipients, vec!["ana@cliente.example", "jefe@hilo.example"]);
    assert!(!taken.content.contains("jefe"), "a blind copy is named");
    assert!(taken.content.contains("multipart/related") && taken.content.contains("multipart/mixed"));
    assert!(taken.content.contains("Content-ID: <logo@hilo.example>"), "{}", taken.content);
    // base 64 of the file, whose bytes would else have ended DATA.
    assert!(taken.content.contains("JVBERi0xLjcgDQouDQpmaW4="), "{}", taken.content);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_yet_is_waited_for_and_too_much_is_refused_at_once() {
    let (mut rig, server) = rig().await;
    let lent = Rig::start(crate::rig::Setup::default()).await;
    let late = lent.file("a.txt", "text/plain", b"later").await;
    rig.publish(&mail(|email| email.attachments = vec![late.clone()])).await;
    let report = rig.report().await;
    assert_eq!(report.state(), SendState::Queued);
    assert!(report.recipients.first().unwrap().reply_text.contains("attachment"), "{report:?}");
    assert!(server.taken().is_empty());
    rig.file("a.txt", "text/plain", b"later").await;
    due_now(&rig).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    // Eleven times the same file of two megabytes, whatever sizes are declared.
    let part = rig.file("b.bin", "application/octet-stream", &vec![b'x'; 2 << 20]).await;
    let part = Attachment { size_bytes: 1, ..part };
    rig.publish(&mail(|email| email.attachments = vec![part; 11])).await;
    let report = rig.report().await;
    assert_eq!((report.state(), report.attempts), (SendState::Failed, 1));
    assert!(report.recipients.first().unwrap().reply_text.contains("too large"), "{report:?}");
    assert_eq!(server.taken().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_no_person_wrote_says_so_and_is_never_repeated_on_a_doubt() {
    let (mut rig, server) = rig().await;
    server.after(&[After::Close]);
    rig.publish(&mail(|email| email.automatic = true)).await;
    assert_eq!(rig.report().await.state(), SendState::Unknown);
    // A person's mail would be repeated after a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(rig.nothing_reported().await);
    let taken = server.taken();
    assert_eq!(taken.len(), 1);
    let taken = taken.first().unwrap();
    assert_eq!(taken.mail.trim_end(), "MAIL FROM:<>");
    let head = taken.head();
    for line in
        ["Auto-Submitted: auto-replied", "X-Auto-Response-Suppress: All", "In-Reply-To: <m1@cliente.example>"]
    {
        assert!(head.iter().any(|found| found == line), "{line}: {head:?}");
    }
    rig.publish(&mail(|_| {})).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);
    let person = server.taken().remove(1);
    assert_eq!(person.mail.trim_end(), format!("MAIL FROM:<{VENTAS}>"));
    assert!(!person.head().iter().any(|line| line.starts_with("Auto-Submitted")));
    rig.stop().await;
}

type Put = fn(&mut OutboundEmail, &str);

/// Every field that holds something a person, a customer or a file wrote.
fn fields() -> Vec<(&'static str, Put)> {
    vec![
        ("subject", |email, text| email.subject = text.into()),
        ("text", |email, text| email.text = text.into()),
        ("html", |email, text| email.html = text.into()),
        ("message id", |email, text| email.message_id = text.into()),
        ("in reply to", |email, text| email.in_reply_to = text.into()),
        ("references", |email, text| email.references = vec!["a@b".into(), text.into()]),
        ("reply to", |email, text| email.reply_to = text.into()),
        ("from name", |email, text| {
            email.from = Some(EmailAddress { address: VENTAS.into(), name: text.into() })
        }),
        ("from address", |email, text| email.from = Some(address(text))),
        ("to name", |email, text| {
            email.to = vec![EmailAddress { address: "ana@cliente.example".into(), name: text.into() }];
        }),
        ("to address", |email, text| email.to.push(address(text))),
        ("to address with a tail", |email, text| {
            email.to.push(address(&format!("eva@cliente.example{text}")))
        }),
        ("cc name", |email, text| {
            email.cc = vec![EmailAddress { address: "ana@cliente.example".into(), name: text.into() }];
        }),
        ("cc address", |email, text| email.cc = vec![address(text)]),
        ("bcc address", |email, text| email.bcc = vec![address(text)]),
        ("file name", |email, text| {
            email.attachments.iter_mut().for_each(|file| file.file_name = text.into())
        }),
        ("media type", |email, text| {
            email.attachments.iter_mut().for_each(|file| file.media_type = text.into())
        }),
        ("content id", |email, text| {
            email.attachments.iter_mut().for_each(|file| {
                file.inline = true;
                file.content_id = text.into();
            });
            email.html = "<img src=\"cid:x\">".into();
        }),
        ("file name with a tail", |email, text| {
            email
                .attachments
                .iter_mut()
                .for_each(|file| file.file_name = format!("a\"; x=\"{text}\"; y=.png"));
        }),
    ]
}

/// What a mail's header may hold, each name at most once.
const NAMES: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

fn assert_as_meant(taken: &Taken, what: &str) {
    assert_eq!(taken.recipients, vec!["ana@cliente.example"], "{what}");
    assert_eq!(taken.mail.trim_end(), format!("MAIL FROM:<{VENTAS}>"), "{what}");
    let names: Vec<String> =
        taken.head().iter().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(NAMES.contains(&name.as_str()), "{what}: {name:?} in {:?}", taken.head());
        assert!(!names[index + 1..].contains(name), "{what}: {name} twice in {:?}", taken.head());
    }
    let evil = taken.content.lines().find(|line| {
        let line = line.to_ascii_lowercase();
        ["bcc:", "mail from:", "rcpt to:", "x-evil:"].iter().any(|start| line.starts_with(start))
    });
    assert!(evil.is_none() || matches!(what, "text" | "html"), "{what}: {evil:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lax_server_sees_exactly_the_intended_mail_whatever_stands_in_any_field() {
    let attacks = [
        "x\r\nBcc: victim@x.example",
        "x\nX-Evil: 1\n\nbody",
        "x\r\n.\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@x.example>\r\nDATA\r\nsmuggled\r\n.\r\n",
        "x\n.\nMAIL FROM:<evil@x.example>\n",
        "x\r.\rMAIL FROM:<evil@x.example>",
        "x\u{2028}Bcc: victim@x.example\u{85}X-Evil: 1\u{b}\u{c}",
        "=?utf-8?q?x=0d=0aBcc:_victim@x.example?=",
        "x\0y\u{7f}\u{202e}gpj.exe",
        "a@b>\r\nRCPT TO:<victim@x.example",
    ];
    let (mut rig, server) = rig().await;
    let file = rig.file("a.png", "image/png", b"\n.\n").await;
    for (field, put) in fields() {
        server.forget_taken();
        for attack in attacks {
            rig.publish(&mail(|email| {
                email.attachments = vec![file.clone()];
                put(email, attack);
            }))
            .await;
        }
        let (mut sent, mut ended) = (0, 0);
        while ended < attacks.len() {
            let report = rig.report().await;
            let own = report.recipients.iter().find(|one| one.address == "ana@cliente.example").unwrap();
            // One that a slow machine put off goes out a little later.
            let waits = own.state() == SendState::Queued;
            assert!(
                waits || matches!(own.state(), SendState::Sent | SendState::Failed),
                "{field}: {report:?}"
            );
            ended += usize::from(!waits);
            sent += usize::from(own.state() == SendState::Sent);
        }
        let taken = server.taken();
        assert_eq!(taken.len(), sent, "{field}: other mails than those that were sent");
        // What cannot be written safely at all is refused, and only where the sender or the name of the mail is at stake.
        let may_fail = matches!(field, "message id" | "reply to" | "from address");
        assert!(sent == attacks.len() || may_fail, "{field}: {sent} sent");
        taken.iter().for_each(|taken| assert_as_meant(taken, field));
    }
    rig.stop().await;
}
