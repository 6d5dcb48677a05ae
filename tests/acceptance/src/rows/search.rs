//! A hundred thousand ended threads in history's own store: how fast they are found, and how soon a new one is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Installation, Options};
use hilo_history::store::Store;
use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_proto::history::v1::SearchThreadsRequest;
use sqlx::{Connection, PgConnection};

use super::threads::Generator;
use crate::report::{Measured, Verdict};
use crate::targets::Search;

/// Threads stored at the same time.
const WRITERS: usize = 8;
/// Searches of each kind.
const ROUNDS: u64 = 150;
/// Kinds of searches for common words.
const KINDS: usize = 7;
/// Threads stored between two lines of progress.
const PROGRESS: u64 = 20_000;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Fills the store by its own function, searches over gRPC as a coordinator and as an agent, ends fresh mails.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Search) -> Result<Measured> {
    let threads = target.threads;
    let installation = Installation::start(Options { agents: 1, ..Options::default() }).await?;
    let filled = fill(&installation, threads).await?;
    let (selective, common) = searches(&installation, threads).await?;
    let arrival = arrivals(&installation, target.arrivals).await?;
    let figure = format!(
        "{} threads (stored in {filled:.0?}): selective p50 {:.1?}, p99 {:.1?}, max {:.1?}; common with filters p50 {:.1?}, p99 {:.1?}, \
         max {:.1?}; ended to searchable max {arrival:.0?} of {}",
        threads,
        quantile(&selective, 0.5),
        quantile(&selective, 0.99),
        quantile(&selective, 1.0),
        quantile(&common, 0.5),
        quantile(&common, 0.99),
        quantile(&common, 1.0),
        target.arrivals,
    );
    let within = quantile(&selective, 0.99)
        <= Duration::from_millis(target.selective_p99_at_most_milliseconds)
        && quantile(&common, 0.99) <= Duration::from_millis(target.common_p99_at_most_milliseconds)
        && arrival <= Duration::from_millis(target.searchable_at_most_milliseconds);
    let verdict = if within { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    Ok(Measured::from(verdict)
        .with("stored_s", filled.as_secs_f64())
        .with_milliseconds("selective_p50_ms", quantile(&selective, 0.5))
        .with_milliseconds("selective_p99_ms", quantile(&selective, 0.99))
        .with_milliseconds("selective_max_ms", quantile(&selective, 1.0))
        .with_milliseconds("common_p50_ms", quantile(&common, 0.5))
        .with_milliseconds("common_p99_ms", quantile(&common, 0.99))
        .with_milliseconds("common_max_ms", quantile(&common, 1.0))
        .with_milliseconds("searchable_max_ms", arrival))
}

fn error(error: hilo_kit::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", error.chain())
}

async fn fill(installation: &Installation, threads: u64) -> Result<Duration> {
    // Filling is not what is measured, so it does not wait for the disk after each thread.
    let url = format!("{}?options[synchronous_commit]=off", installation.database("hilo_history"));
    let mut config = DatabaseConfig::new(url);
    config.max_connections = 10;
    let db = Db::connect(&config).await.map_err(error)?;
    let store = Store::new(db.clone());
    let generator = Arc::new(Generator::new());
    let started = Instant::now();
    let mut stored = futures::stream::iter(0..threads)
        .map(|number| {
            let (store, generator) = (store.clone(), generator.clone());
            tokio::spawn(async move { store.put(generator.thread(number)).await })
        })
        .buffer_unordered(WRITERS);
    let mut count = 0_u64;
    while let Some(outcome) = stored.next().await {
        outcome.context("a writer panicked")?.map_err(error)?;
        count += 1;
        if count.is_multiple_of(PROGRESS) {
            eprintln!("  {count} of {threads} threads stored after {:.0?}", started.elapsed());
        }
    }
    let filled = started.elapsed();
    // As autovacuum does by itself some time later: statistics, and new entries merged into the GIN indexes.
    // On a session without the services' statement timeout.
    let mut session = PgConnection::connect(&installation.database("hilo_history")).await?;
    sqlx::query("VACUUM ANALYZE").execute(&mut session).await?;
    session.close().await?;
    db.close().await;
    Ok(filled)
}

/// Durations of selective and of common searches.
async fn searches(installation: &Installation, threads: u64) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let coordinator = installation.login("coordinadora").await?;
    let agent_key = installation.agent_keys().first().context("an agent")?.clone();
    let agent = installation.login(&agent_key).await?;
    let (mut selective, mut common) = (Vec::new(), Vec::new());
    let mut found_by = [0_usize; KINDS];
    for round in 0..ROUNDS {
        let number = (round * 7_919 + 13) % threads;
        for search in selective_searches(number) {
            for who in [&coordinator, &agent] {
                let (took, found) = timed(who, search.clone()).await?;
                anyhow::ensure!(found > 0, "thread {number} is not found by {search:?}");
                selective.push(took);
            }
        }
        for (search, sum) in common_searches(round).into_iter().zip(&mut found_by) {
            for who in [&coordinator, &agent] {
                let (took, found) = timed(who, search.clone()).await?;
                common.push(took);
                *sum += found;
            }
        }
    }
    // A kind of search that finds nothing at all would be quick for the wrong reason.
    anyhow::ensure!(found_by.iter().all(|found| *found > 0), "common searches found {found_by:?} threads");
    Ok((selective, common))
}

