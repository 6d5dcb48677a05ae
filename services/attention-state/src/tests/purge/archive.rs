//! Reopening after a purge asks history; here a history that can be told what it holds.

use std::sync::Arc;

use hilo_kit::auth::{ServiceTokens, Verifier, generate_keys, require_service};
use hilo_kit::grpc;
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::attention::v1::ReopenInteractionRequest;
use hilo_proto::internal::v1::stored_thread_service_server::{
    StoredThreadService, StoredThreadServiceServer,
};
use hilo_proto::internal::v1::{GetStoredThreadRequest, GetStoredThreadResponse};
use parking_lot::Mutex;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::*;
use crate::attention::reload::{Archive, load_bodies_from_history};

/// Answers the thread, one message per page.
#[derive(Clone, Default)]
pub(in crate::tests) struct History {
    pub(in crate::tests) thread: Arc<Mutex<Option<Thread>>>,
    /// Pages answered before it fails.
    fails_after: Arc<Mutex<Option<usize>>>,
}

#[tonic::async_trait]
impl StoredThreadService for History {
    async fn get_stored_thread(
        &self,
        request: Request<GetStoredThreadRequest>,
    ) -> Result<Response<GetStoredThreadResponse>, Status> {
        require_service(&request)?;
        let offset: usize = request.into_inner().page_token.parse().unwrap_or(0);
        if self.fails_after.lock().is_some_and(|after| offset >= after) {
            return Err(Status::unavailable("on purpose"));
        }
        let thread = self.thread.lock().clone().ok_or_else(|| Status::not_found("no thread"))?;
        let more = offset + 1 < thread.messages.len();
        let messages = thread.messages.iter().skip(offset).take(1).cloned().collect();
        Ok(Response::new(GetStoredThreadResponse {
            thread: Some(Thread { messages, ..thread }),
            next_page_token: if more { (offset + 1).to_string() } else { String::new() },
        }))
    }
}

pub(in crate::tests) async fn archive(history: &History) -> (Archive, Shutdown) {
    hilo_kit::install_crypto();
    let keys = generate_keys().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, shutdown) = (format!("http://{}", listener.local_addr().unwrap()), Shutdown::new());
    let mut routes = Routes::builder();
    routes.add_service(StoredThreadServiceServer::new(history.clone()));
    let auth = keys.auth_config("hilo");
    let server = grpc::Server::new(listener, Readiness::new())
        .add_routes(routes.routes())
        .authenticate(Verifier::new(&auth).unwrap());
    tokio::spawn(server.serve(shutdown.clone()));
    let tokens = ServiceTokens::new(&auth, "attention-state");
    (Archive::new(grpc::internal(&url, &tokens).unwrap()), shutdown)
}

impl Scene {
    async fn load(&self, archive: &Archive) -> Result<(), hilo_kit::Error> {
        load_bodies_from_history(&self.house.db, archive, InteractionId(self.interaction)).await
    }
}

#[tokio::test]
async fn everything_comes_back_and_may_leave_again() {
    let scene = scene().await;
    let history = History::default();
    let (archive, _shutdown) = archive(&history).await;
    let whole = scene.thread().await;
    *history.thread.lock() = Some(whole.clone());
    // Nothing is missing yet, so nobody is asked.
    *history.fails_after.lock() = Some(0);
    scene.load(&archive).await.unwrap();
    scene.purge().await;
    assert_ne!(scene.thread().await, whole);
    // It breaks off on the second page, and begins again.
    *history.fails_after.lock() = Some(1);
    assert_eq!(scene.load(&archive).await.unwrap_err().reason(), "BODIES_UNAVAILABLE");
    assert!(!scene.is_whole().await);
    assert_eq!(scene.purge().await, 0, "what is being fetched is left alone");
    *history.fails_after.lock() = None;
    scene.load(&archive).await.unwrap();
    assert!(scene.is_whole().await);
    assert_eq!(scene.purge().await, 0, "whoever fetched it has time to open it");
    assert_eq!(scene.thread().await, whole);
    let preview = "SELECT count(*) FROM attention.interaction WHERE preview = 'Ya va en camino'";
    assert_eq!(scene.house.count(preview).await, 1);
    scene.confirm().await;
    assert_eq!(scene.purge().await, 0, "a repeated confirmation takes nobody's time");
    let passed = "UPDATE attention.interaction SET confirmed_at = confirmed_at - interval '121 s'";
    sqlx::query(passed).execute(scene.house.db.pool()).await.unwrap();
    assert_eq!(scene.purge().await, 1, "the grace time began anew and has passed");
    scene.load(&archive).await.unwrap();
    assert_eq!(scene.thread().await, whole);
}

