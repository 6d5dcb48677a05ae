//! Keys and passwords of an embedded installation: made once, kept in one file that only its owner can read.

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
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                let text = format!(
                    "{} is damaged; put it back, or start over with `make clean-data`",
                    path.display()
                );
                Error::corrupt("SECRETS_UNREADABLE", text).with_source(error)
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::generate()?;
                let text = serde_json::to_string_pretty(&secrets).expect("strings are always valid JSON");
                folder::write_private(&path, &text)?;
                Ok(secrets)
            }
            Err(error) => Err(unusable(&path, error)),
        }
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
        })
    }
}

/// 32 random bytes in hexadecimal.
fn random_hex() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
