//! Errors by line, difference and dry run, all or nothing, versions, groups, and who may read what.

use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::directory::v1::{ApplyDirectoryRequest, GetDirectoryRequest};
use hilo_proto::internal::v1::directory_feed_service_client::DirectoryFeedServiceClient;
use hilo_proto::internal::v1::GetDirectoryRequest as FeedRequest;

use super::domain::groups::partition_of;
use super::domain::parse::parse;
use super::domain::problems::Problem;
use super::testing::{Served, admin, apply, database, directory_of, example};

/// Errors of the example after one edit, as `line path REASON`.
fn errors(edit: impl Fn(&str) -> String) -> Vec<String> {
    match parse(&edit(&example())) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(shown).collect(),
    }
}

fn shown(problem: &Problem) -> String {
    format!("{} {} {}", problem.line, problem.path, problem.reason)
}

fn line_of(needle: &str) -> usize {
    1 + example().lines().position(|line| line.contains(needle)).unwrap()
}

#[test]
fn the_documented_example_is_right() {
    assert_eq!(errors(str::to_owned), Vec::<String>::new());
}

#[test]
fn every_error_has_its_line_path_and_reason() {
    // What to replace, by what, and the expected path and reason on the line where it stands.
    let rows: &[(&str, &str, &str, &str)] = &[
        ("time_zone: America/Lima", "time_zone: [x]", "time_zone", "WRONG_TYPE"),
        ("time_zone: America/Lima", "timezone: America/Lima", "timezone", "UNKNOWN_KEY"),
        ("- key: soporte\n", "- key: Soporte\n", "accounts[0].key", "BAD_KEY"),
        ("display_name: Soporte Ejemplo", "channel: email", "accounts[0].channel", "DUPLICATE_KEY"),
        ("address: soporte@ejemplo.pe", "address: soporte", "accounts[0].address", "BAD_VALUE"),
        ("address: soporte@ejemplo.pe", "address: \"so\\nBcc@ejemplo.pe\"", "accounts[0].address", "BAD_VALUE"),
        ("port: 465", "port: 70000", "accounts[0].smtp.port", "OUT_OF_BOUNDS"),
        ("host: smtp.ejemplo.pe, port: 465, security: tls", "host: smtp.ejemplo.pe, port: 465, security: plain", "accounts[0].smtp.security", "PLAIN_NOT_LOOPBACK"),
        ("host: imap.ejemplo.pe, port: 993, security: tls", "host: imap.ejemplo.pe, port: 993, security: starttls", "accounts[0].imap.security", "BAD_VALUE"),
        ("password_secret: SOPORTE_SMTP", "password_secret: hunter2!", "accounts[0].smtp.password_secret", "BAD_VALUE"),
        ("accounts: [soporte]", "accounts: [soporta]", "campaigns[0].accounts[0]", "UNKNOWN_ACCOUNT"),
        ("accounts: []", "accounts: [soporte]", "campaigns[1].accounts[0]", "ACCOUNT_SHARED"),
        ("members: [ana, luis]", "members: [ana, luisa]", "campaigns[0].members[1]", "UNKNOWN_USER"),
        ("members: [ana, luis]", "members: [ana, ana]", "campaigns[0].members[1]", "DUPLICATE"),
        ("assignment_mode: round_robin", "assignment_mode: alphabetical", "campaigns[0].assignment_mode", "BAD_VALUE"),
        ("accept_timeout_seconds: 30", "accept_timeout_seconds: -1", "campaigns[0].accept_timeout_seconds", "OUT_OF_BOUNDS"),
        ("accept_timeout_seconds: 30", "accept_timeout_seconds: soon", "campaigns[0].accept_timeout_seconds", "BAD_VALUE"),
        ("accept_timeout_seconds: 30", "accept_timeout_seconds: '30'", "campaigns[0].accept_timeout_seconds", "BAD_VALUE"),
        ("overflow_seconds: 120 ", "overflow_seconds: 99999999 ", "campaigns[0].overflow_seconds", "OUT_OF_BOUNDS"),
        ("overflow_mode: assign_to_all", "overflow_mode: send_to_campaign", "campaigns[0].overflow_mode", "OVERFLOW_TARGET"),
        ("description: Consultas de clientes", "overflow_campaign: ventas", "campaigns[0].overflow_campaign", "OVERFLOW_TARGET"),
        ("inbound_form: consulta", "inbound_form: consultas", "campaigns[0].inbound_form", "UNKNOWN_FORM"),
        ("active: true                   # optional; false takes", "active: si # optional; false takes", "campaigns[0].active", "BAD_VALUE"),
        ("- key: ventas\n", "- key: soporte-tecnico\n", "campaigns[1].key", "DUPLICATE"),
        ("name: Ventas", "name: ''", "campaigns[1].name", "MISSING"),
        ("name: Ana Quispe", "name: \"Ana\\nQuispe\"", "users[0].name", "BAD_VALUE"),
        ("password: una-frase-larga", "password: corta", "users[0].password", "WEAK_PASSWORD"),
        ("email_capacity: 5", "email_capacity: 0", "users[0].email_capacity", "OUT_OF_BOUNDS"),
        ("whatsapp_capacity: 5", "campaigns: [ventas]", "users[0].campaigns", "BAD_VALUE"),
        ("roles: [agent, supervisor]", "roles: [agent, jefe]", "users[1].roles[1]", "BAD_VALUE"),
        ("campaigns: [soporte-tecnico]", "campaigns: [otra]", "users[1].campaigns", "UNKNOWN_CAMPAIGN"),
        ("m=19456,t=2", "m=1024,t=2", "users[1].password_hash", "BAD_PASSWORD_HASH"),
        ("type: single_choice, required: true, choices: [Consulta, Reclamo, Pedido]", "type: single_choice", "forms[0].fields[0].choices", "CHOICES"),
        ("choices: [Entrega, Pago, Producto], maximum: 2", "choices: [Pago, Pago]", "forms[0].fields[1].choices[1]", "DUPLICATE"),
        ("type: list", "type: menu", "forms[0].fields[2].type", "BAD_VALUE"),
        ("minimum: 8, maximum: 12", "minimum: 12, maximum: 8", "forms[0].fields[3].maximum", "MINIMUM_ABOVE_MAXIMUM"),
        ("minimum: 8, maximum: 12", "minimum: -1", "forms[0].fields[3].minimum", "OUT_OF_BOUNDS"),
        ("type: number, minimum: 0", "type: number, minimum: poco", "forms[0].fields[4].minimum", "BAD_VALUE"),
        ("type: date", "type: date, maximum: 3", "forms[0].fields[5].maximum", "BAD_VALUE"),
        ("key: resumen", "key: fecha", "forms[0].fields[6].key", "DUPLICATE"),
    ];
    for (old, new, path, reason) in rows {
        assert!(example().contains(old), "the row no longer fits the example: {old}");
        let line = line_of(old.trim_end().lines().next().unwrap());
        let found = errors(|text| text.replacen(old, new, 1));
        assert!(found.contains(&format!("{line} {path} {reason}")), "{old} -> {new}\nwanted {line} {path} {reason}\n{found:#?}");
    }
}

