//! Exports: the threads of a search as a stream in one of several formats, newest first, within the caller's rights.
//!
//! Memory is bounded by one page of a thread, one file and a few pieces on their way, whatever is exported: the next page is
//! read only when the caller has taken the pieces before.

mod lines;
pub mod pipe;

use std::sync::Arc;

use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::objects::{Digest256, Objects};
use hilo_proto::history::v1::{ExportFormat, ExportThreadsResponse};
use tokio::sync::Semaphore;

use crate::domain::export::forms::Columns;
use crate::domain::export::{mail, mime};
use crate::domain::thread::{Attachment, InteractionId, Message};
use crate::domain::{Scope, Thread};
use crate::rights::{Caller, Rights};
use crate::store::{PAGE_ENTRIES, PageRequest, Store};
use crate::{contract, html};
use lines::Line;
use pipe::{Chunks, Pipe, Receiving};

/// Exports that one replica makes at the same time; each holds at most one page of a thread and one file in memory.
pub const MAX_EXPORTS: usize = 4;
/// Threads whose heads are read at once.
const PAGE: i32 = 100;
/// Bytes of a file that become base64 at once; a multiple of [`mime::LINE`].
const FILE_STEP: usize = mime::LINE * 1_024;

/// Makes exports.
#[derive(Clone)]
pub struct Exporter {
    store: Store,
    rights: Rights,
    objects: Objects,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
}

/// How the threads are written.
enum Writing {
    Records,
    Lines,
    Forms(Columns),
    Mbox,
    Mails,
}

impl Writing {
    /// Notes and messages read at once; a form needs neither, and its thread is read once.
    fn entries(&self) -> usize {
        match self {
            Writing::Forms(_) => 1,
            Writing::Records | Writing::Lines | Writing::Mbox | Writing::Mails => PAGE_ENTRIES,
        }
    }
}

/// What of a thread is written already.
#[derive(Default)]
struct Progress {
    messages: usize,
    line: Line,
}

impl Exporter {
    /// Reads threads from `store` and files from `objects`; its work is part of `shutdown`.
    pub fn new(store: Store, rights: Rights, objects: Objects, shutdown: Shutdown) -> Self {
        Self { store, rights, objects, shutdown, permits: Arc::new(Semaphore::new(MAX_EXPORTS)) }
    }

    /// Begins an export of everything the criteria of `page` fit. The rights of `caller` are looked up again for every page.
    ///
    /// # Errors
    /// `TOO_MANY_EXPORTS`; what goes wrong later ends the stream with a status.
    pub fn begin(
        &self,
        caller: Caller,
        page: PageRequest,
        format: ExportFormat,
    ) -> Result<Receiving<ExportThreadsResponse>, Error> {
        let this = self.clone();
        pipe::open(&self.shutdown, &self.permits, move |pipe| async move {
            this.run(pipe, &caller, PageRequest { size: PAGE, ..page }, format).await
        })
    }

    async fn run(
        &self,
        pipe: Pipe<ExportThreadsResponse>,
        caller: &Caller,
        mut page: PageRequest,
        format: ExportFormat,
    ) -> Result<(), Error> {
        let writing = self.writing(&page, format).await?;
        let mut out = Chunks::new(pipe, |chunk| ExportThreadsResponse { chunk, ..Default::default() });
        if let Writing::Forms(columns) = &writing {
            out.write(columns.header().as_bytes()).await?;
        }
        loop {
            page.scope = self.rights.scope_of(caller)?;
            let found = self.store.search(page.clone()).await?;
            for head in &found.heads {
                self.thread(&mut out, &writing, &page.scope, head.interaction_id).await?;
            }
            match found.next {
                Some(next) => page = page.after(next),
                None => return out.flush().await,
            }
        }
    }

    async fn writing(&self, page: &PageRequest, format: ExportFormat) -> Result<Writing, Error> {
        Ok(match format {
            ExportFormat::Unspecified | ExportFormat::Records => Writing::Records,
            ExportFormat::JsonLines => Writing::Lines,
            ExportFormat::FormsCsv => Writing::Forms(self.columns(&page.scope, page).await?),
            ExportFormat::Mbox => Writing::Mbox,
            ExportFormat::Eml => Writing::Mails,
        })
    }

