//! What an agent sends by WhatsApp beyond text: templates, files, places, cards; and what does not go together.

use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{
    AttachmentRef, ChatContent, ChatReaction, MessageAttachmentRef, SendMessageRequest, TemplatePart,
};
use hilo_proto::history::v1::whats_app_item::Detail;
use hilo_proto::inbound::v1::{
    Attachment, MediaKind, WhatsAppContactCard, WhatsAppContactCards, WhatsAppLocation, WhatsAppMedia,
    inbound_whats_app,
};
use hilo_proto::internal::v1::ReportedTemplate;
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{
    SendMedia, SendTemplate, TemplateComponent, TemplateParameter, outbound_whats_app,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::House;
use super::templates::{report, reported};
use super::whatsapp_rig::{Chat, EVA, house, messages, only, outbound, send, take};

/// What a request asks for instead.
pub(super) type Change = Box<dyn FnOnce(&mut SendMessageRequest)>;

pub(super) fn content(kind: Kind) -> Change {
    Box::new(move |request| {
        request.text.clear();
        request.whatsapp = Some(ChatContent { kind: Some(kind), preview_url: false });
    })
}

pub(super) fn greeting(name: &str, values: &[&str]) -> SendTemplate {
    let parameter = |text: &&str| TemplateParameter {
        value: Some(Value::Text((*text).to_owned())),
        ..TemplateParameter::default()
    };
    let body = TemplateComponent {
        r#type: "body".into(),
        parameters: values.iter().map(parameter).collect(),
        ..TemplateComponent::default()
    };
    let components = if values.is_empty() { Vec::new() } else { vec![body] };
    SendTemplate { name: name.into(), language: "es".into(), components }
}

/// Eva sent a file of this type and size; ana has it open. The interaction and a reference to the file.
async fn with_file(house: &House, media_type: &str, size_bytes: i64) -> (Uuid, AttachmentRef) {
    let attachment = Attachment {
        sha256: "ab".repeat(32),
        file_name: "recibo".into(),
        media_type: media_type.into(),
        size_bytes,
        ..Attachment::default()
    };
    let media = WhatsAppMedia {
        kind: MediaKind::Document.into(),
        attachment: Some(attachment),
        ..WhatsAppMedia::default()
    };
    take(house, &[Chat::from(EVA).kind(inbound_whats_app::Kind::Media(media))]).await;
    let seen = only(house).await;
    house.open_item("ana", seen.last_interaction).await;
    let message_id = messages(house, seen.attention_id).await.pop().unwrap().message_id;
    let source = Source::Message(MessageAttachmentRef { message_id, index: 0 });
    (seen.last_interaction, AttachmentRef { source: Some(source), content_id: String::new() })
}

#[tokio::test]
async fn an_approved_template_goes_after_the_window_and_opens_none() {
    let house = house().await;
    report(
        &house,
        "chat-wa",
        OffsetDateTime::now_utc(),
        vec![reported("seguimos", "APPROVED"), reported("pausada", "PAUSED")],
    )
    .await
    .unwrap();
    take(&house, &[Chat::from(EVA).at(OffsetDateTime::now_utc() - Duration::hours(25))]).await;
    let seen = only(&house).await;
    house.open_item("ana", seen.last_interaction).await;
    for (template, reason) in [
        (greeting("pausada", &["Eva"]), "TEMPLATE_NOT_APPROVED"),
        (greeting("nada", &["Eva"]), "TEMPLATE_NOT_APPROVED"),
        (greeting("seguimos", &[]), "TEMPLATE_VARIABLES"),
        (greeting("seguimos", &["Eva", "17"]), "TEMPLATE_VARIABLES"),
    ] {
        let refused = send(&house, "ana", seen.last_interaction, content(Kind::Template(template))).await;
        assert_eq!(refused.unwrap_err().reason(), reason);
    }
    let sent = greeting("seguimos", &["Eva"]);
    let answer = send(&house, "ana", seen.last_interaction, content(Kind::Template(sent.clone()))).await;
    let message = answer.unwrap().message.unwrap();
    assert_eq!(message.text, "Hola Eva, seguimos con su caso.");
    let item = message.whatsapp.unwrap();
    assert_eq!((item.kind.as_str(), item.detail), ("template", Some(Detail::Template(sent.clone()))));
    let handed = outbound(&house).await;
    let [(_, only_one)] = handed.as_slice() else { panic!("{handed:?}") };
    assert_eq!(only_one.kind, Some(outbound_whats_app::Kind::Template(sent)));
    assert_eq!(only_one.window_ends_at, None, "it may leave whenever it can");
    let refused = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), "WINDOW_CLOSED", "only the customer's answer opens the window");
    take(&house, &[Chat::from(EVA)]).await;
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    assert_eq!(only(&house).await.messages, 4);
}

