//! What people move by hand: transfer to a campaign and to an agent, reassignment, release, notes; who may, and what is
//! refused.

use std::sync::Arc;

use hilo_proto::attention::v1::{
    AddNoteRequest, DeclineOfferRequest, ReassignInteractionRequest, ReleaseInteractionRequest,
    TransferInteractionRequest,
};
use hilo_proto::event::v1::{AttentionEvent, InteractionState};
use uuid::Uuid;

use super::{House, Mail, Seen, fresh};
use crate::attention::outbox::DATA;
use crate::directory::testing::{apply, database, directory_of};

/// Agents as in [`House::open`], supervisors of one campaign each, a coordinator, a reporter, and campaigns nobody can be
/// moved to.
async fn house() -> House {
    let db = database().await;
    let mut yaml = directory_of(
        &[("soporte", &["ana", "luis", "sol"]), ("ventas", &["rosa"]), ("cerrada", &["rosa"])],
        "",
    );
    yaml = yaml.replace("key: cerrada, name: cerrada,", "key: cerrada, name: cerrada, active: false,");
    yaml = yaml.replace("accounts: [cerrada-mail]", "accounts: []");
    yaml = yaml.replace("  - {key: cerrada-mail, channel: email, address: cerrada@ejemplo.pe}\n", "");
    yaml = yaml.replace("name: sol, roles: [agent]", "name: sol, roles: [agent], active: false");
    yaml += "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte]}\n";
    yaml += "  - {key: saul, name: Saúl, roles: [supervisor], campaigns: [ventas]}\n";
    yaml += "  - {key: coco, name: Coco, roles: [coordinator]}\n";
    yaml += "  - {key: rita, name: Rita, roles: [reporter], campaigns: [soporte]}\n";
    yaml = yaml.replace(
        "users:\n",
        "  - {key: chat, name: chat, channel: whatsapp, accounts: [], members: [], assignment_mode: everyone}\nusers:\n",
    );
    apply(&db, &yaml).await;
    House::at(db)
}

/// An item that ana has open.
async fn opened(house: &House) -> Seen {
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let seen = house.attentions().await.last().unwrap().clone();
    house.open_item("ana", seen.last_interaction).await;
    seen
}

fn transfer(id: Uuid, campaign: &str, agent: &str, note: &str) -> TransferInteractionRequest {
    TransferInteractionRequest {
        interaction_id: id.to_string(),
        request_id: fresh(),
        campaign_key: campaign.into(),
        agent_key: agent.into(),
        note: note.into(),
    }
}

fn reassign(id: Uuid, campaign: &str, agent: &str) -> ReassignInteractionRequest {
    ReassignInteractionRequest {
        interaction_id: id.to_string(),
        request_id: fresh(),
        campaign_key: campaign.into(),
        agent_key: agent.into(),
        note: String::new(),
    }
}

async fn load(house: &House, agent: &str) -> i32 {
    sqlx::query_scalar("SELECT load FROM assignment.agent_load WHERE agent_key = $1 AND channel = 'email'")
        .bind(agent)
        .fetch_one(house.db.pool())
        .await
        .unwrap()
}

/// The events of an attention after a sequence: subject's campaign, and data.
async fn told(house: &House, attention: Uuid, after: i64) -> Vec<(String, AttentionEvent)> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT subject, payload FROM kit.outbox_log WHERE stream = 'events' AND key = $1 AND sequence > $2 ORDER BY sequence",
    )
    .bind(attention)
    .bind(after)
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    let campaign = |subject: &str| subject.split('.').nth(3).unwrap().to_owned();
    rows.iter()
        .map(|(subject, payload)| (campaign(subject), hilo_proto::json::from_json(DATA, payload).unwrap()))
        .collect()
}

/// Type without prefix, campaign of the subject, reason, actor.
fn short(told: &[(String, AttentionEvent)]) -> Vec<String> {
    told.iter()
        .map(|(campaign, event)| {
            let kind = event.r#type().as_str_name().trim_start_matches("EVENT_TYPE_").to_lowercase();
            format!("{kind} {campaign} {} {}", event.reason, event.actor_key).trim_end().replace("  ", " ")
        })
        .collect()
}

