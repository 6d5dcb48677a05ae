//! A dialer through separate processes, as its people see it: the supervisor's list, the customers' phones, the agent's desk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use hilo_end_to_end::chat::{Chat, until};
use hilo_end_to_end::dialing::TEMPLATE;
use hilo_end_to_end::directory::WHATSAPP;
use hilo_end_to_end::{Agent, Options};
use hilo_proto::attention::v1::GetAttentionRequest;
use hilo_proto::dialer::v1 as dialer;
use hilo_proto::dialer::v1::{DialerState, RowState};
use hilo_proto::event::v1::{AttentionState, Direction};

/// Waits until the row is in one of these states.
async fn becomes(people: &Agent, dialer_id: &str, number: &str, states: &[RowState]) -> dialer::Row {
    let look = || async {
        let found = people.dialer_rows(dialer_id).await?.into_iter().find(|row| row.number == number);
        Ok(found.filter(|row| states.contains(&row.state())))
    };
    until(&format!("{number} is {states:?}"), look).await.unwrap()
}

async fn made(people: &Agent, csv: &str) -> String {
    let dialer = people.make_dialer("Avisos", 600).await.unwrap();
    assert_eq!(dialer.columns, ["1", "2"]);
    let bad = format!("{csv}51987000009,Uma,9\n");
    let refused = people.import_rows(&dialer.dialer_id, &bad).await.unwrap();
    let told = &refused.problems[0];
    assert_eq!((refused.imported, told.line, told.column.as_str()), (0, 5, "number"));
    let taken = people.import_rows(&dialer.dialer_id, csv).await.unwrap();
    assert_eq!((taken.imported, taken.bad_rows), (3, 0));
    dialer.dialer_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_writes_to_its_list_once_and_who_answers_reaches_an_agent() {
    let house = Chat::start(Options::default()).await.unwrap();
    house.templates_are(&["hello_world", TEMPLATE]).await.unwrap();
    let people = house.installation.login("coordinadora").await.unwrap();
    // Dialled without the 1 of mobiles in Mexico, which her WhatsApp id has.
    let eva = house.customer("525512340001", "Eva").unwrap();
    eva.phone.change(|customer| customer.wa_id = Some("5215512340001".to_owned()));
    let otto = house.customer("51987000002", "Otto").unwrap();
    let ida = house.customer("51987000003", "Ida").unwrap();
    let opt_out = dialer::AddOptOutRequest {
        campaign_key: WHATSAPP.into(),
        number: ida.address.clone(),
        reason: "lo pidió".into(),
    };
    people.dialers().add_opt_out(opt_out).await.unwrap();
    let csv = "number,1,2\n+525512340001,Eva,17\n+51987000002,Otto,18\n+51987000003,Ida,19\n";
    let id = made(&people, csv).await;
    people.start_dialer(&id).await.unwrap();

    let arrives = || async { Ok(eva.phone.received().into_iter().find(|sent| sent.kind == "template")) };
    let sent = until("the template is on the phone", arrives).await.unwrap();
    assert_eq!(sent.body.pointer("/template/name").unwrap(), TEMPLATE);
    assert_eq!(sent.body.pointer("/template/components/0/parameters/1/text").unwrap(), "17");
    becomes(&people, &id, &otto.address, &[RowState::Delivered]).await;
    let skipped = becomes(&people, &id, &ida.address, &[RowState::Skipped]).await;
    assert_eq!(skipped.reason, "OPTED_OUT");
    // Until somebody answers there is an attention that waits, and nothing on any desk.
    let waiting = becomes(&people, &id, &eva.address, &[RowState::Delivered, RowState::Read]).await;
    let request = GetAttentionRequest { attention_id: waiting.attention_id.clone() };
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
        let dialer = people.dialer(&id).await?;
        Ok((dialer.state() == DialerState::Finished).then_some(()))
    };
    until("the dialer has finished", finished).await.unwrap();
    assert_eq!([&eva, &otto, &ida].map(|one| one.templates()), [1, 1, 0]);
}
