//! Case 29: however much is asked, neither a number's nor a customer's pace is exceeded at Meta, and each conversation keeps its order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::Customer;
use hilo_proto::attention::v1::DeskItem;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Messages to one customer.
    pub to_one: usize,
    /// Messages per second overall that are asked for.
    pub per_second: f64,
    /// Messages to all the others together.
    pub to_others: usize,
    /// Others; each gets no more than a burst of a pair, 45.
    pub others: usize,
    /// Longest wait for the last one.
    pub settle: Duration,
}

/// Sends all of it as fast as asked and watches the simulator, which takes everything and writes down what came too fast.
///
/// # Errors
/// When one came too fast, out of order, not at all, or twice.
pub async fn pace(house: &Chat, size: Pace) -> Result<String> {
    let meta = house.meta()?;
    meta.behave(|behaviour| {
        behaviour.pace.enforce = false;
        behaviour.delivery.in_flight = 8;
    });
    let one = talking(house, "51900000029", "Uno").await?;
    let mut others = Vec::new();
    for n in 0..size.others {
        others.push(talking(house, &format!("519000029{n:03}"), "Otro").await?);
    }
    // Round robin over the others, the one among them, evenly.
    let total = size.to_one + size.to_others;
    let mut plan: Vec<(&(Customer, DeskItem), usize)> = Vec::with_capacity(total);
    let (mut to_one, mut to_others) = (0, 0);
    for n in 0..total {
        if to_one < size.to_one && n * size.to_one >= to_one * total {
            plan.push((&one, to_one));
            to_one += 1;
        } else {
            let other = others.get(to_others % size.others.max(1)).context("others")?;
            plan.push((other, to_others / size.others.max(1)));
            to_others += 1;
        }
    }
    let begun = Instant::now();
    let asked = ask(house, plan, size.per_second, begun).await?;
    let waited = Instant::now();
    let arrived = || meta.totals().accepted;
    while usize::try_from(arrived())? < total && waited.elapsed() < size.settle {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (arrived, took) = (arrived(), begun.elapsed());
    ensure!(usize::try_from(arrived)? == total, "{arrived} of {total} arrived");
    let violations = meta.violations();
    ensure!(violations.is_empty(), "{} came too fast: {:?}", violations.len(), violations.first());
    for (customer, _) in std::iter::once(&one).chain(&others) {
        let received = customer.phone.received();
        let texts: Vec<&str> =
            received.iter().filter_map(|sent| sent.body.pointer("/text/body")?.as_str()).collect();
        let expected: Vec<String> = (0..texts.len()).map(|n| format!("n. {n}")).collect();
        ensure!(texts == expected, "{}: out of order or not once: {texts:?}", customer.address);
    }
    let peak = meta.peak(&house.installation.whatsapp_number());
    Ok(format!(
        "{total} messages asked at {asked:.0}/s, {} of them to one customer: 0 too fast, at most {peak} in a second, in order, all arrived after {:.0} s",
        size.to_one,
        took.as_secs_f64()
    ))
}

async fn talking(house: &Chat, digits: &str, name: &str) -> Result<(Customer, DeskItem)> {
    let customer = house.customer(digits, name)?;
    customer.writes("hola")?;
    let item = house.serve(&customer).await?;
    Ok((customer, item))
}

/// Sends by the plan on an open schedule, one at a time per conversation; answers the rate it came to.
async fn ask(
    house: &Chat,
    plan: Vec<(&(Customer, DeskItem), usize)>,
    rate: f64,
    begun: Instant,
) -> Result<f64> {
    let total = plan.len();
    // The order of a conversation is that of the agent's calls, so each waits for the answer to the one before.
    let mut lanes: std::collections::BTreeMap<&str, Vec<(usize, usize)>> = std::collections::BTreeMap::new();
    for (at, ((_, item), n)) in plan.iter().enumerate() {
        lanes.entry(item.interaction_id.as_str()).or_default().push((at, *n));
    }
    let lanes = lanes.into_iter().map(|(interaction, sends)| async move {
        for (at, n) in sends {
            let due = begun + Duration::from_secs_f64(at as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
            house.agent.reply(interaction, &format!("n. {n}")).await?;
        }
        anyhow::Ok(())
    });
    let done: Vec<Result<()>> = futures::stream::iter(lanes).buffer_unordered(1_000).collect().await;
    done.into_iter().collect::<Result<()>>()?;
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}
