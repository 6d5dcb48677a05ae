//! Threads that come, lie and go back in pages: the same rules as for small ones, whatever breaks off.

use std::collections::BTreeMap;

use hilo_history::app::{Keeper, Sweep};
use hilo_history::domain::criteria::Asked;
use hilo_history::domain::thread::{Attachment, FilledForm, FormField, Note, NoteId};
use hilo_history::domain::{Criteria, Scope, Thread};
use hilo_history::store::{PageRequest, Store, Stored};
use hilo_history::{HistoryConfig, Metrics};
use hilo_kit::config::{DatabaseConfig, GrpcConfig};

use crate::fake::Fake;
use crate::sample;

/// Messages `uno0`, `uno1`, …, one with a file, and a form.
fn long(messages: usize) -> Thread {
    let mut thread = sample::thread("");
    thread.messages = (0..messages).map(|n| sample::message(&format!("uno{n}"))).collect();
    thread.messages[1].from.address = "otra@ejemplo.pe".into();
    if let Some(message) = thread.messages.get_mut(3) {
        *message = sample::sent("uno3");
    }
    thread.messages[1].attachments = vec![Attachment {
        sha256: "ab".repeat(32),
        file_name: "factura.pdf".into(),
        media_type: "application/pdf".into(),
        size_bytes: 3,
        content_id: String::new(),
        inline: false,
    }];
    thread.head.message_count = i32::try_from(messages).unwrap();
    let field = FormField { label: "Motivo".into(), value: Some("reclamo".into()) };
    let fields = BTreeMap::from([("motivo".to_owned(), field)]);
    thread.form = Some(FilledForm { key: "reclamos".into(), version: 4, fields });
    thread
}

/// What attention-state hands over after its purge: heads and statuses.
fn purged(thread: &Thread) -> Thread {
    let mut patch = thread.clone();
    patch.version += 1;
    patch.head.tags = vec!["Resuelto".into()];
    patch.form = None;
    for message in &mut patch.messages {
        message.text.clear();
        message.attachments.clear();
        message.delivery_detail = "tarde".into();
        message.recipients.iter_mut().for_each(|one| one.state = "failed".into());
    }
    patch
}

/// Stores in pages of three messages.
pub async fn put_in_pages(store: &Store, thread: &Thread) -> Stored {
    let mut incoming = store.incoming(Thread { messages: Vec::new(), ..thread.clone() });
    for page in thread.messages.chunks(3) {
        incoming.add(page.to_vec()).await.unwrap();
    }
    incoming.finish().await.unwrap()
}

async fn stored(store: &Store, thread: &Thread) -> Thread {
    sample::read(store, thread.head.interaction_id).await.unwrap()
}

async fn lying(store: &Store) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM arriving_message").fetch_one(store.db().pool()).await.unwrap()
}

async fn found(store: &Store, asked: Asked) -> usize {
    let page = PageRequest::first(Scope::All, Criteria::parse(&asked).unwrap(), "UTC".into(), 10);
    store.search(page).await.unwrap().heads.len()
}

fn words(words: &str) -> Asked {
    Asked { words: words.into(), ..Asked::default() }
}

#[tokio::test]
async fn pages_become_the_same_thread_as_a_whole_one() {
    let (paged, whole) = (sample::store().await, sample::store().await);
    let thread = long(10);
    assert_eq!(put_in_pages(&paged, &thread).await, Stored::New);
    assert_eq!(whole.put(thread.clone()).await.unwrap(), Stored::New);
    assert_eq!(stored(&paged, &thread).await, thread);
    for store in [&paged, &whole] {
        for asked in ["uno0 uno9", "factura", "reclamo"] {
            assert_eq!(found(store, words(asked)).await, 1, "{asked}");
        }
        let customer = Asked { customer: "otra@ejemplo".into(), ..Asked::default() };
        assert_eq!(found(store, customer).await, 1);
    }
    assert_eq!(lying(&paged).await, 0);
    // The same version again, and an older one, change nothing and leave nothing behind.
    assert_eq!(put_in_pages(&paged, &thread).await, Stored::Known);
    assert_eq!((stored(&paged, &thread).await, lying(&paged).await), (thread, 0));
}

