//! Loads by weight: an offer must fit what is left, and whatever way an item leaves its holder gives back what it took.

use hilo_kit::db::Db;
use hilo_proto::internal::v1::AssignmentOutcome::{Applied, NoCapacity};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{apply, batch, command, load_of, offer, open, outcomes, overflow, queue, subjects};
use crate::attention::domain::{
    Attention, CampaignKey, Command, Destination, Expire, InteractionId, OfferId, Stage, UserKey,
};
use crate::attention::store::Wait;
use crate::attention::work::{Actor, Found, Work};
use crate::directory::testing::{self, database, directory_of};

async fn weighing(weight: i32) -> Db {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana"])], &format!(", item_weight: {weight}"))).await;
    db
}

async fn idle_since(db: &Db) -> Option<OffsetDateTime> {
    sqlx::query_scalar(
        "SELECT idle_since FROM assignment.agent_load WHERE agent_key = 'ana' AND channel = 'email'",
    )
    .fetch_one(db.pool())
    .await
    .unwrap()
}

/// Capacity is 5. Red when an offer asks for any free capacity instead of as much as the item weighs.
#[tokio::test]
async fn an_offer_must_fit_what_is_left_and_a_person_may_open_more() {
    let db = weighing(3).await;
    let ids = queue(&db, "a", 2).await;
    let both = vec![offer(ids[0], 1, "ana"), offer(ids[1], 1, "ana")];
    let results = apply(&db, batch("a", both)).await.unwrap();
    assert_eq!(
        outcomes(&results),
        [Applied, NoCapacity],
        "in one batch: 3 of 5 are taken, 3 more are too much"
    );
    let later = apply(&db, batch("a", vec![offer(ids[1], 1, "ana")])).await.unwrap();
    assert_eq!((outcomes(&later), load_of(&db, "ana").await), (vec![NoCapacity], 3), "as stored");
    open(&db, ids[1], "ana").await;
    assert_eq!(load_of(&db, "ana").await, 6, "a person's choice always wins");
    let light = weighing(2).await;
    let ids = queue(&light, "a", 2).await;
    let both = vec![offer(ids[0], 1, "ana"), offer(ids[1], 1, "ana")];
    assert_eq!(outcomes(&apply(&light, batch("a", both)).await.unwrap()), [Applied, Applied]);
    assert_eq!(load_of(&light, "ana").await, 4);
}

/// An offer that ends in the same batch makes room of its own weight for the next one.
#[tokio::test]
async fn what_an_ended_offer_frees_counts_for_the_same_batch() {
    let db = weighing(3).await;
    let ids = queue(&db, "a", 2).await;
    let ringing = apply(&db, batch("a", vec![offer(ids[0], 1, "ana")])).await.unwrap();
    let rings = ringing[0].current.clone().unwrap().interaction.unwrap().offer.unwrap().offer_id;
    let changes = vec![super::expire(ids[0], 2, &rings, "agent_paused"), offer(ids[1], 1, "ana")];
    assert_eq!(outcomes(&apply(&db, batch("a", changes)).await.unwrap()), [Applied, Applied]);
    assert_eq!(load_of(&db, "ana").await, 3);
}

/// Red when the campaign's weight of now is freed instead of the item's own.
#[tokio::test]
async fn a_campaign_that_weighs_anew_changes_nothing_of_what_is_held() {
    let db = weighing(3).await;
    let ids = queue(&db, "a", 2).await;
    open(&db, ids[0], "ana").await;
    testing::apply(&db, &directory_of(&[("a", &["ana"])], ", item_weight: 5")).await;
    open(&db, ids[1], "ana").await;
    assert_eq!(load_of(&db, "ana").await, 6, "both were queued when they weighed 3");
    command(&db, ids[0], Command::Release { agent: UserKey::new("ana") }).await;
    assert_eq!(load_of(&db, "ana").await, 3);
    let end = Command::End { agent: UserKey::new("ana"), close: false, problems: Vec::new() };
    command(&db, ids[1], end).await;
    assert_eq!(load_of(&db, "ana").await, 0);
    let reopen = Command::Reopen { agent: UserKey::new("ana"), live: false, successor_open: false };
    command(&db, ids[1], reopen).await;
    assert_eq!(load_of(&db, "ana").await, 5, "opened again it weighs as the campaign has it now");
}

#[tokio::test]
async fn idle_since_is_the_moment_in_which_the_last_item_went() {
    let db = weighing(2).await;
    let ids = queue(&db, "a", 2).await;
    assert_eq!(idle_since(&db).await, None);
    open(&db, ids[0], "ana").await;
    open(&db, ids[1], "ana").await;
    let release = || Command::Release { agent: UserKey::new("ana") };
    command(&db, ids[0], release()).await;
    assert_eq!(idle_since(&db).await, None, "he has one left");
    command(&db, ids[1], release()).await;
    let first = idle_since(&db).await.unwrap();
    open(&db, ids[0], "ana").await;
    assert_eq!(idle_since(&db).await, Some(first), "while he has one nothing is noted");
    command(&db, ids[0], release()).await;
    assert!(idle_since(&db).await.unwrap() > first);
}

/// Numbers from a seed that a failure names.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const AGENTS: [&str; 3] = ["ana", "luis", "rosa"];

