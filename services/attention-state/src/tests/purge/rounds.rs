//! What one round of the purge takes, and that nothing stops it for ever.

use super::*;
use crate::attention::domain::MAX_MESSAGES;

/// An ended and confirmed item of this customer, with so many more messages; its interaction.
async fn ended(house: &House, customer: &str, messages: i32) -> Uuid {
    house.take(&[Mail::from(customer)]).await;
    let seen = house.attentions().await.pop().unwrap();
    sqlx::query(
        "INSERT INTO attention.message (message_id, attention_id, interaction_id, position, direction, from_address,
           text_body, occurred_at)
         SELECT gen_random_uuid(), $1, $2, n + 1, 'inbound', $3, 'x', now() FROM generate_series(1, $4) AS n",
    )
    .bind(seen.attention_id)
    .bind(seen.last_interaction)
    .bind(customer)
    .bind(messages)
    .execute(house.db.pool())
    .await
    .unwrap();
    house.end_item(seen.last_interaction, true).await;
    run(house, "UPDATE attention.interaction SET confirmed_version = version, confirmed_at = now() WHERE state = 'ended'")
        .await;
    seen.last_interaction
}

async fn run(house: &House, sql: &'static str) {
    sqlx::raw_sql(sql).execute(house.db.pool()).await.unwrap();
}

const LEFT: &str = "SELECT count(*) FROM attention.message WHERE text_body <> ''";

/// Guard: `MESSAGES_OF_A_STATEMENT`. The server ends a statement after five seconds, however many bodies it is about.
#[tokio::test]
async fn a_statement_empties_a_bounded_number_of_messages() {
    let house = House::open().await;
    ended(&house, "eva@cliente.example", 150).await;
    ended(&house, "otto@cliente.example", 150).await;
    run(
        &house,
        "CREATE TABLE attention.emptied (messages bigint);
         CREATE FUNCTION note_emptied() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO attention.emptied SELECT count(*) FROM changed; RETURN NULL; END $$;
         CREATE TRIGGER note_emptied AFTER UPDATE ON attention.message REFERENCING NEW TABLE AS changed
           FOR EACH STATEMENT EXECUTE FUNCTION note_emptied()",
    )
    .await;
    assert_eq!(purge::all(&house.db, NOW).await.unwrap(), 2);
    assert_eq!(house.count(LEFT).await, 0);
    assert_eq!(house.count("SELECT sum(messages)::bigint FROM attention.emptied").await, 302);
    assert_eq!(house.count("SELECT max(messages) FROM attention.emptied").await, 100);
}

/// Guards: what was passed over, and the fall back to one by one.
#[tokio::test]
async fn one_that_cannot_be_purged_holds_up_no_other() {
    for messages in [MAX_MESSAGES, 2] {
        one_fails(messages).await;
    }
}

/// The older of two, which says it holds so many messages, fails; a full one makes a transaction of its own.
async fn one_fails(messages: i32) {
    let house = House::open().await;
    let first = ended(&house, "eva@cliente.example", 1).await;
    let second = ended(&house, "otto@cliente.example", 1).await;
    sqlx::query("UPDATE attention.interaction SET message_count = $2 WHERE interaction_id = $1")
        .bind(first)
        .bind(messages)
        .execute(house.db.pool())
        .await
        .unwrap();
    run(
        &house,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'on purpose'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON attention.message FOR EACH ROW
           WHEN (NEW.from_address = 'eva@cliente.example') EXECUTE FUNCTION refuse()",
    )
    .await;
    assert_eq!(purge::all(&house.db, NOW).await.unwrap(), 1);
    let purged = "SELECT interaction_id FROM attention.interaction WHERE purged_at IS NOT NULL";
    let gone: Vec<Uuid> = sqlx::query_scalar(purged).fetch_all(house.db.pool()).await.unwrap();
    assert_eq!(gone, [second]);
    // A later round tries it again.
    run(&house, "DROP TRIGGER refuse ON attention.message").await;
    assert_eq!(purge::all(&house.db, NOW).await.unwrap(), 1);
    assert_eq!(house.count(LEFT).await, 0);
}

/// Guard: `coalesce(confirmed_at, ended_at)`. The release before, which runs beside this one during an update, confirms
/// without noting when.
#[tokio::test]
async fn what_the_release_before_confirmed_leaves_too() {
    let scene = scene().await;
    run(&scene.house, "UPDATE attention.interaction SET confirmed_at = NULL").await;
    assert_eq!(
        purge::all(&scene.house.db, Duration::from_secs(3600)).await.unwrap(),
        0,
        "its grace time runs"
    );
    assert_eq!(scene.purge().await, 1);
}
