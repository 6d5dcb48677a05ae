//! What cannot be handed over: acknowledged to Meta, kept, a dead letter, and taken up again when its reason is gone.

use serde_json::json;

use crate::rig::{NUMBER, OTHER_SECRET, Rig, Setup, account, said, webhook};

const REASONS: &str =
    "SELECT string_agg(reason, ',' ORDER BY reason) FROM kit.dead_letter WHERE consumer = 'whatsapp-parser'";

async fn reasons(rig: &Rig) -> String {
    let reasons: Option<String> = sqlx::query_scalar(REASONS).fetch_one(rig.db.pool()).await.unwrap();
    reasons.unwrap_or_default()
}

#[tokio::test]
async fn an_unknown_number_is_taken_and_what_is_old_is_replayed_by_an_operator() {
    let mut rig = Rig::start(Setup::default()).await;
    let body = webhook("999", vec![said("wamid.1", "a"), said("wamid.2", "b")], vec![]);
    assert_eq!(rig.post(&body).await, 200);
    rig.counts("SELECT count(*) FROM kit.dead_letter", 1).await;
    assert_eq!(reasons(&rig).await, "UNKNOWN_NUMBER", "one dead letter for all of the body");
    let aged = "UPDATE kit.dead_letter SET created_at = now() - interval '25 hours'";
    sqlx::query(aged).execute(rig.db.pool()).await.unwrap();
    rig.set_accounts(vec![account("ventas", NUMBER, "app"), account("nueva", "999", "app")]);
    // Posted again it is handed over; what lies there is replayed by hand and finds it known.
    let known = || async {
        rig.post(&webhook("999", vec![said("wamid.3", "c")], vec![])).await;
        rig.count("SELECT count(*) FROM whatsapp.item WHERE wamid = 'wamid.3'").await == 1
    };
    hilo_test_support::eventually("the new number is known", crate::rig::DEADLINE, known).await.unwrap();
    assert_eq!(rig.inbound().await.1.wamid, "wamid.3");
    // Those of the attempts above are young and come back by themselves.
    let by_hand =
        "UPDATE kit.dead_letter SET state = 'replaying' WHERE created_at < now() - interval '24 hours'";
    sqlx::query(by_hand).execute(rig.db.pool()).await.unwrap();
    rig.counts("SELECT count(*) FROM whatsapp.item WHERE wamid IN ('wamid.1', 'wamid.2')", 2).await;
    rig.counts("SELECT count(*) FROM kit.dead_letter WHERE state <> 'replayed'", 0).await;
    assert_eq!(rig.inbound().await.1.wamid, "wamid.1");
}

/// The directory that knows its number comes while the parser is burying it: whoever looked for strays then has not seen it.
#[tokio::test]
async fn a_stray_that_a_new_directory_overtook_comes_back_with_that_one() {
    let mut rig = Rig::start(Setup::default()).await;
    let slow = "CREATE FUNCTION kit.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(4); RETURN NEW; END $$";
    sqlx::query(slow).execute(rig.db.pool()).await.unwrap();
    let trigger =
        "CREATE TRIGGER slow BEFORE INSERT ON kit.dead_letter FOR EACH ROW EXECUTE FUNCTION kit.slow()";
    sqlx::query(trigger).execute(rig.db.pool()).await.unwrap();
    assert_eq!(rig.post(&webhook("999", vec![said("wamid.1", "a")], vec![])).await, 200);
    let burying =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    rig.counts(burying, 1).await;
    rig.set_accounts(vec![account("ventas", NUMBER, "app"), account("nueva", "999", "app")]);
    assert_eq!(rig.inbound().await.1.wamid, "wamid.1");
}

