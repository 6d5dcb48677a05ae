//! The act scenario: hundreds of agents with open desks, each acting once per second on a fixed schedule - opening the next
//! item that rings at him, answering it, opening the next. How long each answer took, from the instant it was due.
//!
//! The agents work in teams, a campaign each, as hundreds of people do. Mails are taken in beforehand and the answers go out
//! by SMTP meanwhile, so the services do everything that acting causes.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use hilo_end_to_end::agent::Presence;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Agent, Desk, Installation};
use hilo_proto::attention::v1::{OpenInteractionRequest, SendMessageRequest};
use hilo_proto::event::v1::InteractionState;
use tokio::task::JoinSet;

use crate::Took;
use crate::probe::{self, Commits};

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// Teams the installation's agents are divided into; a campaign each.
    pub teams: usize,
    /// Acts of each agent, one per second: openings and answers in turn.
    pub acts: usize,
    /// Longest wait for the mails to ring beforehand, and for the answers to arrive afterwards.
    pub settle: Duration,
}

/// What was found. Latencies from the instant an act was due to its answer.
#[derive(Debug)]
pub struct ActReport {
    /// Answers of OpenInteraction.
    pub opens: Took,
    /// Answers of SendMessage.
    pub sends: Took,
    /// Acts that were due.
    pub due: usize,
    /// Acts that were refused, not answered, or never made because an agent fell too far behind.
    pub failures: Vec<String>,
    /// Largest delay of the generator's own timers.
    pub generator_lag: Duration,
    /// Single-row commits on the same server before the acts and during them.
    pub commits: (Commits, Commits),
    /// Answers that arrived in the customers' mailbox.
    pub arrived: usize,
    /// From the last act to the last arrival.
    pub arrived_after: Duration,
}

/// An agent this far behind his schedule gives up: the run is lost, and it must end.
const TOO_LATE: Duration = Duration::from_secs(20);
/// Mails for each agent beyond what he opens, as mails of a team do not fall on its agents in exactly equal numbers.
const SPARE: usize = 2;
/// Mails on their way at once.
const SENDERS: usize = 32;
/// How long commits are measured while nothing else happens.
const QUIET: Duration = Duration::from_secs(5);

/// An agent at his desk, with what he is going to open.
struct Person {
    agent: Agent,
    desk: Desk,
    items: Vec<String>,
    _presence: Presence,
}

