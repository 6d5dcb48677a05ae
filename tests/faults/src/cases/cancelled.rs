//! Callers who go away in the middle of a request, thousands of times: no session stays inside a transaction, no later caller
//! gets a connection that is in one, and what was begun ends properly.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_end_to_end::agent::persist;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Agent, Installation, Options, Service};
use hilo_proto::attention::v1::{AddNoteRequest, DeskItem, ListMessagesRequest, SaveFormRequest};
use hilo_test_support::eventually;
use rand::Rng;
use tonic::Status;
use uuid::Uuid;

use super::bench::PATIENCE;

/// Requests of a worker that are not cancelled: they tell how long one takes here.
const MEASURED: usize = 15;
/// A worker gives up after so many times the requests that it is to cancel.
const MOST_TIMES: usize = 10;
/// One cancelled request of so many takes its connection with it.
const DISCONNECTED: usize = 8;
/// What PostgreSQL says of a session that was left inside a transaction: 25P02, 25001, 25P03.
const COMPLAINTS: [&str; 3] =
    ["current transaction is aborted", "already a transaction in progress", "idle-in-transaction timeout"];
/// What the service says of a connection that its user left inside a transaction.
const CAUGHT: &str = "came back inside a transaction";
const IDLE: &str = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Cancelled {
    /// Requests to be cancelled.
    pub requests: usize,
    /// Clients at a time.
    pub workers: usize,
}

/// What a run found.
#[derive(Debug, Default)]
pub struct CancelledReport {
    /// Requests whose caller went away before the answer.
    pub cancelled: usize,
    /// Of these, with the whole connection.
    pub disconnected: usize,
    /// Requests that were quicker than their caller's impatience.
    pub answered: usize,
    /// Cancelled commands that were committed: their callers left between begin and answer.
    pub landed: usize,
    /// Answered commands without effect.
    pub lost: usize,
    /// Commands with two effects.
    pub doubled: usize,
    /// Sessions inside a transaction when all was quiet.
    pub idle_in_transaction: i64,
    /// How long until there was none.
    pub idle_after: Duration,
    /// Lines of the logs of PostgreSQL and attention-state that tell of a session left inside a transaction.
    pub complaints: Vec<String>,
}

impl CancelledReport {
    /// True when so many callers really left, some in the middle, and nothing came of it.
    pub fn is_exact(&self, requests: usize) -> bool {
        self.cancelled >= requests
            && self.disconnected > 0
            && self.landed > 0
            && self.lost == 0
            && self.doubled == 0
            && self.idle_in_transaction == 0
            && self.complaints.is_empty()
    }
}

impl fmt::Display for CancelledReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests cancelled ({} with their connection), {} answered in time; {} cancelled commands were committed, {} answered ones lost, {} doubled; {} sessions idle in transaction after {:.1} s, {} complaints",
            self.cancelled,
            self.disconnected,
            self.answered,
            self.landed,
            self.lost,
            self.doubled,
            self.idle_in_transaction,
            self.idle_after.as_secs_f64(),
            self.complaints.len()
        )?;
        self.complaints.first().map_or(Ok(()), |first| write!(f, ": {first}"))
    }
}

/// Sends the requests to an installation's attention-state and looks at its database afterwards.
///
/// # Errors
/// When the installation cannot be used, also after the requests.
pub async fn cancelled(size: Cancelled) -> Result<CancelledReport> {
    let installation = Installation::start(Options { agents: 1, ..Options::default() }).await?;
    let agent = installation.login("agente-0").await?;
    let _present = agent.be_present().await?;
    let items = opened(&installation, &agent, size.workers).await?;
    let each = size.requests.div_ceil(size.workers.max(1));
    let tasks: Vec<_> =
        items.iter().map(|item| tokio::spawn(impatient(agent.clone(), item.clone(), each))).collect();
    let mut report = CancelledReport::default();
    let mut wanted = Vec::new();
    for task in tasks {
        let tally = task.await??;
        report.cancelled += tally.cancelled;
        report.disconnected += tally.disconnected;
        report.answered += tally.answered;
        wanted.push(tally.notes);
    }
    let quiet = Instant::now();
    let sessions = sqlx::PgPool::connect(&installation.database("hilo_attention")).await?;
    let none =
        || async { sqlx::query_scalar(IDLE).fetch_one(&sessions).await.is_ok_and(|count: i64| count == 0) };
    let _late = eventually("no session is idle in a transaction", PATIENCE, none).await;
    report.idle_after = quiet.elapsed();
    report.idle_in_transaction = sqlx::query_scalar(IDLE).fetch_one(&sessions).await?;
    sessions.close().await;
    for (item, notes) in items.iter().zip(wanted) {
        // The service still works, on whichever connection it gets.
        let request_id = Uuid::now_v7();
        persist(PATIENCE, || note(agent.attention(), item, "fin", request_id)).await?;
        count(&mut report, &notes, &written(&agent, item).await?);
    }
    report.complaints = complaints(&installation)?;
    Ok(report)
}

