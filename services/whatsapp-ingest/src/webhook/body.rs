//! The body of a POST within its limits: bytes, time, and memory together with all others that come in.
//!
//! Memory is taken for what has arrived and not for what was promised: whoever connects and says nothing takes none. It is given
//! back when the body is no longer in memory, which is after its commit.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refusal;
use crate::config::WebhookConfig;

/// Memory is counted in these.
const UNIT: usize = 1_024;

/// The limits, shared by all requests.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    bytes: usize,
    time: Duration,
    memory: Arc<Semaphore>,
}

/// Memory that a body takes; dropped together with it.
pub type Room = Option<OwnedSemaphorePermit>;

impl Limits {
    pub(super) fn new(config: &WebhookConfig) -> Self {
        Self {
            bytes: config.max_body_bytes,
            time: Duration::from_secs(config.body_seconds),
            memory: Arc::new(Semaphore::new(config.max_buffered_bytes / UNIT)),
        }
    }

    /// Room for this many bytes in all; `None` when all of it is taken.
    fn grow(&self, room: &mut Room, bytes: usize) -> Option<()> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(held);
        let more = self.memory.clone().try_acquire_many_owned(u32::try_from(more).ok()?).ok()?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Some(())
    }
}

/// Reads a body that claims this length.
pub(super) async fn read(
    limits: &Limits,
    body: Body,
    length: Option<usize>,
) -> Result<(Bytes, Room), Refusal> {
    if length.is_some_and(|length| length > limits.bytes) {
        return Err(Refusal::TooLarge);
    }
    let reading = collect(limits, body, length);
    tokio::time::timeout(limits.time, reading).await.unwrap_or(Err(Refusal::CutOff))
}

async fn collect(limits: &Limits, mut body: Body, length: Option<usize>) -> Result<(Bytes, Room), Refusal> {
    let (mut whole, mut room) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refusal::CutOff)?.into_data() else { continue };
        let wanted = whole.len() + chunk.len();
        if wanted > limits.bytes {
            return Err(Refusal::TooLarge);
        }
        if wanted > whole.capacity() {
            // Doubled, so that bytes are not copied for every chunk, but never beyond what was promised.
            let most = length.unwrap_or(limits.bytes).max(wanted);
            let capacity = (whole.capacity() * 2).clamp(wanted, most);
            limits.grow(&mut room, capacity).ok_or(Refusal::Busy)?;
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((whole.into(), room))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    fn limits(bytes: usize, memory: usize) -> Limits {
        Limits { bytes, time: Duration::from_secs(5), memory: Arc::new(Semaphore::new(memory / UNIT)) }
    }

    fn chunks(count: usize, size: usize) -> Body {
        Body::from_stream(stream::iter(
            (0..count).map(move |n| Ok::<_, Infallible>(Bytes::from(vec![n.to_le_bytes()[0]; size]))),
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_takes_no_memory_and_is_cut_off() {
        let limits = limits(8 * UNIT, 8 * UNIT);
        let silent = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let (limits, silent) = (limits.clone(), silent());
                tokio::spawn(async move { read(&limits, silent, Some(8 * UNIT)).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        let (whole, room) = read(&limits, chunks(8, UNIT), Some(8 * UNIT)).await.unwrap();
        assert_eq!((whole.len(), limits.memory.available_permits()), (8 * UNIT, 0));
        drop(room);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Err(Refusal::CutOff));
        }
        assert_eq!(limits.memory.available_permits(), 8);
    }

    #[tokio::test]
    async fn memory_is_held_as_long_as_the_body() {
        let limits = limits(8 * UNIT, 10 * UNIT);
        let (whole, room) = read(&limits, chunks(5, UNIT), None).await.unwrap();
        assert_eq!(whole.len(), 5 * UNIT);
        assert!(whole.chunks(UNIT).zip(0..).all(|(chunk, n)| chunk.iter().all(|byte| *byte == n)));
        assert!(limits.memory.available_permits() <= 5, "no less than its bytes");
        assert_eq!(read(&limits, chunks(6, UNIT), Some(6 * UNIT)).await.map(drop), Err(Refusal::Busy));
        drop(room);
        assert!(read(&limits, chunks(6, UNIT), Some(6 * UNIT)).await.is_ok());
        assert_eq!(limits.memory.available_permits(), 10);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_by_its_word_or_by_its_bytes() {
        let limits = limits(4 * UNIT, 64 * UNIT);
        for length in [Some(5 * UNIT), Some(UNIT), None] {
            assert_eq!(read(&limits, chunks(5, UNIT), length).await.map(drop), Err(Refusal::TooLarge));
        }
        assert_eq!(limits.memory.available_permits(), 64);
        assert_eq!(read(&limits, Body::empty(), Some(0)).await.map(|(whole, _)| whole.len()), Ok(0));
    }
}
