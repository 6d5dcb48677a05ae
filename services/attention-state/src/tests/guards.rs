//! Guards of the store: each test says how its guard was removed to see it go red.

use hilo_kit::nats::Subjects;
use uuid::Uuid;

use super::{House, Mail};
use crate::attention::domain::{Command, InteractionId, UserKey};
use crate::attention::store::Wait;
use crate::attention::work::{Actor, Work};

async fn opened_after(house: &House, disturbance: &'static str) -> Result<(), hilo_kit::Error> {
    let interaction = house.attentions().await[0].last_interaction;
    house
        .db
        .transaction(move |tx| {
            Box::pin(async move {
                let id = InteractionId(interaction);
                let mut work = Work::lock(tx, &[id], Wait::Block).await?;
                work.decide(id, Command::Open { agent: UserKey::new("ana") }, &Actor::System)?;
                // The lock keeps others out; the same session stands in for whoever got past it.
                sqlx::query(disturbance).execute(&mut *tx).await?;
                work.write(tx, &Subjects::new("hilo")?).await
            })
        })
        .await
}

/// Removing `AND i.version = v.was` in `update_interactions` turns this red (tried: the write succeeds).
#[tokio::test]
async fn an_interaction_that_changed_is_never_overwritten() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let error =
        opened_after(&house, "UPDATE attention.interaction SET version = version + 1").await.unwrap_err();
    assert_eq!(error.reason(), "LOST_UPDATE");
    opened_after(&house, "SELECT 1").await.unwrap();
}

/// Removing `AND a.sequence = v.was` in `update_attentions` turns this red (tried: the write succeeds).
#[tokio::test]
async fn an_attention_that_changed_is_never_overwritten() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let error =
        opened_after(&house, "UPDATE attention.attention SET sequence = sequence + 1").await.unwrap_err();
    assert_eq!(error.reason(), "LOST_UPDATE");
}

async fn constraint_of(house: &House, sql: &'static str) -> Option<String> {
    let error = sqlx::raw_sql(sql).execute(house.db.pool()).await.unwrap_err();
    let sqlx::Error::Database(error) = error else { panic!("{error}") };
    error.constraint().map(str::to_owned)
}

/// Every invariant a row can break, broken by hand. The name of what refuses it is asserted, so dropping a constraint or
/// index turns its row red.
#[tokio::test]
async fn rows_cannot_break_the_invariants() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    house.take(&[Mail::from("otto@cliente.example")]).await;
    let copy = "INSERT INTO attention.interaction (interaction_id, attention_id, ordinal, version, state, direction, channel,
        campaign_key, waiting_since, queued_at, message_count, last_message_at)
        SELECT gen_random_uuid(), attention_id, 2, 1, 'queued', 'inbound', 'email', 'soporte', now(), now(), 1, now()
        FROM attention.attention LIMIT 1";
    let rows = [
        (copy, "one_live_interaction_per_attention"),
        (
            "UPDATE attention.attention SET lineage_id = (SELECT min(lineage_id::text)::uuid FROM attention.attention)",
            "one_open_attention_per_lineage",
        ),
        (
            "INSERT INTO attention.message_key SELECT kind, key, gen_random_uuid(), interaction_id, attention_id
             FROM attention.message_key WHERE kind = 'external'",
            "own_key_names_one_message",
        ),
        ("UPDATE attention.interaction SET state = 'ended', agent_key = 'ana', opened_at = now()", "ended_at_iff_ended"),
        ("UPDATE attention.interaction SET ended_at = now()", "ended_at_iff_ended"),
        ("UPDATE attention.interaction SET state = 'open', opened_at = now()", "agent_iff_not_queued"),
        ("UPDATE attention.interaction SET state = 'open', agent_key = 'ana'", "opened_at_iff_not_queued"),
        ("UPDATE attention.interaction SET offer_agent_key = 'ana'", "offer_parts_only_with_offer"),
        ("UPDATE attention.interaction SET offer_id = gen_random_uuid()", "offered_at_iff_offer"),
        ("UPDATE attention.interaction SET closed_attention = true", "closes_only_when_ended"),
        ("UPDATE attention.interaction SET weight = 0", "weight_is_positive"),
        ("UPDATE attention.interaction SET preferred_agent_key = 'ana'", "preferred_until_iff_preferred"),
        ("UPDATE attention.interaction SET preferred_until = now()", "preferred_until_iff_preferred"),
        ("UPDATE attention.attention SET state = 'closed'", "closed_at_iff_closed"),
        ("UPDATE attention.attention SET state = 'waiting'", "waiting_iff_no_interaction_yet"),
        ("UPDATE attention.attention SET interaction_count = 0", "waiting_iff_no_interaction_yet"),
        ("UPDATE attention.attention SET linked_attention_id = attention_id", "not_linked_to_itself"),
        ("UPDATE attention.message SET delivery_state = 'sent'", "delivery_state_iff_outbound"),
        ("UPDATE attention.interaction SET purged_at = now()", "purged_only_when_ended"),
        ("UPDATE attention.message SET purged = true", "purged_has_no_content"),
        ("UPDATE attention.message SET position = 1, attention_id = (SELECT min(attention_id::text)::uuid FROM attention.attention)",
            "position_is_unique_in_attention"),
    ];
    for (sql, constraint) in rows {
        assert_eq!(constraint_of(&house, sql).await.as_deref(), Some(constraint), "{sql}");
    }
}