#[tokio::test]
async fn a_history_that_lacks_something_is_told_of() {
    let scene = scene().await;
    let history = History::default();
    let (archive, _shutdown) = archive(&history).await;
    let mut whole = scene.thread().await;
    scene.purge().await;
    assert_eq!(scene.load(&archive).await.unwrap_err().reason(), "BODIES_UNAVAILABLE");
    whole.messages.remove(0);
    *history.thread.lock() = Some(whole);
    assert_eq!(scene.load(&archive).await.unwrap_err().reason(), "BODIES_INCOMPLETE");
    let unknown = load_bodies_from_history(&scene.house.db, &archive, InteractionId(Uuid::now_v7())).await;
    assert_eq!(unknown.unwrap_err().reason(), "INTERACTION_NOT_FOUND");
}

/// Without `is_whole` in `reopened` the purged item is opened blank, or violates `purged_only_when_ended`.
#[tokio::test]
async fn a_purged_thread_is_opened_again_with_everything() {
    let scene = scene().await;
    let house = &scene.house;
    let history = History::default();
    let (archive, _shutdown) = archive(&history).await;
    let before = house.open_messages(&scene).await;
    *history.thread.lock() = Some(scene.thread().await);
    scene.purge().await;
    let request = |id: Uuid| ReopenInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
    // Where nobody can be asked it is refused; a stranger makes nobody ask.
    let ana = house.access("ana").await;
    let refused = house.actions.reopen(ana.clone(), request(scene.interaction)).await.unwrap_err();
    assert_eq!(refused.reason(), "THREAD_PURGED");
    let actions = house.actions.clone().with_archive(archive);
    let stranger = actions.reopen(house.access("rosa").await, request(scene.interaction)).await.unwrap_err();
    assert_eq!((stranger.reason(), scene.is_whole().await), ("INTERACTION_NOT_FOUND", false));
    *history.fails_after.lock() = Some(1);
    let away = actions.reopen(ana.clone(), request(scene.interaction)).await.unwrap_err();
    assert_eq!(away.reason(), "BODIES_UNAVAILABLE");
    *history.fails_after.lock() = None;
    let again = request(scene.interaction);
    let answer = actions.reopen(ana.clone(), again.clone()).await.unwrap();
    assert_eq!(actions.reopen(ana, again).await.unwrap(), answer, "the same request once");
    let opened = house.open_item("ana", scene.interaction).await;
    assert_eq!(opened.messages, before);
    assert_eq!(opened.form_state.unwrap().values["motivo"], "Envío");
    // It ends again as a whole thread, and may leave again.
    house.end_item(scene.interaction, true).await;
    assert_eq!(scene.thread().await.messages.len(), 2);
    scene.confirm().await;
    assert_eq!(scene.purge().await, 1);
}

impl House {
    /// The conversation as a desk reads it.
    async fn open_messages(&self, scene: &Scene) -> Vec<hilo_proto::history::v1::ThreadMessage> {
        let request = ListMessagesRequest { attention_id: scene.attention.to_string(), ..Default::default() };
        read::messages(&self.db, self.access("ana").await, request).await.unwrap().messages
    }
}
