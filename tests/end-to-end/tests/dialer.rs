//! A dialer through separate processes, as its people see it: the supervisor's list, the customers' phones, the agent's desk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use hilo_end_to_end::chat::{Chat, Customer, until};
use hilo_end_to_end::{Agent, Options};
use hilo_kit::clock::{to_proto, wall};
use hilo_proto::attention::v1::{Template, TemplatePart};
use hilo_proto::dialer::v1 as dialer;
use hilo_proto::dialer::v1::{DialerState, RowState};
use hilo_proto::event::v1::{AttentionState, Direction};
use hilo_proto::internal::v1::template_service_client::TemplateServiceClient;
use hilo_proto::internal::v1::{ReportTemplatesRequest, ReportedTemplate};
use hilo_simulators::Sent;

const WHATSAPP: &str = "soporte-wa";

fn fresh() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The template that the simulator has approved, told as whatsapp-ingest reports it.
async fn template_is_known(house: &Chat) {
    let body = TemplatePart {
        r#type: "BODY".into(),
        text: "Hello {{1}}, your order {{2}} is on its way.".into(),
        variables: vec!["1".into(), "2".into()],
        ..TemplatePart::default()
    };
    let template = Template {
        name: "order_update".into(),
        language: "en_US".into(),
        parts: vec![body],
        ..Template::default()
    };
    let request = ReportTemplatesRequest {
        account_key: WHATSAPP.into(),
        read_at: Some(to_proto(wall())),
        templates: vec![ReportedTemplate { template: Some(template), status: "APPROVED".into() }],
    };
    let internal = house.installation.internal().unwrap();
    TemplateServiceClient::new(internal).report_templates(request).await.unwrap();
}

async fn rows(people: &Agent, dialer_id: &str) -> Vec<dialer::Row> {
    let request = dialer::ListRowsRequest { dialer_id: dialer_id.to_owned(), ..Default::default() };
    people.dialers().list_rows(request).await.unwrap().into_inner().rows
}

/// Waits until the row is in one of these states.
async fn becomes(people: &Agent, dialer_id: &str, number: &str, states: &[RowState]) -> dialer::Row {
    let look = || async {
        let found = rows(people, dialer_id).await.into_iter().find(|row| row.number == number);
        Ok(found.filter(|row| states.contains(&row.state())))
    };
    until(&format!("{number} is {states:?}"), look).await.unwrap()
}

fn templates(customer: &Customer) -> Vec<Sent> {
    customer.phone.received().into_iter().filter(|sent| sent.kind == "template").collect()
}

async fn made(people: &Agent, csv: &str) -> String {
    let request = dialer::CreateDialerRequest {
        request_id: fresh(),
        name: "Avisos".into(),
        campaign_key: WHATSAPP.into(),
        template_name: "order_update".into(),
        template_language: "en_US".into(),
        per_minute: 600,
        ..Default::default()
    };
    let dialer = people.dialers().create_dialer(request).await.unwrap().into_inner().dialer.unwrap();
    assert_eq!(dialer.columns, ["1", "2"]);
    let import = |csv: &str| dialer::ImportRowsRequest {
        dialer_id: dialer.dialer_id.clone(),
        request_id: fresh(),
        csv: csv.as_bytes().to_vec(),
        skip_bad: false,
    };
    let bad = format!("{csv}51987000009,Uma,9\n");
    let refused = people.dialers().import_rows(import(&bad)).await.unwrap().into_inner();
    let told = &refused.problems[0];
    assert_eq!((refused.imported, told.line, told.column.as_str()), (0, 5, "number"));
    let taken = people.dialers().import_rows(import(csv)).await.unwrap().into_inner();
    assert_eq!((taken.imported, taken.bad_rows), (3, 0));
    dialer.dialer_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_writes_to_its_list_once_and_who_answers_reaches_an_agent() {
    let house = Chat::start(Options::default()).await.unwrap();
    template_is_known(&house).await;
    let people = house.installation.login("coordinadora").await.unwrap();
    let eva = house.customer("51987000001", "Eva").unwrap();
    let otto = house.customer("51987000002", "Otto").unwrap();
    let ida = house.customer("51987000003", "Ida").unwrap();
    let opt_out = dialer::AddOptOutRequest {
        campaign_key: WHATSAPP.into(),
        number: ida.address.clone(),
        reason: "lo pidió".into(),
    };
    people.dialers().add_opt_out(opt_out).await.unwrap();
    let csv = "number,1,2\n+51987000001,Eva,17\n+51987000002,Otto,18\n+51987000003,Ida,19\n";
    let id = made(&people, csv).await;
    people.dialers().start_dialer(dialer::StartDialerRequest { dialer_id: id.clone() }).await.unwrap();

    let arrives = || async { Ok(templates(&eva).into_iter().next()) };
    let sent = until("the template is on the phone", arrives).await.unwrap();
    assert_eq!(sent.body.pointer("/template/name").unwrap(), "order_update");
    assert_eq!(sent.body.pointer("/template/components/0/parameters/1/text").unwrap(), "17");
    becomes(&people, &id, &otto.address, &[RowState::Delivered]).await;
    let skipped = becomes(&people, &id, &ida.address, &[RowState::Skipped]).await;
    assert_eq!(skipped.reason, "OPTED_OUT");
    // Until somebody answers there is an attention that waits, and nothing on any desk.
    let waiting = becomes(&people, &id, &eva.address, &[RowState::Delivered, RowState::Read]).await;
    let request =
        hilo_proto::attention::v1::GetAttentionRequest { attention_id: waiting.attention_id.clone() };
    let attention = people.attention().get_attention(request).await.unwrap().into_inner().attention.unwrap();
    assert_eq!((attention.state(), attention.interactions.len()), (AttentionState::Waiting, 0));
    assert_eq!(house.desk.with(|desk| desk.items.len()), 0);

    eva.writes("Thanks, when?").unwrap();
    let item = house.serve(&eva).await.unwrap();
    assert_eq!(item.attention_id, waiting.attention_id);
    assert_eq!(item.direction(), Direction::Outbound);
    let thread = house.agent.all_messages(&item.attention_id).await.unwrap();
    let texts: Vec<&str> = thread.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["Hello Eva, your order 17 is on its way.", "Thanks, when?"]);
    house.agent.reply(&item.interaction_id, "Tomorrow").await.unwrap();
    eva.receives("Tomorrow").await.unwrap();
    becomes(&people, &id, &eva.address, &[RowState::Answered]).await;
    house.agent.end(&item.interaction_id, false).await.unwrap();

    let finished = || async {
        let request = dialer::GetDialerRequest { dialer_id: id.clone() };
        let dialer = people.dialers().get_dialer(request).await?.into_inner().dialer;
        Ok(dialer.filter(|one| one.state() == DialerState::Finished))
    };
    until("the dialer has finished", finished).await.unwrap();
    assert_eq!([&eva, &otto, &ida].map(|one| templates(one).len()), [1, 1, 0]);
}
