//! Accepting mail: the row first, the acknowledgement later.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{self, Lease};
use sqlx::PgConnection;

use super::Store;

/// Where a mail came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The SMTP listener.
    Smtp,
    /// A mailbox.
    Imap {
        /// Mailbox name.
        mailbox: String,
        /// Its UIDVALIDITY.
        uid_validity: u32,
        /// The mail's UID.
        uid: u32,
    },
}

/// How a mail tells itself apart from an equal one. Only SMTP needs it: a fetched mail has its UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By a Message-ID: the same bytes are the same mail for ever.
    MessageId,
    /// By its Date alone: the same bytes in the same envelope are the same mail for as long as a sender repeats one.
    Date,
    /// Not at all: only a quick repetition by the same client is the same mail.
    Nothing,
}

impl Naming {
    /// How long equal bytes are the same mail; `None` is for ever. A sender that heard no answer repeats a mail for four
    /// to five days (RFC 5321 section 4.5.4.1), most of them within the hour.
    fn window(self) -> Option<Duration> {
        match self {
            Naming::MessageId => None,
            Naming::Date => Some(Duration::from_secs(5 * 24 * 3600)),
            Naming::Nothing => Some(Duration::from_secs(3600)),
        }
    }
}

/// A mail to be stored. When `raw` is empty the bytes are in the object store under `digest`.
#[derive(Clone, Debug)]
pub struct NewMail {
    /// Ledger id.
    pub id: Uuid,
    /// Receiving account.
    pub account_key: String,
    /// Where it came from.
    pub source: Source,
    /// SHA-256 of the whole mail.
    pub digest: [u8; 32],
    /// Size of the whole mail.
    pub size_bytes: i64,
    /// The bytes, when small.
    pub raw: Option<Vec<u8>>,
    /// How it names itself.
    pub naming: Naming,
    /// Why it cannot be parsed.
    pub unfit: Option<String>,
    /// Envelope sender, when known.
    pub envelope_sender: Option<String>,
    /// Envelope recipients of this account; empty when unknown.
    pub envelope_recipients: Vec<String>,
    /// Address of the SMTP client.
    pub peer: Option<String>,
    /// Name it gave.
    pub helo: Option<String>,
    /// Ordering key.
    pub conversation_key: Uuid,
    /// Trace context of the acceptance.
    pub traceparent: Option<String>,
}

/// What storing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A new row.
    New(Uuid),
    /// The mail was there before, under this id.
    Known(Uuid),
}

impl Stored {
    /// Ledger id.
    pub fn id(self) -> Uuid {
        match self {
            Stored::New(id) | Stored::Known(id) => id,
        }
    }
}

/// Moves a mailbox's cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorMove {
    /// Account.
    pub account_key: String,
    /// Mailbox.
    pub mailbox: String,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// Every mail up to this UID is stored or gone.
    pub last_uid: u32,
}

impl Store {
    /// Stores the mails of one SMTP transaction, all or none.
    ///
    /// # Errors
    /// Database errors: then nothing was promised.
    pub async fn accept(&self, mails: Vec<NewMail>) -> Result<Vec<Stored>, Error> {
        let stored = self
            .db
            .transaction(move |tx| {
                let mails = mails.clone();
                Box::pin(async move {
                    let mut stored = Vec::with_capacity(mails.len());
                    for mail in &mails {
                        stored.push(store(tx, mail).await?);
                    }
                    Ok(stored)
                })
            })
            .await?;
        self.unparsed.notify_one();
        Ok(stored)
    }

