//! Ending an interaction, closing an attention, and what an answer makes after each.

use std::collections::BTreeMap;

use hilo_proto::event::v1::{AttentionState, InteractionState};
use lettre::address::Envelope;

use super::super::clock::{Clock, demand};
use super::super::customers::answer;
use super::super::overlay::REQUIRED_FIELD;
use super::evidence::{Case, Cases, SOON, of_customer, open, ringing, short, state_of};
use super::stage::Play;
use crate::cli::Failure;
use crate::cli::desk::remote::DeskCalls as _;
use crate::cli::mail::mailbox::Received;
use crate::cli::mail::smtp;

/// Ends María's interaction, the attention stays open; her next answer is a new interaction of the same attention.
pub async fn end_and_come_back<'a>(
    clock: &mut Clock,
    play: &Play<'a>,
    maria: &Case<'a>,
    replied: &Received,
) -> Result<Case<'a>, Failure> {
    clock
        .step("ending needs the form", async {
            let refused = maria.agent.desk.end(&maria.item.interaction_id, false).await;
            let refused = refused
                .err()
                .ok_or_else(|| super::super::clock::wrong("it ended without the required field"))?;
            demand(refused.reason == "FORM_INCOMPLETE", format!("refused with {}", refused.reason))?;
            let saved = fill_form(maria).await?;
            Ok(((), format!("first {}, then the form reads {REQUIRED_FIELD} = {saved:?}", refused.reason)))
        })
        .await?;
    clock
        .step("interaction ended, attention open", async {
            maria.agent.desk.end(&maria.item.interaction_id, false).await?;
            let attention = maria.agent.attention(&maria.item.attention_id).await?;
            demand(attention.state == AttentionState::Open as i32, "the attention is not open")?;
            let state = state_of(maria.agent, &maria.item.attention_id, &maria.item.interaction_id).await?;
            demand(state == InteractionState::Ended, "the interaction is not ended")?;
            Ok(((), format!("attention #{} is open, its interaction 1 ended", attention.number)))
        })
        .await?;
    clock
        .step("María answers after the end", async {
            let message_id = hand_in_answer(play, replied, "Una pregunta más: ¿a qué hora llega?").await?;
            let address = &play.customers.maria.address;
            let fits =
                |item: &_| of_customer(item, address) && item.interaction_id != maria.item.interaction_id;
            let (agent, item) = ringing(play, "a new interaction rings", fits).await?;
            demand(item.attention_id == maria.item.attention_id, "it is another attention")?;
            let attention = agent.attention(&item.attention_id).await?;
            demand(attention.interactions.len() == 2, "the attention does not have two interactions")?;
            let evidence = format!(
                "a queued interaction 2 of the same attention #{} rings at {}",
                item.attention_number, agent.key
            );
            Ok((Case { agent, item, message_id }, evidence))
        })
        .await
}

/// Ends the second interaction and closes the attention; the next answer is a new attention, linked to it.
pub async fn close_and_come_back<'a>(
    clock: &mut Clock,
    play: &Play<'a>,
    maria: &Case<'a>,
    again: &Case<'a>,
    replied: &Received,
) -> Result<Case<'a>, Failure> {
    clock
        .step("interaction ended, attention closed", async {
            open(again.agent, &again.item).await?;
            fill_form(again).await?;
            again.agent.desk.end(&again.item.interaction_id, true).await?;
            let attention = again.agent.attention(&again.item.attention_id).await?;
            demand(attention.state == AttentionState::Closed as i32, "the attention is not closed")?;
            Ok(((), format!("attention #{} is closed, by {}", attention.number, again.agent.key)))
        })
        .await?;
    clock
        .step("María answers after the closing", async {
            let message_id = hand_in_answer(play, replied, "El colchón llegó, pero es otro modelo.").await?;
            let address = &play.customers.maria.address;
            let fits = |item: &_| of_customer(item, address) && item.attention_id != maria.item.attention_id;
            let (agent, item) = ringing(play, "a new attention rings", fits).await?;
            let attention = agent.attention(&item.attention_id).await?;
            demand(
                attention.linked_attention_id == maria.item.attention_id,
                "it is not linked to the closed one",
            )?;
            let evidence = format!(
                "a new attention #{} follows #{}, rings at {}",
                attention.number, maria.item.attention_number, agent.key
            );
            Ok((Case { agent, item, message_id }, evidence))
        })
        .await
}

/// Jorge and Lucía are answered, and everything that is still open is ended and closed.
pub async fn serve_the_others(
    clock: &mut Clock,
    play: &Play<'_>,
    cases: &Cases<'_>,
    linked: &Case<'_>,
) -> Result<(), Failure> {
    let others = [(&cases.jorge, "Jorge"), (&cases.lucia, "Lucía")];
    for (case, name) in others {
        let step = format!("reply to {name}, attention closed");
        clock
            .step(&step, async {
                let text = format!("Estimado/a {name}: recibido, muchas gracias.");
                let sent = case.agent.desk.reply(&case.item.interaction_id, &text, false).await?;
                let mail = play.sink.wait_for(&sent.internet_message_id, SOON).await?;
                demand(mail.text.contains(&text), "the text arrived otherwise than the agent wrote it")?;
                demand(mail.in_reply_to == [case.message_id.clone()], "In-Reply-To names another mail")?;
                let closed = close(case).await?;
                Ok((
                    (),
                    format!("aiosmtpd received <{}>; attention #{closed} is closed", short(&mail.message_id)),
                ))
            })
            .await?;
    }
    clock
        .step("María's new attention closed", async {
            open(linked.agent, &linked.item).await?;
            let closed = close(linked).await?;
            Ok(((), format!("attention #{closed} is closed, by {}", linked.agent.key)))
        })
        .await
}

/// Fills the form in, ends the interaction, closes the attention; answers its number once it reads as closed.
async fn close(case: &Case<'_>) -> Result<i64, Failure> {
    fill_form(case).await?;
    case.agent.desk.end(&case.item.interaction_id, true).await?;
    let attention = case.agent.attention(&case.item.attention_id).await?;
    demand(attention.state == AttentionState::Closed as i32, "the attention is not closed")?;
    Ok(attention.number)
}

/// Answers the value as it was saved.
async fn fill_form(case: &Case<'_>) -> Result<String, Failure> {
    let values = BTreeMap::from([
        (REQUIRED_FIELD.to_owned(), "Consulta".to_owned()),
        ("resumen".to_owned(), "Resuelto en la demostración".to_owned()),
    ]);
    case.agent.desk.save_form(&case.item.interaction_id, 0, values).await?;
    let opened = open(case.agent, &case.item).await?;
    let saved =
        opened.form_state.and_then(|state| state.values.get(REQUIRED_FIELD).cloned()).unwrap_or_default();
    demand(saved == "Consulta", "the form does not read what was saved")?;
    Ok(saved)
}

async fn hand_in_answer(play: &Play<'_>, replied: &Received, text: &str) -> Result<String, Failure> {
    let mail = answer(&play.customers.maria, replied, text)?;
    let envelope: &Envelope = &mail.envelope;
    smtp::hand_in(&play.house.local.smtp(), envelope, &mail.raw).await?;
    Ok(mail.message_id)
}
