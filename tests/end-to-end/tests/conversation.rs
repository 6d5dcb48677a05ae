//! Files both ways through separate processes: an agent's resumed upload arrives at the customer's mail server byte by byte, the
//! customer's attachment comes by a signed link, and neither is anybody else's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use hilo_end_to_end::agent::persist;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::download::{self, Answer};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::{Agent, Installation, Options, Service};
use hilo_kit::download::Link;
use hilo_kit::objects::Digest256;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use mail_parser::MimeHeaders as _;
use tonic::Code;

const SOON: Duration = Duration::from_secs(60);
const PIECE: usize = 1024 * 1024;

/// Bytes that no encoding leaves alone by luck.
fn content(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

async fn begin(agent: &Agent, name: &str, content: &[u8]) -> attention::Upload {
    let request = attention::BeginUploadRequest {
        file_name: name.into(),
        media_type: "application/pdf".into(),
        size_bytes: i64::try_from(content.len()).unwrap(),
        sha256: Digest256::of(content).to_string(),
        request_id: request_id(),
    };
    let begun = persist(SOON, || {
        let (mut client, request) = (agent.attention(), request.clone());
        async move { client.begin_upload(request).await }
    });
    begun.await.unwrap().upload.unwrap()
}

/// Sends pieces from where the server is, as a client does after a break.
async fn go_on(agent: &Agent, upload_id: &str, content: &[u8], pieces: usize) -> i64 {
    let get = || attention::GetUploadRequest { upload_id: upload_id.to_owned() };
    let at = persist(SOON, || async { agent.attention().get_upload(get()).await }).await.unwrap();
    let mut received = at.upload.unwrap().received_bytes;
    for piece in content[usize::try_from(received).unwrap()..].chunks(PIECE).take(pieces) {
        let request = attention::PutChunkRequest {
            upload_id: upload_id.to_owned(),
            offset: received,
            content: piece.to_vec(),
        };
        let put = persist(SOON, || {
            let (mut client, request) = (agent.attention(), request.clone());
            async move { client.put_chunk(request).await }
        });
        received = put.await.unwrap().upload.unwrap().received_bytes;
    }
    received
}

async fn url(agent: &Agent, message_id: &str) -> Result<String, tonic::Status> {
    let source = Source::Message(attention::MessageAttachmentRef { message_id: message_id.into(), index: 0 });
    let attachment = Some(attention::AttachmentRef { source: Some(source), content_id: String::new() });
    let request = attention::GetDownloadUrlRequest { attachment, inline: false };
    Ok(agent.attention().get_download_url(request).await?.into_inner().url)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive_byte_by_byte_and_only_at_whom_they_are_for() {
    let installation = Installation::start(Options::default()).await.unwrap();
    let agent = installation.login("agente-0").await.unwrap();
    let _present = agent.be_present().await.unwrap();
    let desk = agent.watch();
    let (contract, report) = (content(300_000, 7), content(2 * PIECE + 4_321, 11));
    let mut mail =
        Mail::new("eva@cliente.example", installation.support_address(), "Contrato", "Va adjunto.");
    mail.cc = Some("jefa@cliente.example".to_owned());
    mail.attachment = Some(("contrato ñ \"1\".pdf".into(), "application/pdf".into(), contract.clone()));
    customer::send_until_accepted(installation.smtp(), &mail, SOON).await.unwrap();
    let item = desk.wait_for_offer("eva@cliente.example", SOON).await.unwrap();
    let opened = agent.open(&item.interaction_id).await.unwrap();
    let message = opened.messages.first().unwrap();

    // The customer's file by a link, whole and in part, without token or cookie.
    let link = url(&agent, &message.message_id).await.unwrap();
    let endpoint = installation.endpoint(Service::AttentionState);
    let get =
        async |link: &str, more: &str| -> Answer { download::get(&endpoint, link, more).await.unwrap() };
    let whole = get(&link, "").await;
    assert_eq!((whole.status, Digest256::of(&whole.body)), (200, Digest256::of(&contract)));
    assert!(whole.head.contains("content-disposition: attachment;"), "{}", whole.head);
    assert!(whole.head.contains("x-content-type-options: nosniff"), "{}", whole.head);
    assert!(!whole.head.contains("set-cookie"), "{}", whole.head);
    let part = get(&link, "range: bytes=1000-1999\r\n").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &contract[1000..2000]));

    // Altered, expired, foreign.
    assert_eq!(get(&link.replace("until=", "until=9"), "").await.status, 403);
    let late = Link {
        sha256: Digest256::of(&contract),
        file_name: "contrato.pdf".into(),
        media_type: "application/pdf".into(),
        inline: false,
        until: time::OffsetDateTime::now_utc().unix_timestamp() - 1,
    };
    let expired = get(&installation.links().path(&late), "").await;
    assert_eq!(expired.status, 403, "the key is right, the time is not");
    let outsider = installation.login("ajena").await.unwrap();
    assert_eq!(url(&outsider, &message.message_id).await.unwrap_err().code(), Code::NotFound);

    // An upload that is broken off by the death of its server and goes on where it stopped.
    let upload = begin(&agent, "informe ñ.pdf", &report).await;
    assert_eq!(go_on(&agent, &upload.upload_id, &report, 1).await, 1_048_576);
    installation.kill(Part::Service(Service::AttentionState)).await.unwrap();
    installation.start_part(Part::Service(Service::AttentionState)).await.unwrap();
    assert_eq!(usize::try_from(go_on(&agent, &upload.upload_id, &report, 9).await).unwrap(), report.len());
    let get = || attention::GetUploadRequest { upload_id: upload.upload_id.clone() };
    // His connection was to the process that is gone.
    let refused = persist(SOON, || async { outsider.attention().get_upload(get()).await }).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let finish = || attention::FinishUploadRequest { upload_id: upload.upload_id.clone() };
    let finished = persist(SOON, || async { agent.attention().finish_upload(finish()).await }).await.unwrap();
    assert!(finished.upload.unwrap().finished);

    // It goes to everybody, and arrives as it was.
    let file = attention::AttachmentRef {
        source: Some(Source::UploadId(upload.upload_id)),
        content_id: String::new(),
    };
    let letter = attention::SendMessageRequest {
        interaction_id: item.interaction_id.clone(),
        request_id: request_id(),
        text: "Aquí está el informe.".into(),
        reply_all: true,
        attachments: vec![file],
        ..Default::default()
    };
    let sent = persist(SOON, || {
        let (mut client, letter) = (agent.attention(), letter.clone());
        async move { client.send_message(letter).await }
    });
    let sent = sent.await.unwrap().message.unwrap();
    let arrived = |mail: &hilo_end_to_end::sink::Received| mail.message_id == sent.internet_message_id;
    let received = installation.sink().wait_for("the report", SOON, arrived).await.unwrap();
    for recipient in ["eva@cliente.example", "jefa@cliente.example"] {
        assert!(received.recipients.contains(recipient), "{}", received.recipients);
    }
    let parsed = mail_parser::MessageParser::default().parse(&received.raw).unwrap();
    let part = parsed.attachments().next().unwrap();
    assert_eq!(part.attachment_name(), Some("informe ñ.pdf"));
    assert_eq!(Digest256::of(part.contents()), Digest256::of(&report));
}

