//! Rights that end: who signed out, was switched off, lowered or taken out of a campaign. What is asked is refused by every process,
//! and what is open is closed or begins anew without what he may not see any more.

use std::sync::Arc;

use hilo_end_to_end::Service;
use hilo_proto::attention::v1::WatchDeskRequest;
use hilo_proto::routing::v1::WatchQueuesRequest;
use hilo_test_support::eventually;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::both::directory;
use crate::requests::body;
use crate::wire::{self, Answer};
use crate::world::{OURS, SOON, THEIRS, World};

const DESK: &str = "hilo.attention.v1.AttentionService/WatchDesk";
const QUEUES: &str = "hilo.routing.v1.RoutingService/WatchQueues";
/// One RPC per process that asks a directory of its own.
const ASKED: [(&str, Service); 4] = [
    ("hilo.attention.v1.AttentionService/GetAttention", Service::AttentionState),
    ("hilo.history.v1.HistoryService/GetThread", Service::History),
    ("hilo.routing.v1.RoutingService/ExplainInteraction", Service::Routing),
    ("hilo.internal.v1.DeadLetterService/ListDeadLetters", Service::EmailIngest),
];

/// A stream that is being read.
pub struct Watched {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    end: Arc<Mutex<Option<Status>>>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// Opens a stream and waits for its first message.
    pub async fn open(world: &World, method: &str, token: &str) -> Self {
        let host = crate::requests::hosts(method)[0];
        let request = body(method, &world.theirs).unwrap();
        Self::with(world, host, method, token, request).await
    }

    /// The same with a request of one's own.
    pub async fn with(world: &World, host: Service, method: &str, token: &str, request: Vec<u8>) -> Self {
        let mut stream =
            wire::open(&world.channel(host), &format!("/{method}"), Some(token), request).await.unwrap();
        let first = tokio::time::timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
        let (seen, end) = (Arc::new(Mutex::new(vec![first])), Arc::new(Mutex::new(None)));
        let (messages, ended) = (seen.clone(), end.clone());
        let task = tokio::spawn(async move {
            let status = loop {
                match stream.message().await {
                    Ok(Some(message)) => messages.lock().push(message),
                    Ok(None) => break Status::ok(""),
                    Err(status) => break status,
                }
            };
            *ended.lock() = Some(status);
        });
        Self { seen, end, task }
    }

    /// True when a message from the `from`th on says a word of the campaign.
    pub fn says(&self, from: usize, words: &[&str]) -> bool {
        self.seen.lock().iter().skip(from).any(|message| wire::holds(message, words))
    }

    pub fn count(&self) -> usize {
        self.seen.lock().len()
    }

    async fn ends(&self, what: &str, code: Code) {
        eventually(what, SOON, || async { self.end.lock().is_some() }).await.unwrap();
        let status = self.end.lock().clone().unwrap();
        assert_eq!(status.code(), code, "{what}: {status:?}");
        assert!(hilo_kit::error::reason_of(&status).is_some(), "{what}: no reason in {status:?}");
    }
}

/// Everybody of the other campaign who has a list or a panel, with what the streams say while their neighbours work.
pub async fn strangers_watching(world: &World) -> Vec<(String, Watched)> {
    let desk = WatchDeskRequest { channel: "email".to_owned() }.encode_to_vec();
    let panel = WatchQueuesRequest::default().encode_to_vec();
    let rows = [
        ("agente", Service::AttentionState, DESK, &desk),
        ("supervisor", Service::AttentionState, DESK, &desk),
        ("supervisor", Service::Routing, QUEUES, &panel),
        ("monitor", Service::Routing, QUEUES, &panel),
    ];
    let mut watchers = Vec::new();
    for (role, host, method, request) in rows {
        let user = format!("{role}-{}", OURS[0]);
        let stream = Watched::with(world, host, method, &world.token(&user), request.clone()).await;
        watchers.push((format!("{method} by {user}"), stream));
    }
    watchers
}

/// Asks a process as it is asked in the matrix.
async fn ask(world: &World, host: Service, method: &str, token: &str) -> Answer {
    let request = body(method, &world.theirs).unwrap();
    wire::call(&world.channel(host), &format!("/{method}"), Some(token), request, false).await
}

