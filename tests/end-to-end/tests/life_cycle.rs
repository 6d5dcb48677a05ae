//! Every row of the life cycle that email has, walked by people over gRPC on five separate processes. The events another
//! system sees of each case equal a frozen list (`life_cycle.txt`); a difference prints the new one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use hilo_end_to_end::agent::{Presence, persist};
use hilo_end_to_end::case::Case;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::sink::Received;
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Agent, Desk, Installation, Options};
use hilo_proto::attention::v1::{
    AddNoteRequest, DeclineOfferRequest, DeskItem, GetAttentionRequest, ReassignInteractionRequest,
    ReleaseInteractionRequest, ReopenInteractionRequest, StartAttentionRequest, TransferInteractionRequest,
};
use hilo_proto::history::v1::SearchThreadsRequest;
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::routing::v1::HeartbeatRequest;
use tonic::Status;

const SOON: Duration = Duration::from_secs(90);

fn fresh() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The installation with its people: two agents at their desks and a coordinator.
struct House {
    installation: Installation,
    subscriber: Subscriber,
    first: Agent,
    first_desk: Desk,
    second: Agent,
    coordinator: Agent,
    /// Session of the first agent, who goes away in the end, and the task that keeps it alive till then.
    session: String,
    beating: tokio::task::JoinHandle<()>,
    _present: Presence,
}

/// A sign of life of a session, or its end.
async fn beat(agent: &Agent, session: &str, leave: bool) {
    let request = HeartbeatRequest { session_id: session.to_owned(), leave };
    persist(SOON, || {
        let (agent, request) = (agent.clone(), request.clone());
        async move { agent.routing().heartbeat(request).await }
    })
    .await
    .unwrap();
}

impl House {
    async fn open() -> Self {
        let options = Options { orphan_timeout_seconds: 1, ..Options::default() };
        let installation = Installation::start(options).await.unwrap();
        let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
        let first = installation.login("agente-0").await.unwrap();
        let second = installation.login("agente-1").await.unwrap();
        let coordinator = installation.login("coordinadora").await.unwrap();
        let session = fresh();
        beat(&first, &session, false).await;
        let beating = {
            let (first, session) = (first.clone(), session.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    beat(&first, &session, false).await;
                }
            })
        };
        let first_desk = first.watch();
        let _present = second.be_present().await.unwrap();
        Self { installation, subscriber, first, first_desk, second, coordinator, session, beating, _present }
    }

    /// The first agent goes away.
    async fn leave(&self) {
        self.beating.abort();
        beat(&self.first, &self.session, true).await;
    }

    async fn write(&self, mail: &Mail) {
        customer::send_until_accepted(self.installation.smtp(), mail, SOON).await.unwrap();
    }

    /// A customer's first mail, offered to everyone.
    async fn arrives(&self, name: &'static str, from: &str) -> (Case, DeskItem) {
        self.write(&Mail::new(from, self.installation.support_address(), name, "Hola")).await;
        let item = self.first_desk.wait_for_offer(from, SOON).await.unwrap();
        let mut case = Case::new(name, item.attention_id.clone());
        self.walk(
            &mut case,
            &["attention_opened", "interaction_queued", "message_received", "interaction_offered"],
        )
        .await;
        (case, item)
    }

    /// The next events of the case, and no others before them.
    async fn walk(&self, case: &mut Case, kinds: &[&str]) {
        case.then(&self.subscriber, kinds, SOON).await.unwrap();
    }

    async fn sent(&self, words: &str) -> Received {
        self.installation.sink().wait_for(words, SOON, |mail| mail.text.contains(words)).await.unwrap()
    }

    async fn transfer(&self, by: &Agent, id: &str, campaign: &str, agent: &str, note: &str) {
        let request = TransferInteractionRequest {
            interaction_id: id.to_owned(),
            request_id: fresh(),
            campaign_key: campaign.to_owned(),
            agent_key: agent.to_owned(),
            note: note.to_owned(),
        };
        by.attention().transfer_interaction(request).await.unwrap();
    }

    async fn release(&self, by: &Agent, id: &str) {
        let request = ReleaseInteractionRequest { interaction_id: id.to_owned(), request_id: fresh() };
        by.attention().release_interaction(request).await.unwrap();
    }

    async fn reopen(&self, by: &Agent, id: &str) -> Result<(), Status> {
        let request = ReopenInteractionRequest { interaction_id: id.to_owned(), request_id: fresh() };
        by.attention().reopen_interaction(request).await.map(drop)
    }

    /// The second agent lets the offer of a transfer pass.
    async fn decline(&self, attention: &str, id: &str) {
        let request = GetAttentionRequest { attention_id: attention.to_owned() };
        let attention = self.second.attention().get_attention(request).await.unwrap().into_inner().attention;
        let offer = attention
            .unwrap()
            .interactions
            .into_iter()
            .find(|one| one.interaction_id == id)
            .and_then(|one| one.offer)
            .unwrap();
        let request = DeclineOfferRequest {
            interaction_id: id.to_owned(),
            offer_id: offer.offer_id,
            request_id: fresh(),
        };
        self.second.attention().decline_offer(request).await.unwrap();
    }
}

