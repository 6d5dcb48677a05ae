//! What an agent writes: files, hidden copies, forwards, quotations, drafts; and what a desk is shown.

use bytes::Bytes;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::attention::v1::{
    AttachmentRef, ComposeMode, DraftContent, ListMessagesRequest, MessageAttachmentRef, SaveDraftRequest,
    SendMessageRequest,
};
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::outbound::v1::OutboundEmail;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::files::Store;
use super::sending::{addresses, request, sent};
use super::{Mail, fresh};
use crate::desk::{read, save_draft};

pub(super) fn upload(id: &str, content_id: &str) -> AttachmentRef {
    AttachmentRef { source: Some(Source::UploadId(id.into())), content_id: content_id.into() }
}

pub(super) fn of_message(message: &str, index: i32) -> AttachmentRef {
    let source = Source::Message(MessageAttachmentRef { message_id: message.into(), index });
    AttachmentRef { source: Some(source), content_id: String::new() }
}

fn to(list: &[&str]) -> Vec<EmailAddress> {
    list.iter().map(|one| EmailAddress { address: (*one).into(), name: String::new() }).collect()
}

pub(super) fn names(email: &OutboundEmail) -> Vec<(&str, bool)> {
    email.attachments.iter().map(|one| (one.file_name.as_str(), one.inline)).collect()
}

/// A house with a customer's mail that holds a file and an image, opened by ana.
struct Desk {
    store: Store,
    interaction: Uuid,
    attention: Uuid,
    message: String,
}

impl Desk {
    async fn open() -> Self {
        let store = Store::open().await;
        let file = async |name: &str, content: &'static [u8], content_id: &str| Attachment {
            sha256: store.objects.put(Bytes::from_static(content)).await.unwrap().to_string(),
            file_name: name.into(),
            media_type: "image/png".into(),
            size_bytes: content.len() as i64,
            content_id: content_id.into(),
            inline: !content_id.is_empty(),
        };
        let files = vec![file("boleta.pdf", b"boleta", "").await, file("foto.png", b"foto", "foto@x").await];
        let mail = Mail::from("eva@cliente.example").id("m1@x").with(|email| {
            email.attachments = files;
            email.html =
                "<p>Hola<img src=\"cid:foto@x\"><img src=\"https://espia.example/p.gif\"><script>1</script></p>".into();
        });
        store.house.take(&[mail]).await;
        let seen = store.house.attentions().await[0].clone();
        let opened = store.house.open_item("ana", seen.last_interaction).await;
        let message = opened.messages[0].message_id.clone();
        Self { store, interaction: seen.last_interaction, attention: seen.attention_id, message }
    }

    fn letter(&self) -> SendMessageRequest {
        request(self.interaction, "Buenos días")
    }

    async fn send(&self, letter: SendMessageRequest) -> Result<OutboundEmail, Error> {
        let ana = self.store.house.access("ana").await;
        self.store.house.actions.send(ana, letter).await?;
        Ok(sent(&self.store.house).await.pop().unwrap().1)
    }

    async fn refused(&self, letter: SendMessageRequest) -> String {
        self.send(letter).await.unwrap_err().reason().to_owned()
    }
}

#[tokio::test]
async fn files_and_copies_leave_with_the_answer() {
    let desk = Desk::open().await;
    let file = desk.store.uploaded("ana", "informe ñ.pdf", b"informe").await;
    let logo = desk.store.uploaded("ana", "logo.png", b"logo").await;
    let email = desk
        .send(SendMessageRequest {
            html: "<p onclick=x()>Hola <img src=\"cid:logo-1\"></p>".into(),
            cc: to(&["jefa@x.example"]),
            bcc: to(&["archivo@x.example", "eva@cliente.example"]),
            attachments: vec![
                upload(&file.upload_id, "unused"),
                upload(&logo.upload_id, "logo-1"),
                of_message(&desk.message, 0),
            ],
            ..desk.letter()
        })
        .await
        .unwrap();
    assert_eq!(addresses(&email.to), ["eva@cliente.example"]);
    assert_eq!(addresses(&email.cc), ["jefa@x.example"]);
    assert_eq!(addresses(&email.bcc), ["archivo@x.example"], "she is answered already");
    assert_eq!(names(&email), [("informe ñ.pdf", false), ("logo.png", true), ("boleta.pdf", false)]);
    assert_eq!(email.attachments[0].sha256, file.sha256);
    assert!(!email.html.contains("onclick") && email.html.contains("cid:logo-1"), "{}", email.html);
    let thread = read::messages(
        &desk.store.house.db,
        desk.store.house.access("ana").await,
        ListMessagesRequest { attention_id: desk.attention.to_string(), ..ListMessagesRequest::default() },
    )
    .await
    .unwrap();
    let message = thread.messages.last().unwrap();
    assert_eq!(addresses(&message.bcc), ["archivo@x.example"]);
    assert_eq!(message.attachments.len(), 3);
    // Everybody written to may answer, the hidden ones too.
    let participants = &desk.store.house.attentions().await[0].participants;
    assert!(participants.contains(&"archivo@x.example".to_owned()));
}

