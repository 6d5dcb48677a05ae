//! What a batch reads before it decides, in few statements however long it is.

use std::collections::{BTreeSet, HashMap, HashSet};

use hilo_kit::error::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::mail::Mail;
use super::super::threading::is_report;
use super::{Known, Work, campaigns, contact, store, threads};
use crate::attention::domain::{AttentionId, ContactId};
use crate::attention::store::message::Key;
use crate::contact::{EmailIdentity, lock_number};

/// References of a mail that are locked; a parent still on its way is always among the nearest. PostgreSQL has room for
/// some thousands of locks in all, so a batch may not take thousands itself.
const LOCKED_REFERENCES: usize = 8;

/// Locks every identity key and Message-ID that the mails have or refer to, in one order for all transactions, so that
/// two mails of one new customer, or a mail and its parent, are never decided at the same time.
pub(super) async fn lock_keys(tx: &mut PgConnection, mails: &[Mail]) -> Result<(), Error> {
    let mut numbers = BTreeSet::new();
    for mail in mails {
        numbers.insert(lock_number(b"email", mail.identity().as_bytes()));
        for key in mail.own.iter().chain(mail.references.iter().take(LOCKED_REFERENCES)) {
            numbers.insert(lock_number(b"internet", &key.bytes()));
        }
    }
    lock_numbers(tx, numbers).await
}

/// Takes advisory locks until the transaction ends, in the order of their numbers.
pub(in crate::intake) async fn lock_numbers(
    tx: &mut PgConnection,
    numbers: BTreeSet<i64>,
) -> Result<(), Error> {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    sqlx::query!(
        r#"SELECT count(pg_advisory_xact_lock(number)) AS "locked!"
           FROM (SELECT number FROM unnest($1::bigint[]) AS number ORDER BY number) AS sorted"#,
        &numbers
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Locks one identity key as [`lock_keys`] does, for an agent who writes first.
pub(crate) async fn lock_address(tx: &mut PgConnection, address: &str) -> Result<(), Error> {
    let number = lock_number(b"email", address.as_bytes());
    sqlx::query!(r#"SELECT count(pg_advisory_xact_lock($1)) AS "locked!""#, number).fetch_one(tx).await?;
    Ok(())
}

/// Threads, lineages, waiting children and campaigns of the batch.
pub(super) async fn known(tx: &mut PgConnection, mails: &[Mail]) -> Result<Known, Error> {
    // A mail of ours that came back names itself.
    let own = mails.iter().filter(|mail| is_report(mail.class)).filter_map(|mail| mail.own.as_ref());
    let references: BTreeSet<Vec<u8>> =
        mails.iter().flat_map(|mail| &mail.references).chain(own).map(Key::bytes).collect();
    let references: Vec<Vec<u8>> = references.into_iter().collect();
    let mut known = Known { campaigns: campaigns(tx, mails).await?, ..Known::default() };
    for one in store::message::attentions_of_message_ids(tx, &references).await? {
        let attention = AttentionId(one.attention);
        if one.sent {
            known.sent.insert((one.digest.clone(), attention));
        }
        known.by_message_id.entry(one.digest).or_default().push(attention);
    }
    // Several attentions may know one (forged) Message-ID: the oldest first, in every transaction alike.
    known.by_message_id.values_mut().for_each(|attentions| attentions.sort_unstable());
    let claimed: BTreeSet<Uuid> = known
        .by_message_id
        .values()
        .flatten()
        .chain(mails.iter().flat_map(|mail| &mail.tokens))
        .map(|id| id.uuid())
        .collect();
    let claimed: Vec<Uuid> = claimed.into_iter().collect();
    known.threads = threads::threads(tx, &claimed).await?;
    refresh_lineages(tx, &mut known).await?;
    let own: Vec<Vec<u8>> = mails.iter().filter_map(|mail| mail.own.as_ref()).map(Key::bytes).collect();
    for (key, attention) in threads::awaiting(tx, &own).await? {
        known.awaiting.entry(key).or_default().push(attention);
    }
    Ok(known)
}

/// Reads where answers to the claimed lineages go now.
pub(super) async fn refresh_lineages(tx: &mut PgConnection, known: &mut Known) -> Result<(), Error> {
    let lineages: BTreeSet<Uuid> = known.threads.values().map(|thread| thread.lineage).collect();
    let lineages: Vec<Uuid> = lineages.into_iter().collect();
    known.lineages = threads::lineages(tx, &lineages).await?.into_iter().collect();
    Ok(())
}

/// How many reports the interactions hold that reports of the batch may join.
pub(super) async fn reports(
    tx: &mut PgConnection,
    known: &mut Known,
    work: &Work,
    mails: &[Mail],
) -> Result<(), Error> {
    if !mails.iter().any(|mail| is_report(mail.class)) {
        return Ok(());
    }
    let open = known.lineages.values().filter_map(|lineage| lineage.open);
    let live = open.filter_map(|id| work.state(id, None)).filter_map(|state| state.interaction);
    let live: Vec<Uuid> = live.map(|interaction| interaction.id.uuid()).collect();
    known.reports = store::message::reports_of(tx, &live).await?.into_iter().collect();
    Ok(())
}

/// Claimed attentions, the open ones of their lineages, and children waiting for a parent.
pub(super) fn attentions_to_lock(known: &Known) -> Vec<Uuid> {
    let open = known.lineages.values().filter_map(|lineage| lineage.open);
    let children = known.awaiting.values().flatten().copied();
    let all: BTreeSet<Uuid> =
        known.threads.keys().copied().chain(open).chain(children).map(|id| id.uuid()).collect();
    all.into_iter().collect()
}

/// Ledger ids of the batch that were taken under another delivery (a row handed over anew).
pub(super) async fn taken_before(tx: &mut PgConnection, mails: &[Mail]) -> Result<HashSet<Uuid>, Error> {
    let ids: Vec<Uuid> = mails.iter().map(|mail| mail.ledger).collect();
    Ok(store::message::known_externals(tx, &ids).await?.into_iter().collect())
}

/// Finds or creates the contacts of the fresh mails.
pub(super) async fn contacts(
    tx: &mut PgConnection,
    mails: &[Mail],
    fresh: &HashSet<Uuid>,
) -> Result<HashMap<String, ContactId>, Error> {
    let wanted: Vec<EmailIdentity> = mails
        .iter()
        .filter(|mail| fresh.contains(&mail.delivery))
        .map(|mail| EmailIdentity { address: mail.identity().to_owned(), name: mail.name().to_owned() })
        .collect();
    contact::resolve_emails(tx, &wanted).await
}
