//! The rows of WhatsApp: each on a house of its own, by the scenarios of `tests/faults` and `tests/load` at their promised size.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::{Chat, Options, Service};
use hilo_faults::chat as scenarios;
use hilo_load::{Floor, Webhooks, WebhooksReport, webhooks};

use crate::report::{Measured, Verdict};
use crate::targets::{Altered, Batch, ChatCases, Down, Kinds, Load, Pace};

/// The floor is measured this long.
const FLOOR: Duration = Duration::from_secs(15);

async fn house() -> Result<Chat> {
    Chat::start(Options { agents: 1, ..Options::default() }).await
}

fn pass(figures: Vec<String>) -> Verdict {
    Verdict::Pass(figures.join("; "))
}

/// Batches again and again, and statuses in all orders.
///
/// # Errors
/// What does not hold.
pub async fn batch(target: &Batch) -> Result<Verdict> {
    let size = scenarios::Batch { copies: target.copies, batches: target.batches, messages: target.messages };
    let once = scenarios::batch(&house().await?, size).await?;
    let orders = scenarios::Statuses { gaps: true, repeats: target.repeats };
    Ok(pass(vec![once, scenarios::statuses(&house().await?, orders).await?]))
}

/// The hardening cases 24 to 32, one after the other; one that does not hold does not keep the others from running.
///
/// # Errors
/// None: a case that cannot be run is one that does not hold.
pub async fn cases(target: &ChatCases) -> Result<Verdict> {
    let (mut figures, mut holds) = (Vec::new(), true);
    for case in 24..=32 {
        let outcome = case_of(case, target).await;
        let (held, figure) =
            outcome.map_or_else(|error| (false, format!("{error:#}")), |figure| (true, figure));
        println!("  case {case}: {} {figure}", if held { "holds," } else { "DOES NOT HOLD," });
        figures.push(format!("{case}: {figure}"));
        holds &= held;
    }
    let figures = figures.join("; ");
    Ok(if holds { Verdict::Pass(figures) } else { Verdict::Fail(figures) })
}

async fn case_of(case: u32, target: &ChatCases) -> Result<String> {
    let house = house().await?;
    let both = |one: String, other: String| format!("{one}, {other}");
    Ok(match case {
        24 => both(scenarios::altered(&house).await?, scenarios::no_secret(&house).await?),
        25 => {
            let size = scenarios::Batch { copies: target.copies, batches: 1, messages: 3 };
            both(scenarios::batch(&house, size).await?, scenarios::fifty(&house).await?)
        }
        26 => scenarios::statuses(&house, scenarios::Statuses { gaps: true, repeats: 3 }).await?,
        27 => outage(&house, target).await?,
        28 => scenarios::graph(&house).await?,
        29 => "the row pace".to_owned(),
        30 => scenarios::window(&house).await?,
        31 => scenarios::media(&house, true).await?,
        _ => scenarios::people(&house).await?,
    })
}

/// Case 27: the outage, then the burst that follows it.
async fn outage(house: &Chat, target: &ChatCases) -> Result<String> {
    let size = scenarios::Down {
        customers: target.outage_customers,
        messages: target.outage_messages,
        lasting: Duration::from_secs(target.outage_seconds),
    };
    let down = scenarios::postgres_down(house, size).await?;
    let size = posted(house, target.burst_per_second, 3, Duration::from_secs(target.burst_seconds), "burst");
    let burst = webhooks(&house.poster()?, &size).await?;
    let within = burst.took.quantile(0.5) <= Duration::from_millis(target.burst_median_at_most_milliseconds)
        && burst.took.quantile(0.99) <= Duration::from_millis(target.burst_p99_at_most_milliseconds);
    anyhow::ensure!(within && burst.refused == 0, "the burst after it: {burst}");
    Ok(format!("{down}; then {burst}"))
}

/// The broker away.
///
/// # Errors
/// What does not hold.
pub async fn nats_down(target: &Down) -> Result<Verdict> {
    Ok(Verdict::Pass(scenarios::nats_down(&house().await?, down(target)).await?))
}

/// The database away.
///
/// # Errors
/// What does not hold.
pub async fn postgres_down(target: &Down) -> Result<Verdict> {
    Ok(Verdict::Pass(scenarios::postgres_down(&house().await?, down(target)).await?))
}

