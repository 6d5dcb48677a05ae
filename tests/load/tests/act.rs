//! The act scenario in small: every act of every agent is answered, and every answer arrives.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::{Act, act};

#[tokio::test(flavor = "multi_thread")]
async fn every_act_is_answered_and_every_answer_arrives() -> Result<()> {
    let installation =
        Installation::start(Options { agents: 4, mode: "round_robin", ..Options::default() }).await?;
    let size = Act { teams: 2, acts: 6, settle: Duration::from_secs(120) };
    let report = act(&installation, size).await?;
    println!("{report}");
    assert!(report.is_exact(), "{report}");
    assert_eq!((report.opens.count(), report.sends.count(), report.arrived), (12, 12, 12));
    assert!(report.commits.1.took.count() > 0, "{report}");
    Ok(())
}
