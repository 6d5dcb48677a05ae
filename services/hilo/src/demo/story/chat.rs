//! Rosa writes by WhatsApp. Her phone is played at the simulator of Meta's Cloud API; what she and the agent see is read there and on the
//! agent's stream, never taken from what was sent.
//!
//! Her first message comes late: her phone wrote it almost 24 hours ago, as happens when Meta could not deliver for a day. So the window
//! really closes while the demo runs, by the clocks of all who look at it.

use std::collections::BTreeSet;
use std::time::Duration;

use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{ChatContent, SendMessageRequest};
use hilo_proto::event::v1::AttentionState;
use hilo_proto::history::v1::{SearchThreadsRequest, ThreadMessage};
use hilo_proto::outbound::v1::SendTemplate;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::clock::{Clock, demand, until, wrong};
use super::super::overlay::{BY_WHATSAPP, CHAT_CAMPAIGN, NUMBER};
use super::evidence::{Case, SOON, newest, of_customer, open, ringing};
use super::history;
use super::stage::Play;
use crate::cli::Failure;
use crate::cli::desk::remote::DeskCalls as _;
use crate::cli::terminal::instant;
use crate::stack::meta;

/// What is left until free text is refused, when the first message is handed over.
const LEFT: Duration = Duration::from_secs(12);
/// Hilo stops so long before the 24 hours are over: its clock is not Meta's.
const EARLY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const ANSWER: &str = "Buenos días, Rosa: salió esta mañana.";
const AGAIN: &str = "Aquí seguimos.";
const TOO_LATE: &str = "¿Le puedo ayudar en algo más?";

/// Her attention, and when its window closes.
pub struct Chat<'a> {
    /// Who serves it.
    pub case: Case<'a>,
    /// End of the 24 hours.
    ends_at: OffsetDateTime,
}

/// She writes, it rings, it is answered, and every tick arrives.
pub async fn answered<'a>(clock: &mut Clock, play: &Play<'a>) -> Result<Chat<'a>, Failure> {
    let (rosa, phones) = (&play.customers.rosa, &play.phones);
    let chat =
        clock.step("Rosa writes by WhatsApp (simulated phone, delivered a day late)", writes(play)).await?;
    let case = &chat.case;
    clock
        .step("Rosa's message opened", async {
            let opened = open(case.agent, &case.item).await?;
            let read = newest(&opened)?.text.clone();
            demand(read == rosa.words, format!("the text reads {read:?}"))?;
            let contact = opened.attention.and_then(|attention| attention.contact).unwrap_or_default();
            Ok(((), format!("{} reads {read:?} of {}", case.agent.key, contact.name)))
        })
        .await?;
    let sent = clock
        .step("reply by WhatsApp", async {
            let message = case.agent.desk.reply(&case.item.interaction_id, ANSWER, false).await?;
            let arrived = on_the_phone(play, ANSWER).await?;
            let statuses = statuses(&arrived);
            Ok((message, format!("her phone shows {ANSWER:?} ({})", statuses.join(", "))))
        })
        .await?;
    clock
        .step("ticks of the reply", async {
            let delivered = ticked(case, &sent, "delivered").await?;
            phones.read(&rosa.address).await?;
            let read = ticked(case, &sent, "read").await?;
            let told = statuses(&on_the_phone(play, ANSWER).await?).join(", ");
            Ok((
                (),
                format!(
                    "the thread says {delivered:?}, after she opened the chat {read:?}; Meta told {told}"
                ),
            ))
        })
        .await?;
    Ok(chat)
}

