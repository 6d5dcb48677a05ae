//! `ListInteractions`: the list as pages, and the snapshot that a desk's stream begins with.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::{DeskCounters, DeskItem, ListInteractionsRequest, ListInteractionsResponse};
use time::OffsetDateTime;
use uuid::Uuid;

use super::items::{self, After, Item};
use super::rights::Desk;
use crate::attention::domain::Channel;
use crate::directory::Access;

/// Page size when none is named.
const DEFAULT_PAGE: i32 = 100;
/// Largest page.
const MAX_PAGE: i32 = 200;
/// Least characters of a search.
const MIN_SEARCH: usize = 3;
/// Most characters of a search.
const MAX_SEARCH: usize = 100;
/// Queued items of a snapshot; further ones come by pages.
pub(super) const SNAPSHOT_QUEUED: i64 = 100;
/// Open items of a snapshot; nobody serves more at once.
const SNAPSHOT_OPEN: i64 = 500;
/// Offers of a snapshot that are older than its queued items.
const SNAPSHOT_OFFERED: i64 = 500;

/// Which group of the list a page goes on in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued(Option<After>),
    Open(Option<After>),
}

/// One page: queued first, then open; newest first in each. A search covers open items only.
///
/// # Errors
/// `INVALID_REQUEST` with violations, `QUERY_TOO_SHORT`, `AGENT_REQUIRED`; database errors.
pub(crate) async fn page(
    db: &Db,
    access: Access,
    request: ListInteractionsRequest,
) -> Result<ListInteractionsResponse, Error> {
    let desk = Desk::of(|role| access.has(role))?;
    check_channel(&request.channel)?;
    let search = request.search.trim().to_owned();
    if !search.is_empty() && !(MIN_SEARCH..=MAX_SEARCH).contains(&search.chars().count()) {
        let text = format!("{MIN_SEARCH} to {MAX_SEARCH} characters");
        return Err(Error::invalid("QUERY_TOO_SHORT", "the search does not fit").field("search", text));
    }
    let size = match request.page_size {
        ..=0 => DEFAULT_PAGE,
        size => size.min(MAX_PAGE),
    };
    let start = if search.is_empty() { Place::Queued(None) } else { Place::Open(None) };
    let place = if request.page_token.is_empty() { start } else { decode(&request.page_token, start)? };
    let user = access.user_key.clone();
    let channel = request.channel;
    let (page, counted) = db
        .snapshot(move |tx| {
            Box::pin(async move {
                let campaigns = desk.queues(tx, &access).await?;
                let counted = items::counters(tx, &access.user_key, &campaigns, &channel).await?;
                let limit = i64::from(size) + 1;
                let mut page = Vec::new();
                let mut open_after = None;
                match place {
                    Place::Queued(after) => {
                        page = items::queued(tx, &campaigns, &channel, after, limit).await?
                    }
                    Place::Open(after) => open_after = after,
                }
                let room = limit - i64::try_from(page.len()).unwrap_or(limit);
                if room > 0 {
                    page.extend(
                        items::open(tx, &access.user_key, &channel, &search, open_after, room).await?,
                    );
                }
                Ok((page, counted))
            })
        })
        .await?;
    Ok(answer(page, counted, desk, &user, usize::try_from(size).unwrap_or(usize::MAX)))
}

fn answer(
    mut page: Vec<Item>,
    counted: (i64, i64),
    desk: Desk,
    user: &str,
    size: usize,
) -> ListInteractionsResponse {
    let more = page.len() > size;
    page.truncate(size);
    let next_page_token = page.last().filter(|_| more).map(encode).unwrap_or_default();
    ListInteractionsResponse {
        items: page.iter().map(|item| shown(desk, item, user)).collect(),
        counters: Some(counters(counted)),
        next_page_token,
    }
}

/// An item as it stands in a list.
pub(super) fn shown(desk: Desk, item: &Item, user: &str) -> DeskItem {
    match desk {
        Desk::Serving => item.seen_by(user),
        Desk::Watching => item.overseen(),
    }
}

