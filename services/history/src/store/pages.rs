//! Stored threads in pages, for whoever reads one: no page is larger than a message of gRPC may be.

use std::fmt;
use std::str::FromStr;

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;

use super::read;
use crate::domain::thread::{InteractionId, Thread};

/// Messages and notes of one page weigh at most as much, but there is at least one.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Messages and notes of one page at most.
pub const PAGE_ENTRIES: usize = 500;
/// What a note takes besides its text.
const NOTE_BYTES: usize = 200;

/// Where a page begins: the version that the first page was of, and the position before its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Version.
    pub version: i64,
    /// Notes that came before.
    pub notes: usize,
    /// Position of the last message before it; 0 at the beginning.
    pub after: i32,
}

/// The opaque form of a place. It grants nothing: rights are checked anew for every page.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.version, self.notes, self.after)
    }
}

impl FromStr for Place {
    type Err = Error;

    /// # Errors
    /// `PAGE_TOKEN_INVALID`.
    fn from_str(token: &str) -> Result<Self, Error> {
        let mut numbers = token.split('.');
        let place = (|| {
            let version = numbers.next()?.parse().ok()?;
            let (notes, after) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            numbers.next().is_none().then_some(Self { version, notes, after })
        })();
        place.ok_or_else(|| {
            Error::invalid("PAGE_TOKEN_INVALID", "the page token is malformed")
                .field("page_token", "must come from the page before")
        })
    }
}

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPage {
    /// The thread with the notes and messages of this page.
    pub thread: Thread,
    /// The next page; `None` on the last one.
    pub next: Option<Place>,
}

/// A page of at most `entries` notes and messages, notes first.
pub(super) async fn page(
    tx: &mut PgConnection,
    id: InteractionId,
    from: Option<Place>,
    entries: usize,
) -> Result<Option<StoredPage>, Error> {
    let Some(mut thread) = read::without_messages(tx, id).await? else { return Ok(None) };
    if from.is_some_and(|from| from.version != thread.version) {
        return Err(Error::conflict("THREAD_CHANGED", "the thread changed between two pages; begin again"));
    }
    let from = from.unwrap_or(Place { version: thread.version, notes: 0, after: 0 });
    let mut budget = Budget { bytes: 0, entries: 0, most: entries.min(PAGE_ENTRIES) };
    let all_notes = std::mem::take(&mut thread.notes);
    let held = all_notes.len();
    let notes = all_notes.into_iter().skip(from.notes);
    thread.notes = notes.take_while(|note| budget.takes(note.text.len() + NOTE_BYTES)).collect();
    let notes = from.notes + thread.notes.len();
    if notes < held {
        return Ok(Some(StoredPage { thread, next: Some(Place { notes, ..from }) }));
    }
    let weights = read::weights(tx, id, from.after).await?;
    let taken = weights.iter().take_while(|one| budget.takes(usize::try_from(one.1).unwrap_or(0))).count();
    let until = taken.checked_sub(1).and_then(|last| weights.get(last)).map_or(from.after, |one| one.0);
    thread.messages = read::messages_between(tx, id, from.after, until).await?;
    let next = (taken < weights.len()).then_some(Place { notes, after: until, ..from });
    Ok(Some(StoredPage { thread, next }))
}

/// What fits on a page.
struct Budget {
    bytes: usize,
    entries: usize,
    most: usize,
}

impl Budget {
    /// True when one more of this size fits; the first always does.
    fn takes(&mut self, bytes: usize) -> bool {
        let first = self.entries == 0;
        self.bytes += bytes;
        self.entries += 1;
        first || (self.bytes <= PAGE_BYTES && self.entries <= self.most)
    }
}