#[test]
fn all_errors_come_at_once_in_line_order_and_references_to_a_broken_thing_are_no_noise() {
    let found = errors(|text| {
        text.replacen("- key: soporte\n", "- key: So porte\n", 1)
            .replacen("accounts: [soporte]", "accounts: [So porte]", 1)
            .replacen("port: 465", "port: 0", 1)
            .replacen("name: Ana Quispe", "nombre: Ana", 1)
            .replacen("type: date", "type: fecha", 1)
    });
    let reasons: Vec<&str> = found.iter().map(|one| one.rsplit(' ').next().unwrap()).collect();
    assert_eq!(reasons, ["BAD_KEY", "OUT_OF_BOUNDS", "BAD_KEY", "MISSING", "UNKNOWN_KEY", "BAD_VALUE"], "{found:#?}");
}

#[test]
fn roles_channels_and_addresses_are_checked_between_parts() {
    let found = errors(|text| text.replacen("roles: [agent] ", "roles: [reporter] ", 1));
    assert_eq!(found, [format!("{} campaigns[0].members[0] NOT_AN_AGENT", line_of("members: [ana, luis]"))]);
    let twice = "accounts:\n  - {key: a, channel: email, address: X@ejemplo.pe}\n  - {key: b, channel: email, address: x@Ejemplo.pe}\n  - {key: c, channel: whatsapp, address: x@y.pe}\n\
                 campaigns:\n  - {key: k, name: K, channel: email, accounts: [a, b, c], members: [], assignment_mode: random}\n";
    let found: Vec<String> = parse(twice).unwrap_err().iter().map(shown).collect();
    assert_eq!(
        found,
        ["3 accounts[1].address DUPLICATE_ADDRESS", "4 accounts[2].address WRONG_CHANNEL", "6 campaigns[0].accounts[2] WRONG_CHANNEL"]
    );
    let orphan = "accounts:\n  - {key: a, channel: email, address: x@ejemplo.pe}\n";
    let found: Vec<String> = parse(orphan).unwrap_err().iter().map(shown).collect();
    assert_eq!(found, ["2 accounts[0] ACCOUNT_WITHOUT_CAMPAIGN"]);
}

#[test]
fn no_error_quotes_a_password() {
    for text in ["users:\n  - {key: a, name: A, roles: [agent], password: s3cr3t}", "users:\n  - {key: a, name: A, roles: [agent], password_hash: s3cr3t-s3cr3t}"] {
        let problems = parse(text).unwrap_err();
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
    }
}