#[tokio::test]
async fn a_transfer_to_a_campaign_is_two_events_and_takes_the_note_and_the_waiting_along() {
    let house = house().await;
    let seen = opened(&house).await;
    let before = told(&house, seen.attention_id, 0).await.last().unwrap().1.interaction.clone().unwrap();
    let asked = transfer(seen.last_interaction, "ventas", "", " Quiere comprar más ");
    let ana = house.access("ana").await;
    let answer = house.actions.transfer(ana.clone(), asked.clone()).await.unwrap();
    assert_eq!(house.actions.transfer(ana.clone(), asked.clone()).await.unwrap(), answer, "same request");
    let other = TransferInteractionRequest { note: "otra".into(), ..asked };
    assert_eq!(house.actions.transfer(ana, other).await.unwrap_err().reason(), "REQUEST_ID_REUSED");
    let after = answer.interaction.unwrap();
    assert_eq!((after.state(), after.campaign_key.as_str()), (InteractionState::Queued, "ventas"));
    assert_eq!(after.waiting_since, before.waiting_since, "the customer's waiting goes on");
    let instant = |at: &Option<prost_types::Timestamp>| at.map(|at| (at.seconds, at.nanos));
    assert!(instant(&after.queued_at) > instant(&before.queued_at), "the overflow clock starts anew");
    let told = told(&house, seen.attention_id, 4).await;
    assert_eq!(
        short(&told),
        [
            "note_added soporte ana",
            "interaction_transferred_out soporte transferred ana",
            "interaction_transferred_in ventas transferred ana"
        ]
    );
    assert_eq!(told[1].1.interaction.as_ref().unwrap().campaign_key, "ventas", "the state it has by then");
    assert_eq!(load(&house, "ana").await, 0);
    assert_eq!(house.attentions().await[0].campaign_key, "ventas");
    let opened = house.open_item("rosa", seen.last_interaction).await;
    let note = opened.messages.last().unwrap();
    assert_eq!((note.internal, note.text.as_str()), (true, "Quiere comprar más"));
    assert_eq!((note.agent_key.as_str(), note.delivery_state.as_str()), ("ana", ""));
    assert_eq!(house.count("SELECT count(*) FROM kit.outbox_log WHERE stream = 'outbound'").await, 0);
    // The customer's answer goes where the attention is, and his old agent knows nothing of it any more.
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    assert_eq!(short(&self::told(&house, seen.attention_id, 8).await), ["message_received ventas"]);
    let back =
        house.actions.transfer(house.access("ana").await, transfer(seen.last_interaction, "soporte", "", ""));
    assert_eq!(back.await.unwrap_err().reason(), "INTERACTION_NOT_FOUND");
}

#[tokio::test]
async fn a_transfer_to_an_agent_rings_at_him_and_comes_back_when_he_declines() {
    let house = house().await;
    let seen = opened(&house).await;
    let asked = transfer(seen.last_interaction, "", "luis", "");
    let decline = async |user: &str| {
        let offer: Uuid = sqlx::query_scalar("SELECT offer_id FROM attention.interaction")
            .fetch_one(house.db.pool())
            .await
            .unwrap();
        let request = DeclineOfferRequest {
            interaction_id: seen.last_interaction.to_string(),
            offer_id: offer.to_string(),
            request_id: fresh(),
        };
        house.actions.decline(house.access(user).await, request).await.unwrap();
    };
    let answer = house.actions.transfer(house.access("ana").await, asked).await.unwrap();
    let interaction = answer.interaction.unwrap();
    let offer = interaction.offer.unwrap();
    assert_eq!((offer.agent_key.as_str(), offer.sender_key.as_str()), ("luis", "ana"));
    assert_eq!(
        offer.deadline_at.unwrap().seconds - offer.offered_at.unwrap().seconds,
        60,
        "the campaign's accept timeout is off, an agent's offer has one all the same"
    );
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (0, 1));
    decline("luis").await;
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (1, 0));
    assert_eq!(
        short(&told(&house, seen.attention_id, 4).await),
        [
            "interaction_released soporte transferred ana",
            "interaction_offered soporte transferred ana",
            "offer_withdrawn soporte declined luis",
            "interaction_opened soporte returned luis"
        ]
    );
    // Gone meanwhile: then it stays in the queue of the campaign.
    let again = transfer(seen.last_interaction, "", "luis", "");
    house.actions.transfer(house.access("ana").await, again).await.unwrap();
    sqlx::query("UPDATE assignment.agent_state SET absent_since = now() WHERE agent_key = 'ana'")
        .execute(house.db.pool())
        .await
        .unwrap();
    decline("luis").await;
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (0, 0));
    assert_eq!(house.attentions().await[0].interactions, ["queued"]);
    // Taken, it is his.
    house.open_item("luis", seen.last_interaction).await;
    assert_eq!(house.attentions().await[0].interactions, ["open"]);
}

