//! Everything that can be sent beside text, at the simulator of the Cloud API: files uploaded once, what Meta would refuse refused
//! before, and marks that are sent or failed and nothing more.

use std::time::Duration;

use bytes::Bytes;
use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::inbound::v1::{
    Attachment, MediaKind, WhatsAppContactCard, WhatsAppContactCards, WhatsAppLocation, WhatsAppReaction,
};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::template_parameter::Value as Filled;
use hilo_proto::outbound::v1::{
    SendMedia, SendReadMark, SendTemplate, SendText, TemplateComponent, TemplateParameter,
};
use hilo_simulators::{Effect, Endpoint, Fault, Phone, Say, Simulator, Template};
use hilo_whatsapp_ingest::config::SenderConfig;
use serde_json::{Value, json};

use crate::rig::{CUSTOMER, NUMBER, Rig, Setup, change, quick, send};
use crate::simulated::{customer, simulated, world};

const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF ours";

struct Talk {
    rig: Rig,
    simulator: Simulator,
    phone: Phone,
    conversation: Uuid,
    sequence: i64,
    /// The customer's message.
    wamid: String,
}

impl Talk {
    /// The customer has written, so that everything may be answered.
    async fn begun() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        let (mut rig, simulator) = simulated(world(), setup).await;
        simulator.behave(|behaviour| behaviour.statuses.delivered_ms = None);
        let phone = customer(&simulator);
        let wamid = phone.says(NUMBER, &Say::text("hola")).unwrap();
        rig.inbound().await;
        Self { rig, simulator, phone, conversation: Uuid::now_v7(), sequence: 0, wamid }
    }

    /// Sends it; its reports up to the first that is no wait.
    async fn sends(&mut self, kind: Kind) -> Vec<DeliveryEnvelope> {
        self.sequence += 1;
        let mut send = send(self.conversation, self.sequence, CUSTOMER);
        change(&mut send, |item| item.kind = Some(kind));
        self.rig.publish(&send).await;
        let mut reports = Vec::new();
        loop {
            let report = self.rig.report().await;
            // The status of one before may come late.
            if report.send_id == send.send_id {
                let waits = report.state() == SendState::Queued;
                reports.push(report);
                if !waits {
                    return reports;
                }
            }
        }
    }

    async fn sent(&mut self, kind: Kind) -> Value {
        let reports = self.sends(kind).await;
        assert_eq!(reports.last().unwrap().state(), SendState::Sent, "{reports:?}");
        self.phone.received().last().unwrap().body.clone()
    }

    async fn failed(&mut self, kind: Kind) -> String {
        let reports = self.sends(kind).await;
        assert_eq!(reports.last().unwrap().state(), SendState::Failed, "{reports:?}");
        reports.last().unwrap().reason.clone()
    }

    async fn file(&self, kind: MediaKind, media_type: &str, bytes: &'static [u8]) -> SendMedia {
        let digest = self.rig.objects().await.put(Bytes::from_static(bytes)).await.unwrap();
        let attachment = Attachment {
            sha256: digest.to_string(),
            file_name: "informe.pdf".into(),
            media_type: media_type.into(),
            size_bytes: bytes.len() as i64,
            ..Attachment::default()
        };
        SendMedia { kind: kind.into(), attachment: Some(attachment), caption: String::new() }
    }

    fn uploads(&self) -> usize {
        self.simulator.requests().iter().filter(|one| one.endpoint == Endpoint::MediaUpload).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_kind_arrive_and_each_content_is_uploaded_once() {
    let mut talk = Talk::begun().await;
    let table = [
        (MediaKind::Image, "image/jpeg", JPEG, "image", json!({})),
        (MediaKind::Voice, "audio/ogg; codecs=opus", b"OggS voice", "audio", json!({ "voice": true })),
        (MediaKind::Audio, "audio/mpeg", b"ID3 sound", "audio", json!({})),
        (MediaKind::Video, "video/mp4", b"a film", "video", json!({})),
        (MediaKind::Sticker, "image/webp", b"RIFF a sticker", "sticker", json!({})),
        (
            MediaKind::Document,
            "application/pdf",
            b"%PDF-1.7",
            "document",
            json!({ "filename": "informe.pdf" }),
        ),
    ];
    let kinds = table.len();
    for (kind, media_type, bytes, name, expected) in table {
        let media = talk.file(kind, media_type, bytes).await;
        let mut content = talk.sent(Kind::Media(media)).await[name].clone();
        let id = content.as_object_mut().unwrap().remove("id").unwrap();
        assert!(id.as_str().is_some_and(|id| !id.is_empty()), "{name}");
        assert_eq!(content, expected, "{name}");
    }
    assert_eq!(talk.uploads(), kinds);
    let again =
        SendMedia { caption: "otra vez".into(), ..talk.file(MediaKind::Image, "image/jpeg", JPEG).await };
    assert_eq!(talk.sent(Kind::Media(again.clone())).await["image"]["caption"], "otra vez");
    assert_eq!(talk.uploads(), kinds, "it is there already");
    // Before Meta forgets it, it is uploaded anew; what Meta has lost all the same is noticed.
    let age = "UPDATE whatsapp.uploaded SET uploaded_at = now() - interval '28 days'";
    sqlx::query(age).execute(talk.rig.db.pool()).await.unwrap();
    talk.sent(Kind::Media(again.clone())).await;
    assert_eq!(talk.uploads(), kinds + 1);
    let lost = "UPDATE whatsapp.uploaded SET media_id = '1', uploaded_at = now() - interval '2 hours'";
    sqlx::query(lost).execute(talk.rig.db.pool()).await.unwrap();
    let reports = talk.sends(Kind::Media(again)).await;
    assert_eq!(reports.first().unwrap().reason, "MEDIA_FORGOTTEN");
    assert_eq!(reports.last().unwrap().state(), SendState::Sent);
    assert_eq!(talk.uploads(), kinds + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_cards_reactions_and_templates_with_a_file_arrive() {
    let mut talk = Talk::begun().await;
    let place =
        WhatsAppLocation { latitude: -12.1, longitude: -77.0, name: "Lima".into(), ..Default::default() };
    assert_eq!(talk.sent(Kind::Location(place)).await["location"]["name"], "Lima");
    let card = WhatsAppContactCard { formatted_name: "Ana".into(), ..WhatsAppContactCard::default() };
    let cards = WhatsAppContactCards { cards: vec![card] };
    assert_eq!(talk.sent(Kind::ContactCards(cards)).await["contacts"][0]["name"]["formatted_name"], "Ana");
    let reaction = WhatsAppReaction { target_wamid: talk.wamid.clone(), emoji: "👍".into() };
    assert_eq!(talk.sent(Kind::Reaction(reaction)).await["reaction"]["emoji"], "👍");
    let template: Template = serde_json::from_value(json!({
        "id": "77", "business_account_id": "102290129340398", "name": "con_foto", "language": "es", "status": "APPROVED",
        "category": "UTILITY", "components": [{ "type": "HEADER", "format": "IMAGE" }, { "type": "BODY", "text": "Hola {{1}}" }]
    }))
    .unwrap();
    talk.simulator.put_template(template);
    let filled = |value| vec![TemplateParameter { name: String::new(), value: Some(value) }];
    let photo = talk.file(MediaKind::Image, "image/jpeg", JPEG).await;
    let part = |of: &str, value| TemplateComponent {
        r#type: of.into(),
        parameters: filled(value),
        ..Default::default()
    };
    let send = SendTemplate {
        name: "con_foto".into(),
        language: "es".into(),
        components: vec![part("header", Filled::Media(photo)), part("body", Filled::Text("Ana".into()))],
    };
    let body = talk.sent(Kind::Template(send)).await;
    let header = &body["template"]["components"][0]["parameters"][0];
    assert!(header["image"]["id"].as_str().is_some_and(|id| !id.is_empty()), "{header}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meta_would_not_take_fails_with_its_reason_and_is_not_uploaded() {
    let mut talk = Talk::begun().await;
    let mut large = talk.file(MediaKind::Image, "image/jpeg", JPEG).await;
    large.attachment.iter_mut().for_each(|file| file.size_bytes = 6 << 20);
    assert_eq!(talk.failed(Kind::Media(large)).await, "MEDIA_TOO_LARGE");
    let wrong = talk.file(MediaKind::Image, "image/gif", b"GIF89a").await;
    assert_eq!(talk.failed(Kind::Media(wrong)).await, "MEDIA_TYPE_REFUSED");
    static STILL: [u8; 150 * 1024] = [0; 150 * 1024];
    let still = talk.file(MediaKind::Sticker, "image/webp", &STILL).await;
    assert_eq!(talk.failed(Kind::Media(still)).await, "MEDIA_TOO_LARGE");
    let mut gone = talk.file(MediaKind::Image, "image/jpeg", JPEG).await;
    gone.attachment.iter_mut().for_each(|file| file.sha256 = "0".repeat(64));
    assert_eq!(talk.failed(Kind::Media(gone)).await, "OBJECT_MISSING");
    assert_eq!(talk.uploads(), 0);
    let odd = talk.file(MediaKind::Document, "application/x-odd", b"odd").await;
    assert_eq!(talk.failed(Kind::Media(odd)).await, "CONTENT_REFUSED", "Meta looks at documents");
    assert!(talk.phone.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_an_answer_is_no_doubt() {
    let mut talk = Talk::begun().await;
    talk.simulator.fault(Fault::new(Endpoint::MediaUpload, 1, Effect::HangAfter { ms: 10, statuses: false }));
    talk.simulator.fault(Fault::new(
        Endpoint::MediaUpload,
        1,
        Effect::Answer { http: 502, body: String::new() },
    ));
    let media = talk.file(MediaKind::Image, "image/jpeg", JPEG).await;
    let reports = talk.sends(Kind::Media(media)).await;
    let told: Vec<(SendState, &str)> = reports.iter().map(|one| (one.state(), one.reason.as_str())).collect();
    assert_eq!(
        told,
        [(SendState::Queued, "MEDIA_NOT_UPLOADED"), (SendState::Sent, "")],
        "the wait is told once"
    );
    assert_eq!((talk.phone.received().len(), talk.uploads()), (1, 3));
}

/// Whoever is excused again and again uploads the file of a list as often as it has rows, and never comes to an end with another.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_meta_refuses_is_uploaded_once_more_and_then_its_sends_fail() {
    let mut talk = Talk::begun().await;
    let media = talk.file(MediaKind::Document, "application/pdf", b"%PDF refused").await;
    talk.sent(Kind::Media(media.clone())).await;
    let age = "UPDATE whatsapp.uploaded SET uploaded_at = now() - interval '2 hours'";
    sqlx::query(age).execute(talk.rig.db.pool()).await.unwrap();
    let refuse = Effect::Refuse { code: 131_053, http: None, details: None };
    talk.simulator.fault(Fault::new(Endpoint::Messages, 1, refuse).lasting());
    for _ in 0..5 {
        let mut one = send(Uuid::now_v7(), 1, CUSTOMER);
        change(&mut one, |item| item.kind = Some(Kind::Media(media.clone())));
        talk.rig.publish(&one).await;
    }
    let failed = "SELECT count(*) FROM whatsapp.send WHERE state = 'failed' AND reason = 'MEDIA_REFUSED'";
    talk.rig.counts(failed, 5).await;
    assert_eq!(talk.uploads(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sends_of_one_file_at_once_are_one_upload() {
    let talk = Talk::begun().await;
    talk.simulator.fault(Fault::new(Endpoint::MediaUpload, 1, Effect::Slow { ms: 300 }));
    let media = talk.file(MediaKind::Document, "application/pdf", b"%PDF for all").await;
    for _ in 0..8 {
        let mut one = send(Uuid::now_v7(), 1, CUSTOMER);
        change(&mut one, |item| item.kind = Some(Kind::Media(media.clone())));
        talk.rig.publish(&one).await;
    }
    talk.rig.counts("SELECT count(*) FROM whatsapp.send WHERE state = 'sent'", 8).await;
    assert_eq!(talk.uploads(), 1);
    assert_eq!(talk.rig.count("SELECT count(*) FROM whatsapp.send WHERE uploading").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_sent_or_failed_and_nothing_more() {
    let mut talk = Talk::begun().await;
    let mark = |wamid: &str| Kind::ReadMark(SendReadMark { wamid: wamid.into(), typing: true });
    let wamid = talk.wamid.clone();
    talk.simulator.fault(Fault::new(Endpoint::MarkRead, 1, Effect::HangAfter { ms: 10, statuses: false }));
    let reports = talk.sends(mark(&wamid)).await;
    let states: Vec<SendState> = reports.iter().map(DeliveryEnvelope::state).collect();
    assert_eq!(states, [SendState::Sent], "again is harmless, and no wait is told");
    let said = talk.simulator.said(&wamid).unwrap();
    assert!(said.read_at_ms.is_some() && said.typing_until_ms.is_some());
    talk.simulator.fault(Fault::new(Endpoint::MarkRead, 3, Effect::HangBefore { ms: 10 }));
    let reports = talk.sends(mark(&wamid)).await;
    let told: Vec<(SendState, &str)> = reports.iter().map(|one| (one.state(), one.reason.as_str())).collect();
    assert_eq!(told, [(SendState::Failed, "NO_ANSWER")]);
    assert_eq!(talk.failed(mark("wamid.nobody")).await, "CONTENT_REFUSED");
    assert!(talk.phone.received().is_empty());
    let quiet = tokio::time::timeout(Duration::from_secs(60), talk.rig.nothing_reported()).await;
    assert_eq!(quiet, Ok(true));
}

/// Without a place that no file takes a few uploads that hang keep every text of the number for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn texts_leave_while_uploads_hang() {
    let sender = SenderConfig { concurrency: 2, ..quick() };
    let mut talk = Talk::with(Setup { sender, ..Setup::default() }).await;
    talk.simulator.fault(Fault::new(Endpoint::MediaUpload, 1, Effect::HangBefore { ms: 600_000 }).lasting());
    let file = talk.file(MediaKind::Image, "image/jpeg", JPEG).await;
    for _ in 0..2 {
        let mut one = send(Uuid::now_v7(), 1, CUSTOMER);
        change(&mut one, |item| item.kind = Some(Kind::Media(file.clone())));
        talk.rig.publish(&one).await;
    }
    talk.rig.counts("SELECT count(*) FROM whatsapp.send", 2).await;
    talk.rig.counts("SELECT count(*) FROM whatsapp.send WHERE uploading", 1).await;
    talk.sent(Kind::Text(SendText { body: "texto".into(), preview_url: false })).await;
    assert_eq!(talk.rig.count("SELECT count(*) FROM whatsapp.send WHERE uploading").await, 1);
}
