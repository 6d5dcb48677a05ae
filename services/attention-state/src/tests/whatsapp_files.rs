//! The content of a customer's file: it comes with the item or later, or not at all; and what comes after the bodies have left.

use std::time::Duration;

use hilo_kit::nats::Subjects;
use hilo_proto::history::v1::Thread;
use hilo_proto::history::v1::whats_app_item::Detail;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{Attachment, MediaKind, WhatsAppContent, WhatsAppMedia, whats_app_content};
use time::OffsetDateTime;
use uuid::Uuid;

use super::House;
use super::purge::archive::{History, archive};
use super::whatsapp_changes::{fates, reacts, revokes};
use super::whatsapp_rig::{Chat, EVA, house, messages, only, take};
use crate::conversation::attach;

fn file() -> Attachment {
    Attachment {
        sha256: "ab".repeat(32),
        file_name: "foto.jpg".into(),
        media_type: "image/jpeg".into(),
        size_bytes: 1_000,
        ..Attachment::default()
    }
}

/// An image whose content has not come.
fn image() -> Chat {
    let media = WhatsAppMedia {
        kind: MediaKind::Image.into(),
        caption: "mire".into(),
        media_id: "7".into(),
        ..WhatsAppMedia::default()
    };
    Chat::from(EVA).wamid("wamid.1").kind(Kind::Media(media))
}

/// What became of it; the channel names the file's own wamid.
fn content(result: whats_app_content::Result) -> Chat {
    let content = WhatsAppContent { target_wamid: "wamid.1".into(), result: Some(result) };
    Chat::from(EVA).wamid("wamid.1").kind(Kind::Content(content))
}

fn came() -> Chat {
    content(whats_app_content::Result::Attachment(file()))
}

#[tokio::test]
async fn the_content_of_a_file_reaches_it_after_before_and_with_it() {
    for batches in [
        vec![vec![image()], vec![came()]],
        vec![vec![came()], vec![image()]],
        vec![vec![image(), came()]],
        vec![vec![came(), image()]],
    ] {
        let house = house().await;
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        for batch in &batches {
            take(&house, batch).await;
        }
        let seen = only(&house).await;
        let thread = messages(&house, seen.attention_id).await;
        let [message] = thread.as_slice() else { panic!("{thread:?}") };
        assert_eq!(message.attachments, [file()], "{sizes:?}");
        assert_eq!(message.text, "mire");
        assert_eq!(fates(&house).await, ["applied"], "{sizes:?}");
        let id = Uuid::try_parse(&message.message_id).unwrap();
        let found = house.db.read(move |conn| Box::pin(attach::of_message(conn, id, 0))).await.unwrap();
        assert_eq!(
            (found.0, found.1.file_name.as_str()),
            (seen.attention_id, "foto.jpg"),
            "it can be downloaded"
        );
    }
}

#[tokio::test]
async fn a_content_is_told_opens_no_window_and_begins_nothing() {
    let house = house().await;
    take(&house, &[came()]).await;
    assert!(house.attentions().await.is_empty());
    let yesterday = OffsetDateTime::now_utc() - time::Duration::hours(25);
    take(&house, &[image().at(yesterday)]).await;
    let seen = only(&house).await;
    let other = Chat { item: image().item, ..came().wamid("wamid.2") };
    let mut other = other.at(yesterday);
    other.item.wamid = "wamid.2".into();
    take(&house, &[other]).await;
    let before = house.events(seen.attention_id).await;
    let lost = WhatsAppContent {
        target_wamid: "wamid.2".into(),
        result: Some(whats_app_content::Result::Failure("MEDIA_EXPIRED".into())),
    };
    take(&house, &[Chat::from(EVA).wamid("wamid.2").kind(Kind::Content(lost))]).await;
    assert_eq!(house.events(seen.attention_id).await[before.len()..], ["message_changed"]);
    let shown = messages(&house, seen.attention_id).await.pop().unwrap().whatsapp.unwrap();
    let Some(Detail::Media(media)) = shown.detail else { panic!("{shown:?}") };
    assert_eq!(media.failure, "MEDIA_EXPIRED");
    let open = "SELECT count(*) FROM attention.attention WHERE window_ends_at > now()";
    assert_eq!(house.count(open).await, 0, "the customer did not write");
}

