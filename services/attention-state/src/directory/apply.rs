//! `ApplyDirectory`: parse, check against what is in force, hash passwords, write, raise the version, tell the others.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use hilo_kit::Error;
use hilo_kit::db::Db;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::announce::Announcer;
use super::domain::diff::{self, Action, Change};
use super::domain::groups;
use super::domain::hours_yaml::UNKNOWN_ZONE;
use super::domain::immutable;
use super::domain::key::UserKey;
use super::domain::merge;
use super::domain::model::{Credential, Directory, Given};
use super::domain::parse;
use super::domain::problems::{Problem, Problems};
use super::store::{audit, read, write};
use crate::assignment;
use crate::identity;
use crate::identity::password::Hasher;

/// What an apply did, or why it did nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Version in force afterwards.
    pub version: i64,
    /// One line per difference.
    pub differences: Vec<String>,
    /// What the text leaves out and stays as it is, as `campaign ventas`; empty when pruning.
    pub omitted: Vec<String>,
    /// All errors by line; when there is one, nothing was applied.
    pub errors: Vec<Problem>,
}

/// How an apply is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Only validates and answers the difference.
    pub dry_run: bool,
    /// Switches off what the text leaves out.
    pub prune: bool,
}

/// Changes the directory.
#[derive(Clone, Debug)]
pub struct Admin {
    db: Db,
    hasher: Hasher,
    announcer: Announcer,
}

/// Everything the transaction needs; shared because a transaction that lost a race runs again.
struct Plan {
    given: Given,
    /// Users whose password changes, with the hash; empty hashes in a dry run.
    credentials: Vec<(String, String)>,
    problems: parking_lot::Mutex<Problems>,
    /// Time zones that we know and PostgreSQL does not.
    unknown_zones: Vec<String>,
    digest: Vec<u8>,
    by: String,
    mode: Mode,
}

impl Admin {
    /// Applies through this database, with this hasher, telling the others by this announcer.
    pub fn new(db: Db, hasher: Hasher, announcer: Announcer) -> Self {
        Self { db, hasher, announcer }
    }

    /// Brings the directory to what the text says, all or nothing. `by` names who did it in the trail (`user:<key>`, `service:<name>`).
    ///
    /// # Errors
    /// Database errors, `LOGIN_BUSY`. What is wrong with the text is in the outcome.
    pub async fn apply(&self, yaml: String, mode: Mode, by: String) -> Result<Outcome, Error> {
        let digest = Sha256::digest(yaml.as_bytes()).to_vec();
        // A large text takes tens of milliseconds; the async workers serve agents meanwhile.
        let parsed = tokio::task::spawn_blocking(move || parse::parse(&yaml)).await.map_err(|error| {
            Error::internal("PARSER_PANICKED", "the directory could not be read").with_source(error)
        })?;
        let (given, problems) = match parsed {
            Ok(found) => found,
            Err(errors) => {
                let version = self.db.read(|conn| Box::pin(read::version(conn))).await?;
                return Ok(Outcome { version, errors, ..Outcome::default() });
            }
        };
        let credentials = self.credentials(&given, mode.dry_run).await?;
        let zones = zones(&given.directory).into_iter().map(|(_, zone)| zone.to_owned()).collect::<Vec<_>>();
        let unknown_zones = self
            .db
            .read(move |conn| Box::pin(async move { write::unknown_time_zones(conn, &zones).await }))
            .await?;
        let problems = parking_lot::Mutex::new(problems);
        let plan = Arc::new(Plan { given, credentials, problems, unknown_zones, digest, by, mode });
        let (outcome, changed) = self
            .db
            .transaction(move |tx| {
                let plan = plan.clone();
                Box::pin(async move { run(tx, &plan).await })
            })
            .await?;
        if changed {
            tracing::info!(
                version = outcome.version,
                differences = outcome.differences.len(),
                "directory applied"
            );
            self.announcer.announce(outcome.version);
        }
        Ok(outcome)
    }

