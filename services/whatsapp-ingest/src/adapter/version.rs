//! The version of the Graph API that is called, and how long Meta keeps it.

use std::time::Duration;

use hilo_kit::clock;
use hilo_kit::lifecycle::Shutdown;
use time::Date;
use time::macros::date;

use crate::metrics;

/// Version of the Graph API, of 2026-02-18.
pub const VERSION: &str = "v25.0";
/// Meta keeps it until then ("Graph API changelog: versions", August 2026); after it calls are answered by a newer one, with whatever
/// changed in it.
const ENDS: Date = date!(2028 - 07 - 29);
/// From so many days before the end it is said in the log; a release with another version takes its time.
const NEAR: i64 = 180;
/// It is said this often.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days that Meta keeps the version; 0 when its end has come.
fn days_left(today: Date) -> i64 {
    (ENDS - today).whole_days().max(0)
}

/// Tells operators how long the version lives, until the shutdown begins.
pub async fn watch(shutdown: Shutdown) {
    loop {
        let left = days_left(clock::wall().date());
        metrics::version_days_left(left.unsigned_abs());
        if left < NEAR {
            tracing::error!(
                version = VERSION,
                left,
                "Meta ends this version of the Graph API soon; a newer release is needed"
            );
        }
        if !shutdown.sleep(DAY).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_run_out_and_stay_so() {
        assert_eq!(days_left(date!(2028 - 07 - 28)), 1);
        assert_eq!(days_left(date!(2028 - 01 - 31)), NEAR);
        assert_eq!((days_left(ENDS), days_left(date!(2030 - 01 - 01))), (0, 0));
    }
}
