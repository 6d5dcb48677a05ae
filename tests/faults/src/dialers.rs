//! Dialers when attention-state dies: an import cut off, a row before and after its commit, a pause during a row, and the sweep of the
//! attentions that nobody answered.

use std::slice::SliceIndex;

use anyhow::{Context as _, Result, ensure};
use hilo_end_to_end::chat::{Chat, Customer, SOON, until};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::{Log, Subscriber};
use hilo_end_to_end::{Agent, Service};
use hilo_proto::attention::v1::GetAttentionRequest;
use hilo_proto::dialer::v1::{DialerState, Row, RowState};
use hilo_proto::event::v1::AttentionState;
use tokio::task::JoinHandle;

use crate::round::{self, Tally};
use crate::steps::DIALERS;

const DATABASE: &str = "hilo_attention";
const ATTENTION_STATE: Part = Part::Service(Service::AttentionState);
/// As fast as rows may go here, and so slow that the second row does not come by itself.
pub(crate) const QUICKLY: i32 = 600;
const SLOWLY: i32 = 1;

/// Rows of the two parts of the long list.
const BEGIN: usize = 3;
const REST: usize = 2;

/// Attentions that this begins: the rows of all lists.
pub const ATTENTIONS: usize = 2 + 2 + BEGIN + REST + 3;

/// A dialer and whom it writes to.
pub(crate) struct List {
    pub(crate) dialer: String,
    pub(crate) customers: Vec<Customer>,
}

impl List {
    async fn make(house: &Chat, people: &Agent, name: &str, rows: (usize, usize), pace: i32) -> Result<Self> {
        let (group, count) = rows;
        let customers: Result<Vec<Customer>> =
            (0..count).map(|n| house.customer(&format!("519020{group:02}{n:03}"), name)).collect();
        Ok(Self { dialer: people.make_dialer(name, pace).await?.dialer_id, customers: customers? })
    }

    /// The same, with its rows.
    pub(crate) async fn filled(
        house: &Chat,
        people: &Agent,
        name: &str,
        rows: (usize, usize),
        pace: i32,
    ) -> Result<Self> {
        let list = Self::make(house, people, name, rows, pace).await?;
        people.import_rows(&list.dialer, &csv(&list.customers)).await?;
        Ok(list)
    }

    async fn pending(&self, people: &Agent) -> Result<usize> {
        let rows = people.dialer_rows(&self.dialer).await?;
        Ok(rows.iter().filter(|row| row.state() == RowState::Pending).count())
    }
}

fn csv(customers: &[Customer]) -> String {
    let rows = customers.iter().zip(1..).map(|(one, n)| format!("{},Cliente,{n}\n", one.address));
    format!("number,1,2\n{}", rows.collect::<String>())
}

pub(crate) fn arrived(row: &Row) -> bool {
    matches!(row.state(), RowState::Delivered | RowState::Read)
}

/// Every row is imported once and sent once, nothing is sent of what is held, and who did not answer is given up once.
///
/// # Errors
/// When no kill landed; what does not hold.
pub async fn dialers(house: &Chat, subscriber: &Subscriber, tally: &mut Tally) -> Result<()> {
    let people = house.installation.login("coordinadora").await?;
    let lists = Lists {
        silent: List::filled(house, &people, "Nadie contesta", (1, 2), QUICKLY).await?,
        held: List::filled(house, &people, "En pausa", (2, 2), SLOWLY).await?,
        long: List::make(house, &people, "En dos partes", (3, BEGIN + REST), QUICKLY).await?,
        quick: List::filled(house, &people, "De corrido", (4, 3), QUICKLY).await?,
        people,
        house,
    };
    let people = &lists.people;
    people.start_dialer(&lists.silent.dialer).await?;
    let silent = people.dialer_rows_are("the silent ones have it", &lists.silent.dialer, arrived).await?;
    finished(people, &lists.silent).await?;
    let uncommitted = lists.uncommitted(tally).await?;
    let left = lists.held.pending(people).await?;
    let added = lists.committed(tally).await?;
    let now = lists.rest().await?;
    let rows = people.dialer_rows(&lists.long.dialer).await?;
    let ordinals: Vec<i32> = rows.iter().map(|row| row.ordinal).collect();
    let told = [uncommitted.imported, added];
    let whole = told == [BEGIN, REST].map(count) && ordinals == (1..=count(BEGIN + REST)).collect::<Vec<_>>();
    round::all([
        ("a pause during a row", uncommitted.waited),
        ("what is held", when(now == left, || format!("{left} rows were left, {now} are"))),
        ("the import", when(whole, || format!("{told:?} rows answered, there are {ordinals:?}"))),
        ("sent once", lists.sent_once()),
        ("given up", given_up(people, subscriber, &lists.silent, &silent).await),
    ])
}

struct Lists<'a> {
    house: &'a Chat,
    people: Agent,
    /// Is written to, and nobody answers.
    silent: List,
    /// Is held while its first row is sent.
    held: List,
    /// Gets its rows in two parts.
    long: List,
    /// Is killed behind its first row.
    quick: List,
}

struct Uncommitted {
    /// Whether the pause waited for the row.
    waited: Result<()>,
    /// Rows that the repeated import says were added.
    imported: i32,
}

