//! `ReopenInteraction`: an ended thread open again, with its form; what forbids it, and who wins.

use std::sync::Arc;

use hilo_kit::consumer::Outcome;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{
    EndInteractionRequest, ReopenInteractionRequest, ReopenInteractionResponse, SaveFormRequest,
};
use hilo_proto::event::v1::{AttentionState, InteractionState};
use uuid::Uuid;

use super::{House, Mail, Seen, fresh};
use crate::attention::ended;
use crate::desk::save_form;
use crate::directory::testing::{apply, database, directory_of, example};

async fn reopen(house: &House, who: &str, id: Uuid) -> Result<ReopenInteractionResponse, hilo_kit::Error> {
    let request = ReopenInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
    house.actions.reopen(house.access(who).await, request).await
}

async fn refused(house: &House, who: &str, id: Uuid) -> String {
    reopen(house, who, id).await.unwrap_err().reason().to_owned()
}

async fn arrived(house: &House) -> Seen {
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    house.attentions().await[0].clone()
}

async fn unconfirmed(house: &House) -> Vec<(Uuid, i64)> {
    let listed = house
        .db
        .read(move |conn| Box::pin(async move { ended::unconfirmed(conn, None, 10).await }))
        .await
        .unwrap();
    listed.iter().map(|one| (one.interaction, one.version)).collect()
}

#[tokio::test]
async fn an_ended_interaction_of_a_closed_attention_opens_again_and_gets_a_new_version_in_the_history() {
    let db = database().await;
    let yaml = directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
        + "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte]}\n";
    apply(&db, &yaml).await;
    let house = House::at(db);
    let seen = arrived(&house).await;
    let id = seen.last_interaction;
    assert_eq!(refused(&house, "ana", id).await, "INTERACTION_LIVE", "queued");
    house.end_item(id, true).await;
    let first = unconfirmed(&house).await;
    house
        .db
        .transaction({
            let first = first.clone();
            move |tx| {
                let first = first.clone();
                Box::pin(async move { ended::confirm(tx, &first).await })
            }
        })
        .await
        .unwrap();
    assert_eq!(refused(&house, "rosa", id).await, "INTERACTION_NOT_FOUND");
    assert_eq!(refused(&house, "rosa", Uuid::now_v7()).await, "INTERACTION_NOT_FOUND");
    assert_eq!(refused(&house, "sara", id).await, "AGENT_REQUIRED");
    let request = ReopenInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
    let luis = house.access("luis").await;
    let answer = house.actions.reopen(luis.clone(), request.clone()).await.unwrap();
    assert_eq!(house.actions.reopen(luis, request).await.unwrap(), answer, "same request");
    assert_eq!(answer.attention_state(), AttentionState::Open);
    let interaction = answer.interaction.unwrap();
    assert_eq!((interaction.state(), interaction.agent_key.as_str()), (InteractionState::Open, "luis"));
    assert_eq!(interaction.ended_at, None);
    reopen(&house, "luis", id).await.unwrap();
    assert_eq!(refused(&house, "ana", id).await, "ALREADY_TAKEN");
    let events = house.events(seen.attention_id).await;
    assert_eq!(events[4..], ["interaction_ended", "attention_closed", "interaction_reopened"]);
    assert!(unconfirmed(&house).await.is_empty(), "nothing to store while it is open");
    assert_eq!(house.open_item("luis", id).await.messages.len(), 1);
    // The customer's answer joins it as if it had never been closed.
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    let all = house.attentions().await;
    assert_eq!((all.len(), all[0].messages, all[0].state.as_str()), (1, 2, "open"));
    let end =
        EndInteractionRequest { interaction_id: id.to_string(), close_attention: false, request_id: fresh() };
    house.actions.end(house.access("luis").await, end).await.unwrap();
    let again = unconfirmed(&house).await;
    assert_eq!((again.len(), again[0].0), (1, id));
    assert!(again[0].1 > first[0].1, "a newer version");
}

/// Guard: each half of `others` has its row; without it an index refuses, which is no reason for a person.
#[tokio::test]
async fn a_live_interaction_or_an_open_successor_forbids_it() {
    let house = House::open().await;
    let seen = arrived(&house).await;
    house.end_item(seen.last_interaction, false).await;
    house.take(&[Mail::from("eva@cliente.example").id("m2@x").answers(&["m1@x"])]).await;
    let second = house.attentions().await[0].last_interaction;
    assert_eq!(refused(&house, "ana", seen.last_interaction).await, "INTERACTION_LIVE");
    house.end_item(second, true).await;
    house.take(&[Mail::from("eva@cliente.example").answers(&["m2@x"])]).await;
    let successor = house.attentions().await[1].clone();
    assert_eq!(successor.linked_attention_id, Some(seen.attention_id));
    for id in [seen.last_interaction, second] {
        assert_eq!(refused(&house, "ana", id).await, "SUCCESSOR_OPEN");
    }
    house.end_item(successor.last_interaction, true).await;
    reopen(&house, "ana", seen.last_interaction).await.unwrap();
    assert_eq!(refused(&house, "ana", second).await, "INTERACTION_LIVE");
    assert_eq!(refused(&house, "ana", successor.last_interaction).await, "SUCCESSOR_OPEN");
}

