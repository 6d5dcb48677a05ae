//! Keys and passwords of an embedded installation: made once, kept in one file that only its owner can read.

use std::path::Path;

use hilo_kit::auth::generate_keys;
use hilo_kit::error::Error;
use serde::{Deserialize, Serialize};

use super::folder::{self, DataFolder, unusable};

/// What must be the same at every start.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// Password of PostgreSQL's superuser.
    pub postgres_password: String,
    /// Password of the services' database role.
    pub database_password: String,
    /// Ed25519 private key (PEM) that users' tokens are signed with.
    pub signing_key: String,
    /// Its public half (PEM).
    pub verify_key: String,
    /// What services sign their own tokens with.
    pub service_secret: String,
    /// What the tokens in our Message-IDs and reply addresses are keyed with.
    pub thread_key: String,
    /// What the simulated Meta signs its webhooks with.
    #[serde(default = "random_hex")]
    pub meta_app_secret: String,
    /// What its handshake carries.
    #[serde(default = "random_hex")]
    pub meta_verify_token: String,
    /// The bearer token it wants from us.
    #[serde(default = "random_hex")]
    pub meta_access_token: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Reads the file, or makes it.
    ///
    /// # Errors
    /// `SECRETS_UNREADABLE` when the file exists and is not what was written: replacing it would lock the database out.
    pub fn load_or_create(folder: &DataFolder) -> Result<Self, Error> {
        let path = folder.secrets();
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let secrets: Self = serde_json::from_str(&text).map_err(|error| damaged(&path, error))?;
                // What an earlier release did not have yet was made up just now.
                if secrets.text() != text {
                    folder::write_private(&path, &secrets.text())?;
                }
                Ok(secrets)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::generate()?;
                folder::write_private(&path, &secrets.text())?;
                Ok(secrets)
            }
            Err(error) => Err(unusable(&path, error)),
        }
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings are always valid JSON")
    }

    fn generate() -> Result<Self, Error> {
        let keys = generate_keys()?;
        Ok(Self {
            postgres_password: random_hex(),
            database_password: random_hex(),
            signing_key: keys.signing_key.expose().to_owned(),
            verify_key: keys.verify_key,
            service_secret: keys.service_secret.expose().to_owned(),
            thread_key: random_hex(),
            meta_app_secret: random_hex(),
            meta_verify_token: random_hex(),
            meta_access_token: random_hex(),
        })
    }
}

fn damaged(path: &Path, error: serde_json::Error) -> Error {
    let text = format!("{} is damaged; put it back, or start over with `make clean-data`", path.display());
    Error::corrupt("SECRETS_UNREADABLE", text).with_source(error)
}

/// 32 random bytes in hexadecimal.
fn random_hex() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_release_did_not_have_is_made_up_once() {
        let directory = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(directory.path()).unwrap();
        let first = Secrets::load_or_create(&folder).unwrap();
        let mut older: serde_json::Value = serde_json::from_str(&first.text()).unwrap();
        older.as_object_mut().unwrap().retain(|name, _| !name.starts_with("meta_"));
        folder::write_private(&folder.secrets(), &older.to_string()).unwrap();
        let second = Secrets::load_or_create(&folder).unwrap();
        assert_eq!(second.thread_key, first.thread_key);
        assert_ne!(second.meta_app_secret, first.meta_app_secret);
        assert_eq!(Secrets::load_or_create(&folder).unwrap().meta_app_secret, second.meta_app_secret);
    }
}