    /// Stores a fetched mail (when there is one) and moves the cursor, under the account's lease.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica fetches this account now; database errors.
    pub async fn fetched(
        &self,
        mail: Option<NewMail>,
        cursor: CursorMove,
        lease: Lease,
    ) -> Result<Option<Stored>, Error> {
        let stored = self
            .db
            .transaction(move |tx| {
                let (mail, cursor, lease) = (mail.clone(), cursor.clone(), lease.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    let stored = match &mail {
                        Some(mail) => Some(store(tx, mail).await?),
                        None => None,
                    };
                    move_cursor(tx, &cursor).await?;
                    Ok(stored)
                })
            })
            .await?;
        self.unparsed.notify_one();
        Ok(stored)
    }

    /// How far a mailbox was read; 0 when never under this UIDVALIDITY.
    ///
    /// # Errors
    /// Database errors.
    pub async fn cursor(&self, account: &str, mailbox: &str, uid_validity: u32) -> Result<u32, Error> {
        let (account, mailbox) = (account.to_owned(), mailbox.to_owned());
        let last = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!(
                        "SELECT last_uid FROM mail.cursor WHERE account_key = $1 AND mailbox = $2 AND uid_validity = $3",
                        account,
                        mailbox,
                        i64::from(uid_validity),
                    )
                    .fetch_optional(conn)
                    .await?)
                })
            })
            .await?;
        Ok(last.and_then(|uid| u32::try_from(uid).ok()).unwrap_or(0))
    }
}

impl Store {
    /// UIDs above the cursor that are stored: behind a mail that could not be fetched.
    ///
    /// # Errors
    /// Database errors.
    pub async fn fetched_above(
        &self,
        account: &str,
        mailbox: &str,
        uid_validity: u32,
        cursor: u32,
    ) -> Result<Vec<u32>, Error> {
        let (account, mailbox) = (account.to_owned(), mailbox.to_owned());
        let found = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!(
                        r#"SELECT uid AS "uid!" FROM mail.inbound
                           WHERE account_key = $1 AND mailbox = $2 AND uid_validity = $3 AND uid > $4
                             AND source = 'imap'"#,
                        account,
                        mailbox,
                        i64::from(uid_validity),
                        i64::from(cursor),
                    )
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await?;
        Ok(found.into_iter().filter_map(|uid| u32::try_from(uid).ok()).collect())
    }
}

