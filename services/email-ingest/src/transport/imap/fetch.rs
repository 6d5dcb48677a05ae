//! New mails of a selected mailbox, in the order of their UIDs, each stored in the transaction that moves the cursor.

use std::collections::HashMap;

use bytes::Bytes;
use hilo_kit::error::{Class, Error};
use hilo_kit::lease::Lease;
use tracing::Instrument;

use super::Parts;
use super::session::{Imap, Selected, fetched};
use crate::domain::limits::MESSAGE_BYTES;
use crate::domain::mime::OverLimit;
use crate::ledger::FetchedMail;
use crate::store::{CursorMove, Source};

/// Tries of one mail before it is put aside; one mail must not block the mailbox.
const MAX_TRIES: u32 = 3;

/// How often a mail could not be fetched, by UIDVALIDITY and UID.
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<(u32, u32), u32>);

impl Failures {
    /// Counts a failure; true when it was the last try.
    fn count(&mut self, uid_validity: u32, uid: u32) -> bool {
        let tries = self.0.entry((uid_validity, uid)).or_insert(0);
        *tries += 1;
        *tries >= MAX_TRIES
    }
}

/// Stores everything above the cursor.
pub(super) async fn new_mails(
    parts: &Parts,
    imap: &mut Imap,
    selected: &Selected,
    lease: &Lease,
    failures: &mut Failures,
) -> Result<(), Error> {
    let cursor = parts.store.cursor(&selected.account_key, &selected.mailbox, selected.uid_validity).await?;
    let Some(first) = cursor.checked_add(1) else { return Ok(()) };
    let listed = fetched(imap, &format!("{first}:*"), "(UID RFC822.SIZE)").await?;
    // `n:*` always names the last mail, also when its UID is below n (RFC 3501 section 6.4.8).
    let mut new: Vec<(u32, u32)> = listed
        .iter()
        .filter_map(|mail| Some((mail.uid?, mail.size.unwrap_or(0))))
        .filter(|(uid, _)| *uid >= first)
        .collect();
    new.sort_unstable();
    new.dedup_by_key(|(uid, _)| *uid);
    for (uid, size) in new {
        let span = tracing::info_span!(
            "email.accept",
            otel.kind = "server",
            source = "imap",
            account = %selected.account_key,
            uid,
            size
        );
        one(parts, imap, selected, lease, failures, (uid, size)).instrument(span).await?;
    }
    Ok(())
}

async fn one(
    parts: &Parts,
    imap: &mut Imap,
    selected: &Selected,
    lease: &Lease,
    failures: &mut Failures,
    (uid, size): (u32, u32),
) -> Result<(), Error> {
    let source = Source::Imap { mailbox: selected.mailbox.clone(), uid_validity: selected.uid_validity, uid };
    let mail = match content(imap, uid, size).await {
        Ok(Some((raw, unfit))) => Some(FetchedMail { raw, source, unfit }),
        Ok(None) => {
            tracing::info!(uid, "a mail was gone before it could be fetched");
            None
        }
        Err(error) if failures.count(selected.uid_validity, uid) => {
            // The connection may be broken; the row itself needs none.
            error.log("a mail cannot be fetched; put aside");
            Some(FetchedMail { raw: Bytes::new(), source, unfit: Some("MAIL_NOT_FETCHABLE".to_owned()) })
        }
        Err(error) => return Err(error),
    };
    let cursor = CursorMove {
        account_key: selected.account_key.clone(),
        mailbox: selected.mailbox.clone(),
        uid_validity: selected.uid_validity,
        last_uid: uid,
    };
    let stored = parts.ledger.fetched(mail, cursor, lease.clone()).await?;
    if let Some(stored) = stored {
        tracing::info!(ledger_id = %stored.id(), "mail accepted");
    }
    Ok(())
}

/// The mail, or of one that is too large only its header with the reason; `None` when it is gone.
async fn content(imap: &mut Imap, uid: u32, size: u32) -> Result<Option<(Bytes, Option<String>)>, Error> {
    let too_large = usize::try_from(size).unwrap_or(usize::MAX) > MESSAGE_BYTES;
    // PEEK leaves the mail unseen for people who read the mailbox, too.
    let what = if too_large { "(UID BODY.PEEK[HEADER])" } else { "(UID BODY.PEEK[])" };
    let answers = fetched(imap, &uid.to_string(), what).await?;
    let Some(mail) = answers.iter().find(|mail| mail.uid == Some(uid)) else { return Ok(None) };
    let bytes = if too_large { mail.header() } else { mail.body() };
    let Some(bytes) = bytes else {
        return Err(Error::new(
            Class::Unavailable,
            "IMAP_NO_BODY",
            "the server sent a mail without its content",
        ));
    };
    let unfit = too_large.then(|| OverLimit::Size.reason().to_owned());
    Ok(Some((Bytes::copy_from_slice(bytes), unfit)))
}
