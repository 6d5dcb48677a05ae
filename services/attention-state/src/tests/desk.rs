//! The desk: opening answers with everything, lists and counters, drafts and forms, ending, ended threads, rights.

use hilo_proto::attention::v1::{
    DeclineOfferRequest, EndInteractionRequest, GetAttentionRequest, ListEventsRequest,
    ListInteractionsRequest, ListMessagesRequest, OpenInteractionRequest, ReleaseInteractionRequest,
    SaveDraftRequest, SaveFormRequest,
};
use hilo_proto::event::v1::{AttentionState, EventType, InteractionState};
use uuid::Uuid;

use super::{House, Mail, fresh};
use crate::attention::commands;
use crate::attention::domain::{Command, InteractionId, OfferId, UserKey};
use crate::attention::ended;
use crate::attention::work::Actor;
use crate::desk::{events, list, read, save_draft, save_form};
use crate::directory::testing::{apply, database, example};
use hilo_kit::nats::Subjects;

/// Rings at an agent (or everyone), as the router's batch would make it.
pub(super) async fn ring(house: &House, interaction: Uuid, agent: Option<&'static str>) -> Uuid {
    let offer = OfferId::new();
    house
        .db
        .transaction(move |tx| {
            Box::pin(async move {
                let version: i64 =
                    sqlx::query_scalar("SELECT version FROM attention.interaction WHERE interaction_id = $1")
                        .bind(interaction)
                        .fetch_one(&mut *tx)
                        .await?;
                let subjects = Subjects::new("hilo")?;
                let agent = agent.map(UserKey::new);
                let command = Command::MakeOffer { version, offer, agent, deadline_at: None };
                commands::apply(tx, &subjects, InteractionId(interaction), command, Actor::System).await
            })
        })
        .await
        .unwrap();
    offer.uuid()
}

async fn load(house: &House, agent: &str) -> i32 {
    sqlx::query_scalar("SELECT load FROM assignment.agent_load WHERE agent_key = $1 AND channel = 'email'")
        .bind(agent)
        .fetch_one(house.db.pool())
        .await
        .unwrap()
}

async fn listed(
    house: &House,
    user: &str,
    search: &str,
) -> hilo_proto::attention::v1::ListInteractionsResponse {
    let request = ListInteractionsRequest {
        channel: "email".into(),
        search: search.into(),
        ..ListInteractionsRequest::default()
    };
    list::page(&house.db, house.access(user).await, request).await.unwrap()
}

#[tokio::test]
async fn opening_answers_with_contact_thread_and_item_and_withdraws_anothers_offer() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"]).subject("Otra vez")]).await;
    let seen = house.attentions().await[0].clone();
    ring(&house, seen.last_interaction, Some("luis")).await;
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (0, 1));
    let opened = house.open_item("ana", seen.last_interaction).await;
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (1, 0));
    let attention = opened.attention.unwrap();
    assert_eq!(attention.contact.unwrap().identities[0].value, "eva@cliente.example");
    assert_eq!(opened.messages.len(), 2);
    let item = opened.item.unwrap();
    assert_eq!((item.state(), item.message_count), (InteractionState::Open, 2));
    assert_eq!(item.customer_name, "Eva Quispe");
    let events = house.events(seen.attention_id).await;
    assert_eq!(events[4..], ["interaction_offered", "offer_withdrawn", "interaction_opened"]);
    // Again, under another request id: only loaded.
    house.open_item("ana", seen.last_interaction).await;
    assert_eq!(house.events(seen.attention_id).await.len(), events.len());
}

#[tokio::test]
async fn declining_lets_the_offer_pass_and_releasing_queues_again() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let interaction = house.attentions().await[0].last_interaction;
    let offer = ring(&house, interaction, Some("ana")).await;
    let decline = |offer: Uuid| DeclineOfferRequest {
        interaction_id: interaction.to_string(),
        offer_id: offer.to_string(),
        request_id: fresh(),
    };
    let luis = house.access("luis").await;
    assert_eq!(house.actions.decline(luis, decline(offer)).await.unwrap_err().reason(), "NOT_YOURS");
    let ana = house.access("ana").await;
    house.actions.decline(ana.clone(), decline(offer)).await.unwrap();
    assert_eq!(house.actions.decline(ana.clone(), decline(offer)).await.unwrap_err().reason(), "OFFER_GONE");
    assert_eq!(load(&house, "ana").await, 0);
    house.open_item("ana", interaction).await;
    let release = ReleaseInteractionRequest { interaction_id: interaction.to_string(), request_id: fresh() };
    let released = house.actions.release(ana.clone(), release.clone()).await.unwrap().interaction.unwrap();
    assert_eq!(
        (released.state(), released.passed_by.as_slice()),
        (InteractionState::Queued, &["ana".to_owned()][..])
    );
    assert_eq!(
        house.actions.release(ana, release).await.unwrap().interaction.unwrap(),
        released,
        "same request, same answer"
    );
    assert_eq!(load(&house, "ana").await, 0);
}

