//! `ApplyDirectory`: parse, check against what is in force, hash passwords, write, raise the version, tell the others.

use std::sync::Arc;

use hilo_kit::Error;
use hilo_kit::db::Db;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::announce::Announcer;
use super::domain::diff::{self, Action, Change};
use super::domain::groups;
use super::domain::hours_yaml::UNKNOWN_ZONE;
use super::domain::immutable;
use super::domain::merge;
use super::domain::model::{Directory, Given};
use super::domain::parse::{self, Draft};
use super::domain::problems::Problem;
use super::passwords;
use super::store::{audit, read, write};
use crate::assignment;
use crate::identity::password::Hasher;

/// Times an apply is decided anew because another one gave its users other passwords meanwhile.
const MAX_ROUNDS: usize = 5;

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
    draft: Draft,
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
    /// Database errors, `LOGIN_BUSY`, `PASSWORDS_CHANGE`. What is wrong with the text is in the outcome.
    pub async fn apply(&self, yaml: String, mode: Mode, by: String) -> Result<Outcome, Error> {
        let digest = Sha256::digest(yaml.as_bytes()).to_vec();
        // A large text takes tens of milliseconds; the async workers serve agents meanwhile.
        let parsed = tokio::task::spawn_blocking(move || {
            parse::draft(&yaml).map(|draft| {
                let (_, problems) = draft.clone().checked(&Directory::default());
                (draft, problems.into_sorted())
            })
        });
        let parsed = parsed.await.map_err(|error| {
            Error::internal("PARSER_PANICKED", "the directory could not be read").with_source(error)
        })?;
        let draft = match parsed {
            Ok((draft, alone)) if alone.is_empty() => draft,
            Ok((draft, alone)) => match self.beside_kept(draft, alone, mode).await? {
                Ok(draft) => draft,
                Err(refused) => return Ok(refused),
            },
            Err(errors) => {
                let version = self.db.read(|conn| Box::pin(read::version(conn))).await?;
                return Ok(Outcome { version, errors, ..Outcome::default() });
            }
        };
        let unknown_zones = self.unknown_zones(draft.directory()).await?;
        let plan = Arc::new(Plan { draft, unknown_zones, digest, by, mode });
        let (outcome, changed) = self.decide(&plan).await?;
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

    /// What is wrong with the text by itself may be right beside what it leaves out and what stays. Decided before passwords
    /// are compared, which is expensive, and decided again where the directory is locked.
    async fn beside_kept(
        &self,
        draft: Draft,
        alone: Vec<Problem>,
        mode: Mode,
    ) -> Result<Result<Draft, Outcome>, Error> {
        let (version, current) = self.db.snapshot(|conn| Box::pin(read::directory(conn))).await?;
        let errors = match mode.prune {
            true => alone,
            false => draft.clone().checked(&current).1.into_sorted(),
        };
        Ok(if errors.is_empty() { Ok(draft) } else { Err(Outcome { version, errors, ..Outcome::default() }) })
    }

    /// Names that PostgreSQL does not know. What is in force was looked up when it came, and to list all names takes PostgreSQL
    /// as long as everything else here.
    async fn unknown_zones(&self, directory: &Directory) -> Result<Vec<String>, Error> {
        let named: Vec<String> = zones(directory).into_iter().map(|(_, zone)| zone.to_owned()).collect();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    let known = read::time_zones(conn).await?;
                    let new: Vec<String> = named.into_iter().filter(|zone| !known.contains(zone)).collect();
                    if new.is_empty() {
                        return Ok(new);
                    }
                    write::unknown_time_zones(conn, &new).await
                })
            })
            .await
    }

    /// Compares passwords outside and everything else inside of the transaction, again while another apply gives these users
    /// other passwords in between.
    async fn decide(&self, plan: &Arc<Plan>) -> Result<(Outcome, bool), Error> {
        for _ in 0..MAX_ROUNDS {
            let given = plan.draft.credentials();
            let new = passwords::compare(&self.db, &self.hasher, given, plan.mode.dry_run).await?;
            let (plan, new) = (plan.clone(), Arc::new(new));
            let decided = self
                .db
                .transaction(move |tx| {
                    let (plan, new) = (plan.clone(), new.clone());
                    Box::pin(async move { run(tx, &plan, &new).await })
                })
                .await?;
            if let Some(decided) = decided {
                return Ok(decided);
            }
        }
        Err(Error::conflict("PASSWORDS_CHANGE", "other applies keep changing the same passwords; try again"))
    }
}

