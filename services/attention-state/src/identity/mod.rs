//! Sign-in with the local issuer: passwords, the throttle, tokens and their revocation.
//!
//! Owns the schema `identity`. It never says what a user may do: roles and campaigns are the directory's. A token names
//! the subject; who is inactive or signed out is refused here at once and elsewhere when the directory feed says so.

pub mod caller;
pub mod password;
pub mod store;
pub mod throttle;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::auth::{Issued, Issuer};
use hilo_kit::db::Db;
use hilo_kit::{Error, clock};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::directory::announce::Announcer;
use crate::directory::domain::diff::{Action, Change};
use crate::directory::domain::key::is_key;
use crate::directory::store::{audit, read};
use password::Hasher;

/// A shift; the token never outlives it (and kit caps it at 12 h).
pub const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);
/// Attempts under names that cannot be a user share one counter, so that junk cannot fill the table.
const JUNK_NAME: &str = "?";

/// Signs people in and out.
#[derive(Clone)]
pub struct Identity {
    db: Db,
    issuer: Arc<Issuer>,
    hasher: Hasher,
    announcer: Announcer,
    /// False when an OpenID Connect provider signs people in.
    local: bool,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

fn wrong_password() -> Error {
    Error::denied("WRONG_PASSWORD", "the password in force is another").field("current_password", "is wrong")
}

impl Identity {
    /// Signs with the issuer's key.
    pub fn new(db: Db, issuer: Arc<Issuer>, hasher: Hasher, announcer: Announcer) -> Self {
        Self { db, issuer, hasher, announcer, local: true }
    }

    /// Refuses to sign anybody in: an OpenID Connect provider does.
    #[must_use]
    pub fn by_provider(self, provider: bool) -> Self {
        Self { local: !provider, ..self }
    }

    fn require_local(&self) -> Result<(), Error> {
        if self.local {
            return Ok(());
        }
        let text = "people sign in with the identity provider of this installation, not here";
        Err(Error::rejected("SIGN_IN_ELSEWHERE", text))
    }

    /// Checks a password and issues a token. Unknown and inactive users, users without a password and wrong passwords
    /// are answered alike, in the same time, and counted alike.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `LOGIN_THROTTLED`, `LOGIN_BUSY`, `SIGN_IN_ELSEWHERE`.
    pub async fn login(&self, user: &str, password: SecretString) -> Result<Issued, Error> {
        self.require_local()?;
        let name = if is_key(user) { user } else { JUNK_NAME }.to_owned();
        let refuse = || Error::unauthenticated("user or password is wrong");
        let hash = self.knows(&name, password).await?.ok_or_else(refuse)?;
        let issued = self.issuer.issue(&name, clock::wall(), TOKEN_TTL)?;
        let (token_id, expires_at) = (issued.token_id, issued.expires_at);
        let still = self
            .db
            .transaction(move |tx| {
                let (name, hash) = (name.clone(), hash.clone());
                Box::pin(async move {
                    let still = store::is_hash(tx, &name, &hash).await?;
                    if still {
                        store::note_issued(tx, token_id, &name, expires_at).await?;
                    }
                    Ok(still)
                })
            })
            .await?;
        // The password was changed meanwhile, which ends every token of before.
        if still { Ok(issued) } else { Err(refuse()) }
    }

    /// The stored hash when the password is the user's; counted by the throttle until it was right.
    async fn knows(&self, name: &str, password: SecretString) -> Result<Option<String>, Error> {
        let name = name.to_owned();
        let counted = name.clone();
        self.db
            .transaction(move |tx| {
                let name = counted.clone();
                Box::pin(async move { throttle::begin(tx, &name).await })
            })
            .await?;
        let looked = name.clone();
        let hash =
            self.db.read(move |conn| Box::pin(async move { store::hash_of(conn, &looked).await })).await?;
        // argon2 is never fed more than a password can be; the answer for a longer one takes the same time.
        let fits_length = password.expose_secret().chars().count() <= password::MAX_CHARS;
        let tried = if fits_length { password } else { SecretString::from(String::new()) };
        if !self.hasher.verify(tried, hash.clone()).await? || !fits_length {
            return Ok(None);
        }
        self.db.read(move |conn| Box::pin(async move { throttle::forgive(conn, &name).await })).await?;
        Ok(hash)
    }

    /// Changes a user's own password and ends every token issued to him; answers a new one.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a password that is too short, too long or the same, `WRONG_PASSWORD`, `LOGIN_THROTTLED`,
    /// `LOGIN_BUSY`, `SIGN_IN_ELSEWHERE`.
    pub async fn change_password(
        &self,
        user: &str,
        current: SecretString,
        new: SecretString,
    ) -> Result<Issued, Error> {
        self.require_local()?;
        let chars = new.expose_secret().chars().count();
        let refuse = |why: String| {
            Err(Error::invalid("INVALID_REQUEST", "the new password does not fit").field("new_password", why))
        };
        if !(password::MIN_CHARS..=password::MAX_CHARS).contains(&chars) {
            return refuse(format!("{} to {} characters", password::MIN_CHARS, password::MAX_CHARS));
        }
        if new.expose_secret() == current.expose_secret() {
            return refuse("must be another than the one in force".to_owned());
        }
        let Some(before) = self.knows(user, current).await? else { return Err(wrong_password()) };
        let hash = self.hasher.hash(new).await?;
        let issued = self.issuer.issue(user, clock::wall(), TOKEN_TTL)?;
        let (token_id, expires_at, user) = (issued.token_id, issued.expires_at, user.to_owned());
        let version = self
            .db
            .transaction(move |tx| {
                let (users, before, hash) = ([user.clone()], before.clone(), hash.clone());
                Box::pin(async move {
                    let [user] = &users;
                    // A password that was set meanwhile stays: it may be the answer to a stolen one.
                    if !store::replace_hash(tx, user, &before, &hash).await? {
                        return Err(wrong_password());
                    }
                    store::revoke_all(tx, &users).await?;
                    store::note_issued(tx, token_id, user, expires_at).await?;
                    let change = Change::of_identity(Action::PasswordChanged, user);
                    audit::record(tx, &format!("user:{user}"), None, &[change]).await?;
                    read::version(tx).await
                })
            })
            .await?;
        self.announcer.announce(version);
        Ok(issued)
    }

    /// Revokes a token: here at once, elsewhere as soon as the directory feed is read again.
    ///
    /// # Errors
    /// Database errors.
    pub async fn logout(&self, user: &str, token_id: Uuid, expires_at: OffsetDateTime) -> Result<(), Error> {
        let user = user.to_owned();
        let version = self
            .db
            .transaction(move |tx| {
                let user = user.clone();
                Box::pin(async move {
                    store::revoke(tx, token_id, &user, expires_at).await?;
                    let change = Change::of_identity(Action::SignedOut, &user);
                    audit::record(tx, &format!("user:{user}"), None, &[change]).await?;
                    read::version(tx).await
                })
            })
            .await?;
        self.announcer.announce(version);
        Ok(())
    }
}