/// Without `inbox::take` in `take_in` (replaced by taking all of them, and without the look at known ledger ids) the
/// redelivery violates `own_key_names_one_message` and never ends (tried); with the look alone it is still taken once.
#[tokio::test]
async fn what_was_taken_is_known_to_the_sender() {
    let house = House::open().await;
    let mail = Mail::from("eva@cliente.example");
    house.take(std::slice::from_ref(&mail)).await;
    let known = hilo_kit::inbox::known(&house.db, "attention-intake", &[mail.delivery_id, Uuid::now_v7()])
        .await
        .unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [mail.delivery_id]);
}

/// Sessions that find the same attentions by different plans, in rows that lie in another order than their ids. Removing
/// `ORDER BY attention_id` before `FOR UPDATE` turns this red (tried: `deadlock detected` within the first rounds).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attentions_are_locked_in_one_order() {
    let house = House::open().await;
    let mails: Vec<Mail> = (0..40).map(|n| Mail::from(&format!("c{n}@cliente.example"))).collect();
    house.take(&mails).await;
    sqlx::query("UPDATE attention.attention SET subject = 'moved' WHERE number <= 20")
        .execute(house.db.pool())
        .await
        .unwrap();
    let ids: Vec<InteractionId> =
        house.attentions().await.iter().map(|one| InteractionId(one.last_interaction)).collect();
    // Four sessions that stand in line for the same rows: on a busy machine longer than a command may wait.
    let patient = "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '60s'";
    let lock = |plan: &'static str| {
        let (db, ids) = (house.db.clone(), ids.clone());
        tokio::spawn(async move {
            for _ in 0..100 {
                let mut tx = db.pool().begin().await.unwrap();
                for settings in [patient, plan] {
                    sqlx::raw_sql(settings).execute(&mut *tx).await.unwrap();
                }
                Work::lock(&mut tx, &ids, Wait::Block).await.unwrap();
                tx.rollback().await.unwrap();
            }
        })
    };
    let by_index = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";
    let by_row = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off";
    for task in [lock(by_index), lock(by_row), lock(by_index), lock(by_row)] {
        task.await.unwrap();
    }
}

/// An index with a pending list has one unlucky writer merge the entries of thousands.
#[tokio::test]
async fn no_writer_pays_for_the_index_entries_of_others() {
    let house = House::open().await;
    let pending = house.count(
        "SELECT count(*) FROM pg_class JOIN pg_am ON pg_am.oid = relam
           WHERE amname = 'gin' AND relkind = 'i' AND NOT coalesce('fastupdate=off' = ANY(reloptions), false)",
    );
    assert_eq!(pending.await, 0);
}