proptest::proptest! {
    #[test]
    fn a_damaged_directory_never_panics(from in 0usize..3_000, length in 0usize..40, junk in "[\\[\\]{}:,\\-a0 \n\"']{0,6}") {
        let text = example();
        let from = text.floor_char_boundary(from.min(text.len()));
        let to = text.floor_char_boundary((from + length).min(text.len()));
        let _ = parse(&format!("{}{junk}{}", &text[..from], &text[to..]));
    }
}

#[tokio::test]
async fn applying_twice_changes_nothing_the_second_time_and_a_dry_run_never() {
    let db = database().await;
    let dry = admin(&db).apply(example(), true, "user:coco".into()).await.unwrap();
    assert_eq!(dry.version, 1);
    assert!(dry.differences.contains(&"+ campaign soporte-tecnico".to_owned()), "{:?}", dry.differences);
    let first = apply(&db, &example()).await;
    assert_eq!((first.version, &first.differences), (2, &dry.differences));
    let second = apply(&db, &example()).await;
    assert_eq!((second.version, second.differences), (2, Vec::new()));
}

#[tokio::test]
async fn the_difference_names_what_changed_and_omitted_things_become_inactive() {
    let db = database().await;
    apply(&db, &example()).await;
    let edited = example()
        .replacen("accept_timeout_seconds: 30", "accept_timeout_seconds: 45", 1)
        .replacen("label: Fecha de compra", "label: Fecha", 1)
        .replacen("password: una-frase-larga", "password: otra-frase-larga", 1);
    let (before, ventas) = edited.split_once("  - key: ventas").unwrap();
    let (_, users) = ventas.split_once("users:").unwrap();
    let without = format!("{before}users:{users}");
    let outcome = apply(&db, &without).await;
    assert_eq!(outcome.version, 3);
    assert_eq!(
        outcome.differences,
        [
            "~ form consulta: version 1 -> 2; fields changed",
            "~ campaign soporte-tecnico: accept_timeout_seconds 30 -> 45",
            "- campaign ventas (inactive)",
            "~ user ana: password",
        ]
    );
    let (campaign, old, current) = db
        .snapshot(|conn| {
            Box::pin(async move {
                Ok((
                    super::campaign(conn, "ventas").await?,
                    super::form(conn, "consulta", Some(1)).await?,
                    super::form(conn, "consulta", None).await?,
                ))
            })
        })
        .await
        .unwrap();
    assert!(!campaign.unwrap().active);
    assert_eq!(old.unwrap().fields[5].label, "Fecha de compra");
    assert_eq!(current.unwrap().version, 2);
}

#[tokio::test]
async fn one_error_applies_nothing() {
    let db = database().await;
    apply(&db, &example()).await;
    let broken = example()
        .replacen("name: Ventas", "name: Ventas nuevas", 1)
        .replacen("time_zone: America/Lima", "time_zone: America/Lma", 1)
        .replacen("type: number, minimum: 0", "type: text", 1);
    let outcome = admin(&db).apply(broken, false, "user:coco".into()).await.unwrap();
    let found: Vec<String> = outcome.errors.iter().map(shown).collect();
    assert_eq!(outcome.version, 2);
    assert_eq!(
        found,
        [
            format!("{} time_zone UNKNOWN_TIME_ZONE", line_of("time_zone")),
            format!("{} forms[0].fields[4].type IMMUTABLE_CHANGED", line_of("key: monto")),
        ]
    );
    let again = admin(&db).apply(example(), true, "user:coco".into()).await.unwrap();
    assert_eq!(again.differences, Vec::<String>::new(), "nothing of the broken one was written");
}

#[tokio::test]
async fn passwords_are_stored_hashed_and_leave_no_trace_elsewhere() {
    let db = database().await;
    apply(&db, &example()).await;
    let (hash, trail): (String, String) = sqlx::query_as(
        "SELECT (SELECT password_hash FROM identity.credential WHERE user_key = 'ana'),
                (SELECT string_agg(row_to_json(applied)::text, '') FROM directory.applied)",
    )
    .fetch_one(db.pool())
    .await
    .unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(!trail.contains("una-frase-larga") && !trail.contains("argon2id"), "{trail}");
    assert!(trail.contains("service:test"));
}