async fn writes<'a>(play: &Play<'a>) -> Result<(Chat<'a>, String), Failure> {
    let (rosa, phones) = (&play.customers.rosa, &play.phones);
    phones.post("/customers", &json!({ "phone": rosa.address, "name": rosa.name })).await?;
    let ago = (DAY - EARLY - LEFT).as_secs();
    let said = json!({ "text": rosa.words, "seconds_ago": ago });
    let wamid = phones.say(&rosa.address, Some(NUMBER), &said).await?;
    let (agent, item) =
        ringing(play, "Rosa's message rings", |item| of_customer(item, &rosa.address)).await?;
    demand(item.account_key == BY_WHATSAPP, format!("it came in by account {}", item.account_key))?;
    demand(item.customer_name == rosa.name, format!("the customer's name reads {:?}", item.customer_name))?;
    let end = item.window_ends_at.ok_or_else(|| wrong("the item has no end of the 24 hours"))?;
    let ends_at = OffsetDateTime::from_unix_timestamp(end.seconds).map_err(|_| wrong("no instant"))?;
    let evidence = format!(
        "#{} rings on the stream of {}; free text until {}",
        item.attention_number,
        agent.key,
        instant(Some(&end))
    );
    Ok((Chat { case: Case { agent, item, message_id: wamid }, ends_at }, evidence))
}

/// The 24 hours end, free text is refused; the attention ends, is found, and the next message begins another.
pub async fn window_lost_and_ended<'a>(
    clock: &mut Clock,
    play: &Play<'a>,
    chat: &Chat<'a>,
) -> Result<Case<'a>, Failure> {
    let case = &chat.case;
    clock.step("the 24 hours are over but a minute", too_late(play, chat)).await?;
    clock.step("resumed by a template", resumed(play, case)).await?;
    clock.step("Rosa answers, free text goes again", goes_on(play, case)).await?;
    clock.step("attention ended", ended(case)).await?;
    clock
        .step("history finds the conversation", async {
            let criteria = SearchThreadsRequest {
                customer: play.customers.rosa.address.clone(),
                words: "pedido".to_owned(),
                campaign_key: CHAT_CAMPAIGN.to_owned(),
                ..Default::default()
            };
            let wanted = BTreeSet::from([case.item.interaction_id.clone()]);
            history::found_exactly(play.agents[0], &criteria, &wanted).await?;
            let found = history::search(play.agents[0], &criteria).await?;
            let channel = found.first().map(|thread| thread.channel.clone()).unwrap_or_default();
            demand(channel == "whatsapp", format!("its channel reads {channel:?}"))?;
            Ok(((), format!("1 thread of {channel} by her number, a word and the campaign")))
        })
        .await?;
    let next = clock.step("Rosa writes again", writes_again(play, case)).await?;
    clock
        .step("the new attention ended", async {
            open(next.agent, &next.item).await?;
            ended(&next).await
        })
        .await?;
    Ok(next)
}

async fn too_late(play: &Play<'_>, chat: &Chat<'_>) -> Result<((), String), Failure> {
    let (case, now) = (&chat.case, OffsetDateTime::now_utc());
    // A second more: the database's clock decides, not this one.
    let left = chat.ends_at + time::Duration::seconds(1) - now;
    tokio::time::sleep(left.try_into().unwrap_or(Duration::ZERO)).await;
    let refused = case.agent.desk.reply(&case.item.interaction_id, TOO_LATE, false).await;
    let refused = refused.err().ok_or_else(|| wrong("free text was taken after the 24 hours"))?;
    demand(refused.reason == "WINDOW_CLOSED", format!("refused with {}", refused.reason))?;
    let got = chat_of(play).await?.iter().filter(|row| row.get("received").is_some()).count();
    demand(got == 1, format!("her phone got {got} messages"))?;
    Ok(((), format!("free text is refused with {}, her phone still has 1 message of ours", refused.reason)))
}

async fn resumed(play: &Play<'_>, case: &Case<'_>) -> Result<((), String), Failure> {
    let templates = until(SOON, "the account's templates are known", || async {
        let templates = case.agent.desk.templates(CHAT_CAMPAIGN).await?;
        Ok(Some(templates).filter(|all| all.iter().any(|one| one.name == meta::RESUME)))
    })
    .await?;
    let named: Vec<&str> = templates.iter().map(|one| one.name.as_str()).collect();
    let (name, language) = (meta::RESUME.to_owned(), meta::LANGUAGE.to_owned());
    let template = SendTemplate { name, language, components: Vec::new() };
    let whatsapp = Some(ChatContent { kind: Some(Kind::Template(template)), ..Default::default() });
    let interaction_id = case.item.interaction_id.clone();
    let request = SendMessageRequest { interaction_id, whatsapp, ..Default::default() };
    let sent = case.agent.desk.send(request).await?;
    let arrived = until(SOON, "the template is on her phone", || async {
        let is = |row: &Value| {
            row.pointer("/received/body/template/name").is_some_and(|name| name == meta::RESUME)
        };
        Ok(chat_of(play).await?.into_iter().find(is))
    })
    .await?;
    let state = ticked(case, &sent, "delivered").await?;
    let kind = arrived.pointer("/received/kind").and_then(Value::as_str).unwrap_or_default();
    Ok((
        (),
        format!(
            "of {} her phone shows the {kind} {}, the thread says {state:?}",
            named.join(" and "),
            meta::RESUME
        ),
    ))
}

