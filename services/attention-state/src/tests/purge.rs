//! The purge and what must still work after it: late statuses, answers, desks, reopening. Also the pages in which ended
//! threads travel.

pub(super) mod archive;
mod rounds;

use std::time::Duration;

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::attention::v1::{
    AddNoteRequest, GetAttentionRequest, ListMessagesRequest, SendMessageRequest,
};
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::event::v1::AttentionEvent;
use hilo_proto::history::v1::Thread;
use hilo_proto::inbound::v1::Attachment;
use prost::Message as _;
use uuid::Uuid;

use super::{House, Mail, fresh};
use crate::attention::domain::InteractionId;
use crate::attention::outbox::DATA;
use crate::attention::reload::is_whole;
use crate::attention::{ended, purge};
use crate::desk::read;

const NOW: Duration = Duration::ZERO;

/// An ended item with a mail with an attachment, an answer, a form and a draft; history has confirmed it.
struct Scene {
    house: House,
    attention: Uuid,
    interaction: Uuid,
    send: String,
}

async fn scene() -> Scene {
    let house = House::open().await;
    let file = Attachment {
        sha256: "ab".repeat(32),
        file_name: "foto.png".into(),
        media_type: "image/png".into(),
        size_bytes: 7,
        ..Attachment::default()
    };
    let mail = Mail::from("eva@cliente.example").id("m1@x").with(|email| {
        email.html = "<p>no llegó</p>".into();
        email.attachments = vec![file];
    });
    house.take(&[mail]).await;
    let seen = house.attentions().await[0].clone();
    house.open_item("ana", seen.last_interaction).await;
    let request = SendMessageRequest {
        interaction_id: seen.last_interaction.to_string(),
        request_id: fresh(),
        text: "Ya va en camino".into(),
        ..SendMessageRequest::default()
    };
    let sent = house.actions.send(house.access("ana").await, request).await.unwrap().message.unwrap();
    for sql in [
        "INSERT INTO attention.form_answer (interaction_id, form_key, form_version, version, answers)
         VALUES ($1, 'reclamos', 3, 5, '{\"motivo\": \"Envío\"}')",
        "INSERT INTO attention.draft (interaction_id, version, body) VALUES ($1, 1, 'borrador')",
    ] {
        sqlx::query(sql).bind(seen.last_interaction).execute(house.db.pool()).await.unwrap();
    }
    let note = AddNoteRequest {
        interaction_id: seen.last_interaction.to_string(),
        text: "llamó dos veces".into(),
        request_id: fresh(),
    };
    house.actions.add_note(house.access("ana").await, note).await.unwrap();
    house.end_item(seen.last_interaction, false).await;
    let scene = Scene {
        house,
        attention: seen.attention_id,
        interaction: seen.last_interaction,
        send: sent.message_id,
    };
    scene.confirm().await;
    scene
}

impl Scene {
    async fn version(&self) -> i64 {
        self.house.count("SELECT version FROM attention.interaction WHERE ordinal = 1").await
    }

    /// As history does after it has stored the thread as it is now.
    async fn confirm(&self) {
        let stored = vec![(self.interaction, self.version().await)];
        let confirmed = self.house.db.transaction(move |tx| {
            let stored = stored.clone();
            Box::pin(async move { ended::confirm(tx, &stored).await })
        });
        assert_eq!(confirmed.await.unwrap(), 1);
    }

    async fn purge(&self) -> usize {
        purge::all(&self.house.db, NOW).await.unwrap()
    }

    async fn thread(&self) -> Thread {
        let id = self.interaction;
        let page = self.house.db.snapshot(move |tx| Box::pin(async move { ended::page(tx, id, None).await }));
        page.await.unwrap().unwrap().thread
    }

    async fn is_whole(&self) -> bool {
        let id = InteractionId(self.interaction);
        self.house.db.read(move |conn| Box::pin(async move { is_whole(conn, id).await })).await.unwrap()
    }

    async fn unconfirmed(&self) -> usize {
        let found =
            self.house.db.read(|conn| Box::pin(async move { ended::unconfirmed(conn, None, 10).await }));
        found.await.unwrap().len()
    }

    async fn report(&self, state: SendState) {
        let envelope = DeliveryEnvelope {
            report_id: fresh(),
            send_id: self.send.clone(),
            account_key: "soporte-mail".into(),
            state: state.into(),
            ..DeliveryEnvelope::default()
        };
        let headers = vec![(HEADER_ID.to_owned(), Uuid::now_v7().to_string())];
        let report = Delivery::new("hilo.delivery.email.soporte-mail", headers, envelope.encode_to_vec());
        let outcomes = self.house.delivery.handle(&[report]).await;
        assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
    }
}

