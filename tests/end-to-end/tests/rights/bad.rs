//! Bad input on every RPC: an answer out of the closed set of classes with a stable reason, never a defect, and nothing half-done.

use std::collections::{BTreeMap, BTreeSet};

use hilo_end_to_end::Service;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use crate::matrix::Matrix;
use crate::requests::{body, hosts};
use crate::state;
use crate::table::{self, COLUMNS, Word};
use crate::variants::{self, Variant};
use crate::wire::Answer;
use crate::world::{THEIRS, World};

/// What a caller is told when he, or the state, is the reason.
const CLOSED: [Code; 8] = [
    Code::InvalidArgument,
    Code::FailedPrecondition,
    Code::NotFound,
    Code::AlreadyExists,
    Code::Aborted,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::ResourceExhausted,
];

/// True for a success, or a refusal of the closed set with its reason.
pub fn is_clear(answer: &Answer) -> bool {
    let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    answer.code == Code::Ok
        || (CLOSED.contains(&answer.code) && !answer.reason.is_empty() && answer.reason.chars().all(word))
}

/// Methods that only read are looked at once, not after every call.
fn is_reading(method: &str) -> bool {
    let name = method.rsplit('/').next().unwrap_or_default();
    ["Get", "List", "Search", "Watch", "Export", "Read", "Explain", "Render", "WhoAmI"]
        .iter()
        .any(|word| name.starts_with(word))
}

/// The one database whose tables calls change, looked at after every call.
struct Guard {
    connection: PgConnection,
    tables: Vec<(String, String)>,
    last: BTreeMap<String, String>,
}

impl Guard {
    async fn start(world: &World) -> Self {
        let mut connection =
            PgConnection::connect(&world.installation.database("hilo_attention")).await.unwrap();
        let mut tables = state::tables(&mut connection, "attention-state", state::COMMANDED).await;
        // A request id that was kept, or an event, without an effect would be half an effect.
        tables.extend(["kit.idempotency", "kit.outbox_log"].map(|name| (name.to_owned(), name.to_owned())));
        let last = state::read(&mut connection, &tables).await;
        Self { connection, tables, last }
    }

    async fn look(&mut self) -> BTreeMap<String, String> {
        state::read(&mut self.connection, &self.tables).await
    }

    /// Waits until what is still under way has arrived.
    async fn settle(&mut self) {
        loop {
            let now = self.look().await;
            if now == self.last {
                return;
            }
            self.last = now;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

/// All wrong requests of all RPCs.
pub struct Bad<'a, 'w> {
    matrix: &'a mut Matrix<'w>,
    guard: Guard,
    reasons: BTreeSet<String>,
}

/// Whoever has the right, so that more than his rights is looked at.
pub fn caller(world: &World, cells: &[table::Cell]) -> String {
    let may = |column: &usize| matches!(cells[*column].own, Word::Reads | Word::May | Word::Anyone);
    match (0..COLUMNS.len()).find(may) {
        Some(0) => world.token(&format!("agente-{}", THEIRS[0])),
        Some(4) => world.token("coordinadora"),
        Some(5) | None => world.service_token(),
        Some(column) => world.token(&format!("{}-{}", COLUMNS[column], THEIRS[0])),
    }
}

impl<'a, 'w> Bad<'a, 'w> {
    pub async fn start(matrix: &'a mut Matrix<'w>) -> Self {
        let guard = Guard::start(matrix.world).await;
        Self { matrix, guard, reasons: BTreeSet::new() }
    }

    /// Everything, method by method; what assigns work comes last, since it changes by itself then.
    pub async fn all(&mut self) {
        let table = table::read();
        let mut methods: Vec<_> = table::methods().into_iter().collect();
        methods.sort_by_key(|(name, _)| name.contains("routing.v1") || name.contains("internal.v1"));
        for (name, method) in methods {
            let cells = &table[&name];
            for host in hosts(&name) {
                let right = body(&name, &self.matrix.world.theirs).unwrap();
                let wrong = [variants::whole(&right), variants::fields(&method.input(), &right)].concat();
                self.unknown_fields(&name, *host, cells).await;
                for variant in &wrong {
                    self.one(&name, *host, cells, variant).await;
                }
                if is_reading(&name) {
                    self.only_read(&name, *host, cells, &wrong).await;
                }
            }
        }
        println!("{} reasons: {:?}", self.reasons.len(), self.reasons);
    }

    async fn one(&mut self, method: &str, host: Service, cells: &[table::Cell], variant: &Variant) {
        let token = caller(self.matrix.world, cells);
        let answer = self.matrix.ask(host, method, Some(&token), variant.bytes.clone()).await;
        let row = format!("{} {method}, {}", host.name(), variant.what);
        self.matrix.expect(is_clear(&answer), || format!("{row}: {}", answer.brief()));
        self.reasons.insert(answer.reason.clone());
        if is_reading(method) {
            return;
        }
        let after = self.guard.look().await;
        if answer.code == Code::Ok || after == self.guard.last {
            self.guard.last = after;
            return;
        }
        // Something else may have arrived meanwhile, as what became of a mail of a call before. A call that changes something
        // does so every time; of these one must find and leave all quiet.
        self.guard.last = after;
        let mut changed = String::new();
        for _ in 0..5 {
            self.guard.settle().await;
            let again = self.matrix.ask(host, method, Some(&token), variant.bytes.clone()).await;
            let after = self.guard.look().await;
            let difference = state::difference(&self.guard.last, &after);
            self.guard.last = after;
            if again.code == Code::Ok || difference.is_empty() {
                return;
            }
            changed = format!("{row}: refused ({}), yet changed {difference}", again.brief());
        }
        self.matrix.expect(false, || changed);
    }

    /// Everything is as it was before the calls of a method that reads. Something else may have arrived meanwhile, as what became of
    /// a mail; what reads and changes does so every time, so of some rounds one must find and leave all quiet.
    async fn only_read(&mut self, method: &str, host: Service, cells: &[table::Cell], wrong: &[Variant]) {
        for round in 1.. {
            let after = self.guard.look().await;
            let difference = state::difference(&self.guard.last, &after);
            self.guard.last = after;
            if difference.is_empty() || round == 5 {
                self.matrix
                    .expect(difference.is_empty(), || format!("{method} reads, yet changed {difference}"));
                return;
            }
            self.guard.settle().await;
            for variant in wrong {
                self.one(method, host, cells, variant).await;
            }
        }
    }

    /// A newer client's fields are passed over: the answer is of the same class.
    async fn unknown_fields(&mut self, method: &str, host: Service, cells: &[table::Cell]) {
        let token = caller(self.matrix.world, cells);
        let request = variants::with_unknown_fields(&body(method, &self.matrix.world.theirs).unwrap());
        let answer = self.matrix.ask(host, method, Some(&token), request).await;
        let right = body(method, &self.matrix.world.theirs).unwrap();
        let token = caller(self.matrix.world, cells);
        let known = self.matrix.ask(host, method, Some(&token), right).await;
        // What the first of both has done, the second may find done.
        let alike = answer.code == known.code || answer.code == Code::Ok;
        self.matrix.expect(alike && is_clear(&answer) && is_clear(&known), || {
            format!("{method}, unknown fields: {} but without: {}", answer.brief(), known.brief())
        });
        self.guard.last = self.guard.look().await;
    }
}
