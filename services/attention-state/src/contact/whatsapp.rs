//! Who a WhatsApp customer is: found by his business-scoped user id, else by the parent of it, else by WhatsApp id or number.
//!
//! A number may pass to another person, a user id never does (a person who changes his number gets a new one). So a number that
//! belongs to a contact with another user id makes no match: it goes over to a new contact, and the former owner's history stays
//! closed to whoever has his number now. Contacts are merged by a person or by Meta's own notice of a change, never by a name.

mod named;
mod reached;

use std::collections::{BTreeMap, BTreeSet};

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::domain::{Identity, Kind, MAX_TEXT};
use super::keys;
use crate::attention::domain::ContactId;

use named::dialled_as;
pub(crate) use named::{names, of_user, other_digits};
pub(crate) use reached::{meets, of_contacts};

/// Longest id of Meta's: country, dot, at most 128 characters, with room.
const MAX_ID: usize = 200;
/// Part of a parent business-scoped user id, which several user ids share.
const PARENT: &str = ".ENT.";

/// A customer's identities, those of him alone first; malformed ones are left out.
pub(crate) fn identities(of: &WhatsAppIdentity) -> Vec<Identity> {
    let id = |kind, value: &str| {
        let plain = !value.is_empty()
            && value.len() <= MAX_ID
            && value.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '.' | '+' | '-' | '_'));
        plain.then(|| Identity { kind, value: value.to_owned() })
    };
    let phone = of.phone.strip_prefix('+').filter(|digits| digits.bytes().all(|one| one.is_ascii_digit()));
    let ids = [
        id(Kind::Bsuid, &of.user_id),
        id(Kind::Bsuid, &of.parent_user_id),
        id(Kind::Whatsapp, &of.wa_id),
        phone.and_then(|_| id(Kind::Phone, &of.phone)),
    ];
    ids.into_iter().flatten().collect()
}

/// Locks a customer by these identities and by everything else he is known by, until the transaction ends, and reads whose they are:
/// whoever writes as him, or to him first, waits. For who is written to by a person or a dialer.
///
/// # Errors
/// `LOCK_TIMEOUT`; database errors.
pub(crate) async fn locked(tx: &mut PgConnection, who: &WhatsAppIdentity) -> Result<Known, Error> {
    let named = identities(who);
    let before = known(tx, &named).await?;
    let of_chats = before.owners.keys().filter(|one| match one.kind {
        Kind::Phone | Kind::Whatsapp | Kind::Bsuid => true,
        Kind::Email => false,
    });
    let all: BTreeSet<Identity> = named.iter().chain(of_chats).cloned().collect();
    keys::lock(tx, &all).await?;
    known(tx, &named).await
}

/// What is known of the identities of a batch; grows as customers are settled.
#[derive(Debug, Default)]
pub(crate) struct Known {
    owners: BTreeMap<Identity, ContactId>,
    /// User ids of the contacts found.
    user_ids: BTreeMap<ContactId, BTreeSet<String>>,
}

/// Reads whose these identities are. Lock them first.
///
/// # Errors
/// Database errors.
pub(crate) async fn known(tx: &mut PgConnection, identities: &[Identity]) -> Result<Known, Error> {
    let (kinds, values): (Vec<String>, Vec<String>) =
        identities.iter().map(|one| (one.kind.word().to_owned(), one.value.clone())).unzip();
    let rows = sqlx::query!(
        r#"WITH named AS (
             SELECT DISTINCT contact_id FROM contact.identity
             JOIN unnest($1::text[], $2::text[]) AS v(kind, value) USING (kind, value))
           SELECT kind, value, contact_id FROM contact.identity JOIN named USING (contact_id)"#,
        &kinds,
        &values
    )
    .fetch_all(tx)
    .await?;
    let mut known = Known::default();
    for row in rows {
        let kind = Kind::of(&row.kind)
            .ok_or_else(|| Error::corrupt("ROW_CONTRADICTS_ITSELF", "an identity has an unknown kind"))?;
        known.note(Identity { kind, value: row.value }, ContactId(row.contact_id));
    }
    Ok(known)
}

impl Known {
    fn note(&mut self, identity: Identity, contact: ContactId) {
        if identity.kind == Kind::Bsuid && !identity.value.contains(PARENT) {
            self.user_ids.entry(contact).or_default().insert(identity.value.clone());
        }
        self.owners.insert(identity, contact);
    }

    /// Every contact that one of the identities leads to.
    pub(crate) fn all(&self) -> Vec<Uuid> {
        let all: BTreeSet<ContactId> = self.owners.values().copied().collect();
        all.into_iter().map(|one| one.uuid()).collect()
    }

    /// The contact of a customer, when there is one.
    pub(crate) fn find(&self, of: &WhatsAppIdentity) -> Option<ContactId> {
        let identities = identities(of);
        let owner = |one: &Identity| self.owners.get(one).copied();
        identities
            .iter()
            .find_map(|one| owner(one).filter(|found| self.may_be(*found, one.kind, &of.user_id)))
    }