#[tokio::test]
async fn bodies_forms_and_drafts_leave_and_heads_keys_and_participants_stay() {
    let scene = scene().await;
    let house = &scene.house;
    let keys = house.count("SELECT count(*) FROM attention.message_key").await;
    assert_eq!(scene.purge().await, 1);
    assert_eq!(scene.purge().await, 0, "once");
    let left = "SELECT count(*) FROM attention.message WHERE text_body <> '' OR html_body <> '' OR attachments <> '[]'";
    assert_eq!(house.count(left).await, 0);
    let gone = "SELECT (SELECT count(*) FROM attention.draft) + (SELECT count(*) FROM attention.form_answer)";
    assert_eq!(house.count(gone).await, 0);
    assert_eq!(house.count("SELECT count(*) FROM attention.interaction WHERE preview <> ''").await, 0);
    assert_eq!(house.count("SELECT count(*) FROM attention.message_key").await, keys);
    assert_eq!(house.attentions().await[0].participants, ["eva@cliente.example"]);
    // A desk sees heads, and where the bodies are.
    let ana = house.access("ana").await;
    let request = GetAttentionRequest { attention_id: scene.attention.to_string() };
    let attention = read::attention(&house.db, ana.clone(), request).await.unwrap().attention.unwrap();
    assert_eq!(attention.interaction_ids_in_history, [scene.interaction.to_string()]);
    assert_eq!(attention.interactions.len(), 1);
    let request = ListMessagesRequest { attention_id: scene.attention.to_string(), ..Default::default() };
    let messages = read::messages(&house.db, ana, request).await.unwrap().messages;
    assert_eq!(messages.len(), 3);
    for message in messages {
        assert!(message.body_in_history && message.text.is_empty());
        assert_eq!(message.subject.is_empty(), message.internal);
        assert!(message.attachments.is_empty() && message.from.is_some());
    }
    assert!(!scene.is_whole().await);
}

/// Each line breaks one condition of the `WHERE` in `purge`; without that condition its line is purged.
#[tokio::test]
async fn only_what_history_holds_as_it_is_leaves() {
    let scene = scene().await;
    let reopen = "UPDATE attention.interaction SET state = 'open', ended_at = NULL";
    for (disturbance, grace) in [
        ("SELECT 1", Duration::from_secs(3600)),
        ("UPDATE attention.interaction SET confirmed_at = NULL", Duration::from_secs(3600)),
        ("UPDATE attention.interaction SET version = version + 1", NOW),
        ("UPDATE attention.interaction SET confirmed_version = NULL", NOW),
        (reopen, NOW),
        ("UPDATE attention.interaction SET purged_at = now()", NOW),
    ] {
        let mut tx = scene.house.db.pool().begin().await.unwrap();
        sqlx::query(disturbance).execute(&mut *tx).await.unwrap();
        let purged = purge::purge(&mut tx, &[scene.interaction], grace).await.unwrap();
        assert_eq!(purged, Vec::<Uuid>::new(), "{disturbance}");
        tx.rollback().await.unwrap();
    }
    let mut tx = scene.house.db.pool().begin().await.unwrap();
    assert_eq!(purge::purge(&mut tx, &[scene.interaction], NOW).await.unwrap(), [scene.interaction]);
}

#[tokio::test]
async fn a_thread_that_is_being_changed_waits_and_a_broken_off_purge_changes_nothing() {
    let scene = scene().await;
    let mut tx = scene.house.db.pool().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM attention.attention FOR UPDATE").execute(&mut *tx).await.unwrap();
    assert_eq!(scene.purge().await, 0);
    tx.rollback().await.unwrap();
    // As a kill before the commit leaves it.
    let mut tx = scene.house.db.pool().begin().await.unwrap();
    purge::purge(&mut tx, &[scene.interaction], NOW).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(scene.is_whole().await);
    assert_eq!(scene.thread().await.messages[0].text, "Hola,\n\nno llegó.");
    assert_eq!(scene.purge().await, 1);
}

/// A late status finds its message, raises the version, and travels to history as a patch: heads and statuses, no bodies.
#[tokio::test]
async fn a_late_status_still_lands_and_is_kept_before_the_next_purge() {
    let scene = scene().await;
    scene.report(SendState::Unknown).await;
    assert_eq!((scene.purge().await, scene.unconfirmed().await), (0, 1), "history must have it first");
    scene.confirm().await;
    assert_eq!(scene.purge().await, 1);
    let before = scene.version().await;
    scene.report(SendState::Sent).await;
    assert_eq!((scene.version().await, scene.unconfirmed().await), (before + 1, 1));
    let patch = scene.thread().await;
    assert_eq!(patch.version, before + 1);
    let states: Vec<&str> = patch.messages.iter().map(|one| one.delivery_state.as_str()).collect();
    assert_eq!(states, ["", "sent"]);
    assert!(patch.messages.iter().all(|one| one.text.is_empty() && one.attachments.is_empty()));
    assert!(patch.form.is_none() && patch.notes.is_empty());
    scene.confirm().await;
    assert_eq!((scene.purge().await, scene.unconfirmed().await), (0, 0));
}

