//! New mails of a selected mailbox, in the order of their UIDs, each stored in the transaction that moves the cursor. A mail
//! that cannot be fetched is passed over and tried again; the cursor waits in front of it.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use hilo_kit::error::Error;
use hilo_kit::lease::Lease;
use tracing::Instrument;

use super::Parts;
use super::answers::{self, Mail};
use super::session::{Imap, Selected, answered, is_refusal, refusal};
use super::troubles::Troubles;
use crate::domain::limits::MESSAGE_BYTES;
use crate::domain::mime::OverLimit;
use crate::ledger::FetchedMail;
use crate::store::{CursorMove, Source};

/// One look at a mailbox.
pub(super) struct Look<'a> {
    pub parts: &'a Parts,
    pub imap: &'a mut Imap,
    pub selected: &'a Selected,
    pub lease: &'a Lease,
    pub troubles: &'a mut Troubles,
    /// The mailbox grew during the look.
    pub grew: bool,
}

/// What is still to be stored, and how far the cursor may go.
struct Progress {
    listed: BTreeSet<u32>,
    waiting: BTreeSet<u32>,
    cursor: u32,
}

impl Progress {
    /// The cursor once `uid` is stored: in front of the first that is not.
    fn stored(&mut self, uid: u32) -> u32 {
        self.waiting.remove(&uid);
        let reached = match self.waiting.first() {
            Some(first) => self.listed.range(..*first).next_back(),
            None => self.listed.last(),
        };
        self.cursor = reached.copied().unwrap_or(self.cursor).max(self.cursor);
        self.cursor
    }
}

type Content = Option<(Bytes, Option<String>)>;

