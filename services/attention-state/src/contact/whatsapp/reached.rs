//! What Meta says of whom a send reaches: the number that was dialled may have a WhatsApp id of other digits (some numbers of
//! Argentina, Brazil and Mexico), and by that, or by his user id, the customer answers.
//!
//! It is no notice of a change, so it merges nobody: an id that is nobody's becomes that of the contact we wrote to; one by which
//! another contact is known stays that one's.

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Known, PARENT, identities};
use crate::attention::domain::ContactId;
use crate::contact::domain::{Identity, Kind};

impl Known {
    /// True when all of these identities, but those that several persons share, are the contact's already.
    pub(crate) fn has_all(&self, contact: ContactId, who: &WhatsAppIdentity) -> bool {
        let mut own = identities(who).into_iter().filter(|one| !one.value.contains(PARENT));
        own.all(|one| self.owners.get(&one) == Some(&contact))
    }

    /// What was sent to `contact` goes to `who`: answers the other contacts who have ids of his, each with those ids. Of somebody who
    /// has the contact's number now and is another person by his user id nothing is noted. Lock the identities of all of them first.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn reach(
        &mut self,
        tx: &mut PgConnection,
        contact: ContactId,
        who: &WhatsAppIdentity,
    ) -> Result<BTreeMap<ContactId, Vec<String>>, Error> {
        let mut others: BTreeMap<ContactId, Vec<String>> = BTreeMap::new();
        if !self.may_be(contact, Kind::Whatsapp, &who.user_id) {
            return Ok(others);
        }
        for one in identities(who) {
            match self.owners.get(&one).copied() {
                // Several persons share it.
                _ if one.value.contains(PARENT) => {}
                None => self.gain(tx, &one, contact).await?,
                Some(owner) if owner == contact || self.are_two(owner, contact) => {}
                Some(owner) => {
                    others.entry(owner).or_default().push(one.value);
                }
            }
        }
        Ok(others)
    }

    /// True when their user ids say that they are two persons.
    fn are_two(&self, one: ContactId, other: ContactId) -> bool {
        match (self.user_ids.get(&one), self.user_ids.get(&other)) {
            (Some(one), Some(other)) => !one.is_empty() && !other.is_empty() && one.is_disjoint(other),
            (Some(_) | None, None) | (None, Some(_)) => false,
        }
    }
}

/// Whether what a customer writes, or is written, belongs to a conversation of his contact: to his own always (`None`), to one that
/// reaches him by Meta's word only under the id that Meta named. A number is taken for the WhatsApp id of the same digits.
pub(crate) fn meets(who: &WhatsAppIdentity, reached_at: Option<&str>) -> bool {
    let is = |at: &str| identities(who).iter().any(|one| one.value.trim_start_matches('+') == at);
    reached_at.is_none_or(is)
}

/// What these contacts are known by to WhatsApp.
///
/// # Errors
/// Database errors.
pub(crate) async fn of_contacts(tx: &mut PgConnection, contacts: &[Uuid]) -> Result<Vec<Identity>, Error> {
    let all = crate::contact::store::identities(tx, contacts).await?;
    let of_chats = |one: &Identity| match one.kind {
        Kind::Phone | Kind::Whatsapp | Kind::Bsuid => true,
        Kind::Email => false,
    };
    Ok(all.into_iter().filter(of_chats).collect())
}