#[tokio::test]
async fn a_forward_takes_the_original_along() {
    let desk = Desk::open().await;
    let forward = || SendMessageRequest { mode: ComposeMode::Forward.into(), ..desk.letter() };
    assert_eq!(desk.refused(forward()).await, "NO_RECIPIENT");
    let email = desk
        .send(SendMessageRequest {
            to: to(&["taller@x.example"]),
            text: String::new(),
            include_attachments: true,
            ..forward()
        })
        .await
        .unwrap();
    assert_eq!((addresses(&email.to), email.in_reply_to.as_str()), (vec!["taller@x.example"], ""));
    assert_eq!(email.subject, "Fwd: No llegó mi pedido");
    assert!(email.text.contains("De: Eva Quispe <eva@cliente.example>") && email.text.contains("no llegó."));
    assert!(email.html.contains("cid:foto@x") && !email.html.contains("script"), "{}", email.html);
    assert_eq!(names(&email), [("boleta.pdf", false), ("foto.png", true)]);
    let without = SendMessageRequest { to: to(&["taller@x.example"]), ..forward() };
    assert_eq!(names(&desk.send(without).await.unwrap()), [("foto.png", true)], "only what the HTML shows");
    let quoted = SendMessageRequest { quote: true, html: "<p>Hola</p>".into(), ..desk.letter() };
    let email = desk.send(quoted).await.unwrap();
    assert!(email.text.contains("escribió:\n> Hola,") && email.html.contains("<blockquote>"));
    assert_eq!(names(&email), [("foto.png", true)]);
}

