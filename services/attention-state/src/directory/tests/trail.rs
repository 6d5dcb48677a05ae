//! The trail: every change with who and what before and after, in pages, for coordinators only, without secrets.

use hilo_kit::error::reason_of;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::directory::v1::{AuditEntry, ListAuditRequest};

use crate::directory::testing::{Client, Served, apply, example};

async fn listed(client: &mut DirectoryServiceClient<Client>, request: ListAuditRequest) -> Vec<AuditEntry> {
    client.list_audit(request).await.unwrap().into_inner().entries
}

fn line(entry: &AuditEntry) -> String {
    let fields: Vec<String> =
        entry.fields.iter().map(|one| format!("{}: {} -> {}", one.name, one.before, one.after)).collect();
    format!(
        "{} {} {} {} {} [{}]",
        entry.version,
        entry.actor,
        entry.action,
        entry.kind,
        entry.key,
        fields.join("; ")
    )
}

#[tokio::test]
async fn every_change_is_there_with_its_values_and_without_passwords() {
    let served = Served::start().await;
    let coco = "  - {key: coco, name: Coco, roles: [coordinator], password: una-clave-de-coco}\n";
    let first = example().replacen("\nforms:", &format!("{coco}\nforms:"), 1);
    apply(&served.db, &first).await;
    let second = first
        .replacen("time_zone: America/Lima", "time_zone: America/Bogota", 1)
        .replacen("accept_timeout_seconds: 30", "accept_timeout_seconds: 45", 1)
        .replacen("  - {key: urgente, name: Urgente, color: \"#c0392b\"}   # color is optional\n", "", 1);
    apply(&served.db, &second).await;
    let mut client = DirectoryServiceClient::new(served.user("coco"));
    let newest = listed(&mut client, ListAuditRequest { page_size: 3, ..Default::default() }).await;
    let lines: Vec<String> = newest.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "3 service:test deactivated tag urgente [active: true -> false]",
            "3 service:test changed campaign soporte-tecnico [accept_timeout_seconds: 30 -> 45]",
            "3 service:test changed time_zone  [time_zone: America/Lima -> America/Bogota]",
        ]
    );
    assert!(newest.iter().all(|one| one.recorded_at.is_some()));
    let user = ListAuditRequest { kind: "user".into(), key: "coco".into(), ..Default::default() };
    let of_coco: Vec<String> = listed(&mut client, user).await.iter().map(line).collect();
    assert_eq!(of_coco.len(), 2, "{of_coco:?}");
    assert!(of_coco[0].starts_with("2 service:test password_set user coco []"), "{of_coco:?}");
    assert!(of_coco[1].contains("created user coco") && of_coco[1].contains("name:  -> Coco"), "{of_coco:?}");
    let nobody = ListAuditRequest { actor: "user:nadie".into(), ..Default::default() };
    assert_eq!(listed(&mut client, nobody).await, Vec::new());
    let all: String = sqlx::query_scalar("SELECT string_agg(audit::text, '') FROM directory.audit AS audit")
        .fetch_one(served.db.pool())
        .await
        .unwrap();
    assert!(!all.contains("una-clave-de-coco") && !all.contains("argon2id"), "{all}");
}

#[tokio::test]
async fn pages_join_without_a_gap_and_only_coordinators_read_them() {
    let served = Served::start().await;
    let coco = "  - {key: coco, name: Coco, roles: [coordinator]}\n";
    apply(&served.db, &example().replacen("\nforms:", &format!("{coco}\nforms:"), 1)).await;
    let mut client = DirectoryServiceClient::new(served.user("coco"));
    let whole = listed(&mut client, ListAuditRequest::default()).await;
    assert!(whole.len() > 10);
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditRequest { page_size: 4, page_token, ..Default::default() };
        let page = client.list_audit(request).await.unwrap().into_inner();
        paged.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, whole);
    let request = ListAuditRequest { kind: "x".into(), page_token: "y".into(), ..Default::default() };
    let status = client.list_audit(request).await.unwrap_err();
    let wrong = tonic_types::StatusExt::get_details_bad_request(&status).unwrap().field_violations;
    let fields: Vec<&str> = wrong.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["kind", "page_token"]);
    for (client, reason) in
        [(served.user("luis"), "COORDINATOR_REQUIRED"), (served.service(), "USER_REQUIRED")]
    {
        let status =
            DirectoryServiceClient::new(client).list_audit(ListAuditRequest::default()).await.unwrap_err();
        assert_eq!(reason_of(&status).as_deref(), Some(reason));
    }
}