#[tokio::test]
async fn the_list_shows_queued_then_open_newest_first_with_counters_and_search_over_open_ones() {
    let house = House::open().await;
    for (name, subject) in [("eva", "100% roto"), ("otto", "Factura"), ("ada", "Entrega")] {
        house.take(&[Mail::from(&format!("{name}@cliente.example")).subject(subject)]).await;
    }
    let all = house.attentions().await;
    house.open_item("ana", all[0].last_interaction).await;
    ring(&house, all[1].last_interaction, Some("luis")).await;
    ring(&house, all[2].last_interaction, None).await;
    let page = listed(&house, "ana", "").await;
    let shown: Vec<(&str, bool)> =
        page.items.iter().map(|item| (item.subject.as_str(), item.ringing)).collect();
    assert_eq!(shown, [("Entrega", true), ("Factura", false), ("100% roto", false)]);
    let counters = page.counters.unwrap();
    assert_eq!((counters.open, counters.queued), (1, 2));
    assert!(page.items[1].offer_id.is_empty(), "another's offer is nobody's business");
    for (search, found) in
        [("roto", 1), ("100%", 1), ("00%", 1), ("100_", 0), ("EVA@", 1), ("fact", 0), ("quispe", 1)]
    {
        assert_eq!(listed(&house, "ana", search).await.items.len(), found, "{search}");
    }
    assert!(listed(&house, "rosa", "").await.items.is_empty(), "another campaign");
    let request =
        ListInteractionsRequest { channel: "email".into(), search: "ab".into(), ..Default::default() };
    let error = list::page(&house.db, house.access("ana").await, request).await.unwrap_err();
    assert_eq!(error.reason(), "QUERY_TOO_SHORT");
    let request = ListInteractionsRequest { channel: "fax".into(), ..Default::default() };
    let error = list::page(&house.db, house.access("ana").await, request).await.unwrap_err();
    assert_eq!(error.violations()[0].field, "channel");
}

#[tokio::test]
async fn pages_cover_the_list_once() {
    let house = House::open().await;
    let mails: Vec<Mail> = (0..7).map(|n| Mail::from(&format!("c{n}@cliente.example"))).collect();
    house.take(&mails).await;
    for seen in &house.attentions().await[..3] {
        house.open_item("ana", seen.last_interaction).await;
    }
    let (mut token, mut ids) = (String::new(), Vec::new());
    loop {
        let request = ListInteractionsRequest {
            channel: "email".into(),
            page_size: 2,
            page_token: token,
            ..ListInteractionsRequest::default()
        };
        let page = list::page(&house.db, house.access("ana").await, request).await.unwrap();
        ids.extend(page.items.iter().map(|item| (item.state, item.interaction_id.clone())));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let states: Vec<i32> = ids.iter().map(|(state, _)| *state).collect();
    assert_eq!(states, [1, 1, 1, 1, 2, 2, 2]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7);
}

#[tokio::test]
async fn messages_come_in_pages_from_the_newest() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x").subject("1")]).await;
    for n in 2..=5 {
        house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"]).subject(&n.to_string())]).await;
    }
    let attention_id = house.attentions().await[0].attention_id.to_string();
    let (mut token, mut pages) = (String::new(), Vec::new());
    loop {
        let request = ListMessagesRequest {
            attention_id: attention_id.clone(),
            page_size: 2,
            page_token: token,
            ..ListMessagesRequest::default()
        };
        let page = read::messages(&house.db, house.access("ana").await, request).await.unwrap();
        pages.push(page.messages.iter().map(|one| one.subject.clone()).collect::<Vec<_>>().join(" "));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, ["4 5", "2 3", "1"]);
}

