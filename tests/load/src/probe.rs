//! What one commit costs on this disk and this server: a single row, committed again and again at a modest rate, beside
//! whatever else the server does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use tokio::time::MissedTickBehavior;

use crate::Took;

/// Commits measured.
#[derive(Debug)]
pub struct Commits {
    /// From the statement to its answer.
    pub took: Took,
}

/// Between two commits: twenty per second are enough for a p99 and little beside hundreds.
const EVERY: Duration = Duration::from_millis(50);
/// A server that does not answer a commit within this is stuck.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Measures on the database at `url`, in a table of its own, which is dropped again.
///
/// # Errors
/// When the database cannot be used, or does not commit durably: then the figure would say nothing.
pub async fn run(url: &str, lasting: Duration) -> Result<Commits> {
    let mut session = PgConnection::connect(url).await?;
    for setting in ["fsync", "synchronous_commit"] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut session).await?;
        anyhow::ensure!(value == "on", "{setting} is {value}");
    }
    sqlx::query("DROP TABLE IF EXISTS commit_probe").execute(&mut session).await?;
    sqlx::query("CREATE TABLE commit_probe (number bigint PRIMARY KEY)").execute(&mut session).await?;
    let mut took = Took::none()?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until = Instant::now() + lasting;
    let mut number = 0_i64;
    while Instant::now() < until {
        ticks.tick().await;
        let started = Instant::now();
        let row = sqlx::query("INSERT INTO commit_probe VALUES ($1)").bind(number).execute(&mut session);
        tokio::time::timeout(MAX_WAIT, row).await.context("a commit was not answered")??;
        // The first prepares the statement.
        if number > 0 {
            took.note(started.elapsed())?;
        }
        number += 1;
    }
    sqlx::query("DROP TABLE commit_probe").execute(&mut session).await?;
    session.close().await?;
    Ok(Commits { took })
}
