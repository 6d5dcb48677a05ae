//! Hidden recipients and the state of each: who sees them, and threads that an earlier release stored without them.

use hilo_history::app::{Keeper, Sweep};
use hilo_history::domain::Thread;
use hilo_history::store::Store;
use hilo_history::{HistoryConfig, Metrics};
use hilo_kit::config::{DatabaseConfig, GrpcConfig};
use hilo_kit::db::Db;
use hilo_kit::error::reason_of;
use hilo_proto::history::v1::{
    ExportFormat, ExportThreadsRequest, GetThreadRequest, RecipientDelivery, SearchThreadsRequest,
};
use hilo_test_support::Postgres;

use crate::fake::Fake;
use crate::rights::{Running, running};
use crate::sample;

const HIDDEN: &str = "jefa@hilo.example";

fn answered() -> Thread {
    let mut thread = sample::thread("pregunta");
    thread.messages.push(sample::sent("respuesta"));
    thread.head.message_count = 2;
    thread
}

async fn exported(running: &Running, format: ExportFormat) -> String {
    let request =
        ExportThreadsRequest { search: Some(SearchThreadsRequest::default()), format: format.into() };
    let mut stream = running.client("ana").export_threads(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        bytes.extend(piece.chunk);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn who_may_read_the_thread_sees_them_and_no_mail_file_names_the_hidden_ones() {
    let running = running().await;
    let thread = answered();
    running.keep(std::slice::from_ref(&thread)).await;
    running.ready().await;
    let id = || GetThreadRequest {
        interaction_id: thread.head.interaction_id.to_string(),
        ..GetThreadRequest::default()
    };
    let read = running.client("ana").get_thread(id()).await.unwrap().into_inner().thread.unwrap();
    let answer = &read.messages[1];
    let hidden: Vec<&str> = answer.bcc.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(hidden, [HIDDEN]);
    let jefa = RecipientDelivery {
        address: HIDDEN.into(),
        delivery_state: "queued".into(),
        reply_code: 451,
        enhanced_code: "2.0.0".into(),
        reply_text: "«más tarde»".into(),
    };
    assert_eq!((answer.recipients.len(), &answer.recipients[1]), (2, &jefa));
    let refused = running.client("luis").get_thread(id()).await.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("THREAD_NOT_FOUND"));

    // Nobody finds the thread by them either, as words or as the customer.
    for asked in [
        SearchThreadsRequest { words: "jefa".into(), ..Default::default() },
        SearchThreadsRequest { customer: "jefa".into(), ..Default::default() },
    ] {
        let found = running.client("ana").search_threads(asked).await.unwrap().into_inner().threads;
        assert!(found.is_empty(), "{found:?}");
    }
    for format in [ExportFormat::Eml, ExportFormat::Mbox] {
        let mails = exported(&running, format).await;
        assert!(mails.contains("lucia@ejemplo.pe") && !mails.contains("jefa"), "{mails}");
    }
    assert!(exported(&running, ExportFormat::JsonLines).await.contains(HIDDEN));
}

struct Scene {
    fake: Fake,
    store: Store,
    keeper: Keeper,
    config: HistoryConfig,
}

async fn scene(store: Store) -> Scene {
    let fake = Fake::start().await;
    let keeper = Keeper::new(store.clone(), fake.channel(), 4, Metrics::new());
    let grpc = GrpcConfig { listen: "127.0.0.1:0".parse().unwrap() };
    let config = HistoryConfig::new(grpc, DatabaseConfig::new("postgres://unused"));
    Scene { fake, store, keeper, config }
}

impl Scene {
    /// Ends, stores and confirms it, then takes away what an earlier release did not keep.
    async fn of_an_earlier_release(&self, thread: &Thread) {
        self.fake.end(thread);
        let sweep = self.keeper.sweep(&self.config).await.unwrap();
        assert_eq!(sweep, Sweep { found: 1, confirmed: 1, failed: 0 });
        let forget = sqlx::query(
            "UPDATE message SET hidden_copies = NULL, recipient_states = NULL WHERE interaction_id = $1",
        );
        forget.bind(thread.head.interaction_id.uuid()).execute(self.store.db().pool()).await.unwrap();
    }

    async fn stored(&self, thread: &Thread) -> Thread {
        sample::read(&self.store, thread.head.interaction_id).await.unwrap()
    }

    async fn lacking(&self) -> usize {
        self.store.lacking_recipients(None, 10).await.unwrap().len()
    }
}

/// Guards the exceptions for what is lacking in `known`, `Before::has` and the upsert's WHERE: without any of them the thread
/// stays as it is.
#[tokio::test]
async fn a_thread_of_an_earlier_release_is_fetched_once_more_at_its_version() {
    for (pages, bodies) in [(None, true), (Some(1), true), (None, false), (Some(1), false)] {
        let scene = scene(sample::store().await).await;
        let thread = answered();
        scene.of_an_earlier_release(&thread).await;
        let without = scene.stored(&thread).await;
        assert!(without.messages[1].bcc.is_empty() && without.messages[1].recipients.is_empty());
        if !bodies {
            // Purged meanwhile: heads and states come, the words stay.
            let mut patch = thread.clone();
            patch.messages.iter_mut().for_each(|message| message.text.clear());
            scene.fake.end(&patch);
        }
        scene.fake.state.lock().page_messages = pages;
        assert_eq!(scene.lacking().await, 1);
        let next = scene.keeper.fetch_again(None).await.unwrap();
        assert_eq!(next, Some(thread.head.interaction_id));
        assert_eq!(scene.stored(&thread).await, thread, "{pages:?} {bodies}");
        let fetches = scene.fake.state.lock().fetches;
        assert_eq!((scene.keeper.fetch_again(next).await.unwrap(), scene.lacking().await), (None, 0));
        assert_eq!(scene.keeper.sweep(&scene.config).await.unwrap(), Sweep::default());
        assert_eq!(scene.fake.state.lock().fetches, fetches, "it is not asked for again");
    }
}

#[tokio::test]
async fn one_that_fails_holds_up_no_other_and_one_that_is_gone_is_not_asked_for_again() {
    let scene = scene(sample::store().await).await;
    let mut threads = [answered(), answered(), answered()];
    threads.sort_by_key(|thread| thread.head.interaction_id);
    for thread in &threads {
        scene.of_an_earlier_release(thread).await;
    }
    let [failing, reopened, fine] = &threads;
    scene.fake.state.lock().malformed.insert(failing.head.interaction_id);
    scene.fake.reopen(reopened.head.interaction_id);
    assert_eq!(scene.keeper.fetch_again(None).await.unwrap(), Some(fine.head.interaction_id));
    assert_eq!(&scene.stored(fine).await, fine);
    assert_eq!(scene.lacking().await, 1, "the reopened one comes whole when it ends again");
    let last = Some(fine.head.interaction_id);
    assert_eq!(scene.keeper.fetch_again(last).await.unwrap(), None, "the others have their turn first");
    scene.fake.state.lock().malformed.clear();
    scene.keeper.fetch_again(None).await.unwrap();
    assert_eq!((&scene.stored(failing).await, scene.lacking().await), (failing, 0));
    // And the reopened one, ended again.
    let mut again = reopened.clone();
    again.version += 2;
    scene.fake.end(&again);
    scene.keeper.sweep(&scene.config).await.unwrap();
    assert_eq!(scene.stored(&again).await, again);
}

/// A database as the release before left it, with a thread in it.
#[tokio::test]
async fn the_migration_keeps_stored_threads_and_finds_them_lacking() {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    let mut before = sqlx::migrate!("./migrations");
    before.migrations =
        before.migrations.iter().filter(|one| one.version < 27).cloned().collect::<Vec<_>>().into();
    hilo_kit::db::migrate(&url, &before).await.unwrap();
    let db = Db::connect(&DatabaseConfig::new(url.clone())).await.unwrap();
    for sql in [
        "INSERT INTO thread (interaction_id, version, attention_id, attention_number, ordinal, campaign_key, account_key,
           agent_key, channel, direction, customer_name, customer_address, subject, ended_at, attention_closed, message_count,
           tags, customer_folded, subject_folded, tags_folded, form_entries)
         VALUES ('00000000-0000-4000-8000-000000000001', 5, gen_random_uuid(), 1, 1, 'ventas', 'mail', 'ana', 'email', 1, '', 'a@b.pe',
           '', now(), false, 2, '{}', '', '', '{}', '{}')",
        "INSERT INTO message (interaction_id, message_id, position, direction, from_address, from_name, recipients, copies, subject,
           body_text, body_html, occurred_at, delivery_state, delivery_detail, agent_key, mail_class, sender_verified,
           internet_message_id)
         SELECT '00000000-0000-4000-8000-000000000001', gen_random_uuid(), n, n, '', '', '[]', '[]', '', 'hola', '', now(), '', '', '',
           '', true, '' FROM generate_series(1, 2) AS n",
    ] {
        sqlx::query(sql).execute(db.pool()).await.unwrap();
    }
    hilo_history::migrate(&url).await.unwrap();
    let store = Store::new(db);
    let lacking = store.lacking_recipients(None, 10).await.unwrap();
    assert_eq!(lacking.iter().map(|(_, version)| *version).collect::<Vec<_>>(), [5]);
    let kept = sample::read(&store, lacking[0].0).await.unwrap();
    assert_eq!(kept.messages.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["hola", "hola"]);
    assert!(store.lacking_recipients(Some(lacking[0].0), 10).await.unwrap().is_empty());
}
