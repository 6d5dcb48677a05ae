//! Which passwords of a text are new. A password costs an argon2id computation to compare as to make, so an apply that changes
//! none must not pay for each: all that a text gives in clear have one fingerprint, compared by one computation.
//!
//! What counts is what the text before gave, not what is in force: a user who has chosen another keeps it until a text
//! gives him a new one.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use hilo_kit::Error;
use hilo_kit::db::Db;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::domain::key::UserKey;
use super::domain::model::Credential;
use crate::identity::password::Hasher;
use crate::identity::store::{self, Fingerprint};

/// Hashes of one apply computed at once; the hasher bounds those of all, with the sign-ins.
const AT_ONCE: usize = 2;

/// Hashes by user.
type Hashes = BTreeMap<String, String>;

/// What an apply has to store, and what it was decided from.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// Users whose password changes, with the hash; empty hashes in a dry run.
    pub set: Vec<(String, String)>,
    /// Every user the text gives a password, sorted.
    users: Vec<String>,
    /// Their given hashes as they were when compared.
    seen: Hashes,
    /// The fingerprint to store, when it is another.
    fingerprint: Option<Fingerprint>,
}

/// Passwords in clear by user, sorted.
type Clear = BTreeMap<String, SecretString>;

/// Compares the given passwords with those given before and hashes the new ones, outside of any transaction.
///
/// # Errors
/// Database errors, `LOGIN_BUSY`.
pub async fn compare(
    db: &Db,
    hasher: &Hasher,
    given: &[(UserKey, Credential)],
    dry_run: bool,
) -> Result<New, Error> {
    if given.is_empty() {
        return Ok(New::default());
    }
    let mut users: Vec<String> = given.iter().map(|(user, _)| user.to_string()).collect();
    users.sort_unstable();
    let asked = users.clone();
    let (seen, before) = db
        .snapshot(move |conn| {
            Box::pin(async move {
                Ok((store::given_hashes(conn, &asked).await?, store::fingerprint(conn).await?))
            })
        })
        .await?;
    let clear: Clear = given
        .iter()
        .filter_map(|(user, credential)| match credential {
            Credential::Password(password) => Some((user.to_string(), password.clone())),
            Credential::Hash(_) => None,
        })
        .collect();
    let known = unchanged(hasher, &clear, &seen, before).await?;
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    let mut others = given.to_vec();
    others.retain(|(user, _)| !known.contains(user.as_str()));
    let set: Vec<(String, String)> = stream::iter(others)
        .map(|(user, credential)| one(hasher, seen.get(user.as_str()).cloned(), user, credential, dry_run))
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?
        .into_iter()
        .flatten()
        .collect();
    let same = known.len() == clear.len();
    let fingerprint = if same || dry_run { None } else { Some(made(hasher, &clear, &seen, &set).await?) };
    Ok(New { set, users, seen, fingerprint })
}

/// Those of the users in clear whose passwords are the ones given before, by the fingerprint alone; nobody when it does not fit.
async fn unchanged(
    hasher: &Hasher,
    clear: &Clear,
    seen: &Hashes,
    before: Option<Fingerprint>,
) -> Result<Vec<String>, Error> {
    let Some(before) = before else { return Ok(Vec::new()) };
    let covered: Clear =
        before.users.iter().filter_map(|user| Some((user.clone(), clear.get(user)?.clone()))).collect();
    // Without all of the passwords it cannot be computed, and a hash stored since by anything else makes it say nothing.
    if covered.len() < before.users.len() || digest_of_hashes(&before.users, seen) != before.hashes {
        return Ok(Vec::new());
    }
    let fits = hasher.verify(digest_of_passwords(&covered), Some(before.fingerprint)).await?;
    Ok(if fits { before.users } else { Vec::new() })
}

/// The hash to store when this password is another than the one given before.
async fn one(
    hasher: &Hasher,
    stored: Option<String>,
    user: UserKey,
    credential: Credential,
    dry_run: bool,
) -> Result<Option<(String, String)>, Error> {
    let hash = match credential {
        Credential::Hash(hash) if stored.as_deref() == Some(hash.expose_secret()) => return Ok(None),
        Credential::Hash(hash) => hash.expose_secret().to_owned(),
        Credential::Password(password) => {
            if stored.is_some() && hasher.verify(password.clone(), stored).await? {
                return Ok(None);
            }
            if dry_run { String::new() } else { hasher.hash(password).await? }
        }
    };
    Ok(Some((user.into(), hash)))
}

async fn made(
    hasher: &Hasher,
    clear: &Clear,
    seen: &Hashes,
    set: &[(String, String)],
) -> Result<Fingerprint, Error> {
    let mut after = seen.clone();
    after.extend(set.iter().cloned());
    let users: Vec<String> = clear.keys().cloned().collect();
    let hashes = digest_of_hashes(&users, &after);
    Ok(Fingerprint { fingerprint: hasher.hash(digest_of_passwords(clear)).await?, users, hashes })
}

/// What is hashed for the fingerprint: each user and password with its length before it, so that no two sets are alike.
fn digest_of_passwords(of: &Clear) -> SecretString {
    let mut digest = Sha256::new();
    for (user, password) in of {
        for part in [user.as_bytes(), password.expose_secret().as_bytes()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    SecretString::from(hex::encode(digest.finalize()))
}

fn digest_of_hashes(users: &[String], hashes: &Hashes) -> Vec<u8> {
    let mut digest = Sha256::new();
    for user in users {
        // PHC strings hold no zero byte.
        digest.update(hashes.get(user).map_or("", String::as_str));
        digest.update([0]);
    }
    digest.finalize().to_vec()
}

/// True while the given hashes are those that were compared. Call it under the directory's lock.
///
/// # Errors
/// Database errors.
pub async fn still_hold(tx: &mut PgConnection, new: &New) -> Result<bool, Error> {
    Ok(new.users.is_empty() || store::given_hashes(tx, &new.users).await? == new.seen)
}

/// Stores the new passwords and ends the sessions of their users: whoever knew the old one is out.
///
/// # Errors
/// Database errors.
pub async fn store(tx: &mut PgConnection, new: &New) -> Result<(), Error> {
    if !new.set.is_empty() {
        let (keys, hashes): (Vec<String>, Vec<String>) = new.set.iter().cloned().unzip();
        store::store_given(tx, &keys, &hashes).await?;
        store::revoke_all(tx, &keys).await?;
    }
    if let Some(fingerprint) = &new.fingerprint {
        store::store_fingerprint(tx, fingerprint).await?;
    }
    Ok(())
}