fn down(target: &Down) -> scenarios::Down {
    let lasting = Duration::from_secs(target.seconds);
    scenarios::Down { customers: target.customers, messages: target.messages, lasting }
}

fn posted(house: &Chat, rate: f64, per_post: usize, lasting: Duration, run: &str) -> Webhooks {
    let number = house.installation.whatsapp_number();
    Webhooks { rate, per_post, lasting, number, customers: 20_000, run: run.to_owned() }
}

/// Webhooks per second, everything running; the same with one event per POST; the same with the other four services stopped; and the floor.
///
/// # Errors
/// When the house cannot be used, or not everything that was acknowledged is in the ledger.
pub async fn load(target: &Load) -> Result<Measured> {
    let house = house().await?;
    let lasting = Duration::from_secs(target.seconds);
    let floor = Floor::start(&house.installation.database("hilo_whatsapp")).await?;
    let floor =
        webhooks(&floor.poster()?, &posted(&house, target.events_per_second, 3, FLOOR, "floor")).await?;
    let poster = house.poster()?;
    let three = webhooks(&poster, &posted(&house, target.events_per_second, 3, lasting, "three")).await?;
    let one = webhooks(&poster, &posted(&house, target.events_per_second, 1, lasting, "one")).await?;
    let posts = three.took.count() + one.took.count();
    let refused = three.refused + one.refused;
    let stored = house.ledger("SELECT count(*) FROM whatsapp.webhook").await?;
    drop(house);
    let alone = alone(target).await?;
    let runs = [&three, &one, &alone];
    let kept = u64::try_from(stored)? + u64::try_from(refused)? >= posts;
    let figure = format!(
        "3 per POST: {three}; 1 per POST: {one}; 3 per POST with the other services stopped: {alone}; floor: {floor}; \
         {posts} POSTs of the first two, {stored} in the ledger; generator late by at most {:.1?}",
        runs.iter().map(|run| run.generator_lag).max().unwrap_or_default()
    );
    let within = |run: &WebhooksReport| {
        run.took.quantile(0.99) < Duration::from_millis(target.p99_below_milliseconds)
            && run.rate() >= target.events_per_second * 0.99
            && run.refused == 0
    };
    let verdict = if kept && within(&three) { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    let measured = Measured::from(verdict)
        .with("three_events_per_second", three.rate())
        .with("one_events_per_second", one.rate())
        .with("alone_events_per_second", alone.rate())
        .with("floor_events_per_second", floor.rate());
    Ok(measured
        .with_milliseconds("three_p50_ms", three.took.quantile(0.5))
        .with_milliseconds("three_p99_ms", three.took.quantile(0.99))
        .with_milliseconds("one_p50_ms", one.took.quantile(0.5))
        .with_milliseconds("one_p99_ms", one.took.quantile(0.99))
        .with_milliseconds("alone_p99_ms", alone.took.quantile(0.99))
        .with_milliseconds("floor_p99_ms", floor.took.quantile(0.99)))
}

/// A house of its own in which nothing but whatsapp-ingest, the database and the broker is left.
async fn alone(target: &Load) -> Result<WebhooksReport> {
    let house = house().await?;
    for service in [Service::EmailIngest, Service::History, Service::Routing, Service::AttentionState] {
        house.installation.kill(Part::Service(service)).await?;
    }
    let lasting = Duration::from_secs(target.seconds);
    webhooks(&house.poster()?, &posted(&house, target.events_per_second, 3, lasting, "alone")).await
}

/// Pace of a number and of a pair.
///
/// # Errors
/// What does not hold.
pub async fn pace(target: &Pace) -> Result<Verdict> {
    let size = scenarios::Pace {
        to_one: target.to_one,
        per_second: target.per_second,
        to_others: target.to_others,
        others: target.others,
        settle: Duration::from_secs(target.settle_seconds),
    };
    Ok(Verdict::Pass(scenarios::pace(&house().await?, size).await?))
}

/// Altered signatures and bodies.
///
/// # Errors
/// What does not hold.
pub async fn altered(_: &Altered) -> Result<Verdict> {
    let house = house().await?;
    Ok(pass(vec![scenarios::altered(&house).await?, scenarios::no_secret(&house).await?]))
}

/// Every documented kind.
///
/// # Errors
/// What does not hold.
pub async fn kinds(_: &Kinds) -> Result<Verdict> {
    Ok(Verdict::Pass(scenarios::kinds(&house().await?).await?))
}