/// Removing `CASE WHEN a.content` in `update_known`, or the condition on contents in `replace_attachments`, or
/// `keeps_old_contents`, turns this red.
#[tokio::test]
async fn a_patch_in_pages_changes_heads_and_keeps_bodies_files_form_and_words() {
    let store = sample::store().await;
    let thread = long(10);
    put_in_pages(&store, &thread).await;
    let patch = purged(&thread);
    assert_eq!(put_in_pages(&store, &patch).await, Stored::Replaced);
    let mut expected = thread.clone();
    expected.version = patch.version;
    expected.head.tags = patch.head.tags.clone();
    for message in &mut expected.messages {
        message.delivery_detail = "tarde".into();
    }
    expected.messages[3].recipients = patch.messages[3].recipients.clone();
    assert_ne!(expected.messages[3].recipients, thread.messages[3].recipients);
    assert_eq!(stored(&store, &thread).await, expected);
    for asked in ["uno0 uno9", "factura", "reclamo"] {
        assert_eq!(found(&store, words(asked)).await, 1, "{asked}");
    }
    // A reopened thread comes whole again, with more; what it says now is what is found.
    let mut whole = expected.clone();
    whole.version += 1;
    whole.messages[0].text = "cambiado".into();
    whole.messages.push(sample::message("nuevo"));
    whole.head.message_count += 1;
    assert_eq!(put_in_pages(&store, &whole).await, Stored::Replaced);
    assert_eq!(stored(&store, &thread).await, whole);
    assert_eq!((found(&store, words("cambiado nuevo")).await, found(&store, words("uno0")).await), (1, 0));
}

#[tokio::test]
async fn a_message_the_newer_pages_lack_stays_at_its_place() {
    let store = sample::store().await;
    let thread = long(6);
    put_in_pages(&store, &thread).await;
    let mut newer = thread.clone();
    newer.version = 2;
    newer.messages.remove(2);
    newer.messages.push(sample::message("siete"));
    assert_eq!(put_in_pages(&store, &newer).await, Stored::Replaced);
    let kept = stored(&store, &thread).await;
    let texts: Vec<&str> = kept.messages.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["uno0", "uno1", "uno2", "uno3", "uno4", "uno5", "siete"]);
    assert_eq!((kept.head.message_count, found(&store, words("uno2 siete")).await), (7, 1));
}

/// A patch that comes as one small page onto a thread that is stored large does not bring it into memory, and keeps it.
#[tokio::test]
async fn a_small_patch_onto_a_large_thread_keeps_it() {
    let store = sample::store().await;
    let mut thread = long(20);
    for message in &mut thread.messages {
        message.text.push_str(&" x".repeat(512 * 1024));
    }
    put_in_pages(&store, &thread).await;
    let patch = purged(&thread);
    assert_eq!(store.put(patch.clone()).await.unwrap(), Stored::Replaced);
    let kept = stored(&store, &thread).await;
    assert!(kept.messages.iter().zip(&thread.messages).all(|(kept, was)| kept.text == was.text));
    assert_eq!((kept.form, kept.messages[3].delivery_detail.as_str()), (thread.form, "tarde"));
    assert_eq!(kept.messages[3].bcc, thread.messages[3].bcc);
    assert_eq!(kept.messages[3].recipients, patch.messages[3].recipients);
    assert_eq!((found(&store, words("uno19")).await, lying(&store).await), (1, 0));
}

#[tokio::test]
async fn pages_that_were_lost_or_left_are_noticed_and_dropped() {
    let store = sample::store().await;
    let thread = long(6);
    let mut incoming = store.incoming(Thread { messages: Vec::new(), ..thread.clone() });
    incoming.add(thread.messages.clone()).await.unwrap();
    // As a crash of PostgreSQL leaves a table that is not logged.
    sqlx::query("TRUNCATE arriving_message").execute(store.db().pool()).await.unwrap();
    assert_eq!(incoming.finish().await.unwrap_err().reason(), "PAGES_LOST");
    // As a crash of this process leaves it.
    let mut left = store.incoming(Thread { messages: Vec::new(), ..thread.clone() });
    left.add(thread.messages.clone()).await.unwrap();
    drop(left);
    assert_eq!(
        (store.drop_old_pages().await.unwrap(), lying(&store).await),
        (0, 6),
        "young ones may be in use"
    );
    sqlx::query("UPDATE arriving_message SET arrived_at = now() - interval '2 hours'")
        .execute(store.db().pool())
        .await
        .unwrap();
    assert_eq!((store.drop_old_pages().await.unwrap(), lying(&store).await), (6, 0));
    assert_eq!(put_in_pages(&store, &thread).await, Stored::New);
}

