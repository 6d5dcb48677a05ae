//! The ordering keys of customers, read and written once per batch.

use std::collections::{BTreeSet, HashMap, HashSet};

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;

use crate::domain::identity::{self, Known};

/// Account, kind and value of an identity.
pub(super) type Name = (String, &'static str, String);

/// What is known of the customers of a batch, and what changes.
#[derive(Debug, Default)]
pub(super) struct Customers {
    keys: HashMap<Name, Uuid>,
    /// Keys that belong to a BSUID.
    with_user_id: HashSet<Uuid>,
    changed: BTreeSet<Name>,
}

/// The identities that lead to a customer.
pub(super) fn names(account: &str, identity: &WhatsAppIdentity) -> Vec<Name> {
    let both = [("wa_id", &identity.wa_id), ("user_id", &identity.user_id)];
    both.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(kind, value)| (account.to_owned(), kind, value.clone()))
        .collect()
}

impl Customers {
    /// Reads what the ledger knows of these.
    pub(super) async fn read(tx: &mut PgConnection, names: BTreeSet<Name>) -> Result<Self, Error> {
        let accounts: Vec<String> = names.iter().map(|name| name.0.clone()).collect();
        let kinds: Vec<String> = names.iter().map(|name| name.1.to_owned()).collect();
        let values: Vec<String> = names.iter().map(|name| name.2.clone()).collect();
        let rows = sqlx::query!(
            r#"SELECT c.account_key, c.kind, c.value, c.conversation_key,
                      EXISTS (SELECT FROM whatsapp.customer u
                              WHERE u.conversation_key = c.conversation_key AND u.kind = 'user_id') AS "has_user_id!"
               FROM unnest($1::text[], $2::text[], $3::text[]) AS n (account_key, kind, value)
               JOIN whatsapp.customer c USING (account_key, kind, value)"#,
            &accounts,
            &kinds,
            &values,
        )
        .fetch_all(tx)
        .await?;
        let mut known = Self::default();
        for row in rows {
            let kind = if row.kind == "user_id" { "user_id" } else { "wa_id" };
            if row.has_user_id {
                known.with_user_id.insert(row.conversation_key);
            }
            known.keys.insert((row.account_key, kind, row.value), row.conversation_key);
        }
        Ok(known)
    }

    /// The ordering key of a customer, a new one when nobody knows him; all his identities lead to it from now on.
    pub(super) fn key(&mut self, account: &str, who: &WhatsAppIdentity) -> Uuid {
        let find = |kind: &'static str, value: &String| {
            self.keys.get(&(account.to_owned(), kind, value.clone())).copied()
        };
        let by_wa_id = find("wa_id", &who.wa_id);
        let known = Known {
            by_user_id: find("user_id", &who.user_id),
            by_wa_id,
            wa_id_is_taken: by_wa_id.is_some_and(|key| self.with_user_id.contains(&key)),
        };
        let key = identity::key(who, known).unwrap_or_else(Uuid::now_v7);
        self.point(account, who, key);
        key
    }

    /// Meta says that the customer with this key goes by `new` from now on and not by the number of `old` any more.
    pub(super) fn moved(&mut self, account: &str, key: Uuid, old: &WhatsAppIdentity, new: &WhatsAppIdentity) {
        let user = (account.to_owned(), "user_id", new.user_id.clone());
        // He has written under the new id before this notice came: what has begun there goes on there.
        if self.keys.contains_key(&user) {
            return;
        }
        self.point(account, new, key);
        if !new.wa_id.is_empty() && !old.wa_id.is_empty() && old.wa_id != new.wa_id {
            // The number may pass to another person.
            let left = (account.to_owned(), "wa_id", old.wa_id.clone());
            self.keys.remove(&left);
            self.changed.insert(left);
        }
    }

    fn point(&mut self, account: &str, who: &WhatsAppIdentity, key: Uuid) {
        for name in names(account, who) {
            if name.1 == "user_id" {
                self.with_user_id.insert(key);
            }
            if self.keys.insert(name.clone(), key) != Some(key) {
                self.changed.insert(name);
            }
        }
    }

    /// Writes what changed.
    pub(super) async fn write(self, tx: &mut PgConnection) -> Result<(), Error> {
        let (mut accounts, mut kinds, mut values, mut keys) = (vec![], vec![], vec![], vec![]);
        for name in &self.changed {
            accounts.push(name.0.clone());
            kinds.push(name.1.to_owned());
            values.push(name.2.clone());
            keys.push(self.keys.get(name).copied());
        }
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH n AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])
                          AS n (account_key, kind, value, conversation_key)),
                  gone AS (DELETE FROM whatsapp.customer c USING n
                           WHERE n.conversation_key IS NULL AND c.account_key = n.account_key
                             AND c.kind = n.kind AND c.value = n.value)
             INSERT INTO whatsapp.customer (account_key, kind, value, conversation_key)
             SELECT account_key, kind, value, conversation_key FROM n WHERE conversation_key IS NOT NULL
             ON CONFLICT (account_key, kind, value)
             DO UPDATE SET conversation_key = excluded.conversation_key, known_since = now()",
            &accounts,
            &kinds,
            &values,
            &keys as _,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(wa_id: &str, user_id: &str) -> WhatsAppIdentity {
        WhatsAppIdentity { wa_id: wa_id.into(), user_id: user_id.into(), ..WhatsAppIdentity::default() }
    }

    #[test]
    fn a_number_that_passes_to_another_person_opens_nobody_elses_thread() {
        let mut customers = Customers::default();
        let ana = customers.key("a", &who("1", "PE.1"));
        assert_eq!(customers.key("a", &who("", "PE.1")), ana, "the number is hidden");
        assert_eq!(customers.key("a", &who("1", "")), ana);
        let bea = customers.key("a", &who("1", "PE.2"));
        assert_ne!(bea, ana, "the number came with another person");
        assert_eq!(customers.key("a", &who("1", "")), bea);
        assert_eq!(customers.key("a", &who("", "PE.1")), ana);
        assert_ne!(customers.key("b", &who("1", "PE.1")), ana, "another account is another thread");
    }

    #[test]
    fn a_change_of_number_keeps_the_thread_and_frees_the_number() {
        let mut customers = Customers::default();
        let ana = customers.key("a", &who("1", "PE.1"));
        customers.moved("a", ana, &who("1", "PE.1"), &who("2", "PE.9"));
        assert_eq!(customers.key("a", &who("2", "PE.9")), ana);
        assert_eq!(customers.key("a", &who("2", "")), ana);
        assert_ne!(customers.key("a", &who("1", "")), ana, "the old number is free for another person");
    }

    #[test]
    fn who_wrote_before_the_notice_of_his_change_keeps_what_has_begun() {
        let mut customers = Customers::default();
        let old = customers.key("a", &who("1", "PE.1"));
        let new = customers.key("a", &who("2", "PE.9"));
        customers.moved("a", old, &who("1", "PE.1"), &who("2", "PE.9"));
        assert_eq!(customers.key("a", &who("2", "PE.9")), new);
    }
}