/// What one of the agents, a supervisor or a clock might want of the item as it is.
fn wish(state: &Attention, dice: &mut Dice) -> Option<Command> {
    let interaction = state.interaction.as_ref()?;
    let agent = || UserKey::new(AGENTS[0]);
    let holder = interaction.holder().cloned().unwrap_or_else(agent);
    let other = UserKey::new(AGENTS[dice.roll(3) as usize]);
    let deadline_at = OffsetDateTime::now_utc() + Duration::hours(1);
    let to_agent = || Destination::Agent { offer: OfferId::new(), agent: other.clone(), deadline_at };
    let elsewhere = if interaction.campaign.as_str() == "a" { "b" } else { "a" };
    let to_campaign = Destination::Campaign(CampaignKey::new(elsewhere));
    let version = interaction.version;
    let returns = dice.roll(2) == 0;
    let ringing = match &interaction.stage {
        Stage::Queued { offer, .. } => offer.as_ref().map(|offer| offer.id),
        Stage::Open { .. } | Stage::Ended { .. } => None,
    };
    Some(match dice.roll(12) {
        0 => Command::MakeOffer { version, offer: OfferId::new(), agent: Some(other), deadline_at: None },
        1 | 2 => Command::Open { agent: other },
        3 => Command::Release { agent: holder },
        4 => Command::DeclineOffer { offer: ringing?, agent: holder, returns },
        5 => Command::ExpireOffer { version, offer: ringing?, because: Expire::AgentAbsent, returns },
        6 => Command::Transfer { agent: holder, to: to_campaign },
        7 => Command::Transfer { agent: holder, to: to_agent() },
        8 => Command::Reassign { to: if returns { to_agent() } else { to_campaign } },
        9 => Command::End { agent: holder, close: false, problems: Vec::new() },
        10 => Command::Reopen { agent: other, live: false, successor_open: false },
        _ => {
            Command::Orphan { agent: holder, absent_since: OffsetDateTime::UNIX_EPOCH, after: Duration::ZERO }
        }
    })
}

async fn step(db: &Db, id: InteractionId, seed: u64) {
    db.transaction(move |tx| {
        Box::pin(async move {
            let mut work = Work::lock(tx, &[id], Wait::Block).await?;
            let Found::Locked(attention) = work.find(id) else { return Ok(()) };
            let wished = work.state(attention, Some(id)).and_then(|state| wish(&state, &mut Dice(seed)));
            // What its state refuses is no step.
            if let Some(command) = wished
                && work.decide(id, command, &Actor::System).is_ok()
            {
                work.write(tx, &subjects()).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
}

/// Loads that are not the sum of what the agent holds.
async fn wrong(db: &Db) -> Vec<(String, i32, i64)> {
    sqlx::query_as(
        "SELECT * FROM (
             SELECT agent_key, load, coalesce((
                 SELECT sum(weight) FROM attention.interaction AS held WHERE held.channel = load.channel
                   AND ((held.state = 'open' AND held.agent_key = load.agent_key) OR held.offer_agent_key = load.agent_key)
             ), 0) AS held FROM assignment.agent_load AS load) AS compared
         WHERE load <> held",
    )
    .fetch_all(db.pool())
    .await
    .unwrap()
}

/// Whatever people, timers and the router do, and however often campaigns change what their items weigh.
#[tokio::test]
async fn loads_are_the_weights_held_after_any_course() {
    let seed = u64::from_be_bytes(Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    let mut dice = Dice(seed);
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &AGENTS), ("b", &AGENTS)], ", item_weight: 3")).await;
    sqlx::query("UPDATE directory.campaign SET overflow_seconds = 1, overflow_mode = 'send_to_campaign', overflow_campaign_key = 'b' WHERE campaign_key = 'a'")
        .execute(db.pool())
        .await
        .unwrap();
    let mut ids = queue(&db, "a", 4).await;
    ids.extend(queue(&db, "b", 2).await);
    let mut held = 0;
    for round in 0..200 {
        let id = ids[dice.roll(6) as usize];
        match dice.roll(10) {
            0 => {
                let weight = i32::try_from(dice.roll(9)).unwrap() + 1;
                sqlx::query("UPDATE directory.campaign SET item_weight = $1 WHERE campaign_key = 'a'")
                    .bind(weight)
                    .execute(db.pool())
                    .await
                    .unwrap();
            }
            1 => {
                sqlx::query("UPDATE attention.interaction SET queued_at = queued_at - interval '2 s'")
                    .execute(db.pool())
                    .await
                    .unwrap();
                let version: i64 =
                    sqlx::query_scalar("SELECT version FROM attention.interaction WHERE interaction_id = $1")
                        .bind(id.uuid())
                        .fetch_one(db.pool())
                        .await
                        .unwrap();
                apply(&db, batch("a", vec![overflow(id, version)])).await.unwrap();
            }
            _ => step(&db, id, dice.roll(u64::MAX >> 33)).await,
        }
        assert_eq!(wrong(&db).await, [], "seed {seed}, round {round}");
        held += load_of(&db, "ana").await;
    }
    assert!(held > 0, "seed {seed}: nobody ever held anything");
}