/// Queued, opened, answered, ended, queued again in the same attention, closed, reopened from the history, linked.
async fn whole_life(house: &House) -> Vec<Case> {
    let from = "vida@cliente.example";
    let (mut case, item) = house.arrives("whole life", from).await;
    let id = item.interaction_id;
    house.first.open(&id).await.unwrap();
    house.walk(&mut case, &["interaction_opened"]).await;
    let note =
        AddNoteRequest { interaction_id: id.clone(), request_id: fresh(), text: "Cliente antiguo".into() };
    house.first.attention().add_note(note).await.unwrap();
    house.walk(&mut case, &["note_added"]).await;
    house.first.reply(&id, "Primera respuesta").await.unwrap();
    house.walk(&mut case, &["message_queued", "message_status_changed"]).await;
    let received = house.sent("Primera respuesta").await;
    assert!(!received.text.contains("Cliente antiguo"));
    house.first.fill_form(&id, 0, &[("motivo", "Consulta")]).await.unwrap();
    house.walk(&mut case, &["form_saved"]).await;
    house.write(&Mail::reply(&received, from, "Gracias, una cosa más")).await;
    house.walk(&mut case, &["message_received"]).await;
    house.first.end(&id, false).await.unwrap();
    house.walk(&mut case, &["interaction_ended"]).await;
    house.write(&Mail::reply(&received, from, "¿Alguna novedad?")).await;
    house.walk(&mut case, &["interaction_queued", "message_received", "interaction_offered"]).await;
    let second = house.first_desk.wait_for_offer(from, SOON).await.unwrap().interaction_id;
    assert_eq!(reason(&house.reopen(&house.first, &id).await), "INTERACTION_LIVE");
    house.second.open(&second).await.unwrap();
    house.second.end(&second, true).await.unwrap();
    house.walk(&mut case, &["interaction_opened", "interaction_ended", "attention_closed"]).await;
    // From the history, by an agent of the campaign who had nothing to do with it.
    let novelty = SearchThreadsRequest { words: "novedad".into(), ..Default::default() };
    let found = house.first.find_in_history(novelty, 1, SOON).await.unwrap();
    assert_eq!(found.first().unwrap().interaction_id, second);
    house.reopen(&house.first, &second).await.unwrap();
    house.walk(&mut case, &["interaction_reopened"]).await;
    house.first.reply(&second, "Reabierto y resuelto").await.unwrap();
    house.walk(&mut case, &["message_queued", "message_status_changed"]).await;
    house.first.end(&second, true).await.unwrap();
    house.walk(&mut case, &["interaction_ended", "attention_closed"]).await;
    let again = SearchThreadsRequest { words: "reabierto".into(), ..Default::default() };
    house.first.find_in_history(again, 1, SOON).await.unwrap();
    // An answer to a closed attention is a new one, and keeps the old one closed.
    house.write(&Mail::reply(&received, from, "Volvió a fallar")).await;
    let linked = house.first_desk.wait_for_offer(from, SOON).await.unwrap();
    let mut successor = Case::new("linked successor", linked.attention_id.clone());
    house
        .walk(
            &mut successor,
            &["attention_opened", "interaction_queued", "message_received", "interaction_offered"],
        )
        .await;
    assert_eq!(reason(&house.reopen(&house.first, &second).await), "SUCCESSOR_OPEN");
    house.first.open(&linked.interaction_id).await.unwrap();
    house.first.end(&linked.interaction_id, true).await.unwrap();
    house.walk(&mut successor, &["interaction_opened", "interaction_ended", "attention_closed"]).await;
    vec![case, successor]
}

fn reason(answer: &Result<(), Status>) -> String {
    answer.as_ref().err().and_then(hilo_kit::error::reason_of).unwrap_or_default()
}

