//! Content-addressed store of large bytes (raw mails, attachments) in a folder shared by all services: an object is
//! named by its SHA-256, never changes, and is on disk before its name is known to anybody.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::config::ObjectsConfig;
use crate::error::Error;

/// SHA-256 of an object's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest256(pub [u8; 32]);

impl Digest256 {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for Digest256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Digest256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest256({self})")
    }
}

impl std::str::FromStr for Digest256 {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest)
            .map_err(|_| Error::invalid("INVALID_DIGEST", "not a SHA-256 in lower-case hex"))?;
        Ok(Self(digest))
    }
}

/// The store.
#[derive(Clone, Debug)]
pub struct Objects {
    root: Arc<PathBuf>,
    max_bytes: u64,
}

impl Objects {
    /// Opens the folder, creating it when missing.
    ///
    /// # Errors
    /// `OBJECT_STORE_UNAVAILABLE`.
    pub async fn open(config: &ObjectsConfig) -> Result<Self, Error> {
        let root = config.path.clone();
        blocking(move || std::fs::create_dir_all(&root)).await?;
        Ok(Self { root: Arc::new(config.path.clone()), max_bytes: config.max_bytes })
    }

    /// Stores the bytes and answers their digest; when it returns they survive a power cut. Again is harmless.
    ///
    /// # Errors
    /// `OBJECT_TOO_LARGE`, `OBJECT_STORE_UNAVAILABLE`.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest256, Error> {
        if bytes.len() as u64 > self.max_bytes {
            return Err(Error::exhausted(
                "OBJECT_TOO_LARGE",
                format!("an object has at most {} bytes", self.max_bytes),
            ));
        }
        let root = self.root.clone();
        blocking(move || {
            let digest = Digest256::of(&bytes);
            write(&path(&root, digest), &bytes).map(|()| digest)
        })
        .await
    }

    /// The bytes; `None` when the object is not there.
    ///
    /// # Errors
    /// `OBJECT_CORRUPT` when the content does not match its name, `OBJECT_STORE_UNAVAILABLE`.
    pub async fn get(&self, digest: Digest256) -> Result<Option<Bytes>, Error> {
        let at = path(&self.root, digest);
        let read = blocking(move || match std::fs::read(at) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await?;
        match read {
            Some(bytes) if Digest256::of(&bytes) != digest => {
                Err(Error::corrupt("OBJECT_CORRUPT", format!("object {digest} does not match its name")))
            }
            other => Ok(other),
        }
    }

    /// Size in bytes; `None` when the object is not there.
    ///
    /// # Errors
    /// `OBJECT_STORE_UNAVAILABLE`.
    pub async fn size(&self, digest: Digest256) -> Result<Option<u64>, Error> {
        let at = path(&self.root, digest);
        blocking(move || match std::fs::metadata(at) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// At most `length` bytes from `offset`, unchecked: whoever reads all pieces compares the digest himself. Fewer only at the
    /// end of the object.
    ///
    /// # Errors
    /// `OBJECT_STORE_UNAVAILABLE`, also for an object that is not there.
    pub async fn read_at(&self, digest: Digest256, offset: u64, length: usize) -> Result<Bytes, Error> {
        use std::io::{Read as _, Seek as _};
        let at = path(&self.root, digest);
        blocking(move || {
            let mut file = std::fs::File::open(at)?;
            file.seek(std::io::SeekFrom::Start(offset))?;
            let mut piece = Vec::with_capacity(length);
            file.take(length as u64).read_to_end(&mut piece)?;
            Ok(Bytes::from(piece))
        })
        .await
    }

    /// True when the object is there.
    ///
    /// # Errors
    /// `OBJECT_STORE_UNAVAILABLE`.
    pub async fn exists(&self, digest: Digest256) -> Result<bool, Error> {
        let at = path(&self.root, digest);
        blocking(move || at.try_exists()).await
    }
}

/// Two levels, so that no folder grows without bound.
fn path(root: &Path, digest: Digest256) -> PathBuf {
    let name = digest.to_string();
    let (first, _) = name.split_at(2);
    root.join(first).join(&name)
}

fn write(at: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = at.parent().ok_or_else(|| std::io::Error::other("an object's path has a folder"))?;
    if at.try_exists()? {
        // It may have been renamed by a writer that has not synced the folder yet.
        return sync_folder(folder);
    }
    let new_folder = !folder.try_exists()?;
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, at)
    })();
    if written.is_err() {
        // What is left is only an unnamed temporary file; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)?;
    match folder.parent() {
        Some(root) if new_folder => sync_folder(root),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| {
            Error::internal("OBJECT_STORE_PANICKED", "the object store panicked").with_source(error)
        })?
        .map_err(|error| {
            Error::unavailable("OBJECT_STORE_UNAVAILABLE", "the object store does not work")
                .with_source(error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store(dir: &tempfile::TempDir) -> Objects {
        Objects::open(&ObjectsConfig { path: dir.path().join("deep/objects"), max_bytes: 10 }).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_put_comes_back_and_twice_is_once() {
        let dir = tempfile::tempdir().unwrap();
        let objects = store(&dir).await;
        let digest = objects.put(Bytes::from_static(b"hola")).await.unwrap();
        assert_eq!(objects.put(Bytes::from_static(b"hola")).await.unwrap(), digest);
        assert_eq!(objects.get(digest).await.unwrap().as_deref(), Some(b"hola".as_slice()));
        assert!(objects.exists(digest).await.unwrap());
        assert_eq!(objects.get(Digest256::of(b"other")).await.unwrap(), None);
        assert_eq!(digest.to_string().parse::<Digest256>().unwrap(), digest);
        assert_eq!(objects.size(digest).await.unwrap(), Some(4));
        assert_eq!(objects.size(Digest256::of(b"other")).await.unwrap(), None);
        assert_eq!(objects.read_at(digest, 1, 2).await.unwrap().as_ref(), b"ol");
        assert_eq!(objects.read_at(digest, 3, 9).await.unwrap().as_ref(), b"a");
        assert!(objects.read_at(digest, 4, 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn too_large_is_refused_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let objects = store(&dir).await;
        let error = objects.put(Bytes::from_static(b"eleven byte")).await.unwrap_err();
        assert_eq!(error.reason(), "OBJECT_TOO_LARGE");
        let digest = objects.put(Bytes::from_static(b"hola")).await.unwrap();
        std::fs::write(path(&objects.root, digest), b"holb").unwrap();
        assert_eq!(objects.get(digest).await.unwrap_err().reason(), "OBJECT_CORRUPT");
    }
}
