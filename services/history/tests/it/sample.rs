//! Threads to store, and a fresh migrated store per test.

use hilo_history::domain::thread::{Direction, Head, Mailbox, Message, Recipient};
use hilo_history::domain::{AttentionId, InteractionId, MessageId, Scope, Thread};
use hilo_history::store::{PAGE_ENTRIES, Store};
use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_test_support::Postgres;
use time::OffsetDateTime;

/// An instant; seconds since 2026-01-01T00:00:00Z.
pub fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_767_225_600 + seconds).unwrap()
}

/// A fresh, migrated database.
pub async fn database() -> String {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_history::migrate(&url).await.unwrap();
    url
}

/// A store on a database of its own.
pub async fn store() -> Store {
    Store::new(Db::connect(&DatabaseConfig::new(database().await)).await.unwrap())
}

/// A stored thread, all pages of it.
pub async fn read(store: &Store, id: InteractionId) -> Option<Thread> {
    let page = |from| async move { store.thread_page(&Scope::All, id, from, PAGE_ENTRIES).await.unwrap() };
    let first = page(None).await?;
    let (mut thread, mut next) = (first.thread, first.next);
    while next.is_some() {
        let more = page(next).await.expect("a thread that was there stays");
        thread.notes.extend(more.thread.notes);
        thread.messages.extend(more.thread.messages);
        next = more.next;
    }
    Some(thread)
}

/// A message of the customer.
pub fn message(text: &str) -> Message {
    Message {
        id: MessageId::new(),
        direction: Direction::Inbound,
        from: Mailbox { address: "lucia@ejemplo.pe".into(), name: "Lucía Ramírez".into() },
        to: vec![Mailbox { address: "ventas@hilo.example".into(), name: "Ventas".into() }],
        cc: vec![],
        subject: "Pedido".into(),
        text: text.into(),
        html: String::new(),
        attachments: vec![],
        occurred_at: at(0),
        delivery_state: String::new(),
        delivery_detail: String::new(),
        delivery_reason: String::new(),
        agent_key: String::new(),
        mail_class: "human".into(),
        sender_verified: true,
        internet_message_id: "a@ejemplo.pe".into(),
        bcc: vec![],
        recipients: vec![],
        whatsapp: None,
    }
}

/// A mail of ours to `lucia@ejemplo.pe`, with `jefa@hilo.example` copied secretly; each has a state.
pub fn sent(text: &str) -> Message {
    let recipient = |address: &str, state: &str, reply_code, words: &str| Recipient {
        address: address.into(),
        state: state.into(),
        reply_code,
        enhanced_code: "2.0.0".into(),
        reply_text: words.into(),
    };
    Message {
        direction: Direction::Outbound,
        to: vec![Mailbox { address: "lucia@ejemplo.pe".into(), name: "Lucía Ramírez".into() }],
        from: Mailbox { address: "ventas@hilo.example".into(), name: "Ventas".into() },
        bcc: vec![Mailbox { address: "jefa@hilo.example".into(), name: "Jefa".into() }],
        recipients: vec![
            recipient("lucia@ejemplo.pe", "sent", 250, "ok"),
            recipient("jefa@hilo.example", "queued", 451, "«más tarde»"),
        ],
        delivery_state: "queued".into(),
        agent_key: "ana".into(),
        mail_class: String::new(),
        ..message(text)
    }
}

/// A thread of campaign `ventas` with one message.
pub fn thread(text: &str) -> Thread {
    Thread {
        version: 1,
        head: Head {
            interaction_id: InteractionId::new(),
            attention_id: AttentionId::new(),
            attention_number: 1,
            ordinal: 1,
            campaign_key: "ventas".into(),
            agent_key: "ana".into(),
            channel: "email".into(),
            direction: Direction::Inbound,
            customer: Mailbox { address: "lucia@ejemplo.pe".into(), name: "Lucía Ramírez".into() },
            subject: "Pedido".into(),
            ended_at: at(0),
            attention_closed: false,
            message_count: 1,
            tags: vec![],
            vip: false,
        },
        account_key: "ventas-mail".into(),
        waiting_since: Some(at(-60)),
        opened_at: Some(at(-30)),
        linked_attention_id: None,
        contact_id: None,
        messages: vec![message(text)],
        form: None,
        notes: vec![],
    }
}
