//! The ordering keys of customers, read and written once per batch.

use std::collections::{BTreeSet, HashMap, HashSet};

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::domain::identity::{self, Known};

/// Account, kind and value of an identity.
pub(super) type Name = (String, &'static str, String);

/// To whom an identity leads, and the customer's own instant of the first message that said so.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    key: Uuid,
    at: OffsetDateTime,
}

/// What is known of the customers of a batch, and what changes.
#[derive(Debug, Default)]
pub(super) struct Customers {
    keys: HashMap<Name, Told>,
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
            r#"SELECT c.account_key, c.kind, c.value, c.conversation_key, c.told_at,
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
            let told = Told { key: row.conversation_key, at: row.told_at };
            known.keys.insert((row.account_key, kind, row.value), told);
        }
        Ok(known)
    }

    /// The ordering key of a customer who wrote at `at`, a new one when nobody knows him; all his identities lead to it from now
    /// on, but for a number that somebody else has written with since.
    pub(super) fn key(&mut self, account: &str, who: &WhatsAppIdentity, at: OffsetDateTime) -> Uuid {
        let find = |kind: &'static str, value: &String| {
            self.keys.get(&(account.to_owned(), kind, value.clone())).map(|told| told.key)
        };
        let by_wa_id = find("wa_id", &who.wa_id);
        let known = Known {
            by_user_id: find("user_id", &who.user_id),
            by_wa_id,
            wa_id_is_taken: by_wa_id.is_some_and(|key| self.with_user_id.contains(&key)),
        };
        let key = identity::key(who, known).unwrap_or_else(Uuid::now_v7);
        self.point(account, who, key, at);
        key
    }

    /// Meta says that since `at` the customer with this key goes by `new` and not by the number of `old` any more.
    pub(super) fn moved(
        &mut self,
        account: &str,
        key: Uuid,
        (old, new): (&WhatsAppIdentity, &WhatsAppIdentity),
        at: OffsetDateTime,
    ) {
        let user = (account.to_owned(), "user_id", new.user_id.clone());
        // He has written under the new id before this notice came: what has begun there goes on there. Of the two notices of one change
        // (the system's and `user_id_update`) the other one may be here already, and this one says the rest.
        if self.keys.get(&user).is_some_and(|told| told.key != key) {
            return;
        }
        self.point(account, new, key, at);
        if !new.wa_id.is_empty() && !old.wa_id.is_empty() && old.wa_id != new.wa_id {
            // The number may pass to another person. Whoever has it already keeps it, however late this notice is.
            let left = (account.to_owned(), "wa_id", old.wa_id.clone());
            if self.keys.get(&left).is_some_and(|told| told.key == key) {
                self.keys.remove(&left);
                self.changed.insert(left);
            }
        }
    }

    fn point(&mut self, account: &str, who: &WhatsAppIdentity, key: Uuid, at: OffsetDateTime) {
        for name in names(account, who) {
            if name.1 == "user_id" {
                self.with_user_id.insert(key);
            }
            let known = self.keys.get(&name).copied();
            // Webhooks come late and in any order: a message of the former owner takes his number from nobody.
            if known.is_some_and(|told| name.1 == "wa_id" && told.key != key && told.at > at) {
                continue;
            }
            // Who has it already keeps his first instant: what a former owner wrote is older than that.
            if known.is_none_or(|told| told.key != key) {
                self.changed.insert(name.clone());
                self.keys.insert(name, Told { key, at });
            }
        }
    }

    /// Writes what changed.
    pub(super) async fn write(self, tx: &mut PgConnection) -> Result<(), Error> {
        let (mut accounts, mut kinds, mut values) = (vec![], vec![], vec![]);
        let (mut keys, mut at) = (vec![], vec![]);
        for name in &self.changed {
            accounts.push(name.0.clone());
            kinds.push(name.1.to_owned());
            values.push(name.2.clone());
            keys.push(self.keys.get(name).map(|told| told.key));
            at.push(self.keys.get(name).map_or(OffsetDateTime::UNIX_EPOCH, |told| told.at));
        }
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH n AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[])
                          AS n (account_key, kind, value, conversation_key, told_at)),
                  gone AS (DELETE FROM whatsapp.customer c USING n
                           WHERE n.conversation_key IS NULL AND c.account_key = n.account_key
                             AND c.kind = n.kind AND c.value = n.value)
             INSERT INTO whatsapp.customer (account_key, kind, value, conversation_key, told_at)
             SELECT account_key, kind, value, conversation_key, told_at FROM n WHERE conversation_key IS NOT NULL
             ON CONFLICT (account_key, kind, value)
             DO UPDATE SET conversation_key = excluded.conversation_key, told_at = excluded.told_at, known_since = now()",
            &accounts,
            &kinds,
            &values,
            &keys as _,
            &at,
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

    fn at(minutes: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(minutes)
    }

    #[test]
    fn a_late_message_of_the_former_owner_takes_his_number_from_nobody() {
        let mut customers = Customers::default();
        let ana = customers.key("a", &who("1", "PE.1"), at(10));
        let bea = customers.key("a", &who("1", "PE.2"), at(20));
        assert_eq!(customers.key("a", &who("1", "PE.1"), at(11)), ana, "it came late, and it is hers");
        assert_eq!(customers.key("a", &who("1", ""), at(21)), bea, "the number stays where it has gone");
        customers.moved("a", ana, (&who("1", "PE.1"), &who("3", "PE.7")), at(12));
        assert_eq!(
            customers.key("a", &who("1", ""), at(22)),
            bea,
            "a late notice frees only a number of one's own"
        );
        assert_eq!(
            customers.key("a", &who("1", "PE.7"), at(30)),
            ana,
            "and with a newer message it may come back"
        );
        assert_eq!(customers.key("a", &who("1", ""), at(31)), ana);
    }

    #[test]
    fn a_number_that_passes_to_another_person_opens_nobody_elses_thread() {
        let mut customers = Customers::default();
        let ana = customers.key("a", &who("1", "PE.1"), at(1));
        assert_eq!(customers.key("a", &who("", "PE.1"), at(1)), ana, "the number is hidden");
        assert_eq!(customers.key("a", &who("1", ""), at(1)), ana);
        let bea = customers.key("a", &who("1", "PE.2"), at(1));
        assert_ne!(bea, ana, "the number came with another person");
        assert_eq!(customers.key("a", &who("1", ""), at(1)), bea);
        assert_eq!(customers.key("a", &who("", "PE.1"), at(1)), ana);
        assert_ne!(customers.key("b", &who("1", "PE.1"), at(1)), ana, "another account is another thread");
    }

    #[test]
    fn a_change_of_number_keeps_the_thread_and_frees_the_number() {
        let mut customers = Customers::default();
        let ana = customers.key("a", &who("1", "PE.1"), at(1));
        customers.moved("a", ana, (&who("1", "PE.1"), &who("2", "PE.9")), at(2));
        assert_eq!(customers.key("a", &who("2", "PE.9"), at(1)), ana);
        assert_eq!(customers.key("a", &who("2", ""), at(1)), ana);
        assert_ne!(
            customers.key("a", &who("1", ""), at(1)),
            ana,
            "the old number is free for another person"
        );
    }

    /// Without the look at whose the new id is the number stays his when the notice that names no number comes first.
    #[test]
    fn two_notices_of_one_change_end_alike_in_both_orders() {
        for ids_first in [true, false] {
            let mut customers = Customers::default();
            let ana = customers.key("a", &who("1", "PE.1"), at(1));
            let by_id = (&who("", "PE.1"), &who("", "PE.9"));
            let by_number = (&who("1", "PE.1"), &who("2", "PE.9"));
            let both = if ids_first { [by_id, by_number] } else { [by_number, by_id] };
            for notice in both {
                customers.moved("a", ana, notice, at(2));
            }
            assert_eq!(customers.key("a", &who("2", ""), at(3)), ana, "ids first: {ids_first}");
            assert_eq!(customers.key("a", &who("", "PE.9"), at(3)), ana);
            assert_ne!(customers.key("a", &who("1", ""), at(3)), ana, "her old number is free");
        }
    }

    #[test]
    fn who_wrote_before_the_notice_of_his_change_keeps_what_has_begun() {
        let mut customers = Customers::default();
        let old = customers.key("a", &who("1", "PE.1"), at(1));
        let new = customers.key("a", &who("2", "PE.9"), at(1));
        customers.moved("a", old, (&who("1", "PE.1"), &who("2", "PE.9")), at(2));
        assert_eq!(customers.key("a", &who("2", "PE.9"), at(1)), new);
    }
}