impl Lists<'_> {
    /// A row and an import that are not committed yet, and a pause that waits for the row. Ends with the pause answered.
    async fn uncommitted(&self, tally: &mut Tally) -> Result<Uncommitted> {
        let (house, people, [first, second, _]) = (self.house, &self.people, DIALERS);
        round::arm(&house.installation, first)?;
        people.start_dialer(&self.held.dialer).await?;
        let importing = self.import(..BEGIN)?;
        round::stands(&house.installation, first).await?;
        let (agent, dialer) = (people.clone(), self.held.dialer.clone());
        let pausing = tokio::spawn(async move { agent.pause_dialer(&dialer).await });
        let waits = || async {
            ensure!(!pausing.is_finished(), "it was held while a row of it was being sent");
            let waits = "SELECT count(*) FROM pg_stat_activity
                         WHERE wait_event_type = 'Lock' AND query LIKE '%FROM dialer.dialer%FOR UPDATE'";
            Ok((house.count(DATABASE, waits).await? > 0).then_some(()))
        };
        let waited = until("the pause waits for the row", waits).await;
        tally.strike(&house.installation, first).await?;
        let over = "UPDATE dialer.row SET due_at = now() WHERE waited_for IS NULL AND delivery IS NOT NULL";
        let moved = house.hours_pass(DATABASE, over).await?;
        ensure!(moved == 2, "{moved} rows wait for an answer");
        // The sweep begins with the process.
        round::arm(&house.installation, second.get(..1).context("no steps")?)?;
        house.installation.start_part(ATTENTION_STATE).await?;
        pausing.await??;
        Ok(Uncommitted { waited, imported: importing.await?? })
    }

    /// A row and an import that are committed but told to nobody; an attention that is not closed yet, and then one that is. Answers
    /// the rows that the repeated import says were added.
    async fn committed(&self, tally: &mut Tally) -> Result<i32> {
        let (house, [_, second, third]) = (self.house, DIALERS);
        round::arm(&house.installation, second.get(1..).context("no steps")?)?;
        self.people.start_dialer(&self.quick.dialer).await?;
        let importing = self.import(BEGIN..)?;
        tally.strike(&house.installation, second).await?;
        // Its time comes, but it is held.
        let due = "UPDATE dialer.dialer SET next_at = now() WHERE state = 'paused'";
        ensure!(house.hours_pass(DATABASE, due).await? == 1, "no dialer is held");
        round::arm(&house.installation, third)?;
        house.installation.start_part(ATTENTION_STATE).await?;
        let added = importing.await??;
        tally.strike(&house.installation, third).await?;
        house.installation.start_part(ATTENTION_STATE).await?;
        Ok(added)
    }

    /// Everything that is left is sent. Answers how many rows the held one had when others had had their turn.
    async fn rest(&self) -> Result<usize> {
        let people = &self.people;
        people.dialer_rows_are("the quick ones have it", &self.quick.dialer, arrived).await?;
        let left = self.held.pending(people).await?;
        people.start_dialer(&self.held.dialer).await?;
        let last = || async { Ok((self.held.pending(people).await? <= 1).then_some(())) };
        until("the held one has one row at most", last).await?;
        let due = "UPDATE dialer.dialer SET next_at = now() WHERE state = 'running'";
        self.house.hours_pass(DATABASE, due).await?;
        people.start_dialer(&self.long.dialer).await?;
        for list in [&self.held, &self.long] {
            people.dialer_rows_are("all have it", &list.dialer, arrived).await?;
        }
        Ok(left)
    }

    /// An import of these as a frontend does it, one request id until it is answered.
    fn import(
        &self,
        part: impl SliceIndex<[Customer], Output = [Customer]>,
    ) -> Result<JoinHandle<Result<i32>>> {
        let (people, dialer) = (self.people.clone(), self.long.dialer.clone());
        let csv = csv(self.long.customers.get(part).context("too few customers")?);
        Ok(tokio::spawn(async move { Ok(people.import_rows(&dialer, &csv).await?.imported) }))
    }

    /// Every phone got one template.
    fn sent_once(&self) -> Result<()> {
        let lists = [&self.silent, &self.held, &self.long, &self.quick];
        for customer in lists.into_iter().flat_map(|list| &list.customers) {
            let got = customer.templates();
            ensure!(got == 1, "{} got {got} templates", customer.address);
        }
        Ok(())
    }
}

fn count(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

fn when(holds: bool, why: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(anyhow::anyhow!(why())) }
}

async fn finished(people: &Agent, list: &List) -> Result<()> {
    let look =
        || async { Ok((people.dialer(&list.dialer).await?.state() == DialerState::Finished).then_some(())) };
    until("the dialer has finished", look).await
}

/// Every attention of the list is closed, says so in its row, and said so to others once.
async fn given_up(people: &Agent, subscriber: &Subscriber, silent: &List, rows: &[Row]) -> Result<()> {
    let over = |row: &Row| row.gave_up_at.is_some();
    people.dialer_rows_are("the silent ones are given up", &silent.dialer, over).await?;
    for row in rows {
        let request = GetAttentionRequest { attention_id: row.attention_id.clone() };
        let attention = people.attention().get_attention(request).await?.into_inner().attention;
        let state = attention.context("no attention")?.state();
        ensure!(state == AttentionState::Closed, "{} is {state:?}", row.number);
        let closed = |log: &Log| {
            let events = log.attentions.get(&row.attention_id).into_iter().flat_map(|all| all.values());
            events.filter(|event| event.kind.ends_with(".attention_closed")).count()
        };
        subscriber.wait_until("it is closed", SOON, |log| closed(log) > 0).await?;
        let told = subscriber.with(closed);
        ensure!(told == 1, "{} was closed {told} times", row.number);
    }
    Ok(())
}
