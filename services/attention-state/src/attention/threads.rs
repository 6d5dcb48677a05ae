//! What intake needs to know of existing threads before it locks them.

use std::collections::{BTreeMap, HashMap};

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{AttentionId, ContactId};
use crate::contact::whatsapp;

/// An attention that a mail may claim.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub account: String,
    pub lineage: Uuid,
}

/// Attentions by id; unknown ids are left out.
pub(crate) async fn threads(
    tx: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<AttentionId, Thread>, Error> {
    let rows = sqlx::query!(
        "SELECT attention_id, account_key, lineage_id FROM attention.attention WHERE attention_id = ANY($1)",
        ids
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (AttentionId(row.attention_id), Thread { account: row.account_key, lineage: row.lineage_id })
        })
        .collect())
}

/// Where the answers to a lineage go. A flooded attention counts as if it were not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Its one open or waiting attention.
    pub open: Option<AttentionId>,
    /// Its newest attention.
    pub newest: AttentionId,
}

/// Lineages by id.
pub(crate) async fn lineages(tx: &mut PgConnection, ids: &[Uuid]) -> Result<BTreeMap<Uuid, Lineage>, Error> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (lineage_id) lineage_id, attention_id, (state <> 'closed' AND NOT flooded) AS "takes!"
           FROM attention.attention WHERE lineage_id = ANY($1)
           ORDER BY lineage_id, (state <> 'closed' AND NOT flooded) DESC, created_at DESC, attention_id DESC"#,
        ids
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let newest = AttentionId(row.attention_id);
            (row.lineage_id, Lineage { open: row.takes.then_some(newest), newest })
        })
        .collect())
}

/// A live conversation by WhatsApp, waiting or open.
#[derive(Clone, Debug)]
pub(crate) struct LiveChat {
    pub account: String,
    /// The contact as whom the customer is found; not the attention's when what we sent reaches him under another.
    pub contact: ContactId,
    pub lineage: Uuid,
    pub attention: AttentionId,
    /// His id by which Meta named that contact; `None` in conversations of his own.
    pub reached_at: Option<String>,
}

impl LiveChat {
    /// Whether what `who`, who is this contact, writes to the account, or is written from it, belongs here.
    pub(crate) fn takes(&self, account: &str, contact: ContactId, who: &WhatsAppIdentity) -> bool {
        self.account == account && self.contact == contact && whatsapp::meets(who, self.reached_at.as_deref())
    }
}

/// Live conversations of these customers on these accounts, the newest first; one that is full stands aside and is left out. Those that
/// we began with another contact and that reach one of them ([`super::store::reached`]) are his as well, where he
/// is met by the id that Meta named ([`LiveChat::takes`]). Two contacts that became one may have two, until one ends.
pub(crate) async fn live_chats(
    tx: &mut PgConnection,
    accounts: &[String],
    contacts: &[Uuid],
) -> Result<Vec<LiveChat>, Error> {
    let rows = sqlx::query!(
        r#"SELECT account_key AS "account_key!", contact_id AS "contact_id!", lineage_id AS "lineage_id!",
             attention_id AS "attention_id!", identity AS "reached_at?" FROM (
             SELECT account_key, contact_id, lineage_id, attention_id, created_at, NULL::text AS identity FROM attention.attention
             WHERE contact_id = ANY($2) AND account_key = ANY($1) AND channel = 'whatsapp' AND state <> 'closed' AND NOT flooded
             UNION ALL
             SELECT a.account_key, r.contact_id, a.lineage_id, a.attention_id, a.created_at, r.identity
             FROM attention.reached r JOIN attention.attention a USING (attention_id)
             WHERE r.contact_id = ANY($2) AND a.account_key = ANY($1) AND a.channel = 'whatsapp' AND a.state <> 'closed'
               AND NOT a.flooded) AS live
           ORDER BY created_at DESC, attention_id DESC"#,
        accounts,
        contacts
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LiveChat {
            account: row.account_key,
            contact: ContactId(row.contact_id),
            lineage: row.lineage_id,
            attention: AttentionId(row.attention_id),
            reached_at: row.reached_at,
        })
        .collect())
}

/// Attentions that wait for a parent with one of these Message-IDs: pairs of digest and attention.
pub(crate) async fn awaiting(
    tx: &mut PgConnection,
    digests: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, AttentionId)>, Error> {
    let rows =
        sqlx::query!("SELECT key, attention_id FROM attention.awaited_parent WHERE key = ANY($1)", digests)
            .fetch_all(tx)
            .await?;
    Ok(rows.into_iter().map(|row| (row.key, AttentionId(row.attention_id))).collect())
}

/// Notes that attentions wait for parents.
pub(crate) async fn await_parents(
    tx: &mut PgConnection,
    pairs: &[(Vec<u8>, AttentionId)],
) -> Result<(), Error> {
    let keys: Vec<Vec<u8>> = pairs.iter().map(|(key, _)| key.clone()).collect();
    let attentions: Vec<Uuid> = pairs.iter().map(|(_, attention)| attention.uuid()).collect();
    sqlx::query!(
        "INSERT INTO attention.awaited_parent (key, attention_id) SELECT * FROM unnest($1::bytea[], $2::uuid[])
         ON CONFLICT DO NOTHING",
        &keys,
        &attentions
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// These attentions need not wait for these parents any more. Others that wait for the same Message-ID go on waiting.
pub(crate) async fn parents_came(
    tx: &mut PgConnection,
    pairs: &[(Vec<u8>, AttentionId)],
) -> Result<(), Error> {
    let keys: Vec<Vec<u8>> = pairs.iter().map(|(key, _)| key.clone()).collect();
    let attentions: Vec<Uuid> = pairs.iter().map(|(_, attention)| attention.uuid()).collect();
    sqlx::query!(
        "DELETE FROM attention.awaited_parent AS a USING unnest($1::bytea[], $2::uuid[]) AS came(key, attention_id)
         WHERE a.key = came.key AND a.attention_id = came.attention_id",
        &keys,
        &attentions
    )
    .execute(tx)
    .await?;
    Ok(())
}
