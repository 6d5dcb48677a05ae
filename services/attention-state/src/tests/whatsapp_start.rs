//! An agent writes first by WhatsApp: what begins, where the answer goes, and that one conversation with a customer runs on a number.

use std::sync::Arc;

use hilo_kit::consumer::Outcome;
use hilo_proto::attention::v1::{
    ChatStart, EndInteractionRequest, SendMessageRequest, StartAttentionRequest, StartAttentionResponse,
};
use hilo_proto::event::v1::{Direction, InteractionState};
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::outbound::v1::outbound_whats_app;
use time::OffsetDateTime;
use uuid::Uuid;

use super::templates::{report, reported};
use super::whatsapp_kinds::greeting;
use super::whatsapp_rig::{Chat, EVA, house as empty, identities, only, outbound, send, take};
use super::{House, Mail, fresh};

/// A house whose accounts have an approved template.
async fn house() -> House {
    let house = empty().await;
    for account in ["chat-wa", "ventas-wa"] {
        let list = vec![reported("seguimos", "APPROVED"), reported("pausada", "PAUSED")];
        report(&house, account, OffsetDateTime::now_utc(), list).await.unwrap();
    }
    house
}

pub(super) fn request(campaign: &str, phone: &str) -> StartAttentionRequest {
    let whatsapp = ChatStart {
        phone: phone.into(),
        template: Some(greeting("seguimos", &["Eva"])),
        ..ChatStart::default()
    };
    StartAttentionRequest {
        campaign_key: campaign.into(),
        request_id: fresh(),
        whatsapp: Some(whatsapp),
        ..StartAttentionRequest::default()
    }
}

pub(super) async fn start(
    house: &House,
    user: &str,
    request: StartAttentionRequest,
) -> Result<StartAttentionResponse, hilo_kit::Error> {
    house.actions.start(house.access(user).await, request).await
}

async fn end(house: &House, interaction: &str) {
    let request = EndInteractionRequest {
        interaction_id: interaction.into(),
        close_attention: false,
        request_id: fresh(),
    };
    house.actions.end(house.access("ana").await, request).await.unwrap();
}

#[tokio::test]
async fn a_template_begins_an_attention_and_the_answer_joins_it() {
    let house = house().await;
    let number = format!("+{EVA}");
    let begun = start(&house, "ana", request("chat", &number)).await.unwrap();
    let interaction = begun.interaction.unwrap();
    assert_eq!((interaction.state(), interaction.direction()), (InteractionState::Open, Direction::Outbound));
    assert_eq!(interaction.agent_key, "ana");
    assert_eq!(begun.message.unwrap().text, "Hola Eva, seguimos con su caso.");
    let seen = only(&house).await;
    assert_eq!(
        house.events(seen.attention_id).await,
        ["attention_opened", "interaction_started", "message_queued"]
    );
    let sent = outbound(&house).await;
    let [(envelope, item)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((envelope.account_key.as_str(), envelope.sequence), ("chat-wa", 1));
    assert_eq!(item.to.as_ref().unwrap().phone, number);
    assert!(matches!(&item.kind, Some(outbound_whats_app::Kind::Template(sent)) if sent.name == "seguimos"));
    let text = |request: &mut SendMessageRequest| request.text = "¿hola?".into();
    let refused = send(&house, "ana", seen.last_interaction, text).await.unwrap_err();
    assert_eq!(refused.reason(), "WINDOW_CLOSED", "only the customer's answer opens the window");
    // A second template goes to the same number, though nobody has written from it.
    let again = |request: &mut SendMessageRequest| {
        super::whatsapp_kinds::content(hilo_proto::attention::v1::chat_content::Kind::Template(greeting(
            "seguimos",
            &["Eva"],
        )))(request);
    };
    send(&house, "ana", seen.last_interaction, again).await.unwrap();
    assert_eq!(outbound(&house).await.pop().unwrap().1.to.unwrap().phone, number);
    take(&house, &[Chat::from(EVA).says("sí, dígame")]).await;
    let seen = only(&house).await;
    assert_eq!((seen.messages, seen.interactions.as_slice()), (3, &["open".to_owned()][..]));
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
    assert_eq!(identities(&house).await.len(), 2, "his WhatsApp id is known by now");
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    let (_, last) = outbound(&house).await.pop().unwrap();
    assert_eq!(last.to.unwrap().wa_id, EVA);
    assert!(last.window_ends_at.is_some());
}

#[tokio::test]
async fn one_conversation_with_a_customer_runs_on_a_number() {
    let house = house().await;
    let number = format!("+{EVA}");
    let begun = start(&house, "ana", request("chat", &number)).await.unwrap();
    let refused = start(&house, "luis", request("chat", &number)).await.unwrap_err();
    assert_eq!(refused.reason(), "LIVE_ATTENTION");
    start(&house, "rosa", request("ventas-chat", &number)).await.unwrap();
    end(&house, &begun.interaction.unwrap().interaction_id).await;
    start(&house, "luis", request("chat", &number)).await.unwrap();
    // What the customer began counts as well.
    let otto = "51911111111";
    take(&house, &[Chat::from(otto)]).await;
    let refused = start(&house, "ana", request("chat", &format!("+{otto}"))).await.unwrap_err();
    assert_eq!(refused.reason(), "LIVE_ATTENTION");
    assert_eq!(outbound(&house).await.len(), 3);
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 2);
}

#[tokio::test]
async fn after_the_end_the_next_contact_is_a_new_attention_of_the_same_contact() {
    let house = house().await;
    let begun = start(&house, "ana", request("chat", &format!("+{EVA}"))).await.unwrap();
    end(&house, &begun.interaction.unwrap().interaction_id).await;
    take(&house, &[Chat::from(EVA)]).await;
    let all = house.attentions().await;
    assert_eq!(all.iter().map(|one| one.state.as_str()).collect::<Vec<_>>(), ["closed", "open"]);
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
}

