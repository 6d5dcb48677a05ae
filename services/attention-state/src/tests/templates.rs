//! Templates: what whatsapp-ingest reports of them, which ones an agent may see and send, and what a refusal of free text offers.

use hilo_kit::clock::to_proto;
use hilo_kit::error::to_status;
use hilo_proto::attention::v1::{ListTemplatesRequest, ListTemplatesResponse, Template, TemplatePart};
use hilo_proto::internal::v1::{ReportTemplatesRequest, ReportedTemplate};
use prost::Message as _;
use time::{Duration, OffsetDateTime};

use super::House;
use super::whatsapp_rig::{Chat, EVA, house, only, send, take};
use crate::templates;

/// A template with one variable in its body.
pub(super) fn reported(name: &str, status: &str) -> ReportedTemplate {
    let body = TemplatePart {
        r#type: "BODY".into(),
        text: "Hola {{1}}, seguimos con su caso.".into(),
        variables: vec!["1".into()],
        ..TemplatePart::default()
    };
    let template = Template {
        name: name.into(),
        language: "es".into(),
        category: "UTILITY".into(),
        parts: vec![body],
        ..Template::default()
    };
    ReportedTemplate { template: Some(template), status: status.into() }
}

/// Stores a list as read at this instant; answers whether it was stored.
pub(super) async fn report(
    house: &House,
    account: &str,
    read_at: OffsetDateTime,
    templates: Vec<ReportedTemplate>,
) -> Result<bool, hilo_kit::Error> {
    let request =
        ReportTemplatesRequest { account_key: account.into(), read_at: Some(to_proto(read_at)), templates };
    templates::report(&house.db, request).await.map(|answer| answer.stored)
}

async fn list(
    house: &House,
    user: &str,
    change: impl FnOnce(&mut ListTemplatesRequest),
) -> Result<ListTemplatesResponse, hilo_kit::Error> {
    let mut request = ListTemplatesRequest { campaign_key: "chat".into(), ..ListTemplatesRequest::default() };
    change(&mut request);
    templates::list(&house.db, house.access(user).await, request).await
}

async fn names(house: &House) -> Vec<String> {
    let listed = list(house, "ana", |_| {}).await.unwrap();
    listed.templates.into_iter().map(|one| one.name).collect()
}

#[tokio::test]
async fn a_reading_replaces_the_list_and_an_older_one_changes_nothing() {
    let house = house().await;
    let now = OffsetDateTime::now_utc();
    let stored =
        report(&house, "chat-wa", now, vec![reported("uno", "APPROVED"), reported("dos", "approved")]).await;
    assert!(stored.unwrap());
    assert_eq!(names(&house).await, ["dos", "uno"]);
    let late =
        report(&house, "chat-wa", now - Duration::seconds(1), vec![reported("viejo", "APPROVED")]).await;
    assert!(!late.unwrap());
    assert_eq!(names(&house).await, ["dos", "uno"]);
    assert!(
        report(&house, "chat-wa", now, vec![reported("uno", "PAUSED")]).await.unwrap(),
        "a repeat is harmless"
    );
    assert!(names(&house).await.is_empty(), "paused ones are not offered");
    // A clock that ran ahead for a moment shuts nobody out for long.
    let ahead = now + Duration::days(400);
    assert!(report(&house, "chat-wa", ahead, vec![reported("uno", "APPROVED")]).await.unwrap());
    let next = OffsetDateTime::now_utc() + Duration::seconds(60);
    assert!(report(&house, "chat-wa", next, Vec::new()).await.unwrap());
    assert!(names(&house).await.is_empty());
}

#[tokio::test]
async fn what_is_no_list_of_an_account_of_ours_is_refused() {
    let house = house().await;
    let now = OffsetDateTime::now_utc();
    let twice = vec![reported("uno", "APPROVED"), reported("uno", "PAUSED")];
    for (account, templates, reason) in [
        ("nobody-wa", vec![], "ACCOUNT_UNKNOWN"),
        ("soporte-mail", vec![], "ACCOUNT_UNKNOWN"),
        ("chat-wa", twice, "INVALID_REQUEST"),
        ("chat-wa", vec![reported("", "APPROVED")], "INVALID_REQUEST"),
        ("chat-wa", vec![reported("uno", "")], "INVALID_REQUEST"),
        ("chat-wa", vec![ReportedTemplate::default(); 6_001], "INVALID_REQUEST"),
    ] {
        let refused = report(&house, account, now, templates).await.unwrap_err();
        assert_eq!(refused.reason(), reason, "{account}");
    }
}