impl Look<'_> {
    /// Stores everything above the cursor that can be fetched. True when the mailbox grew meanwhile.
    pub async fn new_mails(mut self) -> Result<bool, Error> {
        let selected = self.selected;
        let (key, mailbox, validity) = (&selected.account_key, &selected.mailbox, selected.uid_validity);
        let cursor = self.parts.store.cursor(key, mailbox, validity).await?;
        let Some(first) = cursor.checked_add(1) else { return Ok(false) };
        let answer = answers::fetch(self.imap, &format!("UID FETCH {first}:* (UID RFC822.SIZE)")).await?;
        // `n:*` always names the last mail, also when its UID is below n (RFC 3501 section 6.4.8).
        self.grew |= answer.grew;
        let mut new: Vec<(u32, u32)> =
            answer.mails.iter().filter_map(size).filter(|(uid, _)| *uid >= first).collect();
        let listed: BTreeSet<u32> = new.iter().map(|(uid, _)| *uid).collect();
        self.troubles.keep(validity, &listed);
        if new.is_empty() {
            return Ok(self.grew);
        }
        // Those behind a troubled mail are stored already.
        let known: BTreeSet<u32> =
            self.parts.store.fetched_above(key, mailbox, validity, cursor).await?.into_iter().collect();
        let is_stored = |uid: &u32| known.contains(uid) || self.troubles.is_stored((validity, *uid));
        let waiting = listed.iter().copied().filter(|uid| !is_stored(uid)).collect();
        let mut progress = Progress { listed, waiting, cursor };
        new.retain(|(uid, _)| progress.waiting.contains(uid));
        new.sort_unstable_by_key(|(uid, _)| (self.troubles.failures((validity, *uid)), *uid));
        new.dedup_by_key(|(uid, _)| *uid);
        for (uid, size) in new {
            if !self.troubles.is_due((validity, uid), Instant::now()) {
                continue;
            }
            let span = tracing::info_span!(
                "email.accept",
                otel.kind = "server",
                source = "imap",
                account = %selected.account_key,
                uid,
                size
            );
            self.one(&mut progress, uid, size).instrument(span).await?;
        }
        Ok(self.grew)
    }

    async fn one(&mut self, progress: &mut Progress, uid: u32, size: u32) -> Result<(), Error> {
        let name = (self.selected.uid_validity, uid);
        let last_try = self.troubles.is_last_try(name) && self.is_the_mails_fault(uid).await?;
        match self.content(uid, size).await {
            Ok(content) => {
                if content.is_none() {
                    tracing::info!(uid, "a mail was gone before it could be fetched");
                }
                self.store(progress, uid, content).await
            }
            Err(error) if last_try && is_refusal(&error) => {
                error.log("a mail cannot be fetched while others can; put aside");
                let unfit = Some("MAIL_NOT_FETCHABLE".to_owned());
                self.store(progress, uid, Some((Bytes::new(), unfit))).await
            }
            Err(error) => {
                let refused = is_refusal(&error);
                self.troubles.failed(name, refused, Instant::now());
                tracing::warn!(uid, refused, error = %error.chain(), "a mail could not be fetched now");
                // After a tagged NO or BAD the session goes on; after anything else it may be in the middle of an answer.
                if refused && answered(self.imap.run_command_and_check_ok("NOOP")).await.is_ok() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    async fn store(&mut self, progress: &mut Progress, uid: u32, content: Content) -> Result<(), Error> {
        let Selected { account_key, mailbox, uid_validity } = self.selected;
        let source = Source::Imap { mailbox: mailbox.clone(), uid_validity: *uid_validity, uid };
        let mail = content.map(|(raw, unfit)| FetchedMail { raw, source, unfit });
        let cursor = CursorMove {
            account_key: account_key.clone(),
            mailbox: mailbox.clone(),
            uid_validity: *uid_validity,
            last_uid: progress.stored(uid),
        };
        let behind = cursor.last_uid < uid;
        let stored = self.parts.ledger.fetched(mail, cursor, self.lease.clone()).await?;
        self.troubles.over((*uid_validity, uid), behind);
        if let Some(stored) = stored {
            tracing::info!(ledger_id = %stored.id(), "mail accepted");
        }
        Ok(())
    }

    /// True when the server hands out another mail of this mailbox now; without another, when it has failed for long.
    async fn is_the_mails_fault(&mut self, uid: u32) -> Result<bool, Error> {
        // By its ends: a number above the count of mails, as in `1:2` of one, is a BAD (RFC 3501 section 9). The newer of
        // the two, because one put aside before may have stayed the first.
        let ends = answers::fetch(self.imap, "FETCH 1,* (UID RFC822.SIZE)").await?;
        self.grew |= ends.grew;
        let other = ends.mails.iter().filter_map(size).filter(|(other, _)| *other != uid).max();
        let Some((other, size)) = other else {
            return Ok(self.troubles.is_old((self.selected.uid_validity, uid), Instant::now()));
        };
        match self.content(other, size).await {
            Ok(content) => Ok(content.is_some()),
            Err(error) if is_refusal(&error) => {
                tracing::warn!(error = %error.chain(), "the server refuses other mails too");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The mail, or of one that is too large only its header with the reason; `None` when it is gone.
    async fn content(&mut self, uid: u32, size: u32) -> Result<Content, Error> {
        let too_large = usize::try_from(size).unwrap_or(usize::MAX) > MESSAGE_BYTES;
        // PEEK leaves the mail unseen for people who read the mailbox, too.
        let section = if too_large { "HEADER" } else { "" };
        let answer =
            answers::fetch(self.imap, &format!("UID FETCH {uid} (UID BODY.PEEK[{section}])")).await?;
        self.grew |= answer.grew;
        let mut of_it = answer.mails.into_iter().filter(|mail| mail.uid == Some(uid)).peekable();
        if of_it.peek().is_none() {
            return Ok(None);
        }
        // Beside it the server may report a changed flag of the same mail.
        let Some(bytes) = of_it.find_map(|mail| mail.content) else {
            return Err(refusal("the server sent a mail without its content"));
        };
        let unfit = too_large.then(|| OverLimit::Size.reason().to_owned());
        Ok(Some((bytes, unfit)))
    }
}

fn size(mail: &Mail) -> Option<(u32, u32)> {
    Some((mail.uid?, mail.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_waits_in_front_of_the_first_mail_that_is_not_stored() {
        let all = BTreeSet::from([5, 6, 8, 9]);
        let mut progress = Progress { listed: all.clone(), waiting: all, cursor: 4 };
        assert_eq!(progress.stored(5), 5);
        assert_eq!(progress.stored(8), 5, "6 is not stored");
        assert_eq!(progress.stored(9), 5);
        assert_eq!(progress.stored(6), 9);
        let mut behind = Progress { listed: BTreeSet::from([5, 6]), waiting: BTreeSet::from([5]), cursor: 4 };
        assert_eq!(behind.stored(5), 6, "6 was stored before");
        let mut first =
            Progress { listed: BTreeSet::from([5, 6]), waiting: BTreeSet::from([5, 6]), cursor: 4 };
        assert_eq!(first.stored(6), 4);
    }
}