#[tokio::test]
async fn the_version_of_the_form_that_was_filled_in_stays_in_force() {
    let db = database().await;
    apply(&db, &example()).await;
    let house = House::at(db);
    house.take(&[Mail { account: "soporte".into(), ..Mail::from("eva@cliente.example") }]).await;
    let id = house.attentions().await[0].last_interaction;
    house.open_item("ana", id).await;
    let form = SaveFormRequest {
        interaction_id: id.to_string(),
        base_version: 0,
        values: [("motivo", "Reclamo"), ("resumen", "No llegó")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    save_form(&house.db, &Subjects::new("hilo").unwrap(), house.access("ana").await, form).await.unwrap();
    house.end_item(id, false).await;
    let changed = example().replace(
        "      - {key: resumen,",
        "      - {key: nuevo, label: Nuevo, type: text, required: true}\n      - {key: resumen,",
    );
    apply(&house.db, &changed).await;
    reopen(&house, "luis", id).await.unwrap();
    let opened = house.open_item("luis", id).await;
    assert_eq!(opened.form.unwrap().version, 1);
    assert_eq!(opened.form_state.unwrap().values["motivo"], "Reclamo");
    let end =
        EndInteractionRequest { interaction_id: id.to_string(), close_attention: false, request_id: fresh() };
    house.actions.end(house.access("luis").await, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_reopen_at_once_one_wins_each_time() {
    let house = Arc::new(House::open().await);
    for round in 0..40 {
        house.take(&[Mail::from(&format!("c{round}@cliente.example"))]).await;
        let id = house.attentions().await.last().unwrap().last_interaction;
        house.end_item(id, true).await;
        let tries = ["ana", "luis"].map(|who| {
            let house = house.clone();
            tokio::spawn(async move { reopen(&house, who, id).await })
        });
        let mut reasons = Vec::new();
        for one in tries {
            reasons.extend(one.await.unwrap().err().map(|error| error.reason().to_owned()));
        }
        assert_eq!(reasons, ["ALREADY_TAKEN"], "round {round}");
    }
    let loads: i64 = house.count("SELECT sum(load)::bigint FROM assignment.agent_load").await;
    assert_eq!(loads, 40);
}

/// The reopening of an old attention and an answer to its closed successor lock different rows. Whoever is first, one
/// attention of the lineage is open and no mail is lost. Guard: `successor`, without which a round may end as UNIQUE_VIOLATION.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reopening_and_a_customers_answer_at_once_leave_one_open_attention() {
    let house = Arc::new(House::open().await);
    for round in 0..20 {
        let (m1, m2, eva) =
            (format!("a{round}@x"), format!("b{round}@x"), format!("c{round}@cliente.example"));
        house.take(&[Mail::from(&eva).id(&m1)]).await;
        let first = house.attentions().await.last().unwrap().clone();
        house.end_item(first.last_interaction, true).await;
        house.take(&[Mail::from(&eva).id(&m2).answers(&[&m1])]).await;
        let second = house.attentions().await.last().unwrap().clone();
        house.end_item(second.last_interaction, true).await;
        let reopening = {
            let house = house.clone();
            tokio::spawn(async move { reopen(&house, "ana", first.last_interaction).await })
        };
        let answering = {
            let (house, mail) = (house.clone(), Mail::from(&eva).answers(&[&m2]));
            tokio::spawn(async move {
                loop {
                    match house.try_take(std::slice::from_ref(&mail)).await.remove(0) {
                        Outcome::Ack => return,
                        Outcome::Busy | Outcome::Retry(_) => tokio::task::yield_now().await,
                        Outcome::Dead(error) => panic!("{error:?}"),
                    }
                }
            })
        };
        if let Err(error) = reopening.await.unwrap() {
            assert_eq!(error.reason(), "SUCCESSOR_OPEN", "round {round}");
        }
        answering.await.unwrap();
        let lineage: Vec<Seen> =
            house.attentions().await.into_iter().filter(|one| one.lineage_id == first.attention_id).collect();
        assert_eq!(lineage.iter().filter(|one| one.state == "open").count(), 1, "round {round}");
        assert_eq!(lineage.iter().map(|one| one.messages).sum::<i64>(), 3, "round {round}");
    }
}