/// Runs the scenario on an installation whose campaigns offer to one agent at a time, with room for every mail.
///
/// # Errors
/// When the installation cannot be used at all; slow and refused acts are figures, not errors.
pub async fn act(installation: &Installation, size: Act) -> Result<ActReport> {
    let users = installation.agent_keys();
    let teams: Vec<&[String]> = users.chunks(users.len().div_ceil(size.teams.max(1))).collect();
    let sink = installation.sink().port;
    installation.change_directory(|yaml| in_teams(yaml, &teams, sink)).await?;
    let mut people = at_their_desks(installation, &users).await?;
    let opened = size.acts.div_ceil(2);
    take_in(installation, &teams, opened + SPARE).await?;
    ring(&mut people, opened, size.settle).await?;
    let database = installation.database("postgres");
    let quiet = probe::run(&database, QUIET).await?;

    let lasting = Duration::from_secs(size.acts as u64);
    let probing = tokio::spawn({
        let database = database.clone();
        async move { probe::run(&database, lasting).await }
    });
    let (opens, sends, failures, generator_lag) = acts(&people, size.acts).await?;
    let ended = Instant::now();
    let loaded = probing.await.context("the probe panicked")??;
    let due = people.len() * size.acts;
    while installation.sink().count()? < sends.count() as usize && ended.elapsed() < size.settle {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(ActReport {
        due,
        failures,
        generator_lag,
        commits: (quiet, loaded),
        arrived: installation.sink().count()?,
        arrived_after: ended.elapsed(),
        opens,
        sends,
    })
}

/// The directory with one account and campaign per team instead of everybody in every campaign.
fn in_teams(yaml: &str, teams: &[&[String]], smtp_port: u16) -> String {
    let everybody = format!("members: [{}]", teams.concat().join(", "));
    let (mut accounts, mut campaigns) = (String::new(), String::new());
    for (index, team) in teams.iter().enumerate() {
        let address = address(index);
        let _ = writeln!(
            accounts,
            "  - {{key: equipo-{index}, channel: email, address: {address}, accept_unauthenticated_replies: true, \
             smtp: {{host: 127.0.0.1, port: {smtp_port}, security: plain}}}}"
        );
        let _ = writeln!(
            campaigns,
            "  - {{key: equipo-{index}, name: Equipo {index}, channel: email, accounts: [equipo-{index}], members: [{}], \
             assignment_mode: round_robin, inbound_form: consulta}}",
            team.join(", ")
        );
    }
    yaml.replace(&everybody, "members: [ajena]")
        .replacen("\naccounts:\n", &format!("\naccounts:\n{accounts}"), 1)
        .replacen("\ncampaigns:\n", &format!("\ncampaigns:\n{campaigns}"), 1)
}

fn address(team: usize) -> String {
    format!("equipo-{team}@hilo.example")
}

async fn at_their_desks(installation: &Installation, users: &[String]) -> Result<Vec<Person>> {
    let mut people = Vec::new();
    for user in users {
        let agent = installation.signed_in(user)?;
        let presence = agent.be_present().await?;
        let desk = agent.watch();
        people.push(Person { agent, desk, items: Vec::new(), _presence: presence });
    }
    Ok(people)
}

/// Mails of ever new customers: so many for each agent of each team.
async fn take_in(installation: &Installation, teams: &[&[String]], each: usize) -> Result<()> {
    for (team, _) in teams.iter().enumerate() {
        // A new account is known to email-ingest a moment after the change.
        let first = Mail::new("primera@cliente.example", &address(team), "Primera", "¿Me pueden ayudar?");
        customer::send_until_accepted(installation.smtp(), &first, Duration::from_secs(30)).await?;
    }
    let most = teams.iter().map(|team| team.len()).max().unwrap_or_default() * each;
    // Team after team, so that none waits for the end.
    let mails =
        (0..most).flat_map(|number| teams.iter().enumerate().map(move |(index, team)| (number, index, team)));
    futures::stream::iter(mails.filter(|(number, _, team)| *number < team.len() * each))
        .map(|(number, team, _)| {
            let from = format!("cliente-{team}-{number}@cliente.example");
            let text = "Buenos días, compré un colchón la semana pasada y todavía no llega. ¿Me pueden ayudar?";
            let mail = Mail::new(&from, &address(team), "Consulta por mi pedido", text);
            let server = installation.smtp();
            async move { customer::send_until_accepted(server, &mail, Duration::from_secs(30)).await.map(drop) }
        })
        .buffer_unordered(SENDERS)
        .collect::<Vec<Result<()>>>()
        .await
        .into_iter()
        .collect()
}

/// Waits until enough rings at every desk, and notes what each agent is going to open: what rings at him, oldest first.
async fn ring(people: &mut [Person], enough: usize, settle: Duration) -> Result<()> {
    let until = Instant::now() + settle;
    for person in people {
        loop {
            person.items = person.desk.with(|state| {
                let queued = InteractionState::Queued as i32;
                let mut rings: Vec<_> =
                    state.items.values().filter(|item| item.ringing && item.state == queued).collect();
                rings.sort_by_key(|item| item.attention_number);
                rings.into_iter().take(enough).map(|item| item.interaction_id.clone()).collect()
            });
            if person.items.len() >= enough {
                break;
            }
            let (found, who) = (person.items.len(), &person.agent.key);
            anyhow::ensure!(
                Instant::now() < until,
                "only {found} of {enough} items ring at {who} in {settle:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// What one agent did.
#[derive(Default)]
struct Done {
    opens: Vec<Duration>,
    sends: Vec<Duration>,
    failures: Vec<String>,
    lag: Duration,
}

/// Every agent once per second, evenly over the second; half of them answer while the other half opens.
async fn acts(people: &[Person], acts: usize) -> Result<(Took, Took, Vec<String>, Duration)> {
    let begun = Instant::now() + Duration::from_secs(1);
    let mut tasks = JoinSet::new();
    for (index, person) in people.iter().enumerate() {
        // Who begins a second later opens while the others answer.
        let later = Duration::from_secs((index % 2) as u64);
        let from = begun + Duration::from_secs(1).mul_f64(index as f64 / people.len() as f64) + later;
        tasks.spawn(work(person.agent.clone(), person.items.clone(), from, acts));
    }
    let (mut opens, mut sends) = (Took::none()?, Took::none()?);
    let (mut failures, mut lag) = (Vec::new(), Duration::ZERO);
    while let Some(done) = tasks.join_next().await {
        let done = done.context("an agent panicked")?;
        for (from, to) in [(&done.opens, &mut opens), (&done.sends, &mut sends)] {
            for latency in from {
                to.note(*latency)?;
            }
        }
        failures.extend(done.failures);
        lag = lag.max(done.lag);
    }
    Ok((opens, sends, failures, lag))
}

async fn work(agent: Agent, items: Vec<String>, from: Instant, acts: usize) -> Done {
    let mut done = Done::default();
    let mut refused = BTreeSet::new();
    for act in 0..acts {
        let due = from + Duration::from_secs(act as u64);
        let early = Instant::now() < due;
        tokio::time::sleep_until(due.into()).await;
        if early {
            done.lag = done.lag.max(due.elapsed());
        }
        let Some(item) = items.get(act / 2) else { continue };
        if due.elapsed() > TOO_LATE || refused.contains(item) {
            done.failures.push(format!("{} never made act {act}", agent.key));
            continue;
        }
        let call = async { if act % 2 == 0 { open(&agent, item).await } else { send(&agent, item).await } };
        match tokio::time::timeout(TOO_LATE, call).await {
            Ok(Ok(())) if act % 2 == 0 => done.opens.push(due.elapsed()),
            Ok(Ok(())) => done.sends.push(due.elapsed()),
            Ok(Err(status)) => {
                done.failures.push(format!("{} act {act}: {status}", agent.key));
                refused.insert(item.clone());
            }
            Err(_) => {
                done.failures.push(format!("{} act {act}: no answer in {TOO_LATE:?}", agent.key));
                refused.insert(item.clone());
            }
        }
    }
    done
}

async fn open(agent: &Agent, item: &str) -> Result<(), tonic::Status> {
    let request = OpenInteractionRequest {
        interaction_id: item.to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    agent.attention().open_interaction(request).await.map(drop)
}

async fn send(agent: &Agent, item: &str) -> Result<(), tonic::Status> {
    let text = "Buenos días, gracias por escribirnos. Su pedido salió ayer del almacén y llega mañana entre las nueve y las doce. Saludos.";
    let request = SendMessageRequest {
        interaction_id: item.to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        text: text.to_owned(),
        ..Default::default()
    };
    agent.attention().send_message(request).await.map(drop)
}

impl ActReport {
    /// True when every act was made and answered, and every answer arrived at its customer.
    pub fn is_exact(&self) -> bool {
        self.failures.is_empty()
            && (self.opens.count() + self.sends.count()) as usize == self.due
            && self.arrived == self.sends.count() as usize
    }
}

impl fmt::Display for ActReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "acts due                      {:>10}", self.due)?;
        for (what, of) in [("OpenInteraction", &self.opens), ("SendMessage", &self.sends)] {
            writeln!(f, "{what:<24} {:>15}, ms p50 p99 max: {}", of.count(), of)?;
        }
        let (quiet, loaded) = &self.commits;
        writeln!(f, "commit before the acts, ms p50 p99 max: {}", quiet.took)?;
        writeln!(f, "commit during the acts, ms p50 p99 max: {}", loaded.took)?;
        writeln!(f, "generator late by at most     {:>10.1} ms", self.generator_lag.as_secs_f64() * 1_000.0)?;
        writeln!(
            f,
            "arrived at the customers      {:>10}, {:.1} s later",
            self.arrived,
            self.arrived_after.as_secs_f64()
        )?;
        write!(f, "failed                        {:>10}", self.failures.len())?;
        self.failures.first().map_or(Ok(()), |first| write!(f, "\nfirst: {first}"))
    }
}
