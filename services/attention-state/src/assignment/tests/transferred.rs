//! An offer made by a transfer that is not taken: back to its sender when he is there, else into the queue.

use hilo_kit::db::Db;
use hilo_proto::internal::v1::AssignmentOutcome::{self, Applied};
use time::{Duration, OffsetDateTime};

use super::{apply, batch, command, expire, load_of, offer, open, outcomes, queue, subjects};
use crate::assignment::release;
use crate::attention::domain::{Command, Destination, InteractionId, OfferId, UserKey};
use crate::directory::testing::{self, database, directory_of};

/// Ana has opened the item and transferred it to luis; answers the offer.
async fn transferred(db: &Db, id: InteractionId) -> String {
    open(db, id, "ana").await;
    let offer = OfferId::new();
    let deadline_at = OffsetDateTime::now_utc() + Duration::hours(1);
    let to = Destination::Agent { offer, agent: UserKey::new("luis"), deadline_at };
    command(db, id, Command::Transfer { agent: UserKey::new("ana"), to }).await;
    offer.to_string()
}

async fn holder(db: &Db, id: InteractionId) -> (String, Option<String>) {
    sqlx::query_as("SELECT state, agent_key FROM attention.interaction WHERE interaction_id = $1")
        .bind(id.uuid())
        .fetch_one(db.pool())
        .await
        .unwrap()
}

/// Guard: each condition of `present::of`. Broken alone it leaves the item in the queue; with none broken it goes back.
#[tokio::test]
async fn an_expired_transfer_goes_back_to_whoever_is_there_to_take_it() {
    let rows = [
        ("SELECT 1", true),
        ("UPDATE assignment.agent_state SET paused = true WHERE agent_key = 'ana'", true),
        ("UPDATE assignment.agent_state SET absent_since = now() WHERE agent_key = 'ana'", false),
        ("UPDATE directory.app_user SET active = false WHERE user_key = 'ana'", false),
        ("UPDATE directory.app_user SET roles = '{supervisor}' WHERE user_key = 'ana'", false),
        ("DELETE FROM directory.campaign_member WHERE user_key = 'ana'", false),
    ];
    for (disturbance, returns) in rows {
        let db = database().await;
        testing::apply(&db, &directory_of(&[("a", &["ana", "luis"])], "")).await;
        let id = queue(&db, "a", 1).await[0];
        let offer = transferred(&db, id).await;
        assert_eq!((load_of(&db, "ana").await, load_of(&db, "luis").await), (0, 1));
        sqlx::query(disturbance).execute(db.pool()).await.unwrap();
        let early = apply(&db, batch("a", vec![expire(id, 4, &offer, "accept_timeout")])).await.unwrap();
        assert_eq!(outcomes(&early), [AssignmentOutcome::TooEarly], "{disturbance}");
        sqlx::query("UPDATE attention.interaction SET offer_deadline_at = now()")
            .execute(db.pool())
            .await
            .unwrap();
        let due = apply(&db, batch("a", vec![expire(id, 4, &offer, "accept_timeout")])).await.unwrap();
        assert_eq!(outcomes(&due), [Applied], "{disturbance}");
        let expected = if returns { ("open", Some("ana")) } else { ("queued", None) };
        let (state, agent) = holder(&db, id).await;
        assert_eq!((state.as_str(), agent.as_deref()), expected, "{disturbance}");
        let loads = (load_of(&db, "ana").await, load_of(&db, "luis").await);
        assert_eq!(loads, (i32::from(returns), 0), "{disturbance}");
    }
}

/// What comes back takes room of its sender: another offer to him in the same batch is refused.
#[tokio::test]
async fn what_comes_back_counts_for_the_offers_of_the_same_batch() {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana", "luis"])], "")).await;
    sqlx::query("UPDATE assignment.agent_load SET capacity = 1").execute(db.pool()).await.unwrap();
    let ids = queue(&db, "a", 2).await;
    let transfer = transferred(&db, ids[0]).await;
    let changes = vec![expire(ids[0], 4, &transfer, "agent_absent"), offer(ids[1], 1, "ana")];
    let results = apply(&db, batch("a", changes)).await.unwrap();
    assert_eq!(outcomes(&results), [Applied, AssignmentOutcome::NoCapacity]);
}

#[tokio::test]
async fn a_transfer_to_somebody_who_is_switched_off_goes_back_to_its_sender() {
    let db = database().await;
    let both = directory_of(&[("a", &["ana", "luis"])], "");
    testing::apply(&db, &both).await;
    let ids = queue(&db, "a", 2).await;
    transferred(&db, ids[0]).await;
    transferred(&db, ids[1]).await;
    let on = "{key: luis, name: luis, roles: [agent]}";
    let off = both.replace(on, "{key: luis, name: luis, roles: [agent], active: false}");
    testing::apply(&db, &off).await;
    assert_eq!(release::all(&db, &subjects()).await.unwrap(), 2);
    for id in ids {
        assert_eq!(holder(&db, id).await, ("open".to_owned(), Some("ana".to_owned())));
    }
    assert_eq!((load_of(&db, "ana").await, load_of(&db, "luis").await), (2, 0));
}
