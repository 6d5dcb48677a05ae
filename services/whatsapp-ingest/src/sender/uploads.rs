//! Files of a send brought to Meta before the message: each content once per number, a bounded number of bytes at a time.

use std::collections::HashMap;
use std::sync::Arc;

use hilo_kit::config::Secret;
use hilo_kit::error::{Class, Error};
use hilo_kit::objects::{Digest256, Objects};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::adapter::files::{Files, Upload};
use crate::domain::outgoing::{self, FileNeeded};
use crate::domain::send::Outcome;
use crate::store::Store;

/// Memory is counted in these.
const UNIT: u64 = 1_024;

/// Number, content and type.
type Key = (String, String, String);

/// Uploads.
#[derive(Clone, Debug)]
pub struct Uploads {
    store: Store,
    files: Files,
    objects: Objects,
    memory: Arc<Semaphore>,
    units: u64,
    /// Who uploads what: many sends of one file at once are one upload.
    running: Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>>,
}

/// A file at Meta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtMeta {
    /// Meta's id.
    pub id: String,
    /// True when it was there before: Meta may have forgotten it.
    pub remembered: bool,
}

impl Uploads {
    /// With this much memory for files under way, in bytes.
    pub fn new(store: Store, files: Files, objects: Objects, memory_bytes: u64) -> Self {
        let units = (memory_bytes / UNIT).clamp(1, u64::from(u32::MAX));
        let permits = usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        let memory = Arc::new(Semaphore::new(permits));
        Self { store, files, objects, memory, units, running: Arc::default() }
    }

    /// The file at Meta, uploaded when it is not there.
    ///
    /// # Errors
    /// How the attempt ends: nothing was sent.
    pub async fn at_meta(&self, number: &str, token: &Secret, file: &FileNeeded) -> Result<AtMeta, Outcome> {
        let key = (number.to_owned(), file.sha256.clone(), file.media_type.clone());
        let turn = self.running.lock().entry(key.clone()).or_default().clone();
        let held = turn.lock().await;
        let found = self.at_meta_alone(number, token, file).await;
        drop(held);
        let mut running = self.running.lock();
        // This one and the map: nobody else waits for it.
        if Arc::strong_count(&turn) <= 2 {
            running.remove(&key);
        }
        found
    }

    async fn at_meta_alone(
        &self,
        number: &str,
        token: &Secret,
        file: &FileNeeded,
    ) -> Result<AtMeta, Outcome> {
        if let Some(id) = self.store.uploaded(number, file).await.map_err(own)? {
            return Ok(AtMeta { id, remembered: true });
        }
        let units = u32::try_from(file.size.div_ceil(UNIT).clamp(1, self.units)).unwrap_or(u32::MAX);
        let room = self.memory.clone().acquire_many_owned(units).await;
        let digest: Digest256 = file.sha256.parse().map_err(own)?;
        let bytes = self.objects.get(digest).await.map_err(own)?;
        let bytes = bytes.ok_or(Outcome::Unsendable {
            reason: "OBJECT_MISSING",
            text: "the file is not in the object store".to_owned(),
        })?;
        outgoing::look(file, &bytes)
            .map_err(|why| Outcome::Unsendable { reason: why.reason, text: why.text.to_owned() })?;
        let upload = Upload { bytes, media_type: file.media_type.clone(), file_name: file.file_name.clone() };
        let id = self.files.upload(number, token, upload).await?;
        drop(room);
        if let Err(error) = self.store.keep_upload(number, file, &id).await {
            error.log("remembering an upload");
        }
        Ok(AtMeta { id, remembered: false })
    }

    /// Meta refused a message with ids that it was given before.
    pub async fn forget(&self, number: &str, ids: Vec<String>) {
        if let Err(error) = self.store.forget_uploads(number, ids).await {
            error.log("forgetting uploads");
        }
    }
}

/// Trouble of ours: later again, but for an object that is broken.
fn own(error: Error) -> Outcome {
    error.log("bringing a file to Meta");
    let text = error.message().to_owned();
    match error.class() {
        Class::Corrupt | Class::Invalid => Outcome::Unsendable { reason: "OBJECT_CORRUPT", text },
        _ => Outcome::NotSent { reason: "MEDIA_NOT_UPLOADED", text },
    }
}