async fn refused_everywhere(world: &World, who: &str, token: &str) {
    for (method, host) in ASKED {
        eventually(&format!("{method} refuses {who}"), SOON, || async {
            ask(world, host, method, token).await.code == Code::Unauthenticated
        })
        .await
        .unwrap();
        assert!(!ask(world, host, method, token).await.says(&THEIRS), "{method} answers {who}");
    }
}

/// Walks through all of them.
pub async fn refused_and_closed(world: &World) {
    let user = |role: &str| format!("{role}-{}", THEIRS[0]);
    let token = |role: &str| world.token(&user(role));
    let (out, off, moved, lowered) = (token("saliente"), token("baja"), token("mudada"), token("degradada"));
    let out_desk = Watched::open(world, DESK, &out).await;
    let off_desk = Watched::open(world, DESK, &off).await;
    let moved_desk = Watched::open(world, DESK, &moved).await;
    let (lowered_desk, lowered_queues) =
        (Watched::open(world, DESK, &lowered).await, Watched::open(world, QUEUES, &lowered).await);
    for (desk, who) in
        [(&out_desk, "saliente"), (&off_desk, "baja"), (&moved_desk, "mudada"), (&lowered_desk, "degradada")]
    {
        assert!(desk.says(0, &THEIRS), "{who} saw the list before");
    }

    let logout = "hilo.identity.v1.IdentityService/Logout";
    assert_eq!(ask(world, Service::AttentionState, logout, &out).await.code, Code::Ok);
    out_desk.ends("the desk of who signed out", Code::Unauthenticated).await;
    refused_everywhere(world, "who signed out", &out).await;

    // How much each has seen when his rights end; what comes then is looked at in the end.
    world.installation.change_directory(|before| changed(&directory(before))).await.unwrap();
    off_desk.ends("the desk of who was switched off", Code::Unauthenticated).await;
    refused_everywhere(world, "who was switched off", &off).await;
    lowered_desk.ends("the desk of who was lowered", Code::PermissionDenied).await;
    lowered_queues.ends("the queues of who was lowered", Code::PermissionDenied).await;
    let release = "hilo.attention.v1.AttentionService/ReleaseInteraction";
    let answer = ask(world, Service::AttentionState, release, &lowered).await;
    assert_eq!(answer.code, Code::PermissionDenied, "{}", answer.brief());
    eventually("the desk of who moved begins anew without the old campaign", SOON, || async {
        let last = moved_desk.count() - 1;
        last > 0 && !moved_desk.says(last, &THEIRS)
    })
    .await
    .unwrap();
    for (method, host) in [ASKED[0], ASKED[1], ASKED[2]] {
        eventually(&format!("{method} has nothing for who moved"), SOON, || async {
            ask(world, host, method, &moved).await.code == Code::NotFound
        })
        .await
        .unwrap();
    }

    // Whatever happens in the campaign now reaches who is still there, and nobody else.
    let (before, gone) = (moved_desk.count(), [out_desk.count(), off_desk.count(), lowered_desk.count()]);
    let still = Watched::open(world, DESK, &world.token(&user("agente"))).await;
    world.write(THEIRS[0], THEIRS[1], "despues").await;
    eventually("those who stayed see the new mail", SOON, || async { still.says(1, &["despues-"]) })
        .await
        .unwrap();
    world.write(OURS[0], OURS[1], "despues").await;
    eventually("who moved sees his new campaign", SOON, || async { moved_desk.says(before, &["despues-"]) })
        .await
        .unwrap();
    assert!(!moved_desk.says(before, &THEIRS), "who moved still sees the old campaign");
    assert_eq!(gone, [out_desk.count(), off_desk.count(), lowered_desk.count()]);
}

/// The directory with one switched off, one lowered to reports, one moved to the other campaign.
fn changed(before: &str) -> String {
    let [ours, theirs] = [OURS[0], THEIRS[0]];
    let lowered = format!("{{key: degradada-{theirs}, name: Degradada {theirs}, roles: [supervisor]");
    let off = format!("{{key: baja-{theirs}, name: Baja {theirs}, roles: [agent]");
    assert!(before.contains(&lowered) && before.contains(&off));
    before
        .replace(&lowered, &lowered.replace("supervisor", "reporter"))
        .replace(&off, &format!("{off}, active: false"))
        .replace(&format!(", mudada-{theirs}]"), "]")
        .replace(&format!("members: [agente-{ours}"), &format!("members: [agente-{ours}, mudada-{theirs}"))
}
