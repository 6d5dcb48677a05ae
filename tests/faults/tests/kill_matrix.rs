//! The path with five separate processes: at every named step, each service, nats-server and PostgreSQL is killed (`kill -9`)
//! while a process stands between the two source points of that step. Nothing may be lost, doubled or stuck. The way of a long
//! thread into the history and back is killed by those parts that it passes. Files and templates of WhatsApp and dialers lose the process
//! that is at work on them, and at a step of each the broker and the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::FutureExt;
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::{Log, Subscriber};
use hilo_end_to_end::{Chat, Installation, Options, Service};
use hilo_faults::journey::{travel, travel_long};
use hilo_faults::round::{all, judge};
use hilo_faults::{ARCHIVE, BESIDE, CHANNEL, DIALERS, STEPS, Tally, Witness, beside, channel, dialers};

/// Mails per round of the path: one that meets the fault, another around it.
const MAILS: usize = 2;

const PARTS: [Part; 7] = [
    Part::Service(Service::AttentionState),
    Part::Service(Service::EmailIngest),
    Part::Service(Service::Routing),
    Part::Service(Service::History),
    Part::Service(Service::WhatsappIngest),
    Part::Nats,
    Part::Postgres,
];

/// Parts that an ended thread passes.
const ARCHIVE_PARTS: [Part; 4] =
    [Part::Service(Service::AttentionState), Part::Service(Service::History), Part::Nats, Part::Postgres];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_path_survives_every_kill_at_every_step() {
    path().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_thread_survives_every_kill_on_its_way_to_the_history_and_back() {
    archive().await.unwrap();
}

/// Guards, each seen red without it: the claim of a file ends by itself, so somebody fetches it again; a send that is with its files
/// (`uploading`) is planned again and in no doubt; what was uploaded is remembered; templates are reported when all pages are read; a
/// row's message and its state commit together; the runner keeps the dialer's row from the look at its state to the commit, so nothing is
/// sent behind an answered pause; an import's rows and its answer commit together; so do an attention that nobody answered and its row.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_templates_and_dialers_survive_the_death_of_their_process_and_of_what_they_stand_on() {
    chats().await.unwrap();
}

async fn path() -> Result<()> {
    let begun = Instant::now();
    let (witness, subscriber, _present) = start(Options { agents: 1, ..Options::default() }).await?;
    let mut tally = Tally::default();
    for step in STEPS {
        for part in PARTS {
            let journeys = |name: String| {
                let one = |index| {
                    let (witness, customer) = (witness.clone(), format!("{name}{index}@cliente.example"));
                    async move { travel(&witness, customer).await }
                };
                (0..MAILS).map(one).collect::<Vec<_>>()
            };
            tally.play(&witness, step, part, journeys).await?;
        }
    }
    tally.account(STEPS)?;
    judge(&witness, &subscriber, &tally.journeys).await?;
    let mails = tally.journeys.len();
    println!("{mails} mails, {} kills, {:.0} s", tally.kills(), begun.elapsed().as_secs_f64());
    Ok(())
}

async fn archive() -> Result<()> {
    let begun = Instant::now();
    let options = Options { agents: 1, purge_after_seconds: 0, ..Options::default() };
    let (witness, subscriber, _present) = start(options).await?;
    let mut tally = Tally::default();
    for step in ARCHIVE {
        for part in ARCHIVE_PARTS {
            let journeys = |name: String| {
                let (long, short) = (witness.clone(), witness.clone());
                let (author, other) =
                    (format!("{name}largo@cliente.example"), format!("{name}@cliente.example"));
                vec![
                    async move { travel_long(&long, author).await }.boxed(),
                    async move { travel(&short, other).await }.boxed(),
                ]
            };
            tally.play(&witness, step, part, journeys).await?;
        }
    }
    tally.account(ARCHIVE)?;
    judge(&witness, &subscriber, &tally.journeys).await?;
    let journeys = tally.journeys.len();
    println!("{journeys} threads, {} kills, {:.0} s", tally.kills(), begun.elapsed().as_secs_f64());
    Ok(())
}

async fn chats() -> Result<()> {
    let begun = Instant::now();
    let house = Chat::start(Options { agents: 1, ..Options::default() }).await?;
    let subscriber = Subscriber::start(house.installation.nats_url(), house.installation.prefix());
    let mut tally = Tally::default();
    let files = channel::files_and_templates(&house, &mut tally).await;
    println!("{:>6.1} s  files and templates", begun.elapsed().as_secs_f64());
    let dialled = dialers::dialers(&house, &subscriber, &mut tally).await;
    println!("{:>6.1} s  dialers", begun.elapsed().as_secs_f64());
    all([("files and templates", files), ("dialers", dialled)])?;
    let parts = beside::parts(&house, &mut tally).await;
    println!("{:>6.1} s  the broker and the database", begun.elapsed().as_secs_f64());
    parts?;
    CHANNEL.chunks(CHANNEL.len()).chain(DIALERS).try_for_each(|steps| tally.account_own(steps))?;
    tally.account_beside(BESIDE, beside::PARTS.len())?;
    let attentions = channel::ATTENTIONS + dialers::ATTENTIONS + beside::ATTENTIONS;
    let came = |log: &Log| log.attentions.len() >= attentions;
    subscriber.wait_until("every attention", Duration::from_secs(60), came).await?;
    subscriber.with(|log| {
        anyhow::ensure!(log.violations.is_empty(), "order broken: {:?}", log.violations);
        anyhow::ensure!(log.attentions.len() == attentions, "{} attentions", log.attentions.len());
        Ok(())
    })
}

/// An installation with an agent who is there, and a subscriber.
async fn start(options: Options) -> Result<(Witness, Subscriber, hilo_end_to_end::agent::Presence)> {
    let installation = Arc::new(Installation::start(options).await?);
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let agent = installation.login("agente-0").await?;
    let present = agent.be_present().await?;
    let desk = Arc::new(agent.watch());
    Ok((Witness { desk, agent, installation }, subscriber, present))
}
