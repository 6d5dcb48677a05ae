//! A measurement, not a test: how many offers one partition's owner gets committed per second, by size of batch.
//! `cargo test -p hilo-attention-state --lib --profile release -- --ignored --nocapture offers_per_second`

use std::time::{Duration, Instant};

use super::{apply, batch, offer, queue};
use crate::directory::testing::{self, database, directory_of};

#[tokio::test]
#[ignore = "measurement"]
async fn offers_per_second() {
    let db = database().await;
    let agents: Vec<String> = (0..2_000).map(|one| format!("agent-{one:04}")).collect();
    let members: Vec<&str> = agents.iter().map(String::as_str).collect();
    testing::apply(&db, &directory_of(&[("a", &members)], "")).await;
    let mut next = 0;
    for size in [1, 10, 25, 100, 500] {
        let ids = queue(&db, "a", 1_000.min(size * 40)).await;
        let mut slowest = Duration::ZERO;
        let started = Instant::now();
        for chunk in ids.chunks(size) {
            let changes = chunk
                .iter()
                .map(|id| {
                    next += 1;
                    offer(*id, 1, &agents[next % agents.len()])
                })
                .collect();
            let one = Instant::now();
            apply(&db, batch("a", changes)).await.unwrap();
            slowest = slowest.max(one.elapsed());
        }
        let rate = ids.len() as f64 / started.elapsed().as_secs_f64();
        println!("batches of {size}: {rate:.0} offers/s, slowest batch {slowest:?}");
    }
}
