//! `MergeContacts`: two contacts turn out to be one person. One transaction, for ever.
//!
//! Addresses, numbers and attentions move to the contact that stays; conversations that are open in both stay apart until
//! one ends, because each is an attention of its own. The contact that goes keeps its id as a sign to the other, so that
//! documents which still name it find the customer. Every moved attention gets an event, and its ended interactions a new
//! version: history then fetches their threads again, under the contact that stays.

use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_kit::nats::Subjects;
use hilo_proto::contact::v1::{Contact, MergeContactsRequest, MergeContactsResponse};
use sqlx::PgConnection;
use uuid::Uuid;

use super::change::{Contacts, checked, malformed, stale};
use super::domain::Data;
use super::store::{self, What};
use super::{keys, rights};
use crate::attention;
use crate::attention::customer::{self, Change};
use crate::attention::domain::{ContactId, UserKey};
use crate::attention::work::Actor;
use crate::desk::once::Once;
use crate::directory::Access;

/// Attentions that move in one transaction.
const MAX_MOVED: i64 = 2_000;

#[derive(Clone, Copy, Debug)]
struct Merge {
    stays: Uuid,
    version: i64,
    goes: Uuid,
    gone_version: i64,
}

impl Contacts {
    /// Merges one contact into another.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `CONTACT_NOT_FOUND` (also for the foreign), `STALE_VERSION`,
    /// `CONTACT_TOO_LARGE`, `AGENT_REQUIRED`, `REQUEST_ID_REUSED`; database errors.
    pub(crate) async fn merge(
        &self,
        access: Access,
        mut request: MergeContactsRequest,
    ) -> Result<MergeContactsResponse, Error> {
        rights::check_change(&access)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "MergeContacts", &request_id, &request)?;
        let merge = Merge {
            stays: ids::parse(&request.contact_id, "contact_id")?,
            version: request.version,
            goes: ids::parse(&request.merged_contact_id, "merged_contact_id")?,
            gone_version: request.merged_version,
        };
        if merge.stays == merge.goes {
            checked(malformed().field("merged_contact_id", "must be another contact"))?;
        }
        let subjects = self.subjects.clone();
        once.answered(&self.db, move |tx| {
            let (access, subjects) = (access.clone(), subjects.clone());
            Box::pin(async move {
                let contact = merge.apply(tx, &subjects, &access).await?;
                Ok(MergeContactsResponse { contact: Some(contact) })
            })
        })
        .await
    }
}

impl Merge {
    async fn apply(
        self,
        tx: &mut PgConnection,
        subjects: &Subjects,
        access: &Access,
    ) -> Result<Contact, Error> {
        rights::visible(tx, access, self.stays).await?;
        rights::visible(tx, access, self.goes).await?;
        // Whoever writes from one of these addresses now waits, and is then found under the contact that stays.
        let known = store::identities(tx, &[self.stays, self.goes]).await?;
        keys::lock(tx, &known).await?;
        store::lock(tx, &[self.stays, self.goes]).await?;
        self.moves(tx, subjects, &access.user_key, Actor::User(UserKey::new(&access.user_key))).await?;
        store::contact(tx, self.stays).await?.ok_or_else(rights::not_found)
    }

    /// What a merge moves, once its contacts and their addresses are locked.
    async fn moves(
        self,
        tx: &mut PgConnection,
        subjects: &Subjects,
        by: &str,
        actor: Actor,
    ) -> Result<(), Error> {
        let stays = store::contact(tx, self.stays).await?.ok_or_else(rights::not_found)?;
        let goes = store::contact(tx, self.goes).await?.ok_or_else(rights::not_found)?;
        let renamed = stays.name.is_empty() && !goes.name.is_empty();
        let (kept, _) = Data::of(stays, malformed());
        let (lost, _) = Data::of(goes, malformed());
        attention::store::window::merged(tx, self.goes, self.stays).await?;
        if !store::update(tx, self.stays, self.version, &kept.merged_with(lost)).await?
            || !store::give_up(tx, self.goes, self.gone_version, self.stays).await?
        {
            return Err(stale());
        }
        let moved = customer::newest_of(tx, self.goes, MAX_MOVED + 1).await?;
        let count = i32::try_from(moved.len()).unwrap_or(i32::MAX);
        if i64::from(count) > MAX_MOVED {
            let text = "it has too many attentions; merge the other into it";
            return Err(Error::rejected("CONTACT_TOO_LARGE", text));
        }
        attention::store::reached::merged(tx, self.goes, self.stays).await?;
        store::note(tx, self.stays, by, What::Merged { other: self.goes, moved: count }).await?;
        let change = Change {
            live: customer::live_of(tx, self.stays).await?,
            stored: if renamed { customer::newest_of(tx, self.stays, MAX_MOVED).await? } else { Vec::new() },
            moved,
        };
        customer::changed(tx, subjects, ContactId(self.stays), &change, &actor).await
    }
}

/// Meta says that both are one person: what he wrote before and after he changed his number belongs together. Call it after everything
/// else of the transaction is written; his addresses are locked. Contacts that were merged meanwhile, or are too large for one
/// transaction, stay two, and a person merges them.
///
/// # Errors
/// `LOCK_TIMEOUT`, `LOST_UPDATE`; database errors.
pub(crate) async fn same_person(
    tx: &mut PgConnection,
    subjects: &Subjects,
    stays: ContactId,
    goes: ContactId,
) -> Result<(), Error> {
    let (stays, goes) = (stays.uuid(), goes.uuid());
    store::lock(tx, &[stays, goes]).await?;
    let apart =
        store::current(tx, stays).await? == Some(stays) && store::current(tx, goes).await? == Some(goes);
    let few =
        customer::newest_of(tx, goes, MAX_MOVED + 1).await?.len() <= usize::try_from(MAX_MOVED).unwrap_or(0);
    let kept = store::contact(tx, stays).await?.filter(|_| apart && few);
    let Some((kept, lost)) = kept.zip(store::contact(tx, goes).await?) else {
        tracing::warn!(contact = %stays, other = %goes, "two contacts of one person stay apart until somebody merges them");
        return Ok(());
    };
    let merge = Merge { stays, version: kept.version, goes, gone_version: lost.version };
    merge.moves(tx, subjects, "", Actor::System).await
}