/// An open item for each worker.
async fn opened(installation: &Installation, agent: &Agent, items: usize) -> Result<Vec<DeskItem>> {
    let desk = agent.watch();
    let mut opened = Vec::new();
    for index in 0..items {
        let from = format!("cliente-{index}@cliente.example");
        let mail = Mail::new(&from, installation.support_address(), "Consulta", "hola");
        customer::send_until_accepted(installation.smtp(), &mail, PATIENCE).await?;
        let item = desk.wait_for_offer(&from, PATIENCE).await?;
        agent.open(&item.interaction_id).await?;
        opened.push(item);
    }
    Ok(opened)
}

/// What one worker did.
#[derive(Default)]
struct Tally {
    cancelled: usize,
    disconnected: usize,
    answered: usize,
    /// Text of each note, and whether its answer came.
    notes: BTreeMap<String, bool>,
}

/// Sends requests and goes away at any moment of theirs: notes (commits), forms of a wrong version (rolled back), threads (read).
async fn impatient(agent: Agent, item: DeskItem, cancels: usize) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut client = agent.separate_attention()?;
    let mut usual = Duration::ZERO;
    for index in 0..=MEASURED {
        let (text, began) = (format!("medida {index}"), Instant::now());
        note(client.clone(), &item, &text, Uuid::now_v7()).await?;
        // The first one also connects.
        usual += if index == 0 { Duration::ZERO } else { began.elapsed() / u32::try_from(MEASURED)? };
        tally.notes.insert(text, true);
    }
    let mut index = 0;
    while tally.cancelled < cancels && index < cancels * MOST_TIMES {
        index += 1;
        let patience = usual.mul_f64(rand::rng().random_range(0.0..1.2));
        let text = format!("nota {index}");
        let request = async {
            match index % 4 {
                0 | 1 => note(client.clone(), &item, &text, Uuid::now_v7()).await.map(drop),
                2 => form(client.clone(), &item).await,
                _ => thread(client.clone(), &item).await,
            }
        };
        let outcome = tokio::time::timeout(patience, request).await;
        let in_time = outcome.is_ok();
        if index % 4 < 2 {
            tally.notes.insert(text, matches!(outcome, Ok(Ok(()))));
        }
        if in_time {
            tally.answered += 1;
        } else {
            tally.cancelled += 1;
            if tally.cancelled.is_multiple_of(DISCONNECTED) {
                tally.disconnected += 1;
                client = agent.separate_attention()?;
            }
        }
    }
    Ok(tally)
}

type Client = hilo_proto::attention::v1::attention_service_client::AttentionServiceClient<
    tonic::service::interceptor::InterceptedService<
        tonic::transport::Channel,
        hilo_end_to_end::agent::Bearer,
    >,
>;

async fn note(
    mut client: Client,
    item: &DeskItem,
    text: &str,
    request_id: Uuid,
) -> Result<tonic::Response<()>, Status> {
    let request = AddNoteRequest {
        interaction_id: item.interaction_id.clone(),
        request_id: request_id.to_string(),
        text: text.to_owned(),
    };
    client.add_note(request).await.map(|_| tonic::Response::new(()))
}

async fn form(mut client: Client, item: &DeskItem) -> Result<(), Status> {
    let interaction_id = item.interaction_id.clone();
    let request = SaveFormRequest { interaction_id, base_version: 77, values: Default::default() };
    client.save_form(request).await.map(drop)
}

async fn thread(mut client: Client, item: &DeskItem) -> Result<(), Status> {
    let attention_id = item.attention_id.clone();
    client.list_messages(ListMessagesRequest { attention_id, ..Default::default() }).await.map(drop)
}

/// How often each text stands in the thread.
async fn written(agent: &Agent, item: &DeskItem) -> Result<BTreeMap<String, usize>> {
    let mut written = BTreeMap::new();
    for message in agent.all_messages(&item.attention_id).await? {
        *written.entry(message.text).or_default() += 1;
    }
    Ok(written)
}

fn count(report: &mut CancelledReport, notes: &BTreeMap<String, bool>, written: &BTreeMap<String, usize>) {
    for (text, answered) in notes {
        let times = written.get(text).copied().unwrap_or(0);
        report.landed += usize::from(!answered && times == 1);
        report.lost += usize::from(*answered && times == 0);
        report.doubled += usize::from(times > 1);
    }
}

fn complaints(installation: &Installation) -> Result<Vec<String>> {
    let database = installation.database_log()?;
    let service = installation.folder().join(format!("{}.log", Service::AttentionState.name()));
    let service = std::fs::read_to_string(&service).context("log of attention-state")?;
    let of_database = database.lines().filter(|line| COMPLAINTS.iter().any(|word| line.contains(word)));
    let of_service = service.lines().filter(|line| line.contains(CAUGHT));
    Ok(of_database.chain(of_service).map(str::to_owned).collect())
}
