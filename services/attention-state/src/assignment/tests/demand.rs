//! What an item asks for by itself is fixed as it enters the queue of a campaign, by whatever way it comes.

use hilo_kit::db::Db;
use hilo_proto::event::v1::{AttentionEvent, EventType};
use hilo_proto::internal::v1::AssignmentOutcome::Applied;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{apply, arrival, batch, command, load_of, open, outcomes, overflow, queue, subjects};
use crate::attention::domain::{
    AttentionId, CampaignKey, Command, ContactId, Demand, Destination, InteractionId, UserKey,
};
use crate::attention::store::demand::{Entering, read};
use crate::attention::store::{Head, Wait};
use crate::attention::work::{Actor, Work};
use crate::directory::testing::{self, database, directory_of};

/// Lets this contact write to the campaign, in an attention of its own.
async fn writes(db: &Db, campaign: &'static str, contact: Uuid) -> InteractionId {
    db.transaction(move |tx| {
        Box::pin(async move {
            let number: i64 = sqlx::query_scalar("SELECT nextval('attention.attention_number')")
                .fetch_one(&mut *tx)
                .await?;
            let mut work = Work::lock(tx, &[], Wait::Block).await?;
            let (command, id, lineage) = arrival(campaign, contact, number, work.now());
            work.begin(command, Head { lineage, ..Head::default() }, "00-trace", "")?;
            work.write(tx, &subjects()).await?;
            Ok(id)
        })
    })
    .await
    .unwrap()
}

async fn contact_of(db: &Db, id: InteractionId) -> Uuid {
    sqlx::query_scalar(
        "SELECT contact_id FROM attention.attention JOIN attention.interaction USING (attention_id) WHERE interaction_id = $1",
    )
    .bind(id.uuid())
    .fetch_one(db.pool())
    .await
    .unwrap()
}

async fn attention_of(db: &Db, id: InteractionId) -> Uuid {
    sqlx::query_scalar("SELECT attention_id FROM attention.interaction WHERE interaction_id = $1")
        .bind(id.uuid())
        .fetch_one(db.pool())
        .await
        .unwrap()
}

async fn ends(db: &Db, id: InteractionId, agent: &str, close: bool) {
    open(db, id, agent).await;
    command(db, id, Command::End { agent: UserKey::new(agent), close, problems: Vec::new() }).await;
}

async fn sql(db: &Db, text: &'static str) {
    sqlx::raw_sql(text).execute(db.pool()).await.unwrap();
}

/// Weight, VIP, whom it is kept for and for how many seconds, as stored.
async fn row(db: &Db, id: InteractionId) -> (i32, bool, Option<String>, Option<f64>) {
    sqlx::query_as(
        "SELECT weight, vip, preferred_agent_key, extract(epoch FROM preferred_until - queued_at)::float8
         FROM attention.interaction WHERE interaction_id = $1",
    )
    .bind(id.uuid())
    .fetch_one(db.pool())
    .await
    .unwrap()
}

fn kept(weight: i32, vip: bool, agent: &str) -> (i32, bool, Option<String>, Option<f64>) {
    (weight, vip, Some(agent.to_owned()), Some(60.0))
}

/// What an item would ask for that enters campaign `a` now.
async fn asked(db: &Db, entering: Entering) -> Demand {
    let found = db
        .transaction(move |tx| {
            let entering = entering.clone();
            Box::pin(async move { read(tx, &[entering]).await })
        })
        .await
        .unwrap();
    found[0].1.clone()
}

