//! One bad entry, one bad body, a directory that is behind: nobody else suffers, and nothing waits for a person without need.

use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use serde_json::json;

use crate::rig::{APP_SECRET, NUMBER, Rig, Setup, account, said, webhook};

/// Makes the commit of an item fail as often as the trigger stays.
async fn refuse(rig: &Rig, wamid: &str, code: &str) {
    let function = format!(
        "CREATE FUNCTION whatsapp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.wamid = '{wamid}' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$"
    );
    sqlx::query(sqlx::AssertSqlSafe(function)).execute(rig.db.pool()).await.unwrap();
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON whatsapp.item FOR EACH ROW EXECUTE FUNCTION whatsapp.refuse()";
    sqlx::query(trigger).execute(rig.db.pool()).await.unwrap();
}

/// Ends the pauses between attempts again and again until there is a dead letter; its reason and attempts.
async fn buried(rig: &Rig) -> (String, i32) {
    let found = || async {
        let ends = "UPDATE whatsapp.parse_queue SET not_before = now() WHERE not_before > now()";
        sqlx::query(ends).execute(rig.db.pool()).await.unwrap();
        rig.count("SELECT count(*) FROM kit.dead_letter").await == 1
    };
    hilo_test_support::eventually("a dead letter", crate::rig::DEADLINE, found).await.unwrap();
    sqlx::query_as("SELECT reason, attempts FROM kit.dead_letter").fetch_one(rig.db.pool()).await.unwrap()
}