    /// The contact that a notice is about. Meta tells one change twice (by the system, and by the ids): he may go by the new id already.
    pub(crate) fn told_of(
        &self,
        before: &WhatsAppIdentity,
        after: Option<&WhatsAppIdentity>,
    ) -> Option<ContactId> {
        let user = |of: &WhatsAppIdentity| Identity { kind: Kind::Bsuid, value: of.user_id.clone() };
        self.find(before).or_else(|| self.owners.get(&user(after?)).copied())
    }

    /// Whether an identity of this kind leads to the contact: a number does not lead to somebody with another user id.
    fn may_be(&self, contact: ContactId, kind: Kind, user_id: &str) -> bool {
        match kind {
            Kind::Bsuid => true,
            Kind::Email | Kind::Phone | Kind::Whatsapp => {
                let others = self.user_ids.get(&contact);
                user_id.is_empty() || others.is_none_or(|ids| ids.is_empty() || ids.contains(user_id))
            }
        }
    }

    /// The contact of a customer, made when there is none, who has all his identities after it that belong to nobody or to a
    /// former owner of his number.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn settle(
        &mut self,
        tx: &mut PgConnection,
        of: &WhatsAppIdentity,
    ) -> Result<ContactId, Error> {
        let contact = match self.find(of) {
            Some(contact) => contact,
            None => insert(tx, &of.profile_name).await?,
        };
        for one in identities(of) {
            match self.owners.get(&one).copied() {
                Some(owner) if owner == contact => continue,
                Some(owner) if self.may_be(owner, one.kind, &of.user_id) => continue,
                Some(_) | None => {}
            }
            take_over(tx, &one, contact).await?;
            self.note(one, contact);
        }
        Ok(contact)
    }

    /// The customer is known by other identities from now on (Meta's notice, given at `at`): those that belong to nobody, or belonged to
    /// somebody before, become his, and what he has not any more is taken from him, since somebody else may get it; his number in any
    /// case when it is that which changed (`leaves_number`). Who was first
    /// known by a new one since then, or by the new user id, is the customer himself, who wrote before the notice came: answers the
    /// contact that stays and the one that is the same person.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn change(
        &mut self,
        tx: &mut PgConnection,
        before: &WhatsAppIdentity,
        (after, leaves_number): (&WhatsAppIdentity, bool),
        at: OffsetDateTime,
    ) -> Result<Option<(ContactId, ContactId)>, Error> {
        let Some(contact) = self.told_of(before, Some(after)) else { return Ok(None) };
        let gained = identities(after);
        let mut twin = None;
        for one in &gained {
            match self.owners.get(one).copied() {
                Some(owner) if owner == contact => {}
                // Several persons share it.
                Some(_) if one.value.contains(PARENT) => {}
                None => self.gain(tx, one, contact).await?,
                // His own user id says who he is, before any number.
                Some(owner) if one.value == after.user_id => twin = Some(owner),
                Some(owner) if is_since(tx, one, owner, at).await? => {
                    // Else it went on to somebody else before this notice came.
                    if self.may_be(owner, one.kind, &after.user_id) {
                        twin = twin.or(Some(owner));
                    }
                }
                // Somebody had this number before him.
                Some(_) => self.gain(tx, one, contact).await?,
            }
        }
        // A number that he has left is not his, also when Meta hides the new one, and however it was dialled.
        let number = |one: &Identity| matches!(one.kind, Kind::Phone | Kind::Whatsapp);
        let left =
            |one: &Identity| (leaves_number && number(one)) || gained.iter().any(|new| new.kind == one.kind);
        let replaced = |one: &Identity| left(one) && !gained.contains(one) && !one.value.contains(PARENT);
        let dialled = if leaves_number { dialled_as(before) } else { Vec::new() };
        for one in identities(before).into_iter().chain(dialled).filter(replaced) {
            if self.owners.get(&one) == Some(&contact) {
                leave(tx, &one, contact).await?;
                self.owners.remove(&one);
                if let Some(ids) = self.user_ids.get_mut(&contact) {
                    ids.remove(&one.value);
                }
            }
        }
        Ok(twin.map(|twin| (contact, twin)))
    }

    async fn gain(
        &mut self,
        tx: &mut PgConnection,
        identity: &Identity,
        contact: ContactId,
    ) -> Result<(), Error> {
        take_over(tx, identity, contact).await?;
        self.note(identity.clone(), contact);
        Ok(())
    }
}