#[tokio::test]
async fn a_keeper_fetches_page_by_page_and_begins_again_when_one_fails() {
    let (fake, store) = (Fake::start().await, sample::store().await);
    let keeper = Keeper::new(store.clone(), fake.channel(), 4, Metrics::new());
    let grpc = GrpcConfig { listen: "127.0.0.1:0".parse().unwrap() };
    let config = HistoryConfig::new(grpc, DatabaseConfig::new("postgres://unused"));
    let thread = long(10);
    fake.end(&thread);
    {
        let mut state = fake.state.lock();
        state.page_messages = Some(3);
        state.failing_pages = 1;
    }
    let sweep = keeper.sweep(&config).await.unwrap();
    assert_eq!((sweep, lying(&store).await), (Sweep { found: 1, confirmed: 0, failed: 1 }, 0));
    let sweep = keeper.sweep(&config).await.unwrap();
    assert_eq!(sweep, Sweep { found: 1, confirmed: 1, failed: 0 });
    assert_eq!((stored(&store, &thread).await, lying(&store).await), (thread, 0));
    assert_eq!(fake.state.lock().fetches, 2 + 4);
}

#[tokio::test]
async fn notes_come_and_go_in_pages_too() {
    let store = sample::store().await;
    let mut thread = long(4);
    thread.notes = (0..300)
        .map(|n| Note {
            id: NoteId::new(),
            author_key: "ana".into(),
            text: format!("nota{n}{}", " x".repeat(5_000)),
            created_at: sample::at(n),
        })
        .collect();
    let head = Thread { messages: Vec::new(), notes: Vec::new(), ..thread.clone() };
    let mut incoming = store.incoming(head);
    incoming.add_notes(thread.notes[..100].to_vec());
    incoming.add(thread.messages.clone()).await.unwrap();
    incoming.add_notes(thread.notes[100..].to_vec());
    assert_eq!(incoming.finish().await.unwrap(), Stored::New);
    assert_eq!(stored(&store, &thread).await, thread);
    let (mut from, mut back, mut pages) =
        (None, Thread { notes: vec![], messages: vec![], ..thread.clone() }, 0);
    loop {
        let page = store.stored_page(thread.head.interaction_id, from).await.unwrap().unwrap();
        let bytes: usize = page.thread.notes.iter().map(|one| one.text.len()).sum();
        assert!(bytes < 3 * 1024 * 1024, "{bytes} bytes");
        back.notes.extend(page.thread.notes);
        back.messages.extend(page.thread.messages);
        pages += 1;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((back, pages), (thread, 2));
}

/// 100 MiB: never more than a page of it is in this process's hands, on the way in and on the way back.
#[tokio::test]
async fn five_thousand_large_messages_are_stored_and_handed_back_in_pages() {
    let store = sample::store().await;
    let thread = long(2);
    let mut incoming = store.incoming(Thread { messages: Vec::new(), ..thread.clone() });
    let text = |n: usize| format!("palabra{n}{}", " x".repeat(10 * 1024));
    for page in 0..50 {
        incoming.add((0..100).map(|n| sample::message(&text(page * 100 + n))).collect()).await.unwrap();
    }
    // Longer than a caller waits for a commit on a slow machine; the commit comes nevertheless.
    if let Err(error) = incoming.finish().await {
        assert_eq!(error.reason(), "COMMIT_UNKNOWN");
    }
    let id = thread.head.interaction_id;
    hilo_test_support::eventually("it is stored", std::time::Duration::from_secs(60), || async {
        store.known(vec![(id, 1)]).await.is_ok_and(|known| known.len() == 1)
    })
    .await
    .unwrap();
    assert_eq!((found(&store, words("palabra0 palabra4999")).await, lying(&store).await), (1, 0));
    let (mut from, mut seen) = (None, 0);
    loop {
        let page = store.stored_page(id, from).await.unwrap().unwrap();
        let bytes: usize = page.thread.messages.iter().map(|one| one.text.len()).sum();
        assert!(bytes < 3 * 1024 * 1024, "{bytes} bytes");
        for message in &page.thread.messages {
            assert!(message.text.starts_with(&format!("palabra{seen} ")), "{seen}");
            seen += 1;
        }
        let Some(next) = page.next else { break };
        from = Some(next);
    }
    assert_eq!(seen, 5_000);
    let stale = from.map(|mut place| {
        place.version += 1;
        place
    });
    assert_eq!(store.stored_page(id, stale).await.unwrap_err().reason(), "THREAD_CHANGED");
    let other = long(2).head.interaction_id;
    assert_eq!(store.stored_page(other, None).await.unwrap(), None);
}