async fn store(tx: &mut PgConnection, mail: &NewMail) -> Result<Stored, Error> {
    if let Some(id) = repeated(tx, mail).await? {
        return Ok(Stored::Known(id));
    }
    if let Some(id) = known_from_before(tx, mail).await? {
        return Ok(Stored::Known(id));
    }
    let (source, mailbox, uid_validity, uid) = match &mail.source {
        Source::Smtp => ("smtp", None, None, None),
        Source::Imap { mailbox, uid_validity, uid } => {
            ("imap", Some(mailbox.as_str()), Some(i64::from(*uid_validity)), Some(i64::from(*uid)))
        }
    };
    let position = sqlx::query_scalar!(
        "INSERT INTO mail.inbound (id, account_key, source, mailbox, uid_validity, uid, digest, size_bytes, raw,
             has_message_id, unfit, envelope_sender, envelope_recipients, peer, helo, conversation_key, traceparent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT DO NOTHING
         RETURNING position",
        mail.id,
        mail.account_key,
        source,
        mailbox,
        uid_validity,
        uid,
        &mail.digest[..],
        mail.size_bytes,
        mail.raw.as_deref(),
        mail.naming == Naming::MessageId,
        mail.unfit.as_deref(),
        mail.envelope_sender.as_deref(),
        &mail.envelope_recipients,
        mail.peer.as_deref(),
        mail.helo.as_deref(),
        mail.conversation_key,
        mail.traceparent.as_deref(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(position) = position else { return Ok(Stored::Known(existing(tx, mail).await?)) };
    sqlx::query!(
        "INSERT INTO mail.parse_queue (inbound_id, position, conversation_key) VALUES ($1, $2, $3)",
        mail.id,
        position,
        mail.conversation_key,
    )
    .execute(tx)
    .await?;
    Ok(Stored::New(mail.id))
}

/// The row that refused the insert.
async fn existing(tx: &mut PgConnection, mail: &NewMail) -> Result<Uuid, Error> {
    let found = match &mail.source {
        Source::Smtp => {
            sqlx::query_scalar!(
                "SELECT id FROM mail.inbound
                 WHERE account_key = $1 AND digest = $2 AND source = 'smtp' AND has_message_id",
                mail.account_key,
                &mail.digest[..],
            )
            .fetch_optional(tx)
            .await?
        }
        Source::Imap { mailbox, uid_validity, uid } => {
            sqlx::query_scalar!(
                "SELECT id FROM mail.inbound
                 WHERE account_key = $1 AND mailbox = $2 AND uid_validity = $3 AND uid = $4 AND source = 'imap'",
                mail.account_key,
                mailbox,
                i64::from(*uid_validity),
                i64::from(*uid),
            )
            .fetch_optional(tx)
            .await?
        }
    };
    found.ok_or_else(|| Error::conflict("MAIL_VANISHED", "the row that refused the mail is not visible"))
}

/// The mail without a Message-ID that is sent again because our 250 was not heard. Which of two equal mails is meant is
/// told by envelope and time; one that only its bytes name must also come from the same client.
async fn repeated(tx: &mut PgConnection, mail: &NewMail) -> Result<Option<Uuid>, Error> {
    let (Source::Smtp, Some(window)) = (&mail.source, mail.naming.window()) else { return Ok(None) };
    // The sender may have given up while the first transaction still runs; the second must see its row.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1 || encode($2, 'hex'), 0))",
        mail.account_key,
        &mail.digest[..],
    )
    .execute(&mut *tx)
    .await?;
    Ok(sqlx::query_scalar!(
        "SELECT id FROM mail.inbound
         WHERE account_key = $1 AND digest = $2 AND source = 'smtp' AND NOT has_message_id
           AND received_at > now() - make_interval(secs => $3::float8)
           AND envelope_sender IS NOT DISTINCT FROM $4
           AND envelope_recipients @> $5 AND envelope_recipients <@ $5
           AND ($6 OR peer IS NOT DISTINCT FROM $7)
         ORDER BY received_at LIMIT 1",
        mail.account_key,
        &mail.digest[..],
        window.as_secs_f64(),
        mail.envelope_sender.as_deref(),
        &mail.envelope_recipients,
        // Large senders repeat a mail from another machine.
        mail.naming == Naming::Date,
        mail.peer.as_deref(),
    )
    .fetch_optional(tx)
    .await?)
}

/// After a change of UIDVALIDITY (RFC 3501 section 2.3.1.1) the same mails come under new UIDs: the same bytes of the
/// same mailbox under another UIDVALIDITY are the same mail.
async fn known_from_before(tx: &mut PgConnection, mail: &NewMail) -> Result<Option<Uuid>, Error> {
    let Source::Imap { mailbox, uid_validity, .. } = &mail.source else { return Ok(None) };
    if mail.size_bytes == 0 {
        // Put aside unfetched: all of those have the same bytes, none.
        return Ok(None);
    }
    Ok(sqlx::query_scalar!(
        "SELECT id FROM mail.inbound
         WHERE account_key = $1 AND digest = $2 AND source = 'imap' AND mailbox = $3 AND uid_validity <> $4
           AND size_bytes = $5
         LIMIT 1",
        mail.account_key,
        &mail.digest[..],
        mailbox,
        i64::from(*uid_validity),
        mail.size_bytes,
    )
    .fetch_optional(tx)
    .await?)
}

async fn move_cursor(tx: &mut PgConnection, cursor: &CursorMove) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO mail.cursor AS known (account_key, mailbox, uid_validity, last_uid) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_key, mailbox, uid_validity)
         DO UPDATE SET last_uid = greatest(known.last_uid, excluded.last_uid), moved_at = now()",
        cursor.account_key,
        cursor.mailbox,
        i64::from(cursor.uid_validity),
        i64::from(cursor.last_uid),
    )
    .execute(tx)
    .await?;
    Ok(())
}

impl AsRef<Db> for Store {
    fn as_ref(&self) -> &Db {
        &self.db
    }
}
