//! attention-state as history sees it: ended threads to be listed, fetched and confirmed, and the directory. It can be
//! told to fail, and counts what it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use hilo_history::domain::{InteractionId, Thread};
use hilo_kit::auth::{Keys, ServiceTokens, Verifier, generate_keys, require_service};
use hilo_kit::config::AuthConfig;
use hilo_kit::error::Error;
use hilo_kit::grpc::{self, InternalChannel};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::directory::v1::{Campaign, Directory, OpeningHours, Role, Tag, User};
use hilo_proto::internal::v1::directory_feed_service_server::{
    DirectoryFeedService, DirectoryFeedServiceServer,
};
use hilo_proto::internal::v1::ended_thread_service_server::{EndedThreadService, EndedThreadServiceServer};
use hilo_proto::internal::v1::*;
use parking_lot::Mutex;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the fake knows and counts.
#[derive(Default)]
pub struct State {
    threads: BTreeMap<InteractionId, Thread>,
    confirmed: BTreeMap<InteractionId, i64>,
    /// Interactions whose thread is answered without what the contract requires.
    pub malformed: BTreeSet<InteractionId>,
    /// Calls of each RPC that fail before they do anything.
    pub failing_lists: u32,
    /// See `failing_lists`.
    pub failing_fetches: u32,
    /// See `failing_lists`.
    pub failing_confirms: u32,
    /// Pages after the first that fail.
    pub failing_pages: u32,
    /// Messages of a page; all when none.
    pub page_messages: Option<usize>,
    /// Threads and pages fetched.
    pub fetches: u32,
    /// Confirmations received, accepted or not.
    pub confirms: Vec<(InteractionId, i64)>,
}

/// The server and its keys.
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    pub keys: Keys,
    pub address: SocketAddr,
    shutdown: Shutdown,
}

#[derive(Clone)]
struct Endpoint(Arc<Mutex<State>>);