#[tokio::test]
async fn a_content_after_a_revoke_changes_nothing_and_after_the_end_it_still_comes() {
    let house = house().await;
    take(&house, &[image(), revokes("wamid.1")]).await;
    take(&house, &[came()]).await;
    let seen = only(&house).await;
    assert!(messages(&house, seen.attention_id).await.pop().unwrap().attachments.is_empty());
    assert_eq!(fates(&house).await, ["applied", "applied"]);
    let mut second = image();
    second.item.wamid = "wamid.3".into();
    take(&house, &[second]).await;
    house.end_item(seen.last_interaction, true).await;
    let version = version(&house).await;
    let late = WhatsAppContent {
        target_wamid: "wamid.3".into(),
        result: Some(whats_app_content::Result::Attachment(file())),
    };
    take(&house, &[Chat::from(EVA).wamid("wamid.3").kind(Kind::Content(late))]).await;
    assert_eq!(messages(&house, seen.attention_id).await.pop().unwrap().attachments.len(), 1);
    assert!(self::version(&house).await > version, "history fetches it again");
    assert_eq!(house.attentions().await.len(), 1);
}

async fn version(house: &House) -> i64 {
    house.count("SELECT version FROM attention.interaction").await
}

async fn thread(house: &House, interaction: Uuid) -> Thread {
    let found = house.db.snapshot(move |tx| Box::pin(crate::attention::ended::whole(tx, interaction))).await;
    found.unwrap().unwrap()
}

/// History has the present version, and its grace time is over.
async fn purge(house: &House) -> usize {
    sqlx::query("UPDATE attention.interaction SET confirmed_version = version, confirmed_at = now() - interval '1 day'")
        .execute(house.db.pool())
        .await
        .unwrap();
    crate::attention::purge::all(&house.db, Duration::from_secs(60)).await.unwrap()
}

#[tokio::test]
async fn what_comes_after_the_purge_reaches_the_history() {
    let house = house().await;
    let (history, subjects) = (History::default(), Subjects::new("hilo").unwrap());
    let (archive, _shutdown) = archive(&history).await;
    take(&house, &[image(), Chat::from(EVA).wamid("wamid.2").says("mi clave es 1234")]).await;
    let seen = only(&house).await;
    house.end_item(seen.last_interaction, true).await;
    *history.thread.lock() = Some(thread(&house, seen.last_interaction).await);
    assert_eq!(purge(&house).await, 1);
    take(&house, &[revokes("wamid.2"), came(), reacts("wamid.2", "👍")]).await;
    assert_eq!(fates(&house).await, ["waiting", "waiting", "waiting"]);
    let before = version(&house).await;
    assert_eq!(crate::intake::apply_late(&house.db, &archive, &subjects).await.unwrap(), 2);
    assert_eq!(fates(&house).await, ["applied", "applied", "applied"]);
    assert!(version(&house).await > before, "history fetches it again");
    let whole = thread(&house, seen.last_interaction).await;
    let texts: Vec<&str> = whole.messages.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["mire", ""]);
    assert_eq!(whole.messages[0].attachments, [file()]);
    assert!(whole.messages[1].whatsapp.as_ref().unwrap().revoked_at.is_some());
    assert_eq!(crate::intake::apply_late(&house.db, &archive, &subjects).await.unwrap(), 0);
    assert_eq!(purge(&house).await, 1, "and leaves again");
}

#[tokio::test]
async fn what_the_history_cannot_give_back_now_waits() {
    let house = house().await;
    let (history, subjects) = (History::default(), Subjects::new("hilo").unwrap());
    let (archive, _shutdown) = archive(&history).await;
    take(&house, &[image()]).await;
    let seen = only(&house).await;
    house.end_item(seen.last_interaction, true).await;
    let whole = thread(&house, seen.last_interaction).await;
    purge(&house).await;
    take(&house, &[revokes("wamid.1")]).await;
    assert_eq!(crate::intake::apply_late(&house.db, &archive, &subjects).await.unwrap(), 0);
    assert_eq!(fates(&house).await, ["waiting"]);
    *history.thread.lock() = Some(whole);
    // Its turn comes after a pause, so that many of its kind hold up nobody.
    assert_eq!(crate::intake::apply_late(&house.db, &archive, &subjects).await.unwrap(), 0);
    let turn = "UPDATE attention.alteration SET next_at = now() WHERE tries = 1 AND next_at > now() + interval '9 s'";
    assert_eq!(sqlx::query(turn).execute(house.db.pool()).await.unwrap().rows_affected(), 1);
    assert_eq!(crate::intake::apply_late(&house.db, &archive, &subjects).await.unwrap(), 1);
    assert_eq!(fates(&house).await, ["applied"]);
}
