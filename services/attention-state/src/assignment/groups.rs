//! Routing groups as stored: which campaign is decided in which partition, and since which configuration.
//!
//! The order of the two steps is the fence: first the partitions' configuration versions rise, which waits for batches
//! that are being committed and refuses later ones that were decided with the old configuration; only then things move.

use std::collections::{BTreeMap, BTreeSet};

use hilo_kit::Error;
use sqlx::PgConnection;

use crate::directory::domain::groups::Group;

/// Raises the configuration version of every partition that gains, loses or changes a group. Answers the changed groups.
///
/// # Errors
/// Database errors; `LOCK_TIMEOUT` while a batch holds a partition for too long.
pub async fn fence(tx: &mut PgConnection, next: &[Group], version: i64) -> Result<BTreeSet<String>, Error> {
    let stored = sqlx::query!("SELECT group_key, partition, fingerprint FROM assignment.routing_group")
        .fetch_all(&mut *tx)
        .await?;
    let before: BTreeMap<&str, (i32, &[u8])> = stored
        .iter()
        .map(|row| (row.group_key.as_str(), (row.partition, row.fingerprint.as_slice())))
        .collect();
    let mut partitions = BTreeSet::new();
    let mut changed = BTreeSet::new();
    for group in next {
        if before.get(group.key.as_str()) != Some(&(group.partition, group.fingerprint.as_slice())) {
            partitions.insert(group.partition);
            changed.insert(group.key.clone());
        }
    }
    let kept: BTreeSet<&str> = next.iter().map(|group| group.key.as_str()).collect();
    partitions
        .extend(before.iter().filter(|(key, _)| !kept.contains(**key)).map(|(_, (partition, _))| *partition));
    let partitions: Vec<i32> = partitions.into_iter().collect();
    sqlx::query!(
        "WITH locked AS MATERIALIZED (
             SELECT partition FROM assignment.partition WHERE partition = ANY($1) ORDER BY partition FOR UPDATE
         )
         UPDATE assignment.partition AS row SET config_version = $2 FROM locked WHERE row.partition = locked.partition",
        &partitions,
        version,
    )
    .execute(tx)
    .await?;
    Ok(changed)
}

/// Stores the groups and where their campaigns are decided.
///
/// # Errors
/// Database errors.
pub async fn store(
    tx: &mut PgConnection,
    next: &[Group],
    changed: &BTreeSet<String>,
    version: i64,
) -> Result<(), Error> {
    let rows: Vec<&Group> = next.iter().filter(|group| changed.contains(&group.key)).collect();
    let keys: Vec<String> = rows.iter().map(|group| group.key.clone()).collect();
    let partitions: Vec<i32> = rows.iter().map(|group| group.partition).collect();
    let fingerprints: Vec<Vec<u8>> = rows.iter().map(|group| group.fingerprint.clone()).collect();
    sqlx::query!(
        "INSERT INTO assignment.routing_group (group_key, partition, fingerprint, config_version)
         SELECT *, $4 FROM unnest($1::text[], $2::int[], $3::bytea[])
         ON CONFLICT (group_key) DO UPDATE SET partition = excluded.partition, fingerprint = excluded.fingerprint,
             config_version = excluded.config_version",
        &keys,
        &partitions,
        &fingerprints,
        version,
    )
    .execute(&mut *tx)
    .await?;
    let (mut campaigns, mut owners, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for group in rows {
        for campaign in &group.campaigns {
            campaigns.push(campaign.clone());
            owners.push(group.key.clone());
            places.push(group.partition);
        }
    }
    sqlx::query!(
        "INSERT INTO assignment.group_campaign (campaign_key, group_key, partition)
         SELECT * FROM unnest($1::text[], $2::text[], $3::int[])
         ON CONFLICT (campaign_key) DO UPDATE SET group_key = excluded.group_key, partition = excluded.partition",
        &campaigns,
        &owners,
        &places,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "DELETE FROM assignment.routing_group WHERE NOT EXISTS (
             SELECT FROM assignment.group_campaign AS member WHERE member.group_key = routing_group.group_key)"
    )
    .execute(tx)
    .await?;
    Ok(())
}