impl Fake {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        hilo_kit::install_crypto();
        let keys = generate_keys().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, address, shutdown) = (Arc::default(), listener.local_addr().unwrap(), Shutdown::new());
        let endpoint = Endpoint(Arc::clone(&state));
        let mut routes = Routes::builder();
        routes.add_service(EndedThreadServiceServer::new(endpoint.clone()));
        routes.add_service(DirectoryFeedServiceServer::new(endpoint));
        let server = grpc::Server::new(listener, Readiness::new())
            .add_routes(routes.routes())
            .authenticate(Verifier::new(&keys.auth_config("hilo")).unwrap());
        tokio::spawn(server.serve(shutdown.clone()));
        Self { state, keys, address, shutdown }
    }

    pub fn auth(&self) -> AuthConfig {
        self.keys.auth_config("hilo")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A channel as history uses it.
    pub fn channel(&self) -> InternalChannel {
        grpc::internal(&self.url(), &ServiceTokens::new(&self.auth(), "history")).unwrap()
    }

    /// Ends a thread, or a newer version of it.
    pub fn end(&self, thread: &Thread) {
        self.state.lock().threads.insert(thread.head.interaction_id, thread.clone());
    }

    /// Takes an ended thread away, as reopening does.
    pub fn reopen(&self, id: InteractionId) {
        self.state.lock().threads.remove(&id);
    }

    /// The confirmed version.
    pub fn confirmed(&self, id: InteractionId) -> Option<i64> {
        self.state.lock().confirmed.get(&id).copied()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn fails(left: &mut u32) -> Result<(), Error> {
    match left.checked_sub(1) {
        Some(rest) => {
            *left = rest;
            Err(Error::unavailable("ON_PURPOSE", "told to fail"))
        }
        None => Ok(()),
    }
}

#[tonic::async_trait]
impl EndedThreadService for Endpoint {
    async fn list_ended_unconfirmed(
        &self,
        request: Request<ListEndedUnconfirmedRequest>,
    ) -> Result<Response<ListEndedUnconfirmedResponse>, Status> {
        require_service(&request)?;
        let mut state = self.0.lock();
        fails(&mut state.failing_lists)?;
        let request = request.into_inner();
        let after = request.page_token.parse::<InteractionId>().ok();
        let size = usize::try_from(request.page_size).unwrap();
        let open = state.threads.iter().filter(|(id, thread)| {
            after.is_none_or(|after| **id > after) && state.confirmed.get(id) != Some(&thread.version)
        });
        let mut ended: Vec<_> = open
            .map(|(id, thread)| EndedVersion { interaction_id: id.to_string(), version: thread.version })
            .take(size + 1)
            .collect();
        let more = ended.len() > size;
        ended.truncate(size);
        let next_page_token =
            ended.last().filter(|_| more).map(|one| one.interaction_id.clone()).unwrap_or_default();
        Ok(Response::new(ListEndedUnconfirmedResponse { ended, next_page_token }))
    }

    async fn get_ended_thread(
        &self,
        request: Request<GetEndedThreadRequest>,
    ) -> Result<Response<GetEndedThreadResponse>, Status> {
        require_service(&request)?;
        let mut state = self.0.lock();
        fails(&mut state.failing_fetches)?;
        state.fetches += 1;
        let request = request.into_inner();
        let (id, token) = (request.interaction_id.parse::<InteractionId>()?, request.page_token);
        let thread = state.threads.get(&id).cloned();
        let thread = thread.ok_or_else(|| Error::missing("INTERACTION_NOT_FOUND", "not ended"))?;
        let mut answer = hilo_history::answer(thread);
        if state.malformed.contains(&id) {
            answer.summary = None;
        }
        // Pages of `page_messages`, the token as attention-state writes it.
        let (size, all) = (state.page_messages.unwrap_or(usize::MAX), answer.messages.len());
        let offset = token.split_once('.').map_or(0, |(version, offset)| {
            assert_eq!(version, answer.version.to_string(), "the fake never changes a thread between pages");
            offset.parse().unwrap()
        });
        answer.messages = answer.messages.into_iter().skip(offset).take(size).collect();
        let reached = offset + answer.messages.len();
        let next_page_token =
            if reached < all { format!("{}.{reached}", answer.version) } else { String::new() };
        if offset > 0 {
            fails(&mut state.failing_pages)?;
        }
        Ok(Response::new(GetEndedThreadResponse { thread: Some(answer), next_page_token }))
    }

    async fn confirm_stored(
        &self,
        request: Request<ConfirmStoredRequest>,
    ) -> Result<Response<ConfirmStoredResponse>, Status> {
        require_service(&request)?;
        let mut state = self.0.lock();
        fails(&mut state.failing_confirms)?;
        let mut confirmed = 0;
        for one in request.into_inner().stored {
            let id = one.interaction_id.parse::<InteractionId>()?;
            state.confirms.push((id, one.version));
            if state.threads.get(&id).is_some_and(|thread| thread.version == one.version) {
                state.confirmed.insert(id, one.version);
                confirmed += 1;
            }
        }
        Ok(Response::new(ConfirmStoredResponse { confirmed }))
    }
}

#[tonic::async_trait]
impl DirectoryFeedService for Endpoint {
    async fn get_directory(
        &self,
        request: Request<GetDirectoryRequest>,
    ) -> Result<Response<GetDirectoryResponse>, Status> {
        require_service(&request)?;
        let changed = request.get_ref().known_version != 1;
        let directory = changed.then(directory);
        Ok(Response::new(GetDirectoryResponse { version: 1, changed, directory, revoked_token_ids: vec![] }))
    }
}

/// Two campaigns; `ana` and `luis` are agents of one each, `rita` reports on both, `mona` only watches the panel, `coco`
/// coordinates, `gone` was let go.
pub fn directory() -> Directory {
    let user = |key: &str, role: Role, campaigns: &[&str]| User {
        key: key.into(),
        name: key.into(),
        roles: vec![role.into()],
        campaign_keys: campaigns.iter().map(|one| (*one).to_owned()).collect(),
        active: key != "gone",
        ..User::default()
    };
    let campaign = |key: &str, members: &[&str]| Campaign {
        key: key.into(),
        member_keys: members.iter().map(|one| (*one).to_owned()).collect(),
        ..Campaign::default()
    };
    Directory {
        users: vec![
            user("ana", Role::Agent, &[]),
            user("luis", Role::Agent, &[]),
            user("rita", Role::Reporter, &["ventas", "soporte"]),
            user("mona", Role::Monitor, &["ventas"]),
            user("coco", Role::Coordinator, &[]),
            user("gone", Role::Coordinator, &[]),
        ],
        campaigns: vec![
            Campaign {
                hours: Some(OpeningHours { time_zone: "Europe/Madrid".into(), ..OpeningHours::default() }),
                ..campaign("ventas", &["ana", "gone"])
            },
            campaign("soporte", &["luis"]),
        ],
        tags: vec![Tag {
            key: "devolucion-parcial".into(),
            name: "Devolución (Parcial)".into(),
            ..Tag::default()
        }],
        time_zone: "America/Lima".into(),
        ..Directory::default()
    }
}