#[tokio::test]
async fn answers_after_a_purge_find_their_thread_and_can_be_answered() {
    let scene = scene().await;
    let house = &scene.house;
    scene.purge().await;
    house.take(&[Mail::from("eva@cliente.example").id("m2@x").answers(&["m1@x"])]).await;
    let seen = house.attentions().await[0].clone();
    assert_eq!(
        (seen.messages, seen.interactions.as_slice()),
        (4, &["ended".to_owned(), "queued".to_owned()][..])
    );
    let opened = house.open_item("ana", seen.last_interaction).await;
    let in_history: Vec<bool> = opened.messages.iter().map(|one| one.body_in_history).collect();
    assert_eq!(in_history, [true, true, true, false]);
    let request = SendMessageRequest {
        interaction_id: seen.last_interaction.to_string(),
        request_id: fresh(),
        text: "Otra vez".into(),
        ..SendMessageRequest::default()
    };
    let sent = house.actions.send(house.access("ana").await, request).await.unwrap().message.unwrap();
    assert_eq!(sent.to[0].address, "eva@cliente.example");
    // A closed attention that was purged has a successor like any other; the token alone finds it too.
    house.end_item(seen.last_interaction, true).await;
    house.take(&[Mail::from("eva@cliente.example").token(scene.attention)]).await;
    assert_eq!(house.attentions().await[1].linked_attention_id, Some(scene.attention));
}

/// The number of attachments outlives their list, for the events of late statuses.
#[tokio::test]
async fn events_after_a_purge_still_count_attachments() {
    let scene = scene().await;
    sqlx::query("UPDATE attention.message SET attachments = '[{}, {}]' WHERE direction = 'outbound'")
        .execute(scene.house.db.pool())
        .await
        .unwrap();
    scene.purge().await;
    scene.report(SendState::Sent).await;
    let payload: Vec<u8> = sqlx::query_scalar(
        "SELECT payload FROM kit.outbox_log WHERE stream = 'events' ORDER BY sequence DESC LIMIT 1",
    )
    .fetch_one(scene.house.db.pool())
    .await
    .unwrap();
    let event: AttentionEvent = hilo_proto::json::from_json(DATA, &payload).unwrap();
    assert_eq!(event.message.unwrap().attachment_count, 2);
}

/// 100 MiB in pages that gRPC takes: every message once, in order; a change between two pages is told.
#[tokio::test]
async fn a_huge_thread_travels_in_small_pages() {
    let scene = scene().await;
    let house = &scene.house;
    // A session of its own: a busy machine needs longer for 100 MiB than a statement of ours may take.
    let mut session = house.db.pool().acquire().await.unwrap().detach();
    sqlx::query("SET statement_timeout = 0").execute(&mut session).await.unwrap();
    sqlx::query(
        "INSERT INTO attention.message (message_id, attention_id, interaction_id, position, direction, from_address,
           text_body, occurred_at)
         SELECT gen_random_uuid(), $1, $2, n, 'inbound', 'eva@cliente.example', n || repeat(' x', 10240), now()
         FROM generate_series(4, 5000) AS n",
    )
    .bind(scene.attention)
    .bind(scene.interaction)
    .execute(&mut session)
    .await
    .unwrap();
    sqlx::Connection::close(session).await.unwrap();
    let id = scene.interaction;
    let (mut from, mut seen, mut pages) = (None, 3, 0);
    loop {
        let page = house.db.snapshot(move |tx| Box::pin(async move { ended::page(tx, id, from).await }));
        let page = page.await.unwrap().unwrap();
        let bytes = page.thread.encoded_len();
        assert!(bytes < 3 * 1024 * 1024, "{bytes} bytes");
        for message in page.thread.messages.iter().skip(if pages == 0 { 2 } else { 0 }) {
            seen += 1;
            assert!(message.text.starts_with(&format!("{seen} ")), "{seen}");
        }
        pages += 1;
        from = page.next;
        if from.is_none() {
            break;
        }
        if pages == 2 {
            let again = ended::Place { version: 1, offset: 3 };
            let stale =
                house.db.snapshot(move |tx| Box::pin(async move { ended::page(tx, id, Some(again)).await }));
            assert_eq!(stale.await.unwrap_err().reason(), "THREAD_CHANGED");
        }
    }
    assert_eq!(seen, 5000);
    assert!(pages >= 34, "{pages} pages");
    assert_eq!(scene.purge().await, 1, "a full one passes");
}