    /// Which given passwords are new, hashed outside of the transaction. A password in clear that fits the stored hash is none.
    async fn credentials(&self, given: &Given, dry_run: bool) -> Result<Vec<(String, String)>, Error> {
        let users: Vec<String> = given.credentials.iter().map(|(user, _)| user.to_string()).collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self
            .db
            .read(move |conn| Box::pin(async move { identity::store::hashes(conn, &users).await }))
            .await?;
        let stored: std::collections::HashMap<String, String> = stored.into_iter().collect();
        let changed = stream::iter(given.credentials.iter().cloned())
            .map(|(user, credential)| {
                self.credential(user.clone(), credential, stored.get(user.as_str()).cloned(), dry_run)
            })
            .buffered(2)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(changed.into_iter().flatten().collect())
    }

    async fn credential(
        &self,
        user: UserKey,
        credential: Credential,
        stored: Option<String>,
        dry_run: bool,
    ) -> Result<Option<(String, String)>, Error> {
        let hash = match credential {
            Credential::Hash(hash) if stored.as_deref() == Some(hash.expose_secret()) => return Ok(None),
            Credential::Hash(hash) => hash.expose_secret().to_owned(),
            Credential::Password(password) => {
                if stored.is_some() && self.hasher.verify(password.clone(), stored).await? {
                    return Ok(None);
                }
                if dry_run { String::new() } else { self.hasher.hash(password).await? }
            }
        };
        Ok(Some((user.into(), hash)))
    }
}

async fn run(tx: &mut PgConnection, plan: &Plan) -> Result<(Outcome, bool), Error> {
    let version = write::lock(tx).await?;
    let (_, current) = read::directory(tx).await?;
    {
        let mut problems = plan.problems.lock();
        immutable::check(&current, &plan.given.directory, &mut problems);
        if !plan.mode.prune {
            merge::check_kept(&current, &plan.given.directory, &mut problems);
        }
        for (path, zone) in zones(&plan.given.directory) {
            if plan.unknown_zones.iter().any(|unknown| unknown == zone) {
                problems.add(&path, "UNKNOWN_TIME_ZONE", UNKNOWN_ZONE);
            }
        }
        if !problems.is_empty() {
            let errors = std::mem::take(&mut *problems).into_sorted();
            return Ok((Outcome { version, errors, ..Outcome::default() }, false));
        }
    }
    let merged = merge::merge(&current, plan.given.directory.clone(), plan.mode.prune);
    let (next, omitted) = (merged.directory, merged.omitted);
    let mut changed = diff::diff(&current, &next);
    let passwords = plan.credentials.iter().map(|(user, _)| Change::of_identity(Action::PasswordSet, user));
    changed.changes.extend(passwords);
    let differences: Vec<String> = changed.changes.iter().map(diff::line).collect();
    if plan.mode.dry_run || differences.is_empty() {
        return Ok((Outcome { version, differences, omitted, errors: Vec::new() }, false));
    }
    let version = version + 1;
    // Lock order: the partitions' fence first, agents' loads last.
    let groups = groups::groups(&next);
    let moved = assignment::groups::fence(tx, &groups, version).await?;
    write::entries(tx, &next, &changed).await?;
    assignment::groups::store(tx, &groups, &moved, version).await?;
    let users: Vec<_> = next.users.iter().filter(|one| changed.users.contains(one.key.as_str())).collect();
    assignment::agents::follow_directory(tx, &users).await?;
    let (keys, hashes): (Vec<String>, Vec<String>) = plan.credentials.iter().cloned().unzip();
    identity::store::store_hashes(tx, &keys, &hashes).await?;
    // Whoever knew the old password is out.
    identity::store::revoke_all(tx, &keys).await?;
    audit::record(tx, &plan.by, Some(version), &changed.changes).await?;
    write::finish(tx, version, &next.time_zone, &plan.by, &plan.digest, &differences).await?;
    Ok((Outcome { version, differences, omitted, errors: Vec::new() }, true))
}

/// Every time zone named, with its path.
fn zones(directory: &Directory) -> Vec<(String, &str)> {
    let campaigns = directory.campaigns.iter().enumerate().filter_map(|(at, campaign)| {
        let zone = campaign.hours.as_ref().map(|hours| hours.time_zone.as_str())?;
        (!zone.is_empty()).then(|| (format!("campaigns[{at}].hours.time_zone"), zone))
    });
    std::iter::once(("time_zone".to_owned(), directory.time_zone.as_str())).chain(campaigns).collect()
}