/// Released, transferred to an agent (declined, taken) and to a campaign, reassigned and released by hand.
async fn moves(house: &House) -> Case {
    let (mut case, item) = house.arrives("moves", "mueve@cliente.example").await;
    let id = item.interaction_id;
    house.first.open(&id).await.unwrap();
    house.release(&house.first, &id).await;
    house.walk(&mut case, &["interaction_opened", "interaction_released", "interaction_offered"]).await;
    house.first.open(&id).await.unwrap();
    house.transfer(&house.first, &id, "", "agente-1", "").await;
    house.walk(&mut case, &["interaction_opened", "interaction_released", "interaction_offered"]).await;
    house.decline(&case.attention, &id).await;
    house.walk(&mut case, &["offer_withdrawn", "interaction_opened"]).await;
    house.transfer(&house.first, &id, "", "agente-1", "").await;
    house.second.open(&id).await.unwrap();
    house.walk(&mut case, &["interaction_released", "interaction_offered", "interaction_opened"]).await;
    house.transfer(&house.second, &id, "buzon", "", "Es de buzón").await;
    let out =
        ["note_added", "interaction_transferred_out", "interaction_transferred_in", "interaction_offered"];
    house.walk(&mut case, &out).await;
    let request = ReassignInteractionRequest {
        interaction_id: id.clone(),
        request_id: fresh(),
        agent_key: "agente-0".into(),
        ..Default::default()
    };
    house.coordinator.attention().reassign_interaction(request).await.unwrap();
    house.walk(&mut case, &["offer_withdrawn", "interaction_offered"]).await;
    house.first.open(&id).await.unwrap();
    house.release(&house.coordinator, &id).await;
    house.walk(&mut case, &["interaction_opened", "interaction_released", "interaction_offered"]).await;
    house.first.open(&id).await.unwrap();
    house.first.end(&id, false).await.unwrap();
    house.walk(&mut case, &["interaction_opened", "interaction_ended"]).await;
    case
}

/// Started by an agent; the customer's answer joins.
async fn outbound(house: &House) -> Case {
    let to = "saliente@cliente.example";
    let request = StartAttentionRequest {
        campaign_key: "soporte".into(),
        request_id: fresh(),
        to: vec![EmailAddress { address: to.into(), name: "Sara".into() }],
        subject: "Su pedido".into(),
        text: "Le escribimos por su pedido".into(),
        ..Default::default()
    };
    let started = house.first.attention().start_attention(request).await.unwrap().into_inner();
    let mut case = Case::new("outbound", started.attention_id);
    house
        .walk(
            &mut case,
            &["attention_opened", "interaction_started", "message_queued", "message_status_changed"],
        )
        .await;
    let received = house.sent("Le escribimos por su pedido").await;
    assert!(received.recipients.contains(to), "{}", received.recipients);
    house.write(&Mail::reply(&received, to, "Gracias por escribir")).await;
    house.walk(&mut case, &["message_received"]).await;
    house.first.end(&started.interaction.unwrap().interaction_id, true).await.unwrap();
    house.walk(&mut case, &["interaction_ended", "attention_closed"]).await;
    case
}

/// The first agent goes away: what he has open comes back, a transfer of his that is not taken goes to the campaign.
async fn gone(house: &House) -> Vec<Case> {
    let (mut open, item) = house.arrives("orphaned", "huerfana@cliente.example").await;
    house.first.open(&item.interaction_id).await.unwrap();
    house.walk(&mut open, &["interaction_opened"]).await;
    let (mut given, item) =
        house.arrives("transferred by somebody who went away", "ida@cliente.example").await;
    house.first.open(&item.interaction_id).await.unwrap();
    house.transfer(&house.first, &item.interaction_id, "", "agente-1", "").await;
    house.walk(&mut given, &["interaction_opened", "interaction_released", "interaction_offered"]).await;
    house.leave().await;
    house.walk(&mut open, &["interaction_orphaned", "interaction_offered"]).await;
    house.decline(&given.attention, &item.interaction_id).await;
    house.walk(&mut given, &["offer_withdrawn", "interaction_offered"]).await;
    vec![open, given]
}

/// The second agent is switched off: what he has open goes back to its queue.
async fn switched_off(house: &House) -> Case {
    house
        .write(&Mail::new("baja@cliente.example", house.installation.support_address(), "Baja", "Hola"))
        .await;
    let desk = house.second.watch();
    let item = desk.wait_for_offer("baja@cliente.example", SOON).await.unwrap();
    let mut case = Case::new("agent switched off", item.attention_id);
    house
        .walk(
            &mut case,
            &["attention_opened", "interaction_queued", "message_received", "interaction_offered"],
        )
        .await;
    house.second.open(&item.interaction_id).await.unwrap();
    house.walk(&mut case, &["interaction_opened"]).await;
    let on = "  - key: agente-1\n    name: agente-1\n";
    let off = |yaml: &str| {
        assert!(yaml.contains(on));
        yaml.replace(on, &format!("{on}    active: false\n"))
    };
    house.installation.change_directory(off).await.unwrap();
    house.walk(&mut case, &["interaction_released"]).await;
    case
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_life_cycle_happens_as_frozen() {
    let house = House::open().await;
    let mut cases = whole_life(&house).await;
    cases.push(moves(&house).await);
    cases.push(outbound(&house).await);
    cases.extend(gone(&house).await);
    cases.push(switched_off(&house).await);
    let told: String = cases.iter().map(|case| case.told(&house.subscriber).unwrap()).collect();
    assert!(told == include_str!("life_cycle.txt"), "life_cycle.txt is now:\n{told}");
    house.subscriber.with(|log| assert!(log.violations.is_empty(), "{:?}", log.violations));
}
