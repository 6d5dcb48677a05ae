//! The agent answers, the mail arrives outside, and the customer answers that very mail.

use hilo_proto::attention::v1::ListMessagesRequest;

use super::super::clock::{Clock, demand, until, wrong};
use super::super::customers::answer;
use super::super::overlay::BY_IMAP;
use super::evidence::{Case, SOON, short};
use super::stage::Play;
use crate::cli::Failure;
use crate::cli::desk::remote::DeskCalls as _;
use crate::cli::mail::mailbox::Received;
use crate::cli::mail::smtp;

const REPLY: &str = "Estimada María: su colchón llegará mañana.";
const ANSWER: &str = "¡Qué bien! Mañana estaré en casa, gracias.";

/// María's case: reply, delivery, her answer. Answers the reply as the receiving server got it.
pub async fn reply_and_answer(
    clock: &mut Clock,
    play: &Play<'_>,
    maria: &Case<'_>,
) -> Result<Received, Failure> {
    let received = clock.step("reply to María, by SMTP", reply(play, maria)).await?;
    clock.step("delivery state", delivered(maria, &received)).await?;
    clock
        .step("María answers that mail", async {
            let customer = &play.customers.maria;
            let mail = answer(customer, &received, ANSWER)?;
            smtp::hand_in(&play.house.local.smtp(), &mail.envelope, &mail.raw).await?;
            let item = maria.agent.until(SOON, "the answer shows in the open item", |list| {
                list.get(&maria.item.interaction_id).filter(|item| item.message_count == 3).cloned()
            });
            let item = item.await?;
            let thread = thread(maria).await?;
            let newest = thread.last().ok_or_else(|| wrong("the thread is empty"))?;
            demand(thread.len() == 3, format!("the thread has {} messages", thread.len()))?;
            let newest_id = &newest.internet_message_id;
            demand(*newest_id == mail.message_id, format!("the newest message is <{newest_id}>"))?;
            demand(newest.text.contains(ANSWER), format!("the newest message reads {:?}", newest.text))?;
            demand(item.attention_id == maria.item.attention_id, "it is another attention")?;
            let evidence = format!(
                "message 3 of the same interaction (#{}), on the stream of {}",
                item.attention_number, maria.agent.key
            );
            Ok(((), evidence))
        })
        .await?;
    Ok(received)
}

async fn reply(play: &Play<'_>, maria: &Case<'_>) -> Result<(Received, String), Failure> {
    let sent = maria.agent.desk.reply(&maria.item.interaction_id, REPLY, false).await?;
    let mail = play.sink.wait_for(&sent.internet_message_id, SOON).await?;
    let customer = &play.customers.maria;
    demand(mail.text.contains(REPLY), "the text arrived otherwise than the agent wrote it")?;
    demand(
        mail.recipients == [customer.address.clone()],
        format!("envelope recipients {:?}", mail.recipients),
    )?;
    demand(mail.in_reply_to == [maria.message_id.clone()], format!("In-Reply-To {:?}", mail.in_reply_to))?;
    demand(mail.references.contains(&maria.message_id), format!("References {:?}", mail.references))?;
    demand(mail.from == super::super::overlay::address(BY_IMAP), format!("From {}", mail.from))?;
    let evidence = format!(
        "aiosmtpd received <{}>, In-Reply-To and References name María's mail, body as written",
        short(&mail.message_id)
    );
    Ok((mail, evidence))
}

async fn delivered(maria: &Case<'_>, received: &Received) -> Result<((), String), Failure> {
    let state = until(SOON, "the reply is reported as sent", || async {
        let thread = thread(maria).await?;
        let reply = thread.into_iter().find(|message| message.internet_message_id == received.message_id);
        Ok(reply.map(|message| message.delivery_state).filter(|state| state == "sent"))
    })
    .await?;
    Ok(((), format!("the thread says {state:?} for the reply")))
}

async fn thread(case: &Case<'_>) -> Result<Vec<hilo_proto::history::v1::ThreadMessage>, Failure> {
    let session = case.agent.desk.session();
    let request = ListMessagesRequest {
        attention_id: case.item.attention_id.clone(),
        interaction_id: case.item.interaction_id.clone(),
        ..Default::default()
    };
    Ok(session.attention().list_messages(session.request(request)).await?.into_inner().messages)
}