#[tokio::test]
async fn drafts_and_forms_are_saved_against_a_base_version_and_required_fields_block_ending() {
    let db = database().await;
    apply(&db, &example()).await;
    let house = House::at(db);
    let mail = Mail { account: "soporte".into(), ..Mail::from("eva@cliente.example") };
    house.take(&[mail]).await;
    let seen = house.attentions().await[0].clone();
    let opened = house.open_item("ana", seen.last_interaction).await;
    assert_eq!(opened.form.unwrap().key, "consulta");
    let (id, ana) = (seen.last_interaction.to_string(), house.access("ana").await);
    let draft = |base, text: &str| SaveDraftRequest {
        interaction_id: id.clone(),
        base_version: base,
        text: text.into(),
        content: None,
    };
    for (base, text, expected) in
        [(0, "a", Ok(1)), (0, "b", Err("DRAFT_CHANGED")), (1, "c", Ok(2)), (1, "d", Err("DRAFT_CHANGED"))]
    {
        let saved = save_draft(&house.db, ana.clone(), draft(base, text)).await;
        let saved =
            saved.map(|answer| answer.draft.unwrap().version).map_err(|error| error.reason().to_owned());
        assert_eq!(saved, expected.map_err(str::to_owned), "{text}");
    }
    let end = |close| EndInteractionRequest {
        interaction_id: id.clone(),
        close_attention: close,
        request_id: fresh(),
    };
    let error = house.actions.end(ana.clone(), end(false)).await.unwrap_err();
    assert_eq!(error.reason(), "FORM_INCOMPLETE");
    let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["values.motivo", "values.resumen"]);
    let subjects = Subjects::new("hilo").unwrap();
    let form = |base, values: &[(&str, &str)]| SaveFormRequest {
        interaction_id: id.clone(),
        base_version: base,
        values: values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    let full = [("motivo", "Reclamo"), ("resumen", "No llegó")];
    for (base, values, expected) in [
        (0, &[("motivo", "Otro")][..], Err("INVALID_REQUEST")),
        (0, &[("nada", "x")][..], Err("INVALID_REQUEST")),
        (0, &full[..1], Ok(1)),
        (0, &full[..], Err("STALE_FORM")),
        (1, &full[..], Ok(2)),
    ] {
        let saved = save_form(&house.db, &subjects, ana.clone(), form(base, values)).await;
        let saved =
            saved.map(|answer| answer.form_state.unwrap().version).map_err(|error| error.reason().to_owned());
        assert_eq!(saved, expected.map_err(str::to_owned), "{values:?}");
    }
    let opened = house.open_item("ana", seen.last_interaction).await;
    assert_eq!(opened.form_state.unwrap().values["resumen"], "No llegó");
    assert_eq!(opened.draft.unwrap().text, "c");
    let ended = house.actions.end(ana.clone(), end(true)).await.unwrap();
    assert_eq!(ended.interaction.as_ref().unwrap().state(), InteractionState::Ended);
    assert_eq!(ended.attention_state(), AttentionState::Closed);
    let late = save_draft(&house.db, ana.clone(), draft(2, "e")).await.unwrap_err();
    assert_eq!(late.reason(), "ALREADY_ENDED");
    let thread = thread(&house, seen.last_interaction).await.unwrap();
    let summary = thread.summary.unwrap();
    assert!(summary.attention_closed);
    let filled = thread.form.unwrap();
    assert_eq!(
        (filled.values["motivo"].as_str(), filled.labels["motivo"].as_str()),
        ("Reclamo", "Motivo de contacto")
    );
}

async fn thread(house: &House, id: Uuid) -> Option<hilo_proto::history::v1::Thread> {
    let page = house.db.snapshot(move |tx| Box::pin(async move { ended::page(tx, id, None).await }));
    page.await.unwrap().map(|page| page.thread)
}

