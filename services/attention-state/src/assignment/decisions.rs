//! The record of every decision: written with the offer it explains, read by who asks why, dropped after 30 days.

use hilo_kit::{Error, clock};
use hilo_proto::internal::v1::{DecisionRecord, StoredDecision};
use prost::Message as _;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Most decisions of an interaction that are shown.
const SHOWN: i64 = 50;
/// Rows dropped per statement, so that no statement takes long.
const SWEEP: i64 = 5_000;

/// A decision to be stored.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Interaction.
    pub interaction: Uuid,
    /// Offer it made.
    pub offer: Option<Uuid>,
    /// Record.
    pub record: DecisionRecord,
}

/// Stores decisions.
///
/// # Errors
/// Database errors.
pub async fn store(tx: &mut PgConnection, decided: &[Decided], at: OffsetDateTime) -> Result<(), Error> {
    if decided.is_empty() {
        return Ok(());
    }
    let interactions: Vec<Uuid> = decided.iter().map(|one| one.interaction).collect();
    let offers: Vec<Option<Uuid>> = decided.iter().map(|one| one.offer).collect();
    let records: Vec<Vec<u8>> = decided.iter().map(|one| one.record.encode_to_vec()).collect();
    sqlx::query!(
        "INSERT INTO assignment.decision (interaction_id, offer_id, record, decided_at)
         SELECT *, $4 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[])",
        &interactions,
        &offers as &[Option<Uuid>],
        &records,
        at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Decisions of an interaction, newest first.
///
/// # Errors
/// Database errors; `UNDECODABLE`.
pub async fn list(conn: &mut PgConnection, interaction: Uuid) -> Result<Vec<StoredDecision>, Error> {
    let rows = sqlx::query!(
        "SELECT decided_at, offer_id, record FROM assignment.decision
         WHERE interaction_id = $1 ORDER BY decided_at DESC LIMIT $2",
        interaction,
        SHOWN,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StoredDecision {
                decided_at: Some(clock::to_proto(row.decided_at)),
                decision: Some(DecisionRecord::decode(row.record.as_slice())?),
                offer_id: row.offer_id.map(|id| id.to_string()).unwrap_or_default(),
            })
        })
        .collect()
}

/// Drops some of the old decisions; call it again while it answers true.
///
/// # Errors
/// Database errors.
pub async fn sweep(conn: &mut PgConnection) -> Result<bool, Error> {
    let dropped = sqlx::query!(
        "DELETE FROM assignment.decision WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM assignment.decision WHERE decided_at < now() - interval '30 days' LIMIT $1))",
        SWEEP,
    )
    .execute(conn)
    .await?;
    Ok(dropped.rows_affected() > 0)
}
