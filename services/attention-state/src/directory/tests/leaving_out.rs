//! What a text leaves out: kept and named, or switched off; and what of the text does not go with what is kept.

use super::shown;
use crate::directory::apply::{Mode, Outcome};
use crate::directory::testing::{admin, apply, database, example};
use hilo_kit::db::Db;

async fn applied(db: &Db, yaml: &str, mode: Mode) -> Outcome {
    admin(db).apply(yaml.to_owned(), mode, "user:coco".into()).await.unwrap()
}

const PRUNE: Mode = Mode { dry_run: false, prune: true };

/// Nothing of the example but one user.
const LITTLE: &str =
    "users:\n  - {key: ana, name: Ana Quispe, roles: [agent], skills: [{skill: garantia, level: 80}]}\n";

#[tokio::test]
async fn without_prune_it_is_only_named_and_with_it_switched_off() {
    let db = database().await;
    apply(&db, &example()).await;
    let little = format!("time_zone: America/Lima\n{LITTLE}");
    let kept = applied(&db, &little, Mode::default()).await;
    assert_eq!((kept.version, kept.differences.len(), kept.errors.len()), (2, 0, 0));
    let all = [
        "account soporte",
        "campaign soporte-tecnico",
        "campaign ventas",
        "user luis",
        "tag garantia",
        "tag urgente",
        "quick reply pasos-garantia",
        "quick reply saludo",
        "contact field documento",
        "contact field segmento",
    ];
    assert_eq!(kept.omitted, all);
    let dry = applied(&db, &little, Mode { dry_run: true, ..PRUNE }).await;
    assert_eq!((dry.version, dry.differences.len(), dry.omitted.len()), (2, all.len(), 0));
    let pruned = applied(&db, &little, PRUNE).await;
    let switched_off: Vec<String> =
        pruned.differences.iter().map(|line| line.replace(" (inactive)", "")).collect();
    let mut expected: Vec<String> = all.iter().map(|one| format!("- {one}")).collect();
    let mut found = switched_off.clone();
    expected.sort();
    found.sort();
    assert_eq!((pruned.version, found), (3, expected));
    let again = applied(&db, &little, Mode::default()).await;
    assert_eq!((again.version, again.omitted.len()), (3, 0), "what is switched off is not named any more");
}

#[tokio::test]
async fn what_does_not_go_with_the_kept_is_an_error_and_pruning_resolves_it() {
    let db = database().await;
    let overflow = "campaigns:\n  - {key: a, name: A, channel: email, members: [ana], assignment_mode: random, \
                    overflow_mode: send_to_campaign, overflow_campaign: b}\n  \
                    - {key: b, name: B, channel: email, accounts: [x], members: [], assignment_mode: random}\n\
                    accounts:\n  - {key: x, channel: email, address: x@ejemplo.pe}\n\
                    users:\n  - {key: ana, name: Ana, roles: [agent]}\n";
    apply(&db, overflow).await;
    let next = "accounts:\n  - {key: y, channel: email, address: X@ejemplo.pe}\n\
                campaigns:\n  - {key: b, name: B, channel: email, accounts: [y], members: [], assignment_mode: random, active: false}\n\
                users:\n  - {key: ana, name: Ana, roles: [reporter]}\n";
    let refused = applied(&db, next, Mode::default()).await;
    let found: Vec<String> = refused.errors.iter().map(shown).collect();
    assert_eq!(
        found,
        [
            "2 accounts[0].address DUPLICATE_ADDRESS",
            "4 campaigns[0].active OVERFLOW_TARGET",
            "6 users[0].roles NOT_AN_AGENT"
        ]
    );
    assert_eq!(refused.version, 2);
    let pruned = applied(&db, next, PRUNE).await;
    assert_eq!((pruned.version, pruned.errors.len()), (3, 0));
}

#[tokio::test]
async fn a_time_zone_that_is_left_out_stays_also_when_pruning() {
    let db = database().await;
    let first = applied(&db, LITTLE, Mode::default()).await;
    assert_eq!(first.differences, ["+ user ana"]);
    assert_eq!(zone(&db).await, "UTC", "before the first was given");
    applied(&db, &format!("time_zone: America/Lima\n{LITTLE}"), Mode::default()).await;
    let little = LITTLE.replace("level: 80", "level: 81");
    for (text, mode) in [(little.as_str(), Mode::default()), (LITTLE, PRUNE)] {
        let kept = applied(&db, text, mode).await;
        assert_eq!((kept.differences.len(), kept.errors.len()), (1, 0), "{:?}", kept.differences);
        assert!(kept.differences[0].starts_with("~ user ana"), "{:?}", kept.differences);
        assert_eq!(zone(&db).await, "America/Lima", "{mode:?}");
    }
    let named = applied(&db, "time_zone: UTC\n", Mode::default()).await;
    assert_eq!(named.differences, ["~ time_zone America/Lima -> UTC"]);
}

