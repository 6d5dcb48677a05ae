//! A stream whose pieces are made by a tracked task: bounded in pieces, in waiting and in number, and never ended with OK
//! when the work behind it broke off.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of one piece of a file.
pub const CHUNK: usize = 64 * 1024;
/// Pieces that may wait for the caller.
const WAITING: usize = 4;
/// A caller who takes nothing for so long has gone; the export must not keep its place for ever.
const STALLED: Duration = Duration::from_secs(60);
/// Time to hand over the status of an end.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What the gRPC server reads from.
pub type Receiving<T> = ReceiverStream<Result<T, Status>>;

/// Takes pieces towards the caller.
pub struct Pipe<T>(mpsc::Sender<Result<T, Status>>);

/// Starts `work` in a task of its own, when there is a permit left.
///
/// # Errors
/// `TOO_MANY_EXPORTS`.
pub fn open<T, W, F>(shutdown: &Shutdown, permits: &Arc<Semaphore>, work: W) -> Result<Receiving<T>, Error>
where
    T: Send + 'static,
    W: FnOnce(Pipe<T>) -> F + Send + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let permit = permits.clone().try_acquire_owned().map_err(|_| {
        Error::exhausted("TOO_MANY_EXPORTS", "other exports are running; try again when one has ended")
    })?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let stop = shutdown.clone();
    shutdown.spawn("export", async move {
        let _permit = permit;
        let outcome = tokio::select! {
            outcome = work(Pipe(sender.clone())) => outcome,
            () = stop.cancelled() => Err(Error::unavailable("STOPPING", "this replica stops; begin again")),
        };
        if let Err(error) = outcome {
            error.log("an export broke off");
            // Without this status the caller would take the half for the whole.
            let _ = tokio::time::timeout(LAST_WORD, sender.send(Err(error.into()))).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

impl<T> Pipe<T> {
    /// Hands over a piece; waits while the caller is slow.
    ///
    /// # Errors
    /// `CALLER_GONE` when nobody takes it.
    pub async fn send(&self, piece: T) -> Result<(), Error> {
        match tokio::time::timeout(STALLED, self.0.send(Ok(piece))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::rejected("CALLER_GONE", "the caller takes nothing any more")),
        }
    }
}

/// Gathers bytes into pieces.
pub struct Chunks<T> {
    pipe: Pipe<T>,
    make: fn(Vec<u8>) -> T,
    gathered: Vec<u8>,
}

impl<T> Chunks<T> {
    /// Towards `pipe`, each piece made by `make`.
    pub fn new(pipe: Pipe<T>, make: fn(Vec<u8>) -> T) -> Self {
        Self { pipe, make, gathered: Vec::new() }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// As [`Pipe::send`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for part in bytes.chunks(CHUNK) {
            self.gathered.extend_from_slice(part);
            if self.gathered.len() >= CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Hands over what is gathered.
    ///
    /// # Errors
    /// As [`Pipe::send`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = (self.make)(std::mem::take(&mut self.gathered));
        self.pipe.send(piece).await
    }

    /// Hands over a piece that is not made of bytes, after those before it.
    ///
    /// # Errors
    /// As [`Pipe::send`].
    pub async fn send(&mut self, piece: T) -> Result<(), Error> {
        self.flush().await?;
        self.pipe.send(piece).await
    }
}