#[tokio::test]
async fn files_and_messages_of_others_are_not_found() {
    let desk = Desk::open().await;
    let other = Mail::from("otto@otra.example").id("otra@x").with(|email| {
        email.attachments = vec![Attachment { sha256: "00".repeat(32), ..Attachment::default() }];
    });
    desk.store.house.take(&[other]).await;
    let foreign: Uuid =
        sqlx::query_scalar("SELECT message_id FROM attention.message WHERE attention_id <> $1")
            .bind(desk.attention)
            .fetch_one(desk.store.house.db.pool())
            .await
            .unwrap();
    let (foreign, luis) = (foreign.to_string(), desk.store.uploaded("luis", "a.png", b"luis").await);
    let with = |file: AttachmentRef| SendMessageRequest { attachments: vec![file], ..desk.letter() };
    for file in [
        of_message(&foreign, 0),
        of_message(&desk.message, 7),
        of_message(&fresh(), 0),
        upload(&luis.upload_id, ""),
        upload(&fresh(), ""),
    ] {
        assert_eq!(desk.refused(with(file)).await, "ATTACHMENT_NOT_FOUND");
    }
    let about = SendMessageRequest { message_id: foreign, ..desk.letter() };
    assert_eq!(desk.refused(about).await, "MESSAGE_NOT_FOUND");
    assert_eq!(desk.refused(with(AttachmentRef::default())).await, "INVALID_REQUEST");
    assert_eq!(desk.refused(with(upload(&luis.upload_id, "a\r\nb"))).await, "INVALID_REQUEST");
    assert!(sent(&desk.store.house).await.is_empty(), "nothing half-done");
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_reason() {
    let desk = Desk::open().await;
    let file = desk.store.uploaded("ana", "a.bin", b"abc").await;
    let with = |count: usize| SendMessageRequest {
        attachments: vec![upload(&file.upload_id, ""); count],
        ..desk.letter()
    };
    assert_eq!(desk.refused(with(51)).await, "TOO_MANY_ATTACHMENTS");
    let large = "UPDATE conversation.upload SET size_bytes = 9437184, received_bytes = 9437184";
    sqlx::query(large).execute(desk.store.house.db.pool()).await.unwrap();
    assert_eq!(desk.refused(with(3)).await, "MESSAGE_TOO_LARGE");
    assert!(desk.send(with(2)).await.is_ok(), "18 MiB fit");
    let crowd: Vec<String> = (0..50).map(|n| format!("a{n}@x.example")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let many: Vec<String> = (0..51).map(|n| format!("b{n}@x.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(desk.refused(SendMessageRequest { cc: to(&many), ..desk.letter() }).await, "INVALID_REQUEST");
    let both = SendMessageRequest { to: to(&crowd), cc: to(&many[..50]), bcc: to(&["c@x"]), ..desk.letter() };
    assert_eq!(desk.refused(both).await, "TOO_MANY_RECIPIENTS");
    let bomb = "<b a=1>".repeat(2_000) + &"<p>x".repeat(2_000);
    assert_eq!(desk.refused(SendMessageRequest { html: bomb, ..desk.letter() }).await, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_desk_is_shown_safe_html_and_remote_images_only_when_asked() {
    let desk = Desk::open().await;
    let hostile =
        "UPDATE attention.message SET html_body = html_body || '<img src=x onerror=alert(1)><svg onload=x>'";
    sqlx::query(hostile).execute(desk.store.house.db.pool()).await.unwrap();
    let list = async |show_remote_images| {
        let request = ListMessagesRequest {
            attention_id: desk.attention.to_string(),
            show_remote_images,
            ..ListMessagesRequest::default()
        };
        read::messages(&desk.store.house.db, desk.store.house.access("ana").await, request)
            .await
            .unwrap()
            .messages
            .remove(0)
    };
    let closed = list(false).await;
    assert_eq!(closed.remote_images_blocked, 1);
    let asked = list(true).await;
    assert!(asked.html.contains("https://espia.example/p.gif") && asked.remote_images_blocked == 0);
    let opened = desk.store.house.open_item("ana", desk.interaction).await.messages.remove(0);
    for message in [&closed, &asked, &opened] {
        for bad in ["onerror", "<svg", "<script"] {
            assert!(!message.html.contains(bad), "{}", message.html);
        }
        assert!(message.html.contains("cid:foto@x"));
    }
    assert!(!closed.html.contains("espia") && !opened.html.contains("espia"));
}

#[tokio::test]
async fn a_draft_is_kept_whole_and_a_lost_race_shows_the_winner() {
    let desk = Desk::open().await;
    let house = &desk.store.house;
    let file = desk.store.uploaded("ana", "a.bin", b"abc").await;
    let content = DraftContent {
        html: "<p>Hola</p>".into(),
        subject: "Asunto".into(),
        to: to(&["a medias"]),
        cc: to(&["b@x"]),
        bcc: to(&["c@x"]),
        attachments: vec![upload(&file.upload_id, "logo"), of_message(&desk.message, 1)],
        mode: ComposeMode::Forward.into(),
        message_id: desk.message.clone(),
        quote: true,
        ..DraftContent::default()
    };
    let save = async |base_version, text: &str, content: Option<DraftContent>| {
        let request = SaveDraftRequest {
            interaction_id: desk.interaction.to_string(),
            base_version,
            text: text.into(),
            content,
        };
        save_draft(&house.db, house.access("ana").await, request).await
    };
    save(0, "uno", Some(content.clone())).await.unwrap();
    let opened = house.open_item("ana", desk.interaction).await;
    assert_eq!(opened.draft.unwrap().content, Some(content.clone()));
    // Another window lost: it is told what stands there now.
    let status = hilo_kit::error::to_status(&save(0, "dos", None).await.unwrap_err());
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["current_version"].as_str()), ("DRAFT_CHANGED", "1"));
    let whole = <tonic_types::pb::Status as prost::Message>::decode(status.details()).unwrap();
    let current = whole.details.iter().find(|any| any.type_url.ends_with("hilo.attention.v1.Draft")).unwrap();
    let current =
        <hilo_proto::attention::v1::Draft as prost::Message>::decode(current.value.as_slice()).unwrap();
    assert_eq!((current.version, current.text.as_str()), (1, "uno"));
    // The upload waits as long as the draft does, and whoever takes the item over may send it.
    let days =
        house.count("SELECT extract(day FROM expires_at - now())::bigint FROM conversation.upload").await;
    assert!(days >= 29, "{days}");
    sqlx::query("UPDATE attention.interaction SET agent_key = 'luis'")
        .execute(house.db.pool())
        .await
        .unwrap();
    let letter = SendMessageRequest { attachments: content.attachments.clone(), ..desk.letter() };
    house.actions.send(house.access("luis").await, letter).await.unwrap();
    assert_eq!(names(&sent(house).await.pop().unwrap().1), [("a.bin", false), ("foto.png", false)]);
    // Sent, it stops counting against his uploads; the mail has the file itself.
    let hours = "SELECT (extract(epoch FROM expires_at - now()) / 3600)::bigint FROM conversation.upload";
    assert!((23..=24).contains(&house.count(hours).await));
}

/// Without the version in the WHERE clause what was written after the sent draft is lost with it.
#[tokio::test]
async fn a_sent_draft_goes_and_a_newer_one_stays() {
    let desk = Desk::open().await;
    let house = &desk.store.house;
    let save = async |base_version| {
        let request = SaveDraftRequest {
            interaction_id: desk.interaction.to_string(),
            base_version,
            text: "Ya va".into(),
            content: None,
        };
        save_draft(&house.db, house.access("ana").await, request).await.unwrap();
    };
    let stored = async || {
        let draft = house.open_item("ana", desk.interaction).await.draft.unwrap();
        (draft.version, draft.text)
    };
    let send = async |draft_version| {
        let letter = SendMessageRequest { draft_version, ..desk.letter() };
        house.actions.send(house.access("ana").await, letter).await.unwrap();
    };
    save(0).await;
    send(0).await;
    assert_eq!(stored().await, (1, "Ya va".to_owned()), "nothing was said of a draft");
    save(1).await;
    send(1).await;
    assert_eq!(stored().await, (2, "Ya va".to_owned()), "it was saved again meanwhile");
    send(2).await;
    assert_eq!(stored().await, (3, String::new()));
    // A window that was left open knows an earlier version: what was written since stays.
    save(3).await;
    send(1).await;
    assert_eq!(stored().await, (4, "Ya va".to_owned()));
}

/// Whoever takes the item over gets what another wrote, maybe by a client of his own: sanitised in every answer.
#[tokio::test]
async fn a_draft_is_sanitised_wherever_it_is_handed_out() {
    let desk = Desk::open().await;
    let house = &desk.store.house;
    let hostile = "<p onclick=\"x()\">Hola<script>alert(1)</script><img src=\"https://x.example/p.gif\" onerror=\"alert(1)\">\
        <a href=\"javascript:alert(1)\">x</a><svg onload=\"alert(1)\"></svg></p>";
    let safe =
        "<p>Hola<img src=\"https://x.example/p.gif\"><a rel=\"noopener noreferrer nofollow\">x</a></p>";
    let save = async |base_version, html: &str| {
        let content = DraftContent { html: html.into(), ..DraftContent::default() };
        let request = SaveDraftRequest {
            interaction_id: desk.interaction.to_string(),
            base_version,
            text: "Hola".into(),
            content: Some(content),
        };
        save_draft(&house.db, house.access("ana").await, request).await
    };
    let html_of = |draft: Option<hilo_proto::attention::v1::Draft>| draft.unwrap().content.unwrap().html;
    assert_eq!(html_of(save(0, hostile).await.unwrap().draft), safe, "the answer of the save");
    let status = hilo_kit::error::to_status(&save(0, "x").await.unwrap_err());
    let whole = <tonic_types::pb::Status as prost::Message>::decode(status.details()).unwrap();
    let lost = whole.details.iter().find(|any| any.type_url.ends_with("hilo.attention.v1.Draft")).unwrap();
    let lost = <hilo_proto::attention::v1::Draft as prost::Message>::decode(lost.value.as_slice()).unwrap();
    assert_eq!(html_of(Some(lost)), safe, "the details of a lost race");
    let release = hilo_proto::attention::v1::ReleaseInteractionRequest {
        interaction_id: desk.interaction.to_string(),
        request_id: fresh(),
    };
    house.actions.release(house.access("ana").await, release).await.unwrap();
    assert_eq!(html_of(house.open_item("luis", desk.interaction).await.draft), safe, "the next agent");
    // What could not be sent, or would not fit an answer any more, is not shown either; the text is.
    let bomb = (0..2_000).map(|n| format!("<b a={n}>")).collect::<String>() + &"<p>x".repeat(2_000);
    for html in [bomb, ">".repeat(400_000)] {
        sqlx::query("UPDATE attention.draft SET content = $1")
            .bind(prost::Message::encode_to_vec(&DraftContent { html, ..DraftContent::default() }))
            .execute(house.db.pool())
            .await
            .unwrap();
        let draft = house.open_item("luis", desk.interaction).await.draft.unwrap();
        assert_eq!((draft.text.as_str(), draft.content.unwrap().html.as_str()), ("Hola", ""));
    }
}

#[tokio::test]
async fn a_malformed_draft_names_its_fields() {
    let desk = Desk::open().await;
    let house = &desk.store.house;
    let long = "x".repeat(400_001);
    let content = DraftContent {
        html: long,
        subject: "x".repeat(999),
        to: to(&["a@x"; 60]),
        cc: to(&[&"x".repeat(400)]),
        bcc: to(&["a@x"; 60]),
        ..DraftContent::default()
    };
    let request = SaveDraftRequest {
        interaction_id: desk.interaction.to_string(),
        base_version: 0,
        text: "a\0".into(),
        content: Some(content),
    };
    let error = save_draft(&house.db, house.access("ana").await, request.clone()).await.unwrap_err();
    let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["text", "content.html", "content.subject", "content.to", "content.cc"]);
    let missing = DraftContent { attachments: vec![upload(&fresh(), "")], ..DraftContent::default() };
    let request = SaveDraftRequest { text: "a".into(), content: Some(missing), ..request };
    let error = save_draft(&house.db, house.access("ana").await, request).await.unwrap_err();
    assert_eq!(error.reason(), "ATTACHMENT_NOT_FOUND");
}