#[tokio::test]
async fn the_file_of_a_templates_header_comes_by_attachments_only() {
    let house = house().await;
    let header =
        TemplatePart { r#type: "HEADER".into(), format: "DOCUMENT".into(), ..TemplatePart::default() };
    let mut with_header = reported("factura", "APPROVED");
    with_header.template.as_mut().unwrap().parts = vec![header];
    let both: Vec<ReportedTemplate> = vec![with_header, reported("seguimos", "APPROVED")];
    report(&house, "chat-wa", OffsetDateTime::now_utc(), both).await.unwrap();
    let (interaction, file) = with_file(&house, "application/pdf", 1_000).await;
    let media = |attachment: Option<Attachment>| {
        let media = SendMedia { kind: MediaKind::Document.into(), attachment, ..SendMedia::default() };
        let parameter =
            TemplateParameter { value: Some(Value::Media(media)), ..TemplateParameter::default() };
        let header = TemplateComponent {
            r#type: "header".into(),
            parameters: vec![parameter],
            ..TemplateComponent::default()
        };
        SendTemplate { name: "factura".into(), language: "es".into(), components: vec![header] }
    };
    let with = |template: SendTemplate, files: Vec<AttachmentRef>| -> Change {
        Box::new(move |request| {
            content(Kind::Template(template))(request);
            request.attachments = files;
        })
    };
    let foreign = Attachment { sha256: "cd".repeat(32), ..Attachment::default() };
    for (template, files, reason) in [
        (media(None), vec![], "TEMPLATE_VARIABLES"),
        (media(Some(foreign)), vec![file.clone()], "INVALID_REQUEST"),
        (media(None), vec![file.clone(), file.clone()], "INVALID_REQUEST"),
        (greeting("seguimos", &["Eva"]), vec![file.clone()], "TEMPLATE_VARIABLES"),
    ] {
        let refused = send(&house, "ana", interaction, with(template, files)).await.unwrap_err();
        assert_eq!(refused.reason(), reason);
    }
    let message =
        send(&house, "ana", interaction, with(media(None), vec![file])).await.unwrap().message.unwrap();
    assert_eq!(message.attachments.len(), 1);
    let (_, handed) = outbound(&house).await.pop().unwrap();
    let Some(outbound_whats_app::Kind::Template(sent)) = handed.kind else { panic!("{handed:?}") };
    let Some(Value::Media(media)) = &sent.components[0].parameters[0].value else { panic!("{sent:?}") };
    assert_eq!(media.attachment.as_ref().unwrap().sha256, "ab".repeat(32));
}

#[tokio::test]
async fn a_file_is_sent_as_its_kind_within_metas_limits() {
    for (media_type, size, kind, reason) in [
        ("image/jpeg", 1_000, MediaKind::Image, ""),
        ("image/jpeg", 6 * 1024 * 1024, MediaKind::Image, "MEDIA_TOO_LARGE"),
        ("image/gif", 1_000, MediaKind::Image, "MEDIA_TYPE_REFUSED"),
        ("application/pdf", 1_000, MediaKind::Document, ""),
        ("application/pdf", 1_000, MediaKind::Unspecified, "INVALID_REQUEST"),
    ] {
        let house = house().await;
        let (interaction, file) = with_file(&house, media_type, size).await;
        let change = move |request: &mut SendMessageRequest| {
            request.text = "aquí está".into();
            request.attachments = vec![file];
            request.whatsapp = Some(ChatContent { kind: Some(Kind::Media(kind.into())), preview_url: false });
        };
        let answer = send(&house, "ana", interaction, change).await;
        match reason {
            "" => {
                let message = answer.unwrap().message.unwrap();
                assert_eq!((message.text.as_str(), message.attachments.len()), ("aquí está", 1));
                let (_, handed) = outbound(&house).await.pop().unwrap();
                let Some(outbound_whats_app::Kind::Media(media)) = handed.kind else { panic!("{handed:?}") };
                assert_eq!((media.kind(), media.caption.as_str()), (kind, "aquí está"));
                assert_eq!(media.attachment.unwrap().size_bytes, size);
                assert!(handed.window_ends_at.is_some());
            }
            reason => assert_eq!(answer.unwrap_err().reason(), reason, "{media_type} {kind:?}"),
        }
    }
}

#[tokio::test]
async fn places_cards_and_previews_are_sent_and_can_be_read() {
    let house = house().await;
    take(&house, &[Chat::from(EVA)]).await;
    let interaction = only(&house).await.last_interaction;
    house.open_item("ana", interaction).await;
    let place = WhatsAppLocation {
        latitude: -12.05,
        longitude: -77.04,
        name: "Lima".into(),
        ..WhatsAppLocation::default()
    };
    let card = WhatsAppContactCard { formatted_name: "Otto Ruiz".into(), ..WhatsAppContactCard::default() };
    let cards = WhatsAppContactCards { cards: vec![card] };
    let preview = |request: &mut SendMessageRequest| {
        request.text = "https://hilo.example".into();
        request.whatsapp = Some(ChatContent { kind: None, preview_url: true });
    };
    let sent = [
        send(&house, "ana", interaction, content(Kind::Location(place.clone()))).await,
        send(&house, "ana", interaction, content(Kind::ContactCards(cards.clone()))).await,
        send(&house, "ana", interaction, preview).await,
    ];
    let texts: Vec<String> = sent.into_iter().map(|one| one.unwrap().message.unwrap().text).collect();
    assert_eq!(texts, ["Lima, -12.05, -77.04", "Otto Ruiz", "https://hilo.example"]);
    let kinds: Vec<_> = outbound(&house).await.into_iter().map(|(_, one)| one.kind.unwrap()).collect();
    assert_eq!(kinds[0], outbound_whats_app::Kind::Location(place));
    assert_eq!(kinds[1], outbound_whats_app::Kind::ContactCards(cards));
    assert!(matches!(&kinds[2], outbound_whats_app::Kind::Text(text) if text.preview_url));
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_by_field() {
    let house = house().await;
    let (interaction, file) = with_file(&house, "application/pdf", 1_000).await;
    let place = |latitude: f64| Kind::Location(WhatsAppLocation { latitude, ..WhatsAppLocation::default() });
    let and = |kind: Kind, change: Change| -> Change {
        Box::new(move |request| {
            content(kind)(request);
            change(request);
        })
    };
    let one = file.clone();
    let rows: Vec<(&str, Change)> = vec![
        ("whatsapp.location.latitude", content(place(91.0))),
        ("whatsapp.location.latitude", content(place(f64::NAN))),
        ("text", and(place(1.0), Box::new(|request| request.text = "x".into()))),
        ("attachments", and(place(1.0), Box::new(move |request| request.attachments = vec![one]))),
        ("attachments", Box::new(move |request| request.attachments = vec![file])),
        ("attachments", content(Kind::Media(MediaKind::Image.into()))),
        ("whatsapp.contact_cards.cards", content(Kind::ContactCards(WhatsAppContactCards::default()))),
        (
            "whatsapp.contact_cards.cards[0]",
            content(Kind::ContactCards(WhatsAppContactCards { cards: vec![WhatsAppContactCard::default()] })),
        ),
        (
            "whatsapp.preview_url",
            and(
                place(1.0),
                Box::new(|request| {
                    request.whatsapp.as_mut().unwrap().preview_url = true;
                }),
            ),
        ),
        ("subject", and(place(1.0), Box::new(|request| request.subject = "x".into()))),
        ("message_id", content(Kind::Reaction(ChatReaction { emoji: "👍".into() }))),
    ];
    for (field, change) in rows {
        let refused = send(&house, "ana", interaction, change).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_REQUEST", "{field}");
        let fields: Vec<&str> = refused.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, [field]);
    }
    let caption = |request: &mut SendMessageRequest| {
        request.whatsapp =
            Some(ChatContent { kind: Some(Kind::Media(MediaKind::Voice.into())), preview_url: false });
    };
    let refused = send(&house, "ana", interaction, caption).await.unwrap_err();
    let fields: Vec<&str> = refused.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["attachments", "text"]);
    assert!(outbound(&house).await.is_empty());
}

#[tokio::test]
async fn a_mail_carries_nothing_of_whatsapp() {
    let house = house().await;
    house.take(&[super::Mail::from("eva@cliente.example")]).await;
    let interaction = only(&house).await.last_interaction;
    house.open_item("ana", interaction).await;
    let change = |request: &mut SendMessageRequest| request.whatsapp = Some(ChatContent::default());
    let refused = send(&house, "ana", interaction, change).await.unwrap_err();
    assert_eq!(refused.violations()[0].field, "whatsapp");
    send(&house, "ana", interaction, |_| {}).await.unwrap();
}