/// Without the place where a look stopped, the strays of a number that nobody adds keep those of others from coming back.
#[tokio::test]
async fn a_stray_comes_back_however_many_of_an_unknown_number_lie_before_it() {
    let mut rig = Rig::start(Setup::default()).await;
    let letters = "INSERT INTO kit.dead_letter
          (id, consumer, message_id, stream, subject, headers, payload, reason, detail, attempts, created_at)
        SELECT gen_random_uuid(), 'whatsapp-parser', gen_random_uuid(), 'inbound', 'x', '[]',
          convert_to(json_build_object('webhook_id', gen_random_uuid(), 'numbers', json_build_array('777'),
            'signed_by', json_build_array('app'))::text, 'UTF8'),
          'UNKNOWN_NUMBER', 'x', 1, now() - interval '1 hour'
        FROM generate_series(1, 2000)";
    sqlx::query(letters).execute(rig.db.pool()).await.unwrap();
    assert_eq!(rig.post(&webhook("999", vec![said("wamid.1", "a")], vec![])).await, 200);
    rig.counts("SELECT count(*) FROM kit.dead_letter", 2001).await;
    rig.set_accounts(vec![account("ventas", NUMBER, "app"), account("nueva", "999", "app")]);
    assert_eq!(rig.inbound().await.1.wamid, "wamid.1");
    rig.counts("SELECT count(*) FROM kit.dead_letter WHERE state = 'dead'", 2000).await;
}

#[tokio::test]
async fn an_app_speaks_for_its_own_numbers_only() {
    let accounts = vec![account("ventas", NUMBER, "app"), account("otra", "222", "other-app")];
    let rig = Rig::start(Setup { accounts, ..Setup::default() }).await;
    let body = webhook(NUMBER, vec![said("wamid.1", "not mine to say")], vec![]);
    assert_eq!(rig.post_signed(&body, OTHER_SECRET).await, 200);
    rig.counts("SELECT count(*) FROM kit.dead_letter", 1).await;
    assert_eq!(reasons(&rig).await, "OTHER_APP");
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.item").await, 0);
}

#[tokio::test]
async fn what_is_signed_and_no_webhook_is_a_dead_letter_beside_what_is_one() {
    let mut rig = Rig::start(Setup::default()).await;
    for body in
        [json!("nothing"), json!({ "entry": 7 }), json!({ "entry": [{ "changes": [{ "field": 1 }] }] })]
    {
        assert_eq!(rig.post(&body).await, 200);
    }
    assert_eq!(rig.post(&webhook(NUMBER, vec![said("wamid.1", "a"), json!("x")], vec![])).await, 200);
    rig.counts("SELECT count(*) FROM kit.dead_letter", 4).await;
    assert_eq!(
        reasons(&rig).await,
        "CHANGE_UNREADABLE,ITEM_UNREADABLE,WEBHOOK_UNREADABLE,WEBHOOK_UNREADABLE"
    );
    assert_eq!(rig.inbound().await.1.wamid, "wamid.1");
    rig.parsed().await;
}

#[tokio::test]
async fn a_number_that_is_switched_off_receives_nothing() {
    let off = hilo_proto::directory::v1::Account { active: false, ..account("ventas", NUMBER, "app") };
    let rig = Rig::start(Setup { accounts: vec![off], ..Setup::default() }).await;
    assert_eq!(rig.post(&webhook(NUMBER, vec![said("wamid.1", "a")], vec![])).await, 200);
    rig.counts("SELECT count(*) FROM kit.dead_letter", 1).await;
    assert_eq!(reasons(&rig).await, "NUMBER_SWITCHED_OFF");
}

#[tokio::test]
async fn notices_about_accounts_and_templates_are_recorded() {
    let rig = Rig::start(Setup::default()).await;
    let of = |field: &str, value: serde_json::Value| json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1022", "changes": [{ "field": field, "value": value }] }] });
    let bodies = [
        of("account_update", json!({ "event": "ACCOUNT_RESTRICTION" })),
        of("phone_number_quality_update", json!({ "event": "DOWNGRADE", "current_limit": "TIER_1K" })),
        of("message_template_status_update", json!({ "event": "APPROVED" })),
        of("a_field_of_next_year", json!({ "x": "\u{0}" })),
    ];
    for body in bodies {
        assert_eq!(rig.post(&body).await, 200);
    }
    rig.counts("SELECT count(*) FROM whatsapp.notice", 4).await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.notice WHERE alarming").await, 3);
    let events: String =
        sqlx::query_scalar("SELECT string_agg(event, ',' ORDER BY event) FROM whatsapp.notice")
            .fetch_one(rig.db.pool())
            .await
            .unwrap();
    assert_eq!(events, ",ACCOUNT_RESTRICTION,APPROVED,DOWNGRADE");
}