async fn zone(db: &Db) -> String {
    sqlx::query_scalar("SELECT time_zone FROM directory.state").fetch_one(db.pool()).await.unwrap()
}

fn found(outcome: &Outcome) -> Vec<String> {
    outcome.errors.iter().map(shown).collect()
}

/// A campaign that names what only the directory in force has.
const CAMPAIGN: &str = "campaigns:\n  - key: garantias\n    name: Garantías\n    channel: email\n    accounts: []\n    \
    members: [ana]\n    assignment_mode: random\n    inbound_form: consulta\n    overflow_seconds: 60\n    \
    overflow_mode: send_to_campaign\n    overflow_campaign: ventas\n\
    users:\n  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte-tecnico]}\n\
    tags:\n  - {key: reclamo, name: Reclamo, campaigns: [ventas]}\n";

#[tokio::test]
async fn a_text_may_refer_to_what_is_kept_and_not_to_what_is_pruned() {
    let db = database().await;
    apply(&db, &example()).await;
    let references = [
        "6 campaigns[0].members[0] UNKNOWN_USER",
        "8 campaigns[0].inbound_form UNKNOWN_FORM",
        "11 campaigns[0].overflow_campaign UNKNOWN_CAMPAIGN",
        "13 users[0].campaigns UNKNOWN_CAMPAIGN",
        "15 tags[0].campaigns UNKNOWN_CAMPAIGN",
    ];
    let pruned = applied(&db, CAMPAIGN, PRUNE).await;
    assert_eq!((pruned.version, found(&pruned)), (2, references.map(str::to_owned).to_vec()));
    // All that is wrong at once, also beside what is kept: a user who is none, one who is no agent, a field.
    let wrong = CAMPAIGN.replace("[ana]", "[ana, nadie, sara]").replace("random", "nunca");
    let wrong = applied(&db, &wrong, Mode::default()).await;
    let expected = [
        "6 campaigns[0].members[1] UNKNOWN_USER",
        "6 campaigns[0].members[2] NOT_AN_AGENT",
        "7 campaigns[0].assignment_mode BAD_VALUE",
    ];
    assert_eq!((wrong.version, found(&wrong)), (2, expected.map(str::to_owned).to_vec()));
    let kept = applied(&db, CAMPAIGN, Mode::default()).await;
    assert_eq!((kept.version, found(&kept)), (3, Vec::new()));
    assert_eq!(kept.differences, ["+ user sara", "+ campaign garantias", "+ tag reclamo"]);
    let again = applied(&db, CAMPAIGN, Mode::default()).await;
    assert_eq!((again.version, again.differences.len()), (3, 0));
}

#[tokio::test]
async fn a_kept_account_is_named_by_its_campaign_and_not_taken_from_one_that_is_kept() {
    let db = database().await;
    apply(&db, &example()).await;
    let campaign = |key: &str, account: &str| {
        format!(
            "  - {{key: {key}, name: N, channel: email, accounts: [{account}], members: [], assignment_mode: random}}\n"
        )
    };
    let own = format!("campaigns:\n{}", campaign("soporte-tecnico", "soporte"));
    assert_eq!(found(&applied(&db, &own, PRUNE).await), ["2 campaigns[0].accounts[0] UNKNOWN_ACCOUNT"]);
    assert_eq!(found(&applied(&db, &own, Mode::default()).await), Vec::<String>::new());
    assert_eq!(campaign_of_soporte(&db).await, "soporte-tecnico");
    let taken = format!("campaigns:\n{}", campaign("ventas", "soporte"));
    let refused = applied(&db, &taken, Mode::default()).await;
    assert_eq!(found(&refused), ["2 campaigns[0].accounts[0] ACCOUNT_SHARED"]);
    // The account alone stays where it is; both campaigns named, it moves.
    let renamed =
        "accounts:\n  - {key: soporte, channel: email, address: soporte@ejemplo.pe, display_name: Otro}\n";
    assert_eq!(found(&applied(&db, renamed, Mode::default()).await), Vec::<String>::new());
    assert_eq!(campaign_of_soporte(&db).await, "soporte-tecnico");
    let both = format!("{taken}{}", campaign("soporte-tecnico", ""));
    let moved = applied(&db, &both, Mode::default()).await;
    assert_eq!(found(&moved), Vec::<String>::new());
    assert!(
        moved.differences[0].starts_with("~ account soporte: campaign soporte-tecnico -> ventas"),
        "{moved:?}"
    );
    assert_eq!(campaign_of_soporte(&db).await, "ventas");
    let nobodys = applied(&db, &renamed.replace("soporte", "nueva"), Mode::default()).await;
    assert_eq!(found(&nobodys), ["2 accounts[0] ACCOUNT_WITHOUT_CAMPAIGN"]);
}

async fn campaign_of_soporte(db: &Db) -> String {
    sqlx::query_scalar("SELECT campaign_key FROM directory.account WHERE account_key = 'soporte'")
        .fetch_one(db.pool())
        .await
        .unwrap()
}