/// Red without the condition that each row breaks. Luis ended an attention of the customer first, ana another one later.
#[tokio::test]
async fn kept_for_who_knows_the_customer_while_he_serves_the_campaign() {
    let nothing = "SELECT 1";
    let rows = [
        (nothing, Some("ana")),
        ("UPDATE directory.app_user SET active = false WHERE user_key = 'ana'", None),
        ("UPDATE directory.app_user SET roles = '{supervisor}' WHERE user_key = 'ana'", None),
        ("DELETE FROM directory.campaign_member WHERE user_key = 'ana' AND campaign_key = 'a'", None),
        ("UPDATE directory.campaign SET preferred_agent_seconds = 0", None),
        ("UPDATE directory.campaign SET preferred_agent_seconds = NULL", None),
        (
            "UPDATE attention.interaction SET ended_at = now() + interval '1 h' WHERE agent_key = 'luis'",
            Some("luis"),
        ),
        ("UPDATE attention.interaction SET campaign_key = 'b' WHERE agent_key = 'ana'", Some("luis")),
        (
            "UPDATE attention.interaction SET state = 'open', ended_at = NULL, closed_attention = false WHERE agent_key = 'ana'",
            Some("luis"),
        ),
        (
            "UPDATE attention.attention SET contact_id = '00000000-0000-0000-0000-000000000000'
          WHERE attention_id = (SELECT attention_id FROM attention.interaction WHERE agent_key = 'ana')",
            Some("luis"),
        ),
    ];
    for (disturbance, expected) in rows {
        let db = database().await;
        let people: &[&str] = &["ana", "luis"];
        testing::apply(&db, &directory_of(&[("a", people), ("b", people)], ", preferred_agent_seconds: 60"))
            .await;
        let stranger = Uuid::nil();
        sqlx::query("INSERT INTO contact.contact (contact_id) VALUES ($1)")
            .bind(stranger)
            .execute(db.pool())
            .await
            .unwrap();
        let before = queue(&db, "a", 1).await[0];
        let contact = contact_of(&db, before).await;
        ends(&db, before, "luis", true).await;
        let last = writes(&db, "a", contact).await;
        ends(&db, last, "ana", true).await;
        sql(&db, disturbance).await;
        let queued_at = OffsetDateTime::UNIX_EPOCH;
        let fresh = Entering {
            interaction: InteractionId::new(),
            attention: AttentionId::new(),
            contact: ContactId(contact),
            campaign: CampaignKey::new("a"),
            queued_at,
            waits: true,
            from: None,
        };
        let demand = asked(&db, fresh.clone()).await;
        let preferred = demand.preferred.as_ref();
        assert_eq!(preferred.map(|one| one.agent.as_str()), expected, "{disturbance}");
        assert!(preferred.is_none_or(|one| one.until == queued_at + Duration::seconds(60)), "{disturbance}");
        if disturbance != nothing {
            continue;
        }
        let whom =
            async |entering: Entering| asked(&db, entering).await.preferred.map(|one| one.agent.to_string());
        let ana = Some(UserKey::new("ana"));
        assert_eq!(whom(Entering { from: ana, ..fresh.clone() }).await, None, "he gave it away");
        assert_eq!(whom(Entering { waits: false, ..fresh.clone() }).await, None, "somebody has it already");
        let again = Entering { attention: AttentionId(attention_of(&db, before).await), ..fresh.clone() };
        assert_eq!(
            whom(again.clone()).await.as_deref(),
            Some("luis"),
            "the attention's own agent goes first"
        );
        let luis = Some(UserKey::new("luis"));
        assert_eq!(whom(Entering { from: luis, ..again.clone() }).await.as_deref(), Some("ana"));
        sql(&db, "UPDATE attention.interaction SET state = 'open', ended_at = NULL, closed_attention = false WHERE agent_key = 'luis'").await;
        assert_eq!(whom(again).await.as_deref(), Some("ana"), "what runs says nothing");
        for _ in 0..19 {
            writes(&db, "b", contact).await;
        }
        assert_eq!(whom(fresh.clone()).await.as_deref(), Some("ana"), "among the 20 newest attentions");
        writes(&db, "b", contact).await;
        assert_eq!(whom(fresh).await, None, "no further");
    }
}

/// Campaigns `a` (of weight 3, whose items overflow into `b`) and `b` (of weight 2); both keep for 60 s.
async fn house() -> Db {
    let db = database().await;
    let yaml =
        directory_of(&[("a", &["ana", "luis"]), ("b", &["pia", "ana"])], ", preferred_agent_seconds: 60");
    let a = "item_weight: 3, overflow_seconds: 60, overflow_mode: send_to_campaign, overflow_campaign: b";
    let yaml = yaml
        .replace("name: a, channel", &format!("name: a, {a}, channel"))
        .replace("name: b, channel", "name: b, item_weight: 2, channel");
    testing::apply(&db, &yaml).await;
    db
}

/// A customer whom ana served in `a` and pia in `b`.
async fn known(db: &Db) -> Uuid {
    let first = queue(db, "a", 1).await[0];
    let contact = contact_of(db, first).await;
    ends(db, first, "ana", true).await;
    let second = writes(db, "b", contact).await;
    ends(db, second, "pia", true).await;
    contact
}

async fn told(db: &Db, id: InteractionId) -> Vec<AttentionEvent> {
    let attention = attention_of(db, id).await;
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM kit.outbox_log WHERE key = $1 ORDER BY sequence")
            .bind(attention)
            .fetch_all(db.pool())
            .await
            .unwrap();
    let read =
        |payload: &Vec<u8>| hilo_proto::json::from_json("hilo.event.v1.AttentionEvent", payload).unwrap();
    payloads.iter().map(read).collect()
}