/// Text, HTML and the original are each within their limits, and together more than the broker takes: the mail travels by
/// reference between the services and arrives as it was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_larger_than_the_broker_takes_arrives_whole() {
    let installation = Installation::start(Options::default()).await.unwrap();
    let agent = installation.login("agente-0").await.unwrap();
    let _present = agent.be_present().await.unwrap();
    let desk = agent.watch();
    let original = "\u{1f4e6}\u{1f4e6}\u{1f4e6}\u{1f4e6}\u{1f4e6} línea\n".repeat(4_000);
    let mail = Mail::new("eva@cliente.example", installation.support_address(), "Largo", &original);
    customer::send_until_accepted(installation.smtp(), &mail, SOON).await.unwrap();
    let item = desk.wait_for_offer("eva@cliente.example", SOON).await.unwrap();
    agent.open(&item.interaction_id).await.unwrap();
    let (line, cell) = ("respuesta con ñandúes\n", "<p>respuesta con ñandúes</p>");
    let letter = attention::SendMessageRequest {
        interaction_id: item.interaction_id.clone(),
        request_id: request_id(),
        text: format!("{}\n", "\u{1f4e6}".repeat(9)).repeat(11_000) + &line.repeat(4_000),
        html: cell.repeat(12_900),
        quote: true,
        ..Default::default()
    };
    let sent = persist(SOON, || {
        let (mut client, letter) = (agent.attention(), letter.clone());
        async move { client.send_message(letter).await }
    });
    let sent = sent.await.unwrap().message.unwrap();
    assert!(sent.text.len() + sent.html.len() > hilo_kit::outbox::MAX_PAYLOAD, "the broker would refuse it");
    let arrived = |mail: &hilo_end_to_end::sink::Received| mail.message_id == sent.internet_message_id;
    let received = installation.sink().wait_for("the large mail", SOON, arrived).await.unwrap();
    let parsed = mail_parser::MessageParser::default().parse(&received.raw).unwrap();
    let (text, html) = (parsed.body_text(0).unwrap(), parsed.body_html(0).unwrap());
    assert_eq!((text.matches('\u{1f4e6}').count(), text.matches(line.trim_end()).count()), (119_000, 4_000));
    assert_eq!(text.lines().filter(|line| line.starts_with("> ") && line.ends_with("línea")).count(), 4_000);
    assert_eq!(html.matches(cell).count(), 12_900);
}