#[tokio::test]
async fn half_an_emoji_and_bytes_that_are_no_text_sink_nobody() {
    let mut rig = Rig::start(Setup::default()).await;
    let messages = vec![
        said("wamid.1", "uno"),
        said("wamid.2", "HALF"),
        said("wamid.3", "BYTES"),
        said("wamid.4", "cuatro"),
    ];
    let mut huge = said("wamid.5", "x");
    huge["text"]["body"] = json!("HUGE");
    let body = webhook(NUMBER, [messages, vec![huge]].concat(), vec![]).to_string();
    let body = body.replace("HALF", "dos \\ud83d fin").replace("\"HUGE\"", "1e999");
    let (before, after) = body.split_once("BYTES").unwrap();
    let body = [before.as_bytes(), b"tres \xff\xfe", after.as_bytes()].concat();
    assert_eq!(rig.post_bytes(body, APP_SECRET).await, 200);
    for (wamid, expected) in [
        ("wamid.1", "uno"),
        ("wamid.2", "dos \u{fffd} fin"),
        ("wamid.3", "tres \u{fffd}\u{fffd}"),
        ("wamid.4", "cuatro"),
    ] {
        let (_, item) = rig.inbound().await;
        let Some(Kind::Text(text)) = item.kind else { panic!("{:?}", item.kind) };
        assert_eq!((item.wamid.as_str(), text.body.as_str()), (wamid, expected));
    }
    let (_, item) = rig.inbound().await;
    let Some(Kind::Placeholder(shown)) = item.kind else { panic!("{:?}", item.kind) };
    assert_eq!(
        (item.wamid.as_str(), shown.r#type.as_str()),
        ("wamid.5", "text"),
        "visible, and who wrote it is known"
    );
    assert_eq!(rig.count("SELECT count(*) FROM kit.dead_letter").await, 0);
}

#[tokio::test]
async fn a_number_that_was_added_just_now_is_waited_for() {
    let mut rig = Rig::start(Setup { directory_seconds: 600, ..Setup::default() }).await;
    let mut body = webhook("999", vec![said("wamid.1", "a")], vec![]);
    let known = webhook(NUMBER, vec![said("wamid.0", "of another number in the same body")], vec![]);
    body["entry"].as_array_mut().unwrap().push(known["entry"][0].clone());
    assert_eq!(rig.post(&body).await, 200);
    assert_eq!(rig.inbound().await.1.wamid, "wamid.0", "nobody waits with it");
    rig.counts("SELECT count(*) FROM whatsapp.parse_queue WHERE directory_version IS NOT NULL", 1).await;
    assert_eq!(rig.post(&webhook("999", vec![said("wamid.2", "b")], vec![])).await, 200);
    rig.counts("SELECT count(*) FROM whatsapp.parse_queue WHERE directory_version IS NOT NULL", 2).await;
    rig.set_accounts(vec![account("ventas", NUMBER, "app"), account("nueva", "999", "app")]);
    assert_eq!(rig.inbound().await.1.wamid, "wamid.1");
    let (envelope, item) = rig.inbound().await;
    assert_eq!((item.wamid.as_str(), envelope.sequence), ("wamid.2", 2), "in the order of their arrival");
    rig.parsed().await;
    assert_eq!(rig.count("SELECT count(*) FROM kit.dead_letter").await, 0);
}

#[tokio::test]
async fn a_dead_letter_for_want_of_a_number_comes_back_when_the_number_does() {
    let mut rig = Rig::start(Setup::default()).await;
    assert_eq!(rig.post(&webhook("999", vec![said("wamid.1", "a")], vec![])).await, 200);
    assert_eq!(rig.post(&webhook("888", vec![said("wamid.2", "b")], vec![])).await, 200);
    rig.counts("SELECT count(*) FROM kit.dead_letter WHERE reason = 'UNKNOWN_NUMBER'", 2).await;
    rig.set_accounts(vec![account("ventas", NUMBER, "app"), account("nueva", "999", "app")]);
    assert_eq!(rig.inbound().await.1.wamid, "wamid.1");
    rig.counts("SELECT count(*) FROM kit.dead_letter WHERE state = 'replayed'", 1).await;
    assert_eq!(
        rig.count("SELECT count(*) FROM kit.dead_letter WHERE state = 'dead'").await,
        1,
        "whose number is unknown"
    );
}

#[tokio::test]
async fn one_body_that_cannot_be_committed_is_a_dead_letter_with_its_reason_and_the_others_go_on() {
    for (code, reason) in [("57014", "STATEMENT_TIMEOUT"), ("23514", "CONSTRAINT_VIOLATED")] {
        let mut rig = Rig::start(Setup::default()).await;
        refuse(&rig, "wamid.1", code).await;
        let bodies = (1..=20).map(|n| webhook(NUMBER, vec![said(&format!("wamid.{n}"), "x")], vec![]));
        let posted = futures::future::join_all(bodies.map(|body| {
            let rig = &rig;
            async move { rig.post(&body).await }
        }))
        .await;
        assert!(posted.iter().all(|status| *status == 200));
        rig.counts("SELECT count(*) FROM whatsapp.item", 19).await;
        assert_eq!(
            rig.count("SELECT count(*) FROM kit.dead_letter").await,
            0,
            "it has not been tried long enough"
        );
        let (told, attempts) = buried(&rig).await;
        assert_eq!((told.as_str(), attempts), (reason, hilo_whatsapp_ingest::store::MAX_ATTEMPTS));
        rig.parsed().await;
        // Its reason gone, an operator brings it back; what a slow database could not take comes back by itself.
        sqlx::query("DROP TRIGGER refuse ON whatsapp.item").execute(rig.db.pool()).await.unwrap();
        let back = match reason {
            "STATEMENT_TIMEOUT" => "UPDATE kit.dead_letter SET created_at = now() - interval '11 minutes'",
            _ => "UPDATE kit.dead_letter SET state = 'replaying'",
        };
        sqlx::query(back).execute(rig.db.pool()).await.unwrap();
        rig.counts("SELECT count(*) FROM whatsapp.item", 20).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn an_older_directory_does_not_replace_a_newer_one_that_was_kept_just_now() {
    let store = crate::store::store().await;
    let kept = |key: &str| vec![crate::rig::account(key, "1", "app")];
    let current = || async { store.kept_accounts().await.unwrap().unwrap()[0].key.clone() };
    store.keep_accounts(7, kept("seven")).await.unwrap();
    store.keep_accounts(6, kept("six")).await.unwrap();
    assert_eq!(current().await, "seven");
    store.keep_accounts(8, kept("eight")).await.unwrap();
    assert_eq!(current().await, "eight");
    sqlx::query("UPDATE whatsapp.directory SET kept_at = now() - interval '1 hour'")
        .execute(store.db().pool())
        .await
        .unwrap();
    store.keep_accounts(3, kept("restored")).await.unwrap();
    assert_eq!(current().await, "restored", "attention-state came from a backup");
}