/// Red for the path whose entry is not recognised, and for what is fixed anew where it must stay.
#[tokio::test]
async fn fixed_on_entering_a_campaign_and_kept_until_the_next() {
    let db = house().await;
    let contact = known(&db).await;
    sqlx::query("UPDATE contact.contact SET vip = true WHERE contact_id = $1")
        .bind(contact)
        .execute(db.pool())
        .await
        .unwrap();
    let id = writes(&db, "a", contact).await;
    assert_eq!(row(&db, id).await, kept(3, true, "ana"), "a first message");
    let stranger = queue(&db, "a", 1).await[0];
    assert_eq!(row(&db, stranger).await, (3, false, None, None), "of somebody new");
    for event in told(&db, id).await.iter().filter(|event| event.interaction.is_some()) {
        let shown = event.interaction.as_ref().unwrap();
        let whom = (shown.preferred_agent_key.as_str(), shown.preferred_until.is_some());
        assert_eq!((shown.weight, shown.vip, whom), (3, true, ("ana", true)), "{:?}", event.r#type());
    }
    // Neither the contact nor the campaign moves what waits or is held.
    sql(&db, "UPDATE contact.contact SET vip = false; UPDATE directory.campaign SET item_weight = 7 WHERE campaign_key = 'a'").await;
    open(&db, id, "luis").await;
    command(&db, id, Command::Release { agent: UserKey::new("luis") }).await;
    let stays = |row: (i32, bool, Option<String>, Option<f64>)| (row.0, row.1, row.2);
    assert_eq!(stays(row(&db, id).await), (3, true, Some("ana".to_owned())), "released");
    open(&db, id, "luis").await;
    let gone = Command::Orphan {
        agent: UserKey::new("luis"),
        absent_since: OffsetDateTime::UNIX_EPOCH,
        after: Duration::ZERO,
    };
    command(&db, id, gone).await;
    assert_eq!(stays(row(&db, id).await), (3, true, Some("ana".to_owned())), "orphaned");
    open(&db, id, "luis").await;
    let to = |key: &str| Destination::Campaign(CampaignKey::new(key));
    command(&db, id, Command::Transfer { agent: UserKey::new("luis"), to: to("b") }).await;
    assert_eq!(row(&db, id).await, kept(2, false, "pia"), "transferred");
    let events = told(&db, id).await;
    let shown = events.last().and_then(|event| event.interaction.as_ref()).unwrap();
    assert_eq!((shown.weight, shown.vip, shown.preferred_agent_key.as_str()), (2, false, "pia"));
    let earlier = events.iter().filter(|event| event.r#type() == EventType::InteractionOpened);
    assert!(earlier.clone().count() == 3, "opened thrice");
    assert!(earlier.map(|event| event.interaction.as_ref().unwrap().weight).all(|weight| weight == 3));
    command(&db, id, Command::Reassign { to: to("a") }).await;
    assert_eq!(row(&db, id).await, kept(7, false, "ana"), "reassigned");
    open(&db, id, "ana").await;
    command(&db, id, Command::Transfer { agent: UserKey::new("ana"), to: to("b") }).await;
    assert_eq!(load_of(&db, "ana").await, 0);
}

/// The answer to the router holds what the event will hold: it has the version already, and would ignore that.
#[tokio::test]
async fn an_overflow_answers_with_what_the_item_asks_for_in_the_other_campaign() {
    let db = house().await;
    let contact = known(&db).await;
    let id = writes(&db, "a", contact).await;
    sql(&db, "UPDATE attention.interaction SET queued_at = now() - interval '61 s' WHERE state = 'queued'")
        .await;
    let results = apply(&db, batch("a", vec![overflow(id, 1)])).await.unwrap();
    assert_eq!(outcomes(&results), [Applied]);
    let answered = results[0].current.clone().unwrap().interaction.unwrap();
    assert_eq!((answered.weight, answered.preferred_agent_key.as_str()), (2, "pia"));
    let events = told(&db, id).await;
    assert_eq!(events.last().unwrap().interaction.as_ref(), Some(&answered));
    assert_eq!(row(&db, id).await, kept(2, false, "pia"));
}

/// A second interaction of an attention goes to who ended the one before it, and what an agent reopens is kept for nobody.
#[tokio::test]
async fn a_second_interaction_and_a_reopened_one_are_fixed_anew() {
    let db = house().await;
    let id = writes(&db, "a", known(&db).await).await;
    ends(&db, id, "luis", false).await;
    let attention = AttentionId(attention_of(&db, id).await);
    let next = db
        .transaction(move |tx| {
            Box::pin(async move {
                let mut work = Work::lock_current(tx, &[attention.uuid()], Wait::Block).await?;
                let (command, next, _) = arrival("a", Uuid::nil(), 0, work.now());
                work.decide_at(attention, None, command, &Actor::System, "")?;
                work.write(tx, &subjects()).await?;
                Ok(next)
            })
        })
        .await
        .unwrap();
    assert_eq!(row(&db, next).await, kept(3, false, "luis"));
    ends(&db, next, "luis", false).await;
    sql(&db, "UPDATE directory.campaign SET item_weight = 4 WHERE campaign_key = 'a'").await;
    let reopen = Command::Reopen { agent: UserKey::new("luis"), live: false, successor_open: false };
    command(&db, next, reopen).await;
    assert_eq!(row(&db, next).await, (4, false, None, None));
    assert_eq!(load_of(&db, "luis").await, 4);
}