/// Each condition of `target::check_agent` and of the campaign has a row that turns red without it.
#[tokio::test]
async fn bad_targets_and_strangers_are_refused_with_a_reason_and_nothing_happens() {
    let house = house().await;
    let seen = opened(&house).await;
    sqlx::query("UPDATE assignment.agent_state SET paused = true WHERE agent_key = 'luis'")
        .execute(house.db.pool())
        .await
        .unwrap();
    let long = "x".repeat(10_001);
    let rows = [
        ("ana", "", "", "", "INVALID_REQUEST"),
        ("ana", "ventas", "luis", "", "INVALID_REQUEST"),
        ("ana", "ventas", "", long.as_str(), "INVALID_REQUEST"),
        ("ana", "ventas", "", "a\0b", "INVALID_REQUEST"),
        ("ana", "nada", "", "", "TARGET_NOT_FOUND"),
        ("ana", "cerrada", "", "", "TARGET_INACTIVE"),
        ("ana", "chat", "", "", "TARGET_OTHER_CHANNEL"),
        ("ana", "soporte", "", "", "SAME_TARGET"),
        ("ana", "", "ana", "", "SAME_TARGET"),
        ("ana", "", "rosa", "", "TARGET_NOT_MEMBER"),
        ("ana", "", "nadie", "", "TARGET_NOT_MEMBER"),
        ("ana", "", "sol", "", "TARGET_INACTIVE"),
        ("ana", "", "luis", "", "TARGET_UNAVAILABLE"),
        ("luis", "ventas", "", "", "NOT_YOURS"),
        ("rosa", "ventas", "", "", "INTERACTION_NOT_FOUND"),
        ("saul", "ventas", "", "", "INTERACTION_NOT_FOUND"),
        ("sara", "ventas", "", "", "AGENT_REQUIRED"),
        ("coco", "ventas", "", "", "AGENT_REQUIRED"),
        ("rita", "ventas", "", "", "AGENT_REQUIRED"),
    ];
    for (who, campaign, agent, note, expected) in rows {
        let asked = transfer(seen.last_interaction, campaign, agent, note);
        let error = house.actions.transfer(house.access(who).await, asked).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{who}: {campaign} {agent}");
    }
    sqlx::query(
        "UPDATE assignment.agent_state SET paused = false, absent_since = now() WHERE agent_key = 'luis'",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    let away =
        house.actions.transfer(house.access("ana").await, transfer(seen.last_interaction, "", "luis", ""));
    assert_eq!(away.await.unwrap_err().reason(), "TARGET_UNAVAILABLE");
    assert_eq!(house.events(seen.attention_id).await.len(), 4, "nothing happened");
    assert_eq!(house.count("SELECT count(*) FROM attention.message WHERE direction = 'note'").await, 0);
}

#[tokio::test]
async fn a_supervisor_moves_and_releases_what_others_have_and_the_events_say_who() {
    let house = house().await;
    let seen = opened(&house).await;
    let id = seen.last_interaction;
    for (who, expected) in [
        ("ana", "SUPERVISOR_REQUIRED"),
        ("rita", "SUPERVISOR_REQUIRED"),
        ("rosa", "INTERACTION_NOT_FOUND"),
        ("saul", "INTERACTION_NOT_FOUND"),
    ] {
        let error =
            house.actions.reassign(house.access(who).await, reassign(id, "", "luis")).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{who}");
    }
    let by = async |who: &str, to: ReassignInteractionRequest| {
        house.actions.reassign(house.access(who).await, to).await.map(|answer| answer.interaction.unwrap())
    };
    let to_luis = reassign(id, "", "luis");
    let ringing = by("sara", to_luis.clone()).await.unwrap();
    assert_eq!(by("sara", to_luis).await.unwrap(), ringing, "same request");
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (0, 1));
    assert_eq!(by("sara", reassign(id, "", "luis")).await.unwrap_err().reason(), "SAME_TARGET");
    by("coco", reassign(id, "", "ana")).await.unwrap();
    house.open_item("ana", id).await;
    let release =
        |id: Uuid| ReleaseInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
    for (who, expected) in
        [("luis", "NOT_YOURS"), ("rita", "AGENT_REQUIRED"), ("saul", "INTERACTION_NOT_FOUND")]
    {
        let error = house.actions.release(house.access(who).await, release(id)).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{who}");
    }
    house.actions.release(house.access("sara").await, release(id)).await.unwrap();
    assert_eq!(
        house.actions.release(house.access("sara").await, release(id)).await.unwrap_err().reason(),
        "NOT_OPEN"
    );
    by("sara", reassign(id, "ventas", "")).await.unwrap();
    assert_eq!((load(&house, "ana").await, load(&house, "luis").await), (0, 0));
    assert_eq!(
        short(&told(&house, seen.attention_id, 4).await),
        [
            "interaction_released soporte reassigned sara",
            "interaction_offered soporte reassigned sara",
            "offer_withdrawn soporte reassigned coco",
            "interaction_offered soporte reassigned coco",
            "interaction_opened soporte ana",
            "interaction_released soporte reassigned sara",
            "interaction_transferred_out soporte reassigned sara",
            "interaction_transferred_in ventas reassigned sara"
        ]
    );
}

