//! WhatsApp from a customer's item to an agent's answer: what one item leaves behind, repeats, the window, the end.

use hilo_kit::clock::to_proto;
use hilo_kit::consumer::Outcome;
use hilo_proto::attention::v1::{EndInteractionRequest, SendMessageRequest};
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{EmailAddress, InboundWhatsApp, WhatsAppPlaceholder};
use hilo_proto::outbound::v1::outbound_whats_app;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::whatsapp_rig::{Chat, EVA, house, identities, messages, offer, only, outbound, send, take};
use super::{House, fresh};

/// What a request asks for instead.
type Change = Box<dyn FnOnce(&mut SendMessageRequest)>;

async fn window(house: &House) -> Option<OffsetDateTime> {
    sqlx::query_scalar("SELECT window_ends_at FROM attention.attention")
        .fetch_one(house.db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_first_item_makes_contact_attention_interaction_message_window_and_events() {
    let house = house().await;
    let sent_at = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() - Duration::minutes(3);
    take(&house, &[Chat::from(EVA).at(sent_at)]).await;
    let seen = only(&house).await;
    assert_eq!((seen.state.as_str(), seen.messages, seen.campaign_key.as_str()), ("open", 1, "chat"));
    assert_eq!(seen.interactions, ["queued"]);
    assert_eq!(
        house.events(seen.attention_id).await,
        ["attention_opened", "interaction_queued", "message_received", "window_expiry_announced"]
    );
    assert_eq!(window(&house).await, Some(sent_at + Duration::hours(24) - Duration::seconds(60)));
    let found = identities(&house).await;
    assert_eq!(found, [("phone".into(), format!("+{EVA}")), ("whatsapp".into(), EVA.to_owned())]);
    let thread = messages(&house, seen.attention_id).await;
    let [message] = thread.as_slice() else { panic!("{thread:?}") };
    assert_eq!(message.text, "Hola,\n\nno llegó.");
    assert_eq!(message.whatsapp.as_ref().unwrap().kind, "text");
    let item = house.open_item("ana", seen.last_interaction).await.item.unwrap();
    assert_eq!((item.channel.as_str(), item.customer_address.as_str()), ("whatsapp", "+51987654321"));
    assert_eq!(item.customer_name, "Eva Quispe");
    let ends_at = Some(to_proto(window(&house).await.unwrap()));
    assert_eq!(item.window_ends_at, ends_at);
}

#[tokio::test]
async fn the_window_moves_with_the_customers_own_instants_and_never_back() {
    let house = house().await;
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let end = |sent_at: OffsetDateTime| Some(sent_at + Duration::hours(24) - Duration::seconds(60));
    for (sent_at, known) in [
        (now - Duration::hours(2), now - Duration::hours(2)),
        (now - Duration::hours(5), now - Duration::hours(2)),
        (now - Duration::hours(1), now - Duration::hours(1)),
    ] {
        take(&house, &[Chat::from(EVA).at(sent_at)]).await;
        assert_eq!(window(&house).await, end(known), "{sent_at}");
    }
    let announced = house.events(only(&house).await.attention_id).await;
    assert_eq!(announced.iter().filter(|name| *name == "window_expiry_announced").count(), 2);
    // Nobody can have written in the future.
    take(&house, &[Chat::from(EVA).at(now + Duration::hours(9))]).await;
    let latest = OffsetDateTime::now_utc() + Duration::hours(24) - Duration::seconds(60);
    assert!(window(&house).await.unwrap() <= latest);
}

#[tokio::test]
async fn items_of_a_batch_and_of_later_ones_go_into_one_live_attention_per_number_and_customer() {
    let house = house().await;
    let otto = "51911111111";
    take(&house, &[Chat::from(EVA), Chat::from(otto), Chat::from(EVA).says("y?")]).await;
    take(&house, &[Chat::from(EVA).says("¿hola?")]).await;
    // The same customer at another number of ours is another conversation.
    let elsewhere = Chat { conversation: Uuid::now_v7(), ..Chat::from(EVA).to("ventas-wa") };
    take(&house, &[elsewhere]).await;
    let all = house.attentions().await;
    let told: Vec<(i64, &str)> = all.iter().map(|one| (one.messages, one.campaign_key.as_str())).collect();
    assert_eq!(told, [(3, "chat"), (1, "chat"), (1, "ventas-chat")]);
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 2);
}

#[tokio::test]
async fn a_repeat_under_the_same_delivery_another_one_or_another_ledger_row_changes_nothing() {
    let house = house().await;
    let first = Chat::from(EVA);
    let delivered_again = Chat { delivery_id: Uuid::now_v7(), ..first.clone() };
    let in_another_row = Chat { ledger: Uuid::now_v7(), ..delivered_again.clone() };
    let again = Chat { delivery_id: Uuid::now_v7(), ..in_another_row.clone() };
    take(&house, std::slice::from_ref(&first)).await;
    let before = house.events(only(&house).await.attention_id).await;
    take(&house, &[first, delivered_again, in_another_row, again]).await;
    assert_eq!(only(&house).await.messages, 1);
    assert_eq!(house.events(only(&house).await.attention_id).await, before);
}

#[tokio::test]
async fn the_same_batch_many_times_at_once_and_shuffled_gives_each_item_once() {
    let house = house().await;
    let items: Vec<Chat> =
        (0..12).map(|n| Chat { number: n, ..Chat::from(EVA).says(&n.to_string()) }).collect();
    let mut runs = tokio::task::JoinSet::new();
    let house = std::sync::Arc::new(house);
    for run in 0..10_usize {
        let mut shuffled = items.clone();
        shuffled.rotate_left(run % items.len());
        if run % 2 == 1 {
            shuffled.reverse();
        }
        let house = house.clone();
        runs.spawn(async move {
            loop {
                let outcomes = offer(&house, &shuffled).await;
                // What another transaction holds comes again, as the broker would bring it.
                if outcomes.iter().all(|one| matches!(one, Outcome::Ack)) {
                    return;
                }
                assert!(outcomes.iter().all(|one| !matches!(one, Outcome::Dead(_))), "{outcomes:?}");
                tokio::task::yield_now().await;
            }
        });
    }
    let all = tokio::time::timeout(std::time::Duration::from_secs(60), runs.join_all()).await;
    assert!(all.is_ok(), "the repeats did not come to an end");
    let seen = only(&house).await;
    assert_eq!(seen.messages, 12);
    let texts: Vec<String> =
        messages(&house, seen.attention_id).await.into_iter().map(|one| one.text).collect();
    assert_eq!(texts, (0..12).map(|n| n.to_string()).collect::<Vec<_>>(), "in the ledger's order");
}

#[tokio::test]
async fn an_answer_goes_to_the_customer_with_the_window_it_was_written_in() {
    let house = house().await;
    take(&house, &[Chat::from(EVA).wamid("wamid.first").who(|who| who.user_id = "PE.1".into())]).await;
    let seen = only(&house).await;
    let opened = house.open_item("ana", seen.last_interaction).await;
    let first = opened.messages.first().unwrap().message_id.clone();
    let answer = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap().message.unwrap();
    assert_eq!((answer.delivery_state.as_str(), answer.agent_key.as_str()), ("queued", "ana"));
    send(&house, "ana", seen.last_interaction, |request| request.message_id = first.clone()).await.unwrap();
    let sent = outbound(&house).await;
    let [(envelope, plain), (second, reply)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((envelope.send_id.as_str(), envelope.sequence), (answer.message_id.as_str(), 1));
    assert_eq!((envelope.account_key.as_str(), second.sequence), ("chat-wa", 2));
    assert_eq!(envelope.conversation_key, seen.attention_id.to_string());
    let to = plain.to.clone().unwrap();
    assert_eq!((to.wa_id.as_str(), to.user_id.as_str(), to.profile_name.as_str()), (EVA, "PE.1", ""));
    let Some(outbound_whats_app::Kind::Text(text)) = &plain.kind else { panic!("{plain:?}") };
    assert_eq!(text.body, "Buenos días, ya lo reviso.");
    assert_eq!(plain.window_ends_at, Some(to_proto(window(&house).await.unwrap())));
    assert_eq!((plain.reply_to_wamid.as_str(), reply.reply_to_wamid.as_str()), ("", "wamid.first"));
    let thread = messages(&house, seen.attention_id).await;
    assert_eq!(thread.last().unwrap().whatsapp.as_ref().unwrap().reply_to_message_id, first);
}

#[tokio::test]
async fn free_text_after_the_window_is_refused_and_the_customers_next_item_opens_it_again() {
    let house = house().await;
    let yesterday = OffsetDateTime::now_utc() - Duration::hours(25);
    take(&house, &[Chat::from(EVA).at(yesterday)]).await;
    let seen = only(&house).await;
    house.open_item("ana", seen.last_interaction).await;
    let refused = send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap_err();
    assert_eq!(refused.reason(), "WINDOW_CLOSED");
    assert!(outbound(&house).await.is_empty());
    assert_eq!(only(&house).await.state, "open", "an expired window closes nothing");
    take(&house, &[Chat::from(EVA)]).await;
    send(&house, "ana", seen.last_interaction, |_| {}).await.unwrap();
    assert_eq!(outbound(&house).await.len(), 1);
}

#[tokio::test]
async fn what_whatsapp_does_not_take_is_refused_by_field() {
    let house = house().await;
    take(&house, &[Chat::from(EVA)]).await;
    let interaction = only(&house).await.last_interaction;
    house.open_item("ana", interaction).await;
    let eva = || vec![EmailAddress { address: "eva@cliente.example".into(), name: String::new() }];
    let rows: [(&str, Change); 6] = [
        ("text", Box::new(|request| request.text = "ñ".repeat(4_097))),
        ("text", Box::new(|request| request.text = " \n".into())),
        ("html", Box::new(|request| request.html = "<b>x</b>".into())),
        ("cc", Box::new(move |request| request.cc = eva())),
        ("subject", Box::new(|request| request.subject = "x".into())),
        ("quote", Box::new(|request| request.quote = true)),
    ];
    for (field, change) in rows {
        let refused = send(&house, "ana", interaction, change).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_REQUEST", "{field}");
        let fields: Vec<&str> = refused.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, [field]);
    }
    send(&house, "ana", interaction, |request| request.text = "ñ".repeat(4_096)).await.unwrap();
    let foreign = send(&house, "ana", interaction, |request| request.message_id = fresh()).await.unwrap_err();
    assert_eq!(foreign.reason(), "MESSAGE_NOT_FOUND");
    let other = send(&house, "luis", interaction, |_| {}).await.unwrap_err();
    assert_eq!(other.reason(), "NOT_YOURS");
    assert_eq!(outbound(&house).await.len(), 1);
}

#[tokio::test]
async fn the_end_closes_the_attention_and_the_next_contact_is_a_new_independent_one() {
    let house = house().await;
    take(&house, &[Chat::from(EVA)]).await;
    let first = only(&house).await;
    house.open_item("ana", first.last_interaction).await;
    let request = EndInteractionRequest {
        interaction_id: first.last_interaction.to_string(),
        close_attention: false,
        request_id: fresh(),
    };
    house.actions.end(house.access("ana").await, request).await.unwrap();
    assert_eq!(only(&house).await.state, "closed", "without being asked");
    take(&house, &[Chat::from(EVA).says("otra cosa")]).await;
    let all = house.attentions().await;
    let [closed, next] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((closed.state.as_str(), next.state.as_str()), ("closed", "open"));
    assert_eq!((closed.messages, next.messages, next.linked_attention_id), (1, 1, None));
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
    let id = first.last_interaction;
    let thread =
        house.db.snapshot(move |tx| Box::pin(crate::attention::ended::whole(tx, id))).await.unwrap().unwrap();
    let summary = thread.summary.unwrap();
    assert_eq!((summary.channel.as_str(), summary.attention_closed), ("whatsapp", true));
    assert_eq!(thread.messages.first().unwrap().whatsapp.as_ref().unwrap().kind, "text");
}

#[tokio::test]
async fn what_cannot_be_taken_is_a_dead_letter_with_its_reason_and_holds_up_nobody() {
    let house = house().await;
    let odd = WhatsAppPlaceholder {
        r#type: "unsupported".into(),
        error_code: 131_051,
        error_text: "Unknown".into(),
    };
    let without = |change: fn(&mut InboundWhatsApp)| {
        let mut chat = Chat::from(EVA);
        change(&mut chat.item);
        chat
    };
    let items = [
        without(|item| item.kind = None),
        without(|item| item.wamid.clear()),
        without(|item| item.sent_at = None),
        without(|item| item.customer = None),
        Chat::from(EVA).to("nobody-wa"),
        Chat::from(EVA).to("soporte-mail"),
        Chat::from(EVA).kind(Kind::Placeholder(odd)),
    ];
    let outcomes = offer(&house, &items).await;
    let reasons: Vec<&str> = outcomes
        .iter()
        .map(|one| match one {
            Outcome::Dead(error) => error.reason(),
            Outcome::Ack => "",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "UNKNOWN_KIND",
            "NO_WAMID",
            "NO_INSTANT",
            "NO_IDENTITY",
            "ACCOUNT_WITHOUT_CAMPAIGN",
            "OTHER_CHANNEL",
            ""
        ]
    );
    let seen = only(&house).await;
    let [shown] = &messages(&house, seen.attention_id).await[..] else { panic!("{seen:?}") };
    assert_eq!(shown.text, "[unsupported] 131051 Unknown", "the agent sees that something came");
    assert_eq!(house.count("SELECT count(*) FROM kit.inbox").await, 1, "the others can be replayed");
}