async fn goes_on(play: &Play<'_>, case: &Case<'_>) -> Result<((), String), Failure> {
    let said = json!({ "text": "Sí, gracias" });
    play.phones.say(&play.customers.rosa.address, Some(NUMBER), &said).await?;
    let open = case
        .agent
        .until(SOON, "the window is open again on the stream", |list| {
            let end = list.get(&case.item.interaction_id)?.window_ends_at?;
            (end.seconds > OffsetDateTime::now_utc().unix_timestamp()).then_some(end)
        })
        .await?;
    case.agent.desk.reply(&case.item.interaction_id, AGAIN, false).await?;
    on_the_phone(play, AGAIN).await?;
    Ok(((), format!("free text until {}, her phone shows {AGAIN:?}", instant(Some(&open)))))
}

async fn ended(case: &Case<'_>) -> Result<((), String), Failure> {
    let answer = case.agent.desk.end(&case.item.interaction_id, false).await?;
    demand(answer.attention_state == AttentionState::Closed as i32, "the attention is not closed")?;
    let attention = case.agent.attention(&case.item.attention_id).await?;
    demand(attention.state == AttentionState::Closed as i32, "the attention does not read as closed")?;
    Ok(((), format!("attention #{} is closed with its interaction, by {}", attention.number, case.agent.key)))
}

async fn writes_again<'a>(play: &Play<'a>, before: &Case<'_>) -> Result<(Case<'a>, String), Failure> {
    let rosa = &play.customers.rosa;
    let wamid = play.phones.say(&rosa.address, Some(NUMBER), &json!({ "text": "Otra consulta" })).await?;
    let fits = |item: &_| of_customer(item, &rosa.address) && item.attention_id != before.item.attention_id;
    let (agent, item) = ringing(play, "a new attention rings", fits).await?;
    let attention = agent.attention(&item.attention_id).await?;
    demand(attention.linked_attention_id.is_empty(), "it is linked to the one before")?;
    let evidence = format!("a new attention #{} rings at {}", item.attention_number, agent.key);
    Ok((Case { agent, item, message_id: wamid }, evidence))
}

/// Waits until the thread says so of a message of ours.
async fn ticked(case: &Case<'_>, sent: &ThreadMessage, state: &str) -> Result<String, Failure> {
    until(SOON, &format!("the reply is {state}"), || async {
        let thread = case.agent.desk.messages(&case.item.attention_id).await?;
        let ours = thread.into_iter().find(|message| message.message_id == sent.message_id);
        Ok(ours.map(|message| message.delivery_state).filter(|now| now == state))
    })
    .await
}

async fn chat_of(play: &Play<'_>) -> Result<Vec<Value>, Failure> {
    let chat = play.phones.chat(&play.customers.rosa.address).await?;
    chat.ok_or_else(|| wrong("the simulator does not know her any more"))
}

/// Waits until the text is on her phone, as the simulator shows it.
async fn on_the_phone(play: &Play<'_>, text: &str) -> Result<Value, Failure> {
    until(SOON, "the text is on her phone", || async {
        let is = |row: &Value| row.pointer("/received/body/text/body").is_some_and(|body| body == text);
        Ok(chat_of(play).await?.into_iter().find(is))
    })
    .await
}

fn statuses(row: &Value) -> Vec<String> {
    let told = row.pointer("/received/statuses").and_then(Value::as_array);
    let names = told.into_iter().flatten().filter_map(|one| one.get(0)?.as_str());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() { vec!["accepted".to_owned()] } else { names }
}
