//! How far publishing and confirmation are behind, as metrics and, when it is long, as a warning.

use std::time::Duration;

use opentelemetry::KeyValue;

use crate::db::Db;
use crate::error::Error;
use crate::lifecycle::Shutdown;

const EVERY: Duration = Duration::from_secs(10);
/// An outbox older than this is an alarm: the broker is away, or one long transaction holds back its rows.
const ALARM: f64 = 60.0;

pub(super) fn spawn(db: Db, service: String, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("outbox lag", async move {
        let meter = crate::telemetry::meter();
        let rows =
            meter.u64_gauge("hilo.outbox.rows").with_description("Rows pending or unconfirmed").build();
        let age =
            meter.f64_gauge("hilo.outbox.age").with_unit("s").with_description("Age of the oldest").build();
        while stop.sleep(EVERY).await {
            match measure(&db).await {
                Ok(measured) => {
                    for (state, count, oldest) in measured {
                        let labels =
                            [KeyValue::new("service", service.clone()), KeyValue::new("state", state)];
                        rows.record(u64::try_from(count).unwrap_or(0), &labels);
                        age.record(oldest, &labels);
                        if state == "pending" && oldest > ALARM {
                            tracing::warn!(
                                rows = count,
                                oldest_seconds = oldest,
                                "the outbox is not being published"
                            );
                        }
                    }
                }
                Err(error) => tracing::debug!(error = %error.chain(), "the outbox could not be measured"),
            }
        }
    });
}

/// (state, rows, age of the oldest in seconds); counting stops at a bound, so that a backlog costs no full scan.
async fn measure(db: &Db) -> Result<Vec<(&'static str, i64, f64)>, Error> {
    db.read(|conn| {
        Box::pin(async move {
            let pending: (i64, Option<f64>) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM (SELECT 1 FROM kit.outbox_pending LIMIT 100000) AS bounded),
                        (SELECT extract(epoch FROM now() - min(l.created_at))::float8
                         FROM (SELECT id, day FROM kit.outbox_pending ORDER BY partition, position LIMIT 100) p
                         JOIN kit.outbox_log l ON l.day = p.day AND l.id = p.id)",
            )
            .fetch_one(&mut *conn)
            .await?;
            let unconfirmed: (i64, Option<f64>) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM (SELECT 1 FROM kit.outbox_unconfirmed LIMIT 100000) AS bounded),
                        (SELECT extract(epoch FROM now() - min(published_at))::float8 FROM kit.outbox_unconfirmed)",
            )
            .fetch_one(conn)
            .await?;
            Ok(vec![
                ("pending", pending.0, pending.1.unwrap_or(0.0)),
                ("unconfirmed", unconfirmed.0, unconfirmed.1.unwrap_or(0.0)),
            ])
        })
    })
    .await
}
