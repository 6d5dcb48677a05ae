//! Files of a send brought to Meta before the message: each content once per number, a bounded number of bytes at a time.

use std::collections::HashMap;
use std::sync::Arc;

use hilo_kit::config::Secret;
use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::objects::{Digest256, Objects};
use parking_lot::Mutex;

use crate::adapter::files::{Files, Upload};
use crate::domain::outgoing::{self, FileNeeded};
use crate::domain::send::Outcome;
use crate::domain::unfit::Unfit;
use crate::memory::Memory;
use crate::store::{Store, Uploaded};

/// Number, content and type.
type Key = (String, String, String);

/// Uploads.
#[derive(Clone, Debug)]
pub struct Uploads {
    store: Store,
    files: Files,
    objects: Objects,
    memory: Memory,
    /// Who uploads what: many sends of one file at once are one upload.
    running: Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Uploads {
    /// Within this memory.
    pub fn new(store: Store, files: Files, objects: Objects, memory: Memory) -> Self {
        Self { store, files, objects, memory, running: Arc::default() }
    }

    /// The file at Meta, uploaded when it is not there.
    ///
    /// # Errors
    /// How the attempt ends: nothing was sent.
    pub async fn at_meta(
        &self,
        number: &str,
        token: &Secret,
        file: &FileNeeded,
    ) -> Result<Uploaded, Outcome> {
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
    ) -> Result<Uploaded, Outcome> {
        if let Some(known) = self.store.uploaded(number, file).await.map_err(own)? {
            return Ok(known);
        }
        let missing = || unsendable(Unfit::ObjectMissing, "the file is not in the object store");
        let digest: Digest256 = file.sha256.parse().map_err(own)?;
        // What it takes is what is there, whatever the send says of it.
        let size = self.objects.size(digest).await.map_err(own)?.ok_or_else(missing)?;
        let beyond = || unsendable(Unfit::FileTooLarge, "the file is larger than the memory for files");
        let room = self.memory.room(size).await.ok_or_else(beyond)?;
        let bytes = self.objects.get(digest).await.map_err(own)?.ok_or_else(missing)?;
        outgoing::look(file, &bytes).map_err(|why| unsendable(why.why, why.text))?;
        let upload = Upload { bytes, media_type: file.media_type.clone(), file_name: file.file_name.clone() };
        let media_id = self.files.upload(number, token, upload).await?;
        drop(room);
        fault::point("whatsapp.upload.before_kept").await;
        if let Err(error) = self.store.keep_upload(number, file, &media_id).await {
            error.log("remembering an upload");
        }
        Ok(Uploaded { media_id, old: false })
    }

    /// Meta refused a message with ids that it was given long ago.
    pub async fn forget(&self, number: &str, ids: Vec<String>) {
        if let Err(error) = self.store.forget_uploads(number, ids).await {
            error.log("forgetting uploads");
        }
    }
}

fn unsendable(why: Unfit, text: &str) -> Outcome {
    Outcome::Unsendable { why, text: text.to_owned() }
}

/// Trouble of ours: later again, but for an object that is broken.
fn own(error: Error) -> Outcome {
    error.log("bringing a file to Meta");
    let text = error.message().to_owned();
    match error.class() {
        Class::Corrupt | Class::Invalid => Outcome::Unsendable { why: Unfit::ObjectCorrupt, text },
        Class::Rejected
        | Class::Missing
        | Class::Duplicate
        | Class::Conflict
        | Class::Denied
        | Class::Exhausted
        | Class::Unavailable
        | Class::Internal => Outcome::NotSent { reason: "MEDIA_NOT_UPLOADED", text },
    }
}
