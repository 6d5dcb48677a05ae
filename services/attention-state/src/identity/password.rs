//! Password hashing: argon2id (RFC 9106) with the parameters of OWASP's Password Storage Cheat Sheet (m = 19 MiB, t = 2,
//! p = 1), off the async workers and a few at a time, because each takes 20 ms of a core and 19 MiB.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use hilo_kit::Error;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Least characters of a new password (NIST SP 800-63B asks for 8; we have no second factor).
pub const MIN_CHARS: usize = 10;
/// Most characters of a password; longer ones only cost time.
pub const MAX_CHARS: usize = 128;
/// Hashes computed at once.
const AT_ONCE: usize = 2;
/// Who cannot begin within this time is refused: waiting longer would only make the queue longer.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Least and most memory (KiB), passes and lanes of a hash given from outside.
const MEMORY: std::ops::RangeInclusive<u32> = 19_456..=65_536;
const PASSES: std::ops::RangeInclusive<u32> = 2..=10;
const LANES: std::ops::RangeInclusive<u32> = 1..=4;

/// What an unknown user's password is compared with, so that he is answered as slowly as a known one.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash_now("a password that nobody has").expect("the fixed parameters are valid"));

/// Says whether a PHC string is an argon2id hash that is strong enough and not made to be expensive.
///
/// # Errors
/// What is wrong with it, without quoting it.
pub fn check_hash(text: &str) -> Result<(), String> {
    let hash =
        PasswordHash::new(text).map_err(|_| "must be a PHC string `$argon2id$v=19$m=…,t=…,p=…$salt$hash`")?;
    if hash.algorithm.as_str() != "argon2id" || hash.version != Some(19) {
        return Err("must be argon2id, version 19".to_owned());
    }
    let params = Params::try_from(&hash).map_err(|_| "its parameters are not valid")?;
    if !MEMORY.contains(&params.m_cost())
        || !PASSES.contains(&params.t_cost())
        || !LANES.contains(&params.p_cost())
    {
        return Err("needs m from 19456 to 65536, t from 2 to 10, p from 1 to 4".to_owned());
    }
    let salted = hash.salt.is_some_and(|salt| salt.as_str().len() >= 16);
    let long = hash.hash.is_some_and(|output| output.len() >= 16);
    if salted && long { Ok(()) } else { Err("needs a salt and a hash of at least 16 characters".to_owned()) }
}

/// Hashes and verifies a few at a time.
#[derive(Clone, Debug)]
pub struct Hasher {
    permits: Arc<Semaphore>,
    computed: Arc<AtomicU64>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), computed: Arc::default() }
    }
}

impl Hasher {
    /// The PHC string of a password with a fresh salt.
    ///
    /// # Errors
    /// `LOGIN_BUSY` when too many are waiting.
    pub async fn hash(&self, password: SecretString) -> Result<String, Error> {
        self.run(move || hash_now(password.expose_secret())).await?
    }

    /// Whether the password fits; without a hash it never does, and takes as long.
    ///
    /// # Errors
    /// `LOGIN_BUSY` when too many are waiting, `BAD_STORED_HASH` when the stored hash cannot be read.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<bool, Error> {
        self.run(move || {
            // Made on the first call, whoever it is for: its cost must not tell anything.
            let nobody = NOBODY.clone();
            let known = hash.is_some();
            let text = hash.unwrap_or(nobody);
            let parsed = PasswordHash::new(&text)
                .map_err(|_| Error::corrupt("BAD_STORED_HASH", "a stored password hash cannot be read"))?;
            let fits =
                Argon2::default().verify_password(password.expose_secret().as_bytes(), &parsed).is_ok();
            Ok(known && fits)
        })
        .await?
    }

    /// Hashes computed so far, to make or to compare: what signing in and applying cost.
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = tokio::time::timeout(MAX_WAIT, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| Error::exhausted("LOGIN_BUSY", "too many sign-ins at once; try again"))?
            .map_err(|error| Error::internal("LOGIN_CLOSED", "hashing has stopped").with_source(error))?;
        self.computed.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(|error| Error::internal("HASHING_PANICKED", "hashing failed").with_source(error))
    }
}

fn hash_now(password: &str) -> Result<String, Error> {
    let failed = |_| Error::internal("HASHING_FAILED", "a password could not be hashed");
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(failed)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
    Ok(argon.hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_and_bounded_argon2id_hashes_are_taken() {
        let good = hash_now("una frase larga").unwrap();
        assert!(good.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{good}");
        check_hash(&good).unwrap();
        for bad in [
            "",
            "secreto",
            "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
            &good.replace("argon2id", "argon2i"),
            &good.replace("m=19456", "m=1024"),
            &good.replace("m=19456", "m=4194304"),
            &good.replace("t=2", "t=1000"),
            &good.replace("v=19", "v=16"),
        ] {
            assert!(check_hash(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_password_fits_its_hash_and_nothing_fits_nobody() {
        let hasher = Hasher::default();
        let hash = hasher.hash(SecretString::from("una frase larga")).await.unwrap();
        assert!(hasher.verify(SecretString::from("una frase larga"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(SecretString::from("otra frase larga"), Some(hash)).await.unwrap());
        assert!(!hasher.verify(SecretString::from("a password that nobody has"), None).await.unwrap());
    }
}