/// What came of it and whether anything changed; nothing when the passwords must be compared anew.
async fn run(
    tx: &mut PgConnection,
    plan: &Plan,
    new: &passwords::New,
) -> Result<Option<(Outcome, bool)>, Error> {
    let version = write::lock(tx).await?;
    if !passwords::still_hold(tx, new).await? {
        return Ok(None);
    }
    let (_, current) = read::directory(tx).await?;
    let given = match checked(plan, &current) {
        Ok(given) => given,
        Err(errors) => return Ok(Some((Outcome { version, errors, ..Outcome::default() }, false))),
    };
    let merged = merge::merge(&current, given, plan.mode.prune);
    let (next, omitted) = (merged.directory, merged.omitted);
    let mut changed = diff::diff(&current, &next);
    changed.changes.extend(new.set.iter().map(|(user, _)| Change::of_identity(Action::PasswordSet, user)));
    let differences: Vec<String> = changed.changes.iter().map(diff::line).collect();
    if plan.mode.dry_run || differences.is_empty() {
        if !plan.mode.dry_run {
            passwords::store(tx, new).await?;
        }
        return Ok(Some((Outcome { version, differences, omitted, errors: Vec::new() }, false)));
    }
    let version = version + 1;
    // Lock order: the partitions' fence first, agents' loads last.
    let groups = groups::groups(&next);
    let moved = assignment::groups::fence(tx, &groups, version).await?;
    write::entries(tx, &next, &changed).await?;
    assignment::groups::store(tx, &groups, &moved, version).await?;
    let users: Vec<_> = next.users.iter().filter(|one| changed.users.contains(one.key.as_str())).collect();
    assignment::agents::follow_directory(tx, &users).await?;
    passwords::store(tx, new).await?;
    audit::record(tx, &plan.by, Some(version), &changed.changes).await?;
    write::finish(tx, version, &next.time_zone, &plan.by, &plan.digest, &differences).await?;
    Ok(Some((Outcome { version, differences, omitted, errors: Vec::new() }, true)))
}

/// The text beside the directory in force, or everything that is wrong with it there.
fn checked(plan: &Plan, current: &Directory) -> Result<Given, Vec<Problem>> {
    // What is pruned is no more, so nothing may refer to it.
    let nothing = Directory::default();
    let kept = if plan.mode.prune { &nothing } else { current };
    let (given, mut problems) = plan.draft.clone().checked(kept);
    immutable::check(current, &given.directory, &mut problems);
    merge::check_kept(kept, &given.directory, &mut problems);
    for (path, zone) in zones(&given.directory) {
        if plan.unknown_zones.iter().any(|unknown| unknown == zone) {
            problems.add(&path, "UNKNOWN_TIME_ZONE", UNKNOWN_ZONE);
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(problems.into_sorted()) }
}

/// Every time zone named, with its path.
fn zones(directory: &Directory) -> Vec<(String, &str)> {
    let campaigns = directory.campaigns.iter().enumerate().filter_map(|(at, campaign)| {
        let zone = campaign.hours.as_ref().map(|hours| hours.time_zone.as_str())?;
        (!zone.is_empty()).then(|| (format!("campaigns[{at}].hours.time_zone"), zone))
    });
    let own = Some(directory.time_zone.as_str()).filter(|zone| !zone.is_empty());
    own.map(|zone| ("time_zone".to_owned(), zone)).into_iter().chain(campaigns).collect()
}