#[tokio::test]
async fn history_finds_ended_threads_until_it_confirmed_their_version() {
    let house = House::open().await;
    for n in 0..3 {
        house.take(&[Mail::from(&format!("c{n}@cliente.example"))]).await;
    }
    let all = house.attentions().await;
    assert!(thread(&house, all[0].last_interaction).await.is_none(), "not ended");
    for seen in &all {
        house.end_item(seen.last_interaction, false).await;
    }
    let unconfirmed = async |after| {
        house
            .db
            .read(move |conn| Box::pin(async move { ended::unconfirmed(conn, after, 2).await }))
            .await
            .unwrap()
    };
    let page = unconfirmed(None).await;
    assert_eq!(
        page.iter().map(|one| one.interaction).collect::<Vec<_>>(),
        [all[0].last_interaction, all[1].last_interaction]
    );
    let next = unconfirmed(Some((page[1].ended_at, page[1].interaction))).await;
    assert_eq!(next.len(), 1);
    let confirm = async |stored: Vec<(Uuid, i64)>| {
        house
            .db
            .transaction(move |tx| {
                let stored = stored.clone();
                Box::pin(async move { ended::confirm(tx, &stored).await })
            })
            .await
            .unwrap()
    };
    let first = page[0];
    // An older version is not what is ended here: it stays unconfirmed.
    assert_eq!(confirm(vec![(first.interaction, first.version - 1)]).await, 0);
    assert_eq!(confirm(vec![(first.interaction, first.version), (Uuid::now_v7(), 1)]).await, 1);
    assert_eq!(unconfirmed(None).await[0].interaction, all[1].last_interaction);
    let whole = thread(&house, all[1].last_interaction).await.unwrap();
    assert_eq!((whole.messages.len(), whole.version), (1, page[1].version));
}

#[tokio::test]
async fn events_are_listed_after_a_sequence() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let attention_id = house.attentions().await[0].attention_id.to_string();
    let request = ListEventsRequest { attention_id, after_sequence: 1, page_size: 1 };
    let listed = events::list(&house.db, Some(house.access("ana").await), request).await.unwrap();
    let [event] = listed.events.as_slice() else { panic!("one event") };
    assert_eq!((event.r#type(), event.sequence), (EventType::InteractionQueued, 2));
}

/// One matrix: every operation of the desk with ids of a campaign the caller has nothing to do with.
#[tokio::test]
async fn foreign_ids_answer_as_if_they_did_not_exist_in_every_operation() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let seen = house.attentions().await[0].clone();
    let offer = ring(&house, seen.last_interaction, Some("ana")).await;
    let (i, a) = (seen.last_interaction.to_string(), seen.attention_id.to_string());
    let subjects = Subjects::new("hilo").unwrap();
    for (interaction_id, attention_id) in [(i, a), (fresh(), fresh())] {
        let rosa = async || house.access("rosa").await;
        let (i, a) = (|| interaction_id.clone(), || attention_id.clone());
        let mut answers = Vec::new();
        let open = OpenInteractionRequest { interaction_id: i(), request_id: fresh() };
        answers.push(("open", house.actions.open(rosa().await, open).await.map(drop)));
        let decline =
            DeclineOfferRequest { interaction_id: i(), offer_id: offer.to_string(), request_id: fresh() };
        answers.push(("decline", house.actions.decline(rosa().await, decline).await.map(drop)));
        let send = hilo_proto::attention::v1::SendMessageRequest {
            interaction_id: i(),
            request_id: fresh(),
            text: "x".into(),
            ..Default::default()
        };
        answers.push(("send", house.actions.send(rosa().await, send).await.map(drop)));
        let end = EndInteractionRequest { interaction_id: i(), close_attention: true, request_id: fresh() };
        answers.push(("end", house.actions.end(rosa().await, end).await.map(drop)));
        let release = ReleaseInteractionRequest { interaction_id: i(), request_id: fresh() };
        answers.push(("release", house.actions.release(rosa().await, release).await.map(drop)));
        let draft =
            SaveDraftRequest { interaction_id: i(), base_version: 0, text: "x".into(), content: None };
        answers.push(("draft", save_draft(&house.db, rosa().await, draft).await.map(drop)));
        let form = SaveFormRequest { interaction_id: i(), ..Default::default() };
        answers.push(("form", save_form(&house.db, &subjects, rosa().await, form).await.map(drop)));
        let get = GetAttentionRequest { attention_id: a() };
        answers.push(("get", read::attention(&house.db, rosa().await, get).await.map(drop)));
        let messages = ListMessagesRequest { attention_id: a(), ..Default::default() };
        answers.push(("messages", read::messages(&house.db, rosa().await, messages).await.map(drop)));
        let list = ListEventsRequest { attention_id: a(), ..Default::default() };
        answers.push(("events", events::list(&house.db, Some(rosa().await), list).await.map(drop)));
        for (what, answer) in answers {
            let error = answer.expect_err(what);
            assert_eq!(error.class(), hilo_kit::Class::Missing, "{what}: {error:?}");
        }
    }
    assert_eq!(house.events(seen.attention_id).await.len(), 4, "nothing happened");
}