/// Counters in the contract's form.
pub(super) fn counters((open, queued): (i64, i64)) -> DeskCounters {
    let int = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    DeskCounters { open: int(open), queued: int(queued) }
}

/// What a desk shows at first.
pub(super) struct Snapshot {
    /// The newest queued items, older ones that ring at the user, and all open ones.
    pub items: Vec<Item>,
    /// Open and queued.
    pub counted: (i64, i64),
    /// The oldest of the newest queued items when there are more: older ones are shown only while they ring at the user.
    pub floor: Option<After>,
}

/// Reads it, all at one instant. The desks of a team begin anew together when its queue has become short, so this is not
/// planned anew each time.
pub(super) async fn snapshot(
    db: &Db,
    user: String,
    campaigns: Vec<String>,
    channel: String,
) -> Result<Snapshot, Error> {
    db.look(move |tx| {
        Box::pin(async move {
            let counted = items::counters(tx, &user, &campaigns, &channel).await?;
            let mut items = items::queued(tx, &campaigns, &channel, None, SNAPSHOT_QUEUED).await?;
            let full = i64::try_from(items.len()).is_ok_and(|queued| queued == SNAPSHOT_QUEUED);
            let floor = items.last().filter(|_| full).map(Item::queued_place);
            let offered = items::offered(tx, &user, &channel, SNAPSHOT_OFFERED).await?;
            items.extend(
                offered.into_iter().filter(|item| floor.is_some_and(|floor| item.queued_place() < floor)),
            );
            items.extend(items::open(tx, &user, &channel, "", None, SNAPSHOT_OPEN).await?);
            Ok(Snapshot { items, counted, floor })
        })
    })
    .await
}

/// Refuses unknown channels.
///
/// # Errors
/// `INVALID_REQUEST`.
pub(super) fn check_channel(channel: &str) -> Result<(), Error> {
    if Channel::of(channel).is_some() {
        return Ok(());
    }
    Err(Error::invalid("INVALID_REQUEST", "the channel is not known")
        .field("channel", "must be email or whatsapp"))
}

fn encode(item: &Item) -> String {
    let (letter, at) = match item.place {
        items::Place::Queued => ('q', item.waiting_since()),
        items::Place::OpenBy(_) | items::Place::Gone => ('o', item.last_message_at),
    };
    format!("{letter}.{}.{}", at.unix_timestamp_nanos() / 1_000, item.interaction.simple())
}

/// `start` is where the list begins: with a search, which hides the queued, its pages never lead to them.
fn decode(token: &str, start: Place) -> Result<Place, Error> {
    let bad = || {
        Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours")
            .field("page_token", "malformed")
    };
    let mut parts = token.split('.');
    let (Some(letter), Some(at), Some(id), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    let micros: i128 = at.parse().map_err(|_| bad())?;
    let nanos = micros.checked_mul(1_000).ok_or_else(bad)?;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| bad())?;
    let after = Some(After { at, id: Uuid::try_parse(id).map_err(|_| bad())? });
    match letter {
        "q" if start == Place::Queued(None) => Ok(Place::Queued(after)),
        "o" => Ok(Place::Open(after)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_survive_and_junk_is_refused() {
        let token = format!("q.1700000000123456.{}", Uuid::from_u128(7).simple());
        let Ok(Place::Queued(Some(after))) = decode(&token, Place::Queued(None)) else {
            panic!("a queued place")
        };
        assert_eq!((after.at.unix_timestamp(), after.id), (1_700_000_000, Uuid::from_u128(7)));
        for junk in [
            "",
            "q",
            "q.1",
            "x.1.00000000000000000000000000000007",
            "q.999999999999999999999999999999999999.7",
        ] {
            assert!(decode(junk, Place::Queued(None)).is_err(), "{junk}");
        }
        assert!(decode(&token, Place::Open(None)).is_err(), "a search has no queued items");
    }
}
