//! Connections that come and go, at small scale (hardening case 21); the promised rate is part of the acceptance row `cases`.
//! Guards: the compare-and-set on the interaction's version of offers and claims; snapshot and resume of the desks.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::{Flaps, flaps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_agent_has_nobody_else_has_while_connections_come_and_go() -> Result<()> {
    let size = Flaps {
        agents: 6,
        flaps: 15,
        up: Duration::from_millis(1_000),
        down: Duration::from_millis(300),
        mails: 40,
        settle: Duration::from_secs(60),
    };
    let options =
        Options { agents: size.agents, mode: "round_robin", accept_timeout_seconds: 1, ..Options::default() };
    let installation = Installation::start(options).await?;
    let report = flaps(&installation, size).await?;
    println!("{report}");
    assert!(report.is_exact(), "{report}");
    assert_eq!(report.flaps, size.agents * size.flaps);
    Ok(())
}
