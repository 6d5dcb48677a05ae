//! The plans of attention-state's statements on a database with a history, in small; `make acceptance AREA=routing` has a million.

use std::time::Duration;

use anyhow::Result;
use hilo_load::routing::plans::{self, Plans};
use hilo_load::routing::{Phase, Scenario, Summary, Work, World, history, on};

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_costs_more_with_every_year() -> Result<()> {
    let size = Scenario {
        name: "plans".to_owned(),
        world: World {
            campaigns: 4,
            team: 3,
            group: 2,
            capacity: 500,
            mode: "round_robin",
            waiting_campaigns: 2,
            answers: true,
            selection: true,
            synced: false,
        },
        waiting: 5,
        phases: vec![Phase { rate: 10.0, lasting: Duration::from_secs(3) }],
        late: false,
        work: Work::Answer,
        disturbance: None,
        settle: Duration::from_secs(120),
        compare: None,
    };
    let installation = size.world.start().await?;
    let before = on(&installation, &size).await?;
    assert!(before.is_exact(), "{}", Summary::of(&size, &before));
    history::fill(&installation, 20_000, 2_000).await?;
    plans::watch(&installation).await?;
    let after = on(&installation, &size).await?;
    assert!(after.is_exact(), "{}", Summary::of(&size, &after));
    let plans = Plans::read(&installation).await?;
    println!("{plans}");
    for (text, statement) in plans.statements.iter().filter(|one| one.1.touched > 500.0) {
        println!("{:>8.0} {text}", statement.touched);
    }
    assert_eq!(plans.faults(), Vec::<String>::new());
    Ok(())
}
