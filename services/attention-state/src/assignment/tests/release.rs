//! Switching an agent off gives his items back, and the own directory cache follows at once.

use std::time::Duration;

use hilo_kit::directory::DirectoryCache;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Nats;
use hilo_test_support::eventually;

use super::{apply, batch, load_of, offer, open, queue, subjects};
use crate::assignment::release;
use crate::directory::announce::Announcer;
use crate::directory::apply::{Admin, Mode};
use crate::directory::feed;
use crate::directory::testing::{self, Served, database, directory_of};
use crate::identity::password::Hasher;

#[tokio::test]
async fn the_items_of_an_agent_who_is_switched_off_go_back_to_the_queue() {
    let db = database().await;
    let announcer = Announcer::new(None);
    let admin = Admin::new(db.clone(), Hasher::default(), announcer.clone());
    let both = directory_of(&[("a", &["ana", "luis"])], "");
    admin.apply(both.clone(), Mode { prune: true, ..Mode::default() }, "service:test".into()).await.unwrap();
    let ids = queue(&db, "a", 4).await;
    open(&db, ids[0], "ana").await;
    open(&db, ids[1], "luis").await;
    apply(&db, batch("a", vec![offer(ids[2], 1, "ana"), offer(ids[3], 1, "luis")])).await.unwrap();
    let shutdown = Shutdown::new();
    release::spawn(&db, (*subjects()).clone(), &announcer, &shutdown);
    // An hour: what comes sooner was brought by the announcement.
    let hour = Duration::from_secs(3600);
    let cache = feed::cache_every(hour, &db, &announcer, &shutdown).await.unwrap();
    assert!(cache.current().user("ana").is_some());
    assert_eq!((load_of(&db, "ana").await, load_of(&db, "luis").await), (2, 2));
    let off = both.replace(
        "{key: ana, name: ana, roles: [agent]}",
        "{key: ana, name: ana, roles: [agent], active: false}",
    );
    admin.apply(off, Mode { prune: true, ..Mode::default() }, "service:test".into()).await.unwrap();
    eventually("the own cache follows", Duration::from_secs(60), || async {
        cache.current().user("ana").is_none()
    })
    .await
    .unwrap();
    eventually("ana holds nothing", Duration::from_secs(60), || async { load_of(&db, "ana").await == 0 })
        .await
        .unwrap();
    assert_eq!(load_of(&db, "luis").await, 2, "a colleague keeps his");
    let states: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT state, offer_agent_key FROM attention.interaction ORDER BY interaction_id")
            .fetch_all(db.pool())
            .await
            .unwrap();
    let row = |state: &str, offered: Option<&str>| (state.to_owned(), offered.map(str::to_owned));
    assert_eq!(
        states,
        [row("queued", None), row("open", None), row("queued", None), row("queued", Some("luis"))]
    );
    shutdown.begin();
}

/// Who left a campaign, or is no agent any more, may not even release what he had open there.
#[tokio::test]
async fn the_items_of_an_agent_who_left_the_campaign_or_the_role_go_back_to_the_queue() {
    let db = database().await;
    let admin = Admin::new(db.clone(), Hasher::default(), Announcer::new(None));
    let before = directory_of(&[("a", &["ana", "luis"]), ("b", &["ana", "luis"])], "");
    admin.apply(before, Mode { prune: true, ..Mode::default() }, "service:test".into()).await.unwrap();
    let (a, b) = (queue(&db, "a", 3).await, queue(&db, "b", 2).await);
    open(&db, a[0], "ana").await;
    open(&db, a[1], "luis").await;
    apply(&db, batch("a", vec![offer(a[2], 1, "ana")])).await.unwrap();
    open(&db, b[0], "ana").await;
    open(&db, b[1], "luis").await;
    let after = directory_of(&[("a", &["luis"]), ("b", &["ana", "luis"])], "");
    admin.apply(after.clone(), Mode { prune: true, ..Mode::default() }, "service:test".into()).await.unwrap();
    assert_eq!(release::all(&db, &subjects()).await.unwrap(), 2);
    assert_eq!(release::all(&db, &subjects()).await.unwrap(), 0);
    assert_eq!(
        (load_of(&db, "ana").await, load_of(&db, "luis").await),
        (1, 2),
        "what he may serve stays with him"
    );
    let supervisor = after
        .replace("{key: luis, name: luis, roles: [agent]}", "{key: luis, name: luis, roles: [supervisor]}");
    let supervisor = supervisor.replace("members: [luis]", "members: [ana]").replace("[ana, luis]", "[ana]");
    admin.apply(supervisor, Mode { prune: true, ..Mode::default() }, "service:test".into()).await.unwrap();
    assert_eq!(release::all(&db, &subjects()).await.unwrap(), 2);
    assert_eq!((load_of(&db, "ana").await, load_of(&db, "luis").await), (1, 0));
}

#[tokio::test]
async fn a_change_reaches_the_cache_of_another_service_by_its_ping_and_so_does_a_sign_out() {
    let broker = hilo_test_support::Nats::start().await.unwrap();
    let mut served = Served::start().await;
    let config = hilo_kit::config::NatsConfig { url: broker.url(), ..Default::default() };
    let nats = Nats::connect(&config).await.unwrap();
    served.announcer = Announcer::new(Some(nats.clone()));
    let shutdown = Shutdown::new();
    let endpoints = hilo_kit::config::Endpoints { attention_state: served.url.clone(), ..Default::default() };
    let tokens = hilo_kit::auth::ServiceTokens::new(&served.keys.auth_config("hilo"), "routing");
    // An hour: what comes sooner was brought by the ping.
    let hour = Duration::from_secs(3600);
    let cache = DirectoryCache::start_every(hour, &endpoints, &tokens, &nats, &shutdown).unwrap();
    cache.loaded().await;
    let unpinged = DirectoryCache::start(&endpoints, &tokens, &nats, &shutdown).unwrap();
    for (members, seen) in [(&["ana"][..], 1), (&["ana", "luis"][..], 2)] {
        let text = directory_of(&[("a", members)], "");
        let admin = Admin::new(served.db.clone(), Hasher::default(), served.announcer.clone());
        admin.apply(text, Mode { prune: true, ..Mode::default() }, "service:test".into()).await.unwrap();
        eventually("the change is in effect", Duration::from_secs(60), || async {
            cache.current().campaign("a").is_some_and(|one| one.member_keys.len() == seen)
        })
        .await
        .unwrap();
    }
    let issuer = hilo_kit::auth::Issuer::new(served.keys.signing_key.expose(), "hilo").unwrap();
    let issued = issuer.issue("ana", hilo_kit::clock::wall(), Duration::from_secs(600)).unwrap();
    let identity = crate::identity::Identity::new(
        served.db.clone(),
        issuer.into(),
        Hasher::default(),
        served.announcer.clone(),
    );
    identity.logout("ana", issued.token_id, issued.expires_at).await.unwrap();
    eventually("the token is revoked elsewhere", Duration::from_secs(60), || async {
        cache.current().is_revoked("ana", &issued.token_id.to_string())
    })
    .await
    .unwrap();
    let off = directory_of(&[("a", &["luis"])], "");
    testing::apply(&served.db, &off).await; // without a ping: the version alone brings it
    eventually("an inactive user's tokens are refused", Duration::from_secs(60), || async {
        unpinged.current().is_revoked("ana", "any")
    })
    .await
    .unwrap();
    shutdown.begin();
}