#[tokio::test]
async fn a_contact_is_written_to_by_what_he_has() {
    let house = house().await;
    let nameless = Chat::from(EVA).who(|who| {
        who.wa_id.clear();
        who.phone.clear();
        who.user_id = "PE.77".into();
    });
    take(&house, &[nameless]).await;
    let seen = only(&house).await;
    house.open_item("ana", seen.last_interaction).await;
    end(&house, &seen.last_interaction.to_string()).await;
    let contact: Uuid = sqlx::query_scalar("SELECT contact_id FROM contact.contact")
        .fetch_one(house.db.pool())
        .await
        .unwrap();
    let to = |campaign: &str, id: Uuid| {
        let mut request = request(campaign, "");
        request.whatsapp.as_mut().unwrap().contact_id = id.to_string();
        request
    };
    start(&house, "ana", to("chat", contact)).await.unwrap();
    assert_eq!(outbound(&house).await.pop().unwrap().1.to.unwrap().user_id, "PE.77");
    let refused = start(&house, "rosa", to("ventas-chat", contact)).await.unwrap_err();
    assert_eq!(refused.reason(), "CONTACT_NOT_FOUND", "a customer of another campaign");
    house.take(&[Mail::from("otto@cliente.example")]).await;
    let by_mail: Uuid = sqlx::query_scalar("SELECT contact_id FROM contact.identity WHERE kind = 'email'")
        .fetch_one(house.db.pool())
        .await
        .unwrap();
    let refused = start(&house, "ana", to("chat", by_mail)).await.unwrap_err();
    assert_eq!(refused.reason(), "NO_RECIPIENT");
}

#[tokio::test]
async fn what_cannot_begin_is_refused_with_its_reason() {
    let house = house().await;
    let number = format!("+{EVA}");
    let with = |change: fn(&mut StartAttentionRequest)| {
        let mut request = request("chat", &format!("+{EVA}"));
        change(&mut request);
        request
    };
    let chat = |request: &mut StartAttentionRequest, change: fn(&mut ChatStart)| {
        change(request.whatsapp.as_mut().unwrap());
    };
    let mut unapproved = request("chat", &number);
    chat(&mut unapproved, |chat| chat.template = Some(greeting("pausada", &["Eva"])));
    let mut lacking = request("chat", &number);
    chat(&mut lacking, |chat| chat.template = Some(greeting("seguimos", &[])));
    let mut both = request("chat", &number);
    chat(&mut both, |chat| chat.contact_id = fresh());
    let mut neither = request("chat", &number);
    chat(&mut neither, |chat| chat.phone.clear());
    let mut nameless = request("chat", &number);
    chat(&mut nameless, |chat| chat.template = None);
    let eva = |request: &mut StartAttentionRequest| {
        request.to = vec![EmailAddress { address: "eva@cliente.example".into(), name: String::new() }];
    };
    for (request, reason, field) in [
        (unapproved, "TEMPLATE_NOT_APPROVED", ""),
        (lacking, "TEMPLATE_VARIABLES", "whatsapp.template.components"),
        (both, "INVALID_REQUEST", "whatsapp.phone"),
        (neither, "INVALID_REQUEST", "whatsapp.phone"),
        (nameless, "INVALID_REQUEST", "whatsapp.template"),
        (request("chat", "987654321"), "INVALID_REQUEST", "whatsapp.phone"),
        (request("chat", "+0987654321"), "INVALID_REQUEST", "whatsapp.phone"),
        (with(eva), "INVALID_REQUEST", "to"),
        (with(|request| request.text = "x".into()), "INVALID_REQUEST", "text"),
        (with(|request| request.account_key = "ventas-wa".into()), "INVALID_REQUEST", "account_key"),
        (request("soporte", &number), "INVALID_REQUEST", "whatsapp"),
        (request("ventas-chat", &number), "CAMPAIGN_NOT_FOUND", ""),
    ] {
        let refused = start(&house, "ana", request).await.unwrap_err();
        assert_eq!(refused.reason(), reason, "{field}");
        assert_eq!(refused.violations().first().map_or("", |one| one.field.as_str()), field, "{reason}");
    }
    assert!(house.attentions().await.is_empty() && outbound(&house).await.is_empty());
}

#[tokio::test]
async fn of_many_who_begin_and_write_at_once_one_conversation_comes() {
    for round in 0..4 {
        let house = Arc::new(house().await);
        let mut runs = tokio::task::JoinSet::new();
        for user in ["ana", "luis", "ana", "luis"] {
            let house = house.clone();
            runs.spawn(async move {
                match start(&house, user, request("chat", &format!("+{EVA}"))).await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.reason(), "LIVE_ATTENTION"),
                }
            });
        }
        for body in ["uno", "dos"] {
            let (house, item) = (house.clone(), Chat::from(EVA).says(body));
            runs.spawn(async move {
                loop {
                    let outcomes = super::whatsapp_rig::offer(&house, std::slice::from_ref(&item)).await;
                    match outcomes.as_slice() {
                        [Outcome::Ack] => return,
                        [Outcome::Busy | Outcome::Retry(_)] => tokio::task::yield_now().await,
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        let all = tokio::time::timeout(std::time::Duration::from_secs(60), runs.join_all()).await;
        assert!(all.is_ok(), "round {round}: it did not come to an end");
        let live = "SELECT count(*) FROM attention.attention WHERE state = 'open'";
        assert_eq!(house.count(live).await, 1, "round {round}");
        assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1, "round {round}");
    }
}
