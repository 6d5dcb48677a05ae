//! The webhook scenario in small: every POST on schedule is acknowledged and stored, by the service and by the floor.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Chat, Options};
use hilo_load::{Floor, Webhooks, webhooks};

#[tokio::test(flavor = "multi_thread")]
async fn every_webhook_of_a_schedule_is_acknowledged_and_stored() -> Result<()> {
    let house = Chat::start(Options { agents: 1, ..Options::default() }).await?;
    let size = Webhooks {
        rate: 60.0,
        per_post: 3,
        lasting: Duration::from_secs(2),
        number: house.installation.whatsapp_number(),
        customers: 5,
        run: "small".to_owned(),
    };
    let report = webhooks(&house.poster()?, &size).await?;
    println!("{report}");
    assert_eq!((report.events, report.refused, report.took.count()), (120, 0, 40), "{report}");
    house.parsed().await?;
    assert_eq!(house.ledger("SELECT count(*) FROM whatsapp.webhook").await?, 40);
    assert_eq!(house.ledger("SELECT count(*) FROM whatsapp.item").await?, 120);

    let floor = Floor::start(&house.installation.database("hilo_whatsapp")).await?;
    let report = webhooks(&floor.poster()?, &size).await?;
    println!("floor: {report}");
    assert_eq!((report.events, report.refused), (120, 0), "{report}");
    assert_eq!(house.ledger("SELECT count(*) FROM webhook_floor").await?, 40);
    let wrong = floor.poster()?.post_with(&["sha256=00".to_owned()], "{}").await?;
    assert_eq!(wrong.as_u16(), 401);
    Ok(())
}
