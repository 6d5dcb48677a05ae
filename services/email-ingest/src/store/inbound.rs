//! Accepting mail: the row first, the acknowledgement later.

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
    /// Whether it names itself.
    pub has_message_id: bool,
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

async fn store(tx: &mut PgConnection, mail: &NewMail) -> Result<Stored, Error> {
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
        mail.has_message_id,
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