#[tokio::test]
async fn notes_lie_in_the_thread_for_agents_and_supervisors_and_are_never_sent() {
    let house = house().await;
    let seen = opened(&house).await;
    let note = |text: &str| AddNoteRequest {
        interaction_id: seen.last_interaction.to_string(),
        request_id: fresh(),
        text: text.into(),
    };
    for (who, text, expected) in [
        ("ana", " ", "INVALID_REQUEST"),
        ("rita", "x", "AGENT_REQUIRED"),
        ("rosa", "x", "INTERACTION_NOT_FOUND"),
        ("saul", "x", "INTERACTION_NOT_FOUND"),
    ] {
        let error = house.actions.add_note(house.access(who).await, note(text)).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{who}");
    }
    let first = note("Ya llamó dos veces");
    let luis = house.access("luis").await;
    let answer = house.actions.add_note(luis.clone(), first.clone()).await.unwrap();
    assert_eq!(house.actions.add_note(luis, first).await.unwrap(), answer, "same request");
    for who in ["sara", "coco"] {
        house.actions.add_note(house.access(who).await, note("Visto")).await.unwrap();
    }
    let written = answer.note.unwrap();
    assert_eq!((written.internal, written.from.unwrap().name.as_str()), (true, "luis"));
    let opened = house.open_item("ana", seen.last_interaction).await;
    let texts: Vec<(&str, bool)> =
        opened.messages.iter().skip(1).map(|one| (one.text.as_str(), one.internal)).collect();
    assert_eq!(texts, [("Ya llamó dos veces", true), ("Visto", true), ("Visto", true)]);
    assert_eq!(opened.item.unwrap().preview, "Hola, no llegó.", "a list shows what the customer wrote");
    assert_eq!(house.count("SELECT count(*) FROM kit.outbox_log WHERE stream = 'outbound'").await, 0);
    house.end_item(seen.last_interaction, false).await;
    let late = house.actions.add_note(house.access("ana").await, note("tarde")).await.unwrap_err();
    assert_eq!(late.reason(), "ALREADY_ENDED");
    let id = seen.last_interaction;
    let thread = house
        .db
        .snapshot(move |tx| Box::pin(async move { crate::attention::ended::page(tx, id, None).await }))
        .await
        .unwrap()
        .unwrap()
        .thread;
    let summary = thread.summary.unwrap();
    assert_eq!(
        (thread.messages.len(), summary.message_count),
        (1, 1),
        "notes are not messages in the history"
    );
    let notes: Vec<(&str, &str)> =
        thread.notes.iter().map(|one| (one.author_key.as_str(), one.text.as_str())).collect();
    assert_eq!(notes, [("luis", "Ya llamó dos veces"), ("sara", "Visto"), ("coco", "Visto")]);
}

/// Of two moves at the same instant one wins; the other finds it moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_transfers_at_once_one_wins_each_time() {
    let house = Arc::new(house().await);
    let ana = house.access("ana").await;
    for round in 0..40 {
        house.take(&[Mail::from(&format!("c{round}@cliente.example"))]).await;
        let id = house.attentions().await.last().unwrap().last_interaction;
        house.open_item("ana", id).await;
        let tries = [transfer(id, "ventas", "", "a"), transfer(id, "", "luis", "b")].map(|asked| {
            let (house, ana) = (house.clone(), ana.clone());
            tokio::spawn(async move { house.actions.transfer(ana, asked).await })
        });
        let mut reasons = Vec::new();
        for one in tries {
            reasons.extend(one.await.unwrap().err().map(|error| error.reason().to_owned()));
        }
        let [reason] = reasons.as_slice() else { panic!("round {round}: {reasons:?}") };
        assert!(["NOT_OPEN", "INTERACTION_NOT_FOUND"].contains(&reason.as_str()), "round {round}: {reason}");
    }
    let (notes, luis) = (
        house.count("SELECT count(*) FROM attention.message WHERE direction = 'note'").await,
        house.count("SELECT count(*) FROM attention.interaction WHERE offer_agent_key = 'luis'").await,
    );
    assert_eq!(notes, 40, "the loser left no note");
    assert_eq!((i64::from(load(&house, "luis").await), load(&house, "ana").await), (luis, 0));
}
