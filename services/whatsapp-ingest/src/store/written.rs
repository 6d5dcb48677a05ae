//! New items and notices of a batch, each in a few statements for all of them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{self, OutboxRow};
use hilo_kit::telemetry::TRACEPARENT;
use hilo_proto::inbound::v1::{InboundEnvelope, WhatsAppIdentity, inbound_envelope};
use prost::Message as _;
use sqlx::PgConnection;

use super::customers::{Customers, names};
use super::media::NewFiles;
use super::parsing::{ItemAt, Parsed, counts};
use super::{CHANNEL, take_numbers};
use crate::metrics;

/// Hands over every item that the ledger does not know; answers how many.
pub(super) async fn items(
    tx: &mut PgConnection,
    subjects: &Subjects,
    batch: &[Arc<Parsed>],
    version: i32,
) -> Result<usize, Error> {
    let fresh = unknown(tx, batch).await?;
    if fresh.is_empty() {
        return Ok(0);
    }
    let mut wanted = BTreeSet::new();
    for (_, at) in &fresh {
        for who in at.item.content.customer.iter().chain(&at.item.moves_to) {
            wanted.extend(names(&at.account_key, who));
        }
    }
    let mut customers = Customers::read(tx, wanted).await?;
    let nobody = WhatsAppIdentity::default();
    let keys: Vec<Uuid> = fresh
        .iter()
        .map(|(parsed, at)| {
            let who = at.item.content.customer.as_ref().unwrap_or(&nobody);
            // A clock that runs ahead must not keep a number for ever.
            let said = at.item.content.sent_at.as_ref().and_then(hilo_kit::clock::from_proto);
            let said = said.map_or(parsed.received_at, |said| said.min(parsed.received_at));
            let key = customers.key(&at.account_key, who, said);
            if let Some(new) = &at.item.moves_to {
                customers.moved(&at.account_key, key, (who, new), said);
            }
            key
        })
        .collect();
    customers.write(tx).await?;
    let mut next = take_numbers(tx, "inbound", &counts(keys.iter().copied())).await?;
    let mut rows = Vec::with_capacity(fresh.len());
    let (mut written, mut files) = (Written::default(), NewFiles::default());
    for ((parsed, at), key) in fresh.iter().zip(keys) {
        let number = next.entry(key).or_insert(1);
        let row = envelope(subjects, parsed, at, key, *number)?;
        files.push(
            (row.id, key),
            &at.account_key,
            &at.item.content,
            parsed.traceparent.as_ref(),
            parsed.received_at,
        );
        written.push(row.id, parsed.id, at, key, *number);
        rows.push(row);
        *number += 1;
    }
    written.insert(tx, version).await?;
    files.insert(tx).await?;
    outbox::append(tx, &rows).await?;
    Ok(rows.len())
}

/// The items of the batch that were never handed over, each once. Only the owner of the parser's lease writes items, so nobody
/// else can write one between this look and the commit.
async fn unknown<'a>(
    tx: &mut PgConnection,
    batch: &'a [Arc<Parsed>],
) -> Result<Vec<(&'a Parsed, &'a ItemAt)>, Error> {
    let all = || {
        batch
            .iter()
            .map(AsRef::as_ref)
            .flat_map(|parsed: &Parsed| parsed.items.iter().map(move |item| (parsed, item)))
    };
    let numbers: Vec<String> = all().map(|(_, at)| at.phone_number_id.clone()).collect();
    let wamids: Vec<String> = all().map(|(_, at)| at.item.content.wamid.clone()).collect();
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let known = sqlx::query!(
        "SELECT i.phone_number_id, i.wamid FROM unnest($1::text[], $2::text[]) AS w (phone_number_id, wamid)
         JOIN whatsapp.item i USING (phone_number_id, wamid)",
        &numbers,
        &wamids,
    )
    .fetch_all(tx)
    .await?;
    let mut seen: HashSet<(String, String)> =
        known.into_iter().map(|row| (row.phone_number_id, row.wamid)).collect();
    Ok(all()
        .filter(|(_, at)| seen.insert((at.phone_number_id.clone(), at.item.content.wamid.clone())))
        .collect())
}

fn envelope(
    subjects: &Subjects,
    parsed: &Parsed,
    at: &ItemAt,
    key: Uuid,
    sequence: i64,
) -> Result<OutboxRow, Error> {
    let id = Uuid::now_v7();
    let envelope = InboundEnvelope {
        ledger_id: id.to_string(),
        account_key: at.account_key.clone(),
        conversation_key: key.to_string(),
        sequence,
        received_at: Some(hilo_kit::clock::to_proto(parsed.received_at)),
        traceparent: parsed.traceparent.clone().unwrap_or_default(),
        content: Some(inbound_envelope::Content::Whatsapp(at.item.content.clone())),
    };
    Ok(OutboxRow {
        id,
        stream: StreamKind::Inbound,
        subject: subjects.handover(StreamKind::Inbound, CHANNEL, &at.account_key)?,
        key,
        sequence,
        headers: parsed.traceparent.iter().map(|value| (TRACEPARENT.to_owned(), value.clone())).collect(),
        payload: envelope.encode_to_vec(),
    })
}

/// Columns of new rows in `whatsapp.item`.
#[derive(Default)]
struct Written {
    ids: Vec<Uuid>,
    numbers: Vec<String>,
    wamids: Vec<String>,
    webhooks: Vec<Uuid>,
    places: Vec<String>,
    kinds: Vec<String>,
    accounts: Vec<String>,
    keys: Vec<Uuid>,
    sequences: Vec<i64>,
}

impl Written {
    fn push(&mut self, id: Uuid, webhook: Uuid, at: &ItemAt, key: Uuid, sequence: i64) {
        metrics::heard(at.item.kind);
        self.ids.push(id);
        self.numbers.push(at.phone_number_id.clone());
        self.wamids.push(at.item.content.wamid.clone());
        self.webhooks.push(webhook);
        self.places.push(at.place.clone());
        self.kinds.push(at.item.kind.to_owned());
        self.accounts.push(at.account_key.clone());
        self.keys.push(key);
        self.sequences.push(sequence);
    }

    async fn insert(self, tx: &mut PgConnection, version: i32) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO whatsapp.item (id, phone_number_id, wamid, webhook_id, place, kind, parser_version, account_key,
                                        conversation_key, sequence)
             SELECT r.id, r.number, r.wamid, r.webhook, r.place, r.kind, $10, r.account, r.key, r.sequence
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::uuid[],
                         $9::bigint[]) AS r (id, number, wamid, webhook, place, kind, account, key, sequence)",
            &self.ids,
            &self.numbers,
            &self.wamids,
            &self.webhooks,
            &self.places,
            &self.kinds,
            &self.accounts,
            &self.keys,
            &self.sequences,
            version,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Records notices; again is harmless.
pub(super) async fn notices(tx: &mut PgConnection, batch: &[Arc<Parsed>]) -> Result<(), Error> {
    for parsed in batch {
        for (place, notice) in &parsed.notices {
            sqlx::query!(
                "INSERT INTO whatsapp.notice (webhook_id, place, business_account_id, field, event, alarming)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                parsed.id,
                place,
                notice.business_account_id,
                notice.field,
                notice.event,
                notice.alarming,
            )
            .execute(&mut *tx)
            .await?;
        }
    }
    Ok(())
}
