//! The desks scenario in small: what the acceptance run measures with hundreds of streams holds with twenty.

use std::time::Duration;

use hilo_end_to_end::{Installation, Options};
use hilo_load::{Desks, desks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn desks_that_are_cut_again_and_again_end_with_the_servers_list() {
    let size = Desks {
        streams: 20,
        cuts_per_second: 5,
        events_per_second: 20.0,
        lasting: Duration::from_secs(5),
        settle: Duration::from_secs(60),
    };
    let installation =
        Installation::start(Options { agents: size.streams, ..Options::default() }).await.unwrap();
    let report = desks(&installation, size).await.unwrap();
    println!("{report}");
    assert!(report.is_exact(), "{report}");
    assert_eq!(report.cuts, 25, "{report}");
    assert_eq!(report.streams, 20);
    assert!(report.begun > 20, "{report}");
}
