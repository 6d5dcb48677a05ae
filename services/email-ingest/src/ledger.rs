//! Takes mail into the ledger: large bytes into the object store first, then the row, then the acknowledgement.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::Lease;
use hilo_kit::objects::{Digest256, Objects};
use hilo_kit::telemetry;

use crate::accounts::AccountsCache;
use crate::domain::accounts::Accounts;
use crate::domain::parse;
use crate::metrics;
use crate::store::{CursorMove, INLINE_BYTES, Naming, NewMail, Source, Store, Stored};
use crate::transport::smtp::{MailIntake, ReceivedMail};

/// The ledger as the ways of arrival see it.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
    objects: Objects,
    accounts: AccountsCache,
}

/// A fetched mail.
#[derive(Clone, Debug)]
pub struct FetchedMail {
    /// The mail, or only its header when it is unfit.
    pub raw: Bytes,
    /// Its mailbox, UIDVALIDITY and UID.
    pub source: Source,
    /// Why it cannot be parsed.
    pub unfit: Option<String>,
}

impl Ledger {
    /// Over database, object store and directory.
    pub fn new(store: Store, objects: Objects, accounts: AccountsCache) -> Self {
        Self { store, objects, accounts }
    }

    /// Stores a fetched mail and moves the cursor in one transaction.
    ///
    /// # Errors
    /// `STALE_EPOCH`, database or object store errors: then the cursor has not moved.
    pub async fn fetched(
        &self,
        mail: Option<FetchedMail>,
        cursor: CursorMove,
        lease: Lease,
    ) -> Result<Option<Stored>, Error> {
        let row = match mail {
            Some(mail) => {
                let row = self.row(&cursor.account_key, mail.raw, mail.source).await?;
                Some(NewMail { unfit: mail.unfit, ..row })
            }
            None => None,
        };
        fault::point("email.imap.before_commit").await;
        let stored = self.store.fetched(row, cursor, lease).await?;
        fault::point("email.imap.after_commit").await;
        if let Some(Stored::New(_)) = stored {
            metrics::accepted("imap");
        }
        Ok(stored)
    }

    async fn row(&self, account_key: &str, raw: Bytes, source: Source) -> Result<NewMail, Error> {
        let digest = Digest256::of(&raw);
        let inline = raw.len() <= INLINE_BYTES;
        if !inline {
            // On disk before the row that names it.
            self.objects.put(raw.clone()).await?;
        }
        Ok(NewMail {
            id: Uuid::now_v7(),
            account_key: account_key.to_owned(),
            source,
            digest: digest.0,
            size_bytes: i64::try_from(raw.len()).unwrap_or(i64::MAX),
            naming: naming(&raw),
            unfit: None,
            envelope_sender: None,
            envelope_recipients: Vec::new(),
            peer: None,
            helo: None,
            conversation_key: parse::conversation_key(account_key, &raw),
            traceparent: telemetry::current_traceparent(),
            raw: inline.then(|| raw.to_vec()),
        })
    }
}

fn naming(raw: &[u8]) -> Naming {
    match (parse::has_message_id(raw), parse::has_date(raw)) {
        (true, _) => Naming::MessageId,
        (false, true) => Naming::Date,
        (false, false) => Naming::Nothing,
    }
}

#[async_trait]
impl MailIntake for Ledger {
    fn accounts(&self) -> Option<Arc<Accounts>> {
        self.accounts.current()
    }

    async fn accept(&self, mail: ReceivedMail) -> Result<Vec<Uuid>, Error> {
        let mut rows = Vec::with_capacity(mail.recipients.len());
        for (account_key, recipients) in &mail.recipients {
            let row = self.row(account_key, mail.raw.clone(), Source::Smtp).await?;
            rows.push(NewMail {
                envelope_sender: Some(mail.envelope_sender.clone()),
                envelope_recipients: recipients.clone(),
                peer: Some(mail.peer.to_string()),
                helo: Some(mail.helo.clone()),
                ..row
            });
        }
        fault::point("email.smtp.before_commit").await;
        let stored = self.store.accept(rows).await?;
        fault::point("email.smtp.after_commit").await;
        for _ in stored.iter().filter(|one| matches!(one, Stored::New(_))) {
            metrics::accepted("smtp");
        }
        for known in stored.iter().filter(|one| matches!(one, Stored::Known(_))) {
            tracing::info!(ledger_id = %known.id(), "the same mail was sent again; already in the ledger");
        }
        Ok(stored.into_iter().map(Stored::id).collect())
    }
}
