//! Passwords, tokens and keys of accounts: the directory names them, the environment or a folder holds them.

use std::path::PathBuf;

use crate::config::Secret;
use crate::error::Error;

/// Finds secrets by name: `HILO_SECRET_<NAME>` first, then the file of that name in the folder.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    folder: Option<PathBuf>,
}

impl Secrets {
    /// With a folder, when one is configured.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The secret's value.
    ///
    /// # Errors
    /// `SECRET_MISSING` when it is nowhere or its name is not `[A-Za-z0-9_-]{1,64}`.
    pub async fn get(&self, name: &str) -> Result<Secret, Error> {
        let plain = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if !plain {
            return Err(Error::invalid("SECRET_MISSING", "a secret has no proper name"));
        }
        let variable = format!("HILO_SECRET_{}", name.to_ascii_uppercase().replace('-', "_"));
        if let Ok(value) = std::env::var(&variable) {
            return Ok(Secret::new(value));
        }
        let missing = || {
            Error::unavailable(
                "SECRET_MISSING",
                format!("secret {name} is neither in the environment nor in the folder"),
            )
        };
        let folder = self.folder.as_ref().ok_or_else(missing)?;
        let content = tokio::fs::read_to_string(folder.join(name))
            .await
            .map_err(|error| missing().with_source(error))?;
        Ok(Secret::new(content.trim_end_matches(['\r', '\n'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_come_from_the_folder_by_plain_names_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ventas-imap"), "pa ss\n").unwrap();
        let secrets = Secrets::new(Some(folder.path().to_owned()));
        assert_eq!(secrets.get("ventas-imap").await.unwrap().expose(), "pa ss");
        for bad in ["../ventas-imap", "", "nothing", "/etc/passwd"] {
            assert_eq!(secrets.get(bad).await.unwrap_err().reason(), "SECRET_MISSING", "{bad}");
        }
    }
}