#[tokio::test]
async fn applies_at_the_same_instant_follow_each_other() {
    let db = database().await;
    let texts = ["a", "b", "c", "d"].map(|key| directory_of(&[(key, &["ana"])], ""));
    let tasks: Vec<_> = texts
        .into_iter()
        .map(|text| {
            let admin = admin(&db);
            tokio::spawn(async move { admin.apply(text, false, "service:test".into()).await.unwrap().version })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        versions.push(task.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5]);
}

#[tokio::test]
async fn only_partitions_whose_groups_changed_get_a_new_configuration() {
    let db = database().await;
    let three: [(&str, &[&str]); 3] = [("a", &["ana"]), ("b", &["luis"]), ("c", &["rosa"])];
    apply(&db, &directory_of(&three, "")).await;
    let version = |partition: i32| {
        let db = db.clone();
        async move {
            sqlx::query_scalar::<_, i64>("SELECT config_version FROM assignment.partition WHERE partition = $1")
                .bind(partition)
                .fetch_one(db.pool())
                .await
                .unwrap()
        }
    };
    let (a, b, c) = (partition_of("a"), partition_of("b"), partition_of("c"));
    assert_eq!((version(a).await, version(b).await, version(c).await), (2, 2, 2));
    // Luis joins a: a and b become one group in a's partition, and b's partition loses it.
    apply(&db, &directory_of(&[("a", &["ana", "luis"]), ("b", &["luis"]), ("c", &["rosa"])], "")).await;
    assert_eq!((version(a).await, version(b).await, version(c).await), (3, 3, 2));
    let homes: Vec<(String, String, i32)> =
        sqlx::query_as("SELECT campaign_key, group_key, partition FROM assignment.group_campaign ORDER BY 1")
            .fetch_all(db.pool())
            .await
            .unwrap();
    let home = |campaign: &str, group: &str| (campaign.to_owned(), group.to_owned(), partition_of(group));
    assert_eq!(homes, [home("a", "a"), home("b", "a"), home("c", "c")]);
}

#[tokio::test]
async fn ten_thousand_agents_fit_one_text() {
    let db = database().await;
    let agents: Vec<String> = (0..10_000).map(|one| format!("agent-{one:05}")).collect();
    let keys: Vec<String> = (0..10).map(|one| format!("c{one}")).collect();
    let members: Vec<Vec<&str>> = agents.chunks(1_000).map(|chunk| chunk.iter().map(String::as_str).collect()).collect();
    let campaigns: Vec<(&str, &[&str])> = keys.iter().map(String::as_str).zip(members.iter().map(Vec::as_slice)).collect();
    let outcome = apply(&db, &directory_of(&campaigns, "")).await;
    assert_eq!(outcome.differences.len(), 10_020);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM assignment.agent_load").fetch_one(db.pool()).await.unwrap();
    assert_eq!(rows, 20_000);
}

#[tokio::test]
async fn a_change_reaches_a_reader_of_the_feed_at_once_and_an_equal_version_has_no_content() {
    let served = Served::start().await;
    let mut feed = DirectoryFeedServiceClient::new(served.service());
    let first = feed.get_directory(FeedRequest { known_version: 0 }).await.unwrap().into_inner();
    assert_eq!((first.version, first.changed), (1, true));
    let mut rpc = DirectoryServiceClient::new(served.service());
    let applied = rpc.apply_directory(ApplyDirectoryRequest { yaml: example(), dry_run: false }).await.unwrap();
    assert_eq!(applied.into_inner().version, 2);
    let second = feed.get_directory(FeedRequest { known_version: 1 }).await.unwrap().into_inner();
    assert_eq!((second.version, second.changed), (2, true));
    assert_eq!(second.directory.unwrap().campaigns.len(), 2);
    let third = feed.get_directory(FeedRequest { known_version: 2 }).await.unwrap().into_inner();
    assert_eq!((third.version, third.changed, third.directory), (2, false, None));
}

#[tokio::test]
async fn a_user_reads_only_his_campaigns_and_no_mail_server() {
    let served = Served::start().await;
    let more = "  - {key: coco, name: Coco, roles: [coordinator]}\n  - {key: otra, name: Otra, roles: [agent]}\n";
    apply(&served.db, &example().replacen("\nforms:", &format!("{more}\nforms:"), 1)).await;
    let seen = |user: &'static str| {
        let mut client = DirectoryServiceClient::new(served.user(user));
        async move { client.get_directory(GetDirectoryRequest {}).await.unwrap().into_inner().directory.unwrap() }
    };
    let all = seen("coco").await;
    assert_eq!((all.campaigns.len(), all.users.len(), all.accounts.len(), all.forms.len()), (2, 4, 1, 1));
    assert!(all.accounts[0].smtp.is_some());
    let ana = seen("ana").await;
    let campaigns: Vec<&str> = ana.campaigns.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(campaigns, ["soporte-tecnico"]);
    assert!(ana.accounts.iter().all(|one| one.smtp.is_none() && one.imap.is_none()));
    let otra = seen("otra").await;
    let users: Vec<&str> = otra.users.iter().map(|one| one.key.as_str()).collect();
    assert_eq!((otra.campaigns.len(), users, otra.forms.len()), (0, vec!["otra"], 0));
}