/// What fits one or few threads.
fn selective_searches(number: u64) -> Vec<SearchThreadsRequest> {
    let none = SearchThreadsRequest::default;
    let code = Generator::code(number);
    vec![
        SearchThreadsRequest { words: code.clone(), ..none() },
        SearchThreadsRequest { words: format!("pedido {code}"), ..none() },
        SearchThreadsRequest { customer: Generator::address(number), ..none() },
        SearchThreadsRequest { attention_number: Generator::attention(number), ..none() },
        SearchThreadsRequest { subject: code.clone(), ..none() },
        SearchThreadsRequest { form_value: code.clone(), ..none() },
        SearchThreadsRequest { form_values: [("motivo".to_owned(), code)].into(), ..none() },
    ]
}

/// What fits many, with the filters a person adds.
fn common_searches(round: u64) -> [SearchThreadsRequest; KINDS] {
    let none = SearchThreadsRequest::default;
    let from = Generator::day(round % 80);
    let to = Generator::day(round % 80 + 7);
    let words = ["pedido", "factura", "entrega", "gracias", "cliente"];
    let word =
        words.iter().cycle().nth(usize::try_from(round % 5).unwrap_or_default()).copied().unwrap_or("pedido");
    [
        SearchThreadsRequest { words: word.into(), campaign_key: "soporte".into(), ..none() },
        SearchThreadsRequest { words: word.into(), ended_from: from.clone(), ended_to: to.clone(), ..none() },
        SearchThreadsRequest { words: format!("{word} demora"), agent_key: "agente-0".into(), ..none() },
        SearchThreadsRequest {
            words: word.into(),
            tag: "urgente".into(),
            campaign_key: "soporte".into(),
            ..none()
        },
        SearchThreadsRequest { customer: "gonzalez".into(), ended_from: from.clone(), ..none() },
        SearchThreadsRequest { subject: "consulta".into(), ended_to: to, ..none() },
        SearchThreadsRequest {
            form_value: "reclamo".into(),
            campaign_key: "soporte".into(),
            ended_from: from,
            ..none()
        },
    ]
}

async fn timed(who: &hilo_end_to_end::Agent, search: SearchThreadsRequest) -> Result<(Duration, usize)> {
    let started = Instant::now();
    let found = who.history().search_threads(search).await?.into_inner().threads.len();
    Ok((started.elapsed(), found))
}

/// Longest time from the answer of EndInteraction until a search finds the thread.
async fn arrivals(installation: &Installation, count: u32) -> Result<Duration> {
    let key = installation.agent_keys().first().context("an agent")?.clone();
    let agent = installation.login(&key).await?;
    let _present = agent.be_present().await?;
    let desk = agent.watch();
    let mut longest = Duration::ZERO;
    for number in 0..count {
        let from = format!("llegada-{number}@cliente.example");
        let word = format!("llegada{number}zeta");
        let mail =
            Mail::new(&from, installation.support_address(), "Llegada", &format!("Una palabra: {word}"));
        customer::send(installation.smtp(), &mail).await?;
        let item = desk.wait_for("the mail", MAX_WAIT, |item| item.customer_address == from).await?;
        agent.open(&item.interaction_id).await?;
        agent.end(&item.interaction_id, true).await?;
        let started = Instant::now();
        let search = SearchThreadsRequest { words: word, ..SearchThreadsRequest::default() };
        while timed(&agent, search.clone()).await?.1 == 0 {
            anyhow::ensure!(started.elapsed() < MAX_WAIT, "an ended thread is not found after {MAX_WAIT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        longest = longest.max(started.elapsed());
    }
    Ok(longest)
}

fn quantile(of: &[Duration], quantile: f64) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort();
    let place = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(place - 1).copied().unwrap_or_default()
}