#[tokio::test]
async fn an_agent_sees_the_approved_ones_of_his_campaigns_accounts_by_pages() {
    let house = house().await;
    let now = OffsetDateTime::now_utc();
    let all = ["c", "a", "b"].map(|name| reported(name, "APPROVED")).to_vec();
    report(&house, "chat-wa", now, all).await.unwrap();
    report(&house, "ventas-wa", now, vec![reported("ajena", "APPROVED")]).await.unwrap();
    let first = list(&house, "ana", |request| request.page_size = 2).await.unwrap();
    let told =
        |page: &ListTemplatesResponse| page.templates.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    assert_eq!(told(&first), ["a", "b"]);
    let template = first.templates.first().unwrap();
    assert_eq!((template.account_key.as_str(), template.parts[0].variables.len()), ("chat-wa", 1));
    assert_eq!(
        template.synchronised_at,
        Some(to_proto(now.replace_nanosecond(now.microsecond() * 1_000).unwrap()))
    );
    let token = first.next_page_token.clone();
    let second = list(&house, "ana", |request| request.page_token = token).await.unwrap();
    assert_eq!((told(&second), second.next_page_token.as_str()), (vec!["c".to_owned()], ""));
    let none = list(&house, "ana", |request| request.account_key = "ventas-wa".into()).await.unwrap();
    assert!(none.templates.is_empty(), "another campaign's account");
    for (user, campaign, reason) in [
        ("ana", "ventas-chat", "CAMPAIGN_NOT_FOUND"),
        ("ana", "nada", "CAMPAIGN_NOT_FOUND"),
        ("ana", "soporte", "OTHER_CHANNEL"),
    ] {
        let refused = list(&house, user, |request| request.campaign_key = campaign.into()).await.unwrap_err();
        assert_eq!(refused.reason(), reason, "{campaign}");
    }
}

#[tokio::test]
async fn only_an_approved_one_of_the_account_is_found() {
    let house = house().await;
    let listed = vec![reported("si", "APPROVED"), reported("no", "REJECTED")];
    report(&house, "chat-wa", OffsetDateTime::now_utc(), listed).await.unwrap();
    let found = |account: &'static str, name: &'static str, language: &'static str| {
        house.db.read(move |conn| {
            Box::pin(async move { templates::approved(conn, account, name, language).await })
        })
    };
    assert_eq!(found("chat-wa", "si", "es").await.unwrap().name, "si");
    for (account, name, language) in [
        ("chat-wa", "no", "es"),
        ("chat-wa", "si", "es_PE"),
        ("ventas-wa", "si", "es"),
        ("chat-wa", "nada", "es"),
    ] {
        let refused = found(account, name, language).await.unwrap_err();
        assert_eq!(refused.reason(), "TEMPLATE_NOT_APPROVED", "{account} {name} {language}");
    }
}

#[tokio::test]
async fn free_text_after_the_window_is_refused_with_what_may_be_sent_instead() {
    let house = house().await;
    let many = (0..40).map(|at| reported(&format!("aviso_{at:02}"), "APPROVED")).collect();
    report(&house, "chat-wa", OffsetDateTime::now_utc(), many).await.unwrap();
    report(&house, "ventas-wa", OffsetDateTime::now_utc(), vec![reported("ajena", "APPROVED")])
        .await
        .unwrap();
    take(&house, &[Chat::from(EVA).at(OffsetDateTime::now_utc() - Duration::hours(25))]).await;
    let interaction = only(&house).await.last_interaction;
    house.open_item("ana", interaction).await;
    let refused = send(&house, "ana", interaction, |_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), "WINDOW_CLOSED");
    let status = to_status(&refused);
    assert!(status.details().len() < 4_096, "details travel in headers");
    let whole = tonic_types::pb::Status::decode(status.details()).unwrap();
    let told =
        whole.details.iter().find(|one| one.type_url.ends_with("/hilo.attention.v1.ListTemplatesResponse"));
    let told = ListTemplatesResponse::decode(told.unwrap().value.as_slice()).unwrap();
    assert_eq!(told.templates[0].name, "aviso_00");
    assert!(told.templates.len() > 5 && told.templates.len() < 40);
    let rest =
        list(&house, "ana", |request| request.page_token = told.next_page_token.clone()).await.unwrap();
    assert_eq!(told.templates.len() + rest.templates.len(), 40, "the rest is a page of ListTemplates");
}