    async fn columns(&self, scope: &Scope, page: &PageRequest) -> Result<Columns, Error> {
        Ok(Columns::new(self.store.form_fields(scope, page.criteria.campaign_key.clone()).await?))
    }

    /// Writes a thread page by page; nothing when it is gone since it was found.
    async fn thread(
        &self,
        out: &mut Chunks<ExportThreadsResponse>,
        writing: &Writing,
        scope: &Scope,
        id: InteractionId,
    ) -> Result<(), Error> {
        let (mut from, mut progress) = (None, Progress::default());
        loop {
            let page = self.store.thread_page(scope, id, from, writing.entries()).await?;
            let Some(page) = page else {
                let halved = || Error::conflict("THREAD_CHANGED", "a thread went away between two pages");
                return from.map_or(Ok(()), |_| Err(halved()));
            };
            self.write(out, writing, page.thread, &mut progress).await?;
            match (page.next, writing) {
                (Some(next), Writing::Records | Writing::Lines | Writing::Mbox | Writing::Mails) => {
                    from = Some(next);
                }
                (None, Writing::Lines) => return out.write(progress.line.end().as_bytes()).await,
                (None, _) | (Some(_), Writing::Forms(_)) => return Ok(()),
            }
        }
    }

    /// Writes a page of a thread.
    async fn write(
        &self,
        out: &mut Chunks<ExportThreadsResponse>,
        writing: &Writing,
        thread: Thread,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        match writing {
            Writing::Records => {
                let thread = Some(contract::answer(thread));
                out.send(ExportThreadsResponse { thread, ..Default::default() }).await
            }
            Writing::Lines => {
                for piece in progress.line.page(contract::answer(thread)) {
                    out.write(&piece?).await?;
                }
                Ok(())
            }
            Writing::Forms(columns) => match columns.line(&thread) {
                Some(line) => out.write(line.as_bytes()).await,
                None => Ok(()),
            },
            Writing::Mbox => {
                for message in &thread.messages {
                    out.write(mail::separator(message).as_bytes()).await?;
                    out.write(b"\n").await?;
                    self.mail(out, &thread, message, "\n").await?;
                    out.write(b"\n").await?;
                }
                Ok(())
            }
            Writing::Mails => {
                for message in &thread.messages {
                    progress.messages += 1;
                    let file_name = mail::file_name(&thread, progress.messages);
                    out.send(ExportThreadsResponse { file_name, ..Default::default() }).await?;
                    self.mail(out, &thread, message, "\r\n").await?;
                    out.flush().await?;
                }
                Ok(())
            }
        }
    }

    /// Writes one mail, its lines ending with `end`.
    async fn mail(
        &self,
        out: &mut Chunks<ExportThreadsResponse>,
        thread: &Thread,
        message: &Message,
        end: &str,
    ) -> Result<(), Error> {
        let (message, missing) = self.with_files(message.clone()).await?;
        for piece in mail::pieces(thread, &message, &html::safe(&message.html), &missing) {
            match piece {
                mail::Piece::Text(text) => out.write(text.replace("\r\n", end).as_bytes()).await?,
                mail::Piece::File(file) => {
                    let content = match digest(&file) {
                        Some(digest) => self.objects.get(digest).await?.unwrap_or_default(),
                        None => Default::default(),
                    };
                    for step in content.chunks(FILE_STEP) {
                        out.write(mime::base64_lines(step).replace("\r\n", end).as_bytes()).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The message with the files that are there, and the names of those that are not.
    async fn with_files(&self, mut message: Message) -> Result<(Message, Vec<String>), Error> {
        let mut missing = Vec::new();
        for file in std::mem::take(&mut message.attachments) {
            let there = match digest(&file) {
                Some(digest) => self.objects.exists(digest).await?,
                None => false,
            };
            if there {
                message.attachments.push(file);
            } else {
                missing.push(file.file_name);
            }
        }
        Ok((message, missing))
    }
}

fn digest(file: &Attachment) -> Option<Digest256> {
    file.sha256.parse().ok()
}
