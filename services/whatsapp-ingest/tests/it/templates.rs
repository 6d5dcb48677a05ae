//! Templates: read from the simulator of the Cloud API, whole and page by page, and reported to a stand-in for attention-state.

use std::collections::BTreeMap;
use std::time::Duration;

use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_kit::nats::Subjects;
use hilo_simulators::{Effect, Endpoint, Fault, Request, Simulator, Template};
use hilo_test_support::{Postgres, eventually};
use hilo_whatsapp_ingest::store::Store;
use serde_json::json;

use crate::rig::{DEADLINE, NUMBER, Rig, Setup, account};
use crate::simulated::{simulated, world};

fn template(name: &str, status: &str) -> Template {
    serde_json::from_value(json!({
        "id": name, "business_account_id": "102290129340398", "name": name, "language": "es", "status": status,
        "category": "UTILITY", "components": [{ "type": "BODY", "text": "Hola {{1}}" }]
    }))
    .unwrap()
}

/// State by name of the report that came last for this account.
fn last(rig: &Rig, account: &str) -> BTreeMap<String, String> {
    let reports = rig.reports();
    let of = reports.iter().rev().find(|report| report.account_key == account);
    let rows = of.map(|report| report.templates.clone()).unwrap_or_default();
    rows.into_iter().map(|row| (row.template.unwrap_or_default().name, row.status)).collect()
}

async fn until(rig: &Rig, what: &str, holds: impl Fn(&BTreeMap<String, String>) -> bool) {
    eventually(what, DEADLINE, || async { holds(&last(rig, "ventas")) }).await.unwrap();
}

fn lists(simulator: &Simulator) -> usize {
    simulator.requests().iter().filter(|request| request.endpoint == Endpoint::Templates).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_reported_after_a_start_and_again_when_one_changes() {
    let (mut rig, simulator) = simulated(world(), Setup::default()).await;
    until(&rig, "the templates of the account", |all| all.len() == 3).await;
    assert_eq!(last(&rig, "ventas").get("not_yet").map(String::as_str), Some("PENDING"));
    for n in 0..250 {
        simulator.put_template(template(&format!("t_{n}"), "APPROVED"));
    }
    let notice =
        || simulator.notice(NUMBER, "message_template_status_update", &serde_json::Value::Null).unwrap();
    notice();
    until(&rig, "every page", |all| all.len() == 253).await;
    let report = rig.reports().pop().unwrap();
    assert!(report.read_at.is_some() && report.templates.iter().all(|row| row.template.is_some()));
    // Nothing changes, so nobody is asked.
    let before = lists(&simulator);
    simulator.put_template(template("t_1", "PAUSED"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lists(&simulator), before, "not before a notice or its time");
    notice();
    until(&rig, "the one that was paused", |all| all.get("t_1").is_some_and(|of| of == "PAUSED")).await;
    // After a start everything is read, whatever was read before.
    let before = rig.reports().len();
    rig.stop().await;
    rig.run().await;
    eventually("read after the start", DEADLINE, || async { rig.reports().len() > before }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_list_is_no_list_and_what_fails_is_tried_again() {
    let mut config = world();
    config.templates.extend((0..150).map(|n| template(&format!("t_{n}"), "APPROVED")));
    let (rig, simulator) = simulated(config, Setup { reports_refused: true, ..Setup::default() }).await;
    rig.counts("SELECT (failures > 1)::int::bigint FROM whatsapp.template_sync", 1).await;
    assert!(rig.reports().is_empty(), "attention-state did not take them");
    // The second page breaks: nothing of it is reported.
    simulator.fault(Fault::new(Endpoint::Templates, 200, Effect::Answer { http: 500, body: String::new() }));
    // What was read before that is reported, and refused, before the next list is asked for.
    let broke = || async {
        let of = |request: &Request| request.endpoint == Endpoint::Templates && request.status == Some(500);
        simulator.requests().iter().any(of)
    };
    eventually("a list breaks", DEADLINE, broke).await.unwrap();
    rig.take_reports();
    rig.counts("SELECT (failures > 3)::int::bigint FROM whatsapp.template_sync", 1).await;
    assert!(rig.reports().is_empty());
    simulator.heal(None);
    until(&rig, "the whole list", |all| all.len() == 153).await;
    rig.counts("SELECT failures::bigint FROM whatsapp.template_sync", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_added_is_read_soon_and_one_that_is_switched_off_is_not() {
    let (rig, simulator) = simulated(world(), Setup::default()).await;
    until(&rig, "the first account", |all| !all.is_empty()).await;
    let off = hilo_proto::directory::v1::Account { active: false, ..account("apagada", "333", "app") };
    rig.set_accounts(vec![account("ventas", NUMBER, "app"), account("nueva", "222", "app"), off]);
    eventually("the new account", DEADLINE, || async { !last(&rig, "nueva").is_empty() }).await.unwrap();
    assert!(last(&rig, "apagada").is_empty());
    assert!(lists(&simulator) >= 2);
}

#[tokio::test]
async fn whose_templates_are_due() {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_whatsapp_ingest::migrate(&url).await.unwrap();
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    let store = Store::new(db.clone(), Subjects::new("hilo").unwrap());
    let both = || vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    let due = || async { store.due_templates(both()).await.unwrap().0 };
    let run = |statement: &'static str| sqlx::query(statement).execute(db.pool());
    assert_eq!(due().await, ["a", "b"], "never read");
    let (_, now) = store.due_templates(both()).await.unwrap();
    let hour = Duration::from_secs(3600);
    store.templates_reported("a", now, hour).await.unwrap();
    store.templates_reported("b", now, hour).await.unwrap();
    assert!(due().await.is_empty());
    // Notices: of another field, of another business account, from before, and at last one that counts.
    run("INSERT INTO whatsapp.webhook (id, body, signed_by) VALUES (gen_random_uuid(), '', '{app}')")
        .await
        .unwrap();
    let notice = "INSERT INTO whatsapp.notice (webhook_id, place, business_account_id, field, event, alarming, parsed_at)
                  SELECT id, $1, $2, $3, '', false, now() + make_interval(secs => $4) FROM whatsapp.webhook";
    let notice = |place: &'static str, business: &'static str, field: &'static str, after: f64| {
        sqlx::query(notice).bind(place).bind(business).bind(field).bind(after).execute(db.pool())
    };
    notice("/0", "1", "account_update", 1.0).await.unwrap();
    notice("/1", "9", "message_template_status_update", 1.0).await.unwrap();
    notice("/2", "1", "message_template_status_update", -7200.0).await.unwrap();
    assert!(due().await.is_empty());
    notice("/3", "1", "message_template_status_update", 1.0).await.unwrap();
    assert_eq!(due().await, ["a"]);
    // While it fails only its own pause counts, which doubles up to the usual time.
    for expected in 1..=3 {
        assert_eq!(store.templates_failed("a", Duration::from_secs(600), hour).await.unwrap(), expected);
    }
    assert!(due().await.is_empty());
    let far = "SELECT count(*) FROM whatsapp.template_sync WHERE next_at > now() + interval '2300 seconds' AND next_at < now() + interval '1 hour'";
    let far: i64 = sqlx::query_scalar(far).fetch_one(db.pool()).await.unwrap();
    assert_eq!(far, 2, "both are due within the hour, and the third pause is four times the first");
    run("UPDATE whatsapp.template_sync SET next_at = now() - interval '1 second' WHERE account_key = 'b'")
        .await
        .unwrap();
    assert_eq!(due().await, ["b"]);
}