/// How a contact is reached by WhatsApp: his WhatsApp id, else his number, and his user id; `None` when he has none of them. Of several
/// the one he got last; a number beside an id is that of the id.
///
/// # Errors
/// Database errors.
pub(crate) async fn reached_by(
    tx: &mut PgConnection,
    contact: ContactId,
) -> Result<Option<WhatsAppIdentity>, Error> {
    let rows = sqlx::query!(
        "SELECT kind, value FROM contact.identity WHERE contact_id = $1 AND kind IN ('whatsapp', 'phone', 'bsuid')
         ORDER BY created_at, value",
        contact.uuid()
    )
    .fetch_all(tx)
    .await?;
    let mut who = WhatsAppIdentity::default();
    for row in rows {
        match Kind::of(&row.kind) {
            Some(Kind::Whatsapp) => who.wa_id = row.value,
            Some(Kind::Phone) => who.phone = row.value,
            Some(Kind::Bsuid) if !row.value.contains(PARENT) => who.user_id = row.value,
            Some(Kind::Bsuid | Kind::Email) | None => {}
        }
    }
    if !who.wa_id.is_empty() && who.phone.strip_prefix('+') != Some(who.wa_id.as_str()) {
        who.phone.clear();
    }
    let unknown = who.wa_id.is_empty() && who.phone.is_empty() && who.user_id.is_empty();
    Ok((!unknown).then_some(who))
}

/// Whether one of these contacts has a WhatsApp id, number or user id at present.
///
/// # Errors
/// Database errors.
pub(crate) async fn is_of(tx: &mut PgConnection, contacts: &[Uuid], one: &str) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM contact.identity
           WHERE kind IN ('whatsapp', 'phone', 'bsuid') AND value = $2 AND contact_id = ANY($1)) AS "his!""#,
        contacts,
        one
    )
    .fetch_one(tx)
    .await?)
}

/// A notice is older by our clock than what was written after it, give or take what clocks differ.
const CLOCKS_DIFFER: Duration = Duration::seconds(60);

/// True when the contact has the identity since this instant, and not from before.
async fn is_since(
    tx: &mut PgConnection,
    identity: &Identity,
    contact: ContactId,
    at: OffsetDateTime,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM contact.identity
           WHERE kind = $1 AND value = $2 AND contact_id = $3 AND created_at >= $4) AS "is!""#,
        identity.kind.word(),
        identity.value,
        contact.uuid(),
        at - CLOCKS_DIFFER
    )
    .fetch_one(tx)
    .await?)
}

async fn insert(tx: &mut PgConnection, name: &str) -> Result<ContactId, Error> {
    let id = ContactId::new();
    let name: String = name.chars().filter(|one| !one.is_control()).take(MAX_TEXT).collect();
    sqlx::query!("INSERT INTO contact.contact (contact_id, name) VALUES ($1, $2)", id.uuid(), name)
        .execute(tx)
        .await?;
    Ok(id)
}

async fn take_over(tx: &mut PgConnection, identity: &Identity, contact: ContactId) -> Result<(), Error> {
    let contact: Uuid = contact.uuid();
    sqlx::query!(
        "INSERT INTO contact.identity (kind, value, contact_id) VALUES ($1, $2, $3)
         ON CONFLICT (kind, value) DO UPDATE SET contact_id = excluded.contact_id, created_at = now()",
        identity.kind.word(),
        identity.value,
        contact
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn leave(tx: &mut PgConnection, identity: &Identity, contact: ContactId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM contact.identity WHERE kind = $1 AND value = $2 AND contact_id = $3",
        identity.kind.word(),
        identity.value,
        contact.uuid()
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, parent: &str, wa_id: &str) -> WhatsAppIdentity {
        let phone = if wa_id.is_empty() { String::new() } else { format!("+{wa_id}") };
        WhatsAppIdentity {
            wa_id: wa_id.into(),
            phone,
            user_id: user.into(),
            parent_user_id: parent.into(),
            ..WhatsAppIdentity::default()
        }
    }

    fn known(of: &[(WhatsAppIdentity, ContactId)]) -> Known {
        let mut known = Known::default();
        for (who, contact) in of {
            identities(who).into_iter().for_each(|one| known.note(one, *contact));
        }
        known
    }

    #[test]
    fn a_customer_is_found_by_what_is_his_alone_first() {
        let (eva, otto) = (ContactId(Uuid::from_u128(1)), ContactId(Uuid::from_u128(2)));
        let of = known(&[
            (who("PE.1", "PE.ENT.9", "51987654321"), eva),
            // From before user ids, or typed by hand.
            (who("", "", "51911111111"), otto),
        ]);
        for (user, parent, number, found) in [
            ("PE.1", "", "", Some(eva)),
            ("PE.1", "", "51900000000", Some(eva)),
            ("PE.1", "", "51911111111", Some(eva)),
            ("", "", "51987654321", Some(eva)),
            // Somebody else has her number now.
            ("PE.2", "", "51987654321", None),
            // Another portfolio of ours, the same person.
            ("MX.7", "PE.ENT.9", "", Some(eva)),
            ("PE.3", "", "51911111111", Some(otto)),
            ("PE.4", "", "", None),
            ("", "", "51922222222", None),
        ] {
            assert_eq!(of.find(&who(user, parent, number)), found, "{user} {parent} {number}");
        }
    }

    #[test]
    fn what_is_no_identity_is_left_out() {
        let odd = WhatsAppIdentity {
            wa_id: "51 9\u{0}".into(),
            phone: "987".into(),
            user_id: "x".repeat(MAX_ID + 1),
            ..WhatsAppIdentity::default()
        };
        assert_eq!(identities(&odd), []);
    }
}
