//! A change of configuration while offers run, at small scale; the promised rate is a row of the acceptance.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::{Change, change};

#[tokio::test(flavor = "multi_thread")]
async fn no_offer_is_made_with_the_old_configuration_after_a_change_and_none_is_lost() -> Result<()> {
    let options = Options { agents: 4, capacity: 100, mode: "round_robin", ..Options::default() };
    let installation = Installation::start(options).await?;
    let size = Change { rate: 20.0, mails: 120, settle: Duration::from_secs(60) };
    let report = change(&installation, size).await?;
    assert!(report.is_exact(), "{report:?}");
    Ok(())
}
