//! Applying on a real database: difference, all or nothing, versions, groups, passwords, and who reads what.

use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::directory::v1::{ApplyDirectoryRequest, GetDirectoryRequest};
use hilo_proto::internal::v1::GetDirectoryRequest as FeedRequest;
use hilo_proto::internal::v1::directory_feed_service_client::DirectoryFeedServiceClient;

use super::{line_of, shown};
use crate::directory;
use crate::directory::apply::Mode;
use crate::directory::domain::groups::partition_of;
use crate::directory::testing::{Served, admin, apply, database, directory_of, example};

#[tokio::test]
async fn applying_twice_changes_nothing_the_second_time_and_a_dry_run_never() {
    let db = database().await;
    let dry =
        admin(&db).apply(example(), Mode { dry_run: true, prune: true }, "user:coco".into()).await.unwrap();
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
                    directory::campaign(conn, "ventas").await?,
                    directory::form(conn, "consulta", Some(1)).await?,
                    directory::form(conn, "consulta", None).await?,
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
    let broken = example().replacen("name: Ventas", "name: Ventas nuevas", 1).replacen(
        "type: number, minimum: 0",
        "type: text",
        1,
    );
    let outcome =
        admin(&db).apply(broken, Mode { prune: true, ..Mode::default() }, "user:coco".into()).await.unwrap();
    let found: Vec<String> = outcome.errors.iter().map(shown).collect();
    assert_eq!(outcome.version, 2);
    assert_eq!(found, [format!("{} forms[0].fields[4].type IMMUTABLE_CHANGED", line_of("key: monto"))]);
    let again =
        admin(&db).apply(example(), Mode { dry_run: true, prune: true }, "user:coco".into()).await.unwrap();
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
            tokio::spawn(async move {
                admin
                    .apply(text, Mode { prune: true, ..Mode::default() }, "service:test".into())
                    .await
                    .unwrap()
                    .version
            })
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
            sqlx::query_scalar::<_, i64>(
                "SELECT config_version FROM assignment.partition WHERE partition = $1",
            )
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
    let members: Vec<Vec<&str>> =
        agents.chunks(1_000).map(|chunk| chunk.iter().map(String::as_str).collect()).collect();
    let campaigns: Vec<(&str, &[&str])> =
        keys.iter().map(String::as_str).zip(members.iter().map(Vec::as_slice)).collect();
    let outcome = apply(&db, &directory_of(&campaigns, "")).await;
    assert_eq!(outcome.differences.len(), 10_020);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM assignment.agent_load").fetch_one(db.pool()).await.unwrap();
    assert_eq!(rows, 20_000);
}

#[tokio::test]
async fn a_change_reaches_a_reader_of_the_feed_at_once_and_an_equal_version_has_no_content() {
    let served = Served::start().await;
    let mut feed = DirectoryFeedServiceClient::new(served.service());
    let first = feed.get_directory(FeedRequest { known_version: 0 }).await.unwrap().into_inner();
    assert_eq!((first.version, first.changed), (1, true));
    let mut rpc = DirectoryServiceClient::new(served.service());
    let applied =
        rpc.apply_directory(ApplyDirectoryRequest { yaml: example(), ..Default::default() }).await.unwrap();
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
    let more =
        "  - {key: coco, name: Coco, roles: [coordinator]}\n  - {key: otra, name: Otra, roles: [agent]}\n";
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
