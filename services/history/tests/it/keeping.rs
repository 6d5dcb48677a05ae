//! The base path: what is ended gets stored and confirmed, whatever breaks in between.

use hilo_history::app::{Ended, Keeper, Kept, Sweep};
use hilo_history::domain::Thread;
use hilo_history::store::Store;
use hilo_history::{HistoryConfig, Metrics};
use hilo_kit::config::{DatabaseConfig, GrpcConfig};

use crate::fake::Fake;
use crate::sample;

struct Scene {
    fake: Fake,
    store: Store,
    keeper: Keeper,
    config: HistoryConfig,
}

async fn scene() -> Scene {
    let (fake, store) = (Fake::start().await, sample::store().await);
    let keeper = Keeper::new(store.clone(), fake.channel(), 4, Metrics::new());
    let grpc = GrpcConfig { listen: "127.0.0.1:0".parse().unwrap() };
    let mut config = HistoryConfig::new(grpc, DatabaseConfig::new("postgres://unused"));
    config.page = 10;
    Scene { fake, store, keeper, config }
}

impl Scene {
    fn end(&self, text: &str) -> Thread {
        let thread = sample::thread(text);
        self.fake.end(&thread);
        thread
    }

    async fn stored(&self, thread: &Thread) -> Option<Thread> {
        sample::read(&self.store, thread.head.interaction_id).await
    }
}

#[tokio::test]
async fn a_sweep_stores_and_confirms_everything_over_many_pages() {
    let scene = scene().await;
    let threads: Vec<_> = (0..35).map(|n| scene.end(&format!("texto {n}"))).collect();
    let sweep = scene.keeper.sweep(&scene.config).await.unwrap();
    assert_eq!(sweep, Sweep { found: 35, confirmed: 35, failed: 0 });
    for thread in &threads {
        assert_eq!(scene.stored(thread).await.as_ref(), Some(thread));
        assert_eq!(scene.fake.confirmed(thread.head.interaction_id), Some(1));
    }
    assert_eq!(scene.keeper.sweep(&scene.config).await.unwrap(), Sweep::default());
}

/// The crash between store and confirm as the next process finds it: the row is there, attention-state does not know.
/// (tests/faults kills the real process at `history.store.after_commit`.)
#[tokio::test]
async fn a_crash_between_store_and_confirm_is_healed_without_fetching_again() {
    let scene = scene().await;
    let thread = scene.end("hola");
    scene.fake.state.lock().failing_confirms = 1;
    assert_eq!(scene.keeper.sweep(&scene.config).await.unwrap_err().reason(), "ON_PURPOSE");
    assert_eq!(scene.stored(&thread).await.as_ref(), Some(&thread));
    assert_eq!(scene.fake.confirmed(thread.head.interaction_id), None);
    let sweep = scene.keeper.sweep(&scene.config).await.unwrap();
    assert_eq!(sweep, Sweep { found: 1, confirmed: 1, failed: 0 });
    assert_eq!(scene.fake.state.lock().fetches, 1);
}

#[tokio::test]
async fn one_thread_that_cannot_be_kept_does_not_hold_up_the_others() {
    let scene = scene().await;
    let threads: Vec<_> = (0..25).map(|n| scene.end(&format!("texto {n}"))).collect();
    scene.fake.state.lock().malformed.insert(threads[3].head.interaction_id);
    let sweep = scene.keeper.sweep(&scene.config).await.unwrap();
    assert_eq!(sweep, Sweep { found: 25, confirmed: 24, failed: 1 });
    assert_eq!(scene.stored(&threads[3]).await, None);
    scene.fake.state.lock().malformed.clear();
    let sweep = scene.keeper.sweep(&scene.config).await.unwrap();
    assert_eq!(sweep, Sweep { found: 1, confirmed: 1, failed: 0 });
}

#[tokio::test]
async fn what_was_reopened_meanwhile_is_nobodys_fault() {
    let scene = scene().await;
    let thread = scene.end("hola");
    let ended = Ended { id: thread.head.interaction_id, version: 1, traceparent: None };
    scene.fake.reopen(ended.id);
    let kept = scene.keeper.keep(std::slice::from_ref(&ended)).await.unwrap();
    assert!(matches!(kept[..], [Ok(Kept::Gone)]));
    let mut again = thread.clone();
    again.version = 4;
    scene.fake.end(&again);
    let kept = scene.keeper.keep(&[ended]).await.unwrap();
    assert!(matches!(kept[..], [Ok(Kept::At(4))]));
    assert_eq!(scene.stored(&thread).await, Some(again));
}

#[tokio::test]
async fn an_answer_older_than_announced_is_asked_for_again() {
    let scene = scene().await;
    let thread = scene.end("hola");
    let announced = Ended { id: thread.head.interaction_id, version: 2, traceparent: None };
    let kept = scene.keeper.keep(&[announced]).await.unwrap();
    assert_eq!(kept[0].as_ref().unwrap_err().reason(), "THREAD_OUTDATED");
    assert_eq!(scene.stored(&thread).await, None);
}

#[tokio::test]
async fn a_newer_version_is_confirmed_as_itself() {
    let scene = scene().await;
    let thread = scene.end("hola");
    scene.keeper.sweep(&scene.config).await.unwrap();
    let mut newer = thread.clone();
    newer.version = 3;
    newer.head.attention_closed = true;
    scene.fake.end(&newer);
    scene.keeper.sweep(&scene.config).await.unwrap();
    assert_eq!(scene.stored(&thread).await, Some(newer));
    let id = thread.head.interaction_id;
    assert_eq!(scene.fake.state.lock().confirms, [(id, 1), (id, 3)]);
}

#[tokio::test]
async fn two_replicas_that_sweep_at_once_store_each_thread_once() {
    let scene = scene().await;
    let threads: Vec<_> = (0..30).map(|n| scene.end(&format!("texto {n}"))).collect();
    let other = Keeper::new(scene.store.clone(), scene.fake.channel(), 4, Metrics::new());
    let (one, two) = tokio::join!(scene.keeper.sweep(&scene.config), other.sweep(&scene.config));
    assert_eq!((one.unwrap().failed, two.unwrap().failed), (0, 0));
    for thread in &threads {
        assert_eq!(scene.stored(thread).await.as_ref(), Some(thread));
        assert_eq!(scene.fake.confirmed(thread.head.interaction_id), Some(1));
    }
}
