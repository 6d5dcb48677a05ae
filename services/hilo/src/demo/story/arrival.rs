//! Three mails come in, ring at agents in turn, and are opened.

use hilo_proto::attention::v1::OpenInteractionResponse;
use sha2::{Digest as _, Sha256};

use super::super::clock::{Clock, demand, wrong};
use super::super::customers::{Customer, SCRIPT};
use super::super::overlay::{BY_IMAP, BY_SMTP};
use super::evidence::{Case, Cases, newest, of_customer, open, ringing};
use super::stage::Play;
use crate::cli::mail::compose::Composed;
use crate::cli::mail::smtp;
use crate::cli::{Exit, Failure};

/// All three mails enter; each rings at the other agent than the one before.
pub async fn mails_arrive<'a>(clock: &mut Clock, play: &Play<'a>) -> Result<Cases<'a>, Failure> {
    let customers = play.customers;
    let mail = customers.mail_of_maria()?;
    let maria = clock
        .step("María writes (UTF-8, HTML), by IMAP", async {
            play.dovecot.deliver(&format!("demo.{}", customers.run), &mail.raw)?;
            arrived(play, &customers.maria, &mail, BY_IMAP).await
        })
        .await?;
    let mail = customers.mail_of_jorge()?;
    let jorge = clock
        .step("Jorge writes (ISO 8859-1), by SMTP", async {
            let answer = smtp::hand_in(&play.house.local.smtp(), &mail.envelope, &mail.raw).await?;
            let (case, evidence) = arrived(play, &customers.jorge, &mail, BY_SMTP).await?;
            demand(case.agent.key != maria.agent.key, "round robin rang twice at the same agent")?;
            Ok((case, format!("{evidence} (server: {answer})")))
        })
        .await?;
    let mail = customers.mail_of_lucia()?;
    let lucia = clock
        .step("Lucía writes (attachment), by SMTP", async {
            smtp::hand_in(&play.house.local.smtp(), &mail.envelope, &mail.raw).await?;
            let (case, evidence) = arrived(play, &customers.lucia, &mail, BY_SMTP).await?;
            demand(case.agent.key != jorge.agent.key, "round robin rang twice at the same agent")?;
            Ok((case, evidence))
        })
        .await?;
    Ok(Cases { maria, jorge, lucia })
}

async fn arrived<'a>(
    play: &Play<'a>,
    customer: &Customer,
    mail: &Composed,
    account: &str,
) -> Result<(Case<'a>, String), Failure> {
    let what = format!("{}'s mail rings at an agent", customer.name);
    let (agent, item) = ringing(play, &what, |item| of_customer(item, &customer.address)).await?;
    demand(item.subject == customer.subject, format!("the subject reads {:?}", item.subject))?;
    demand(
        item.customer_name == customer.name,
        format!("the customer's name reads {:?}", item.customer_name),
    )?;
    let attention = agent.attention(&item.attention_id).await?;
    demand(attention.account_key == account, format!("it came in by account {}", attention.account_key))?;
    let evidence = format!(
        "#{} {:?} rings on the stream of {}, account {account}",
        item.attention_number, item.subject, agent.key
    );
    Ok((Case { agent, item, message_id: mail.message_id.clone() }, evidence))
}

/// The agents open the items: what they read is what was written, and of two at the same instant one wins.
pub async fn agents_open<'a>(
    clock: &mut Clock,
    play: &Play<'a>,
    cases: &mut Cases<'a>,
) -> Result<(), Failure> {
    let customers = play.customers;
    clock
        .step("María's mail opened", async {
            let opened = open(cases.maria.agent, &cases.maria.item).await?;
            reads(&opened, &customers.maria)?;
            let html = &newest(&opened)?.html;
            demand(html.contains(customers.maria.words), "the HTML is not there")?;
            demand(
                !html.contains("<script") && !html.contains(SCRIPT),
                "the script in the HTML reached the agent",
            )?;
            demand(opened.form.is_some(), "the form did not come with the item")?;
            let contact = opened.attention.and_then(|attention| attention.contact).unwrap_or_default();
            let evidence = format!(
                "{} reads {:?} of {}; HTML without its script",
                cases.maria.agent.key, customers.maria.words, contact.name
            );
            Ok(((), evidence))
        })
        .await?;
    let winner = clock
        .step("Jorge's mail opened by both agents at the same instant", async {
            let [first, second] = play.agents;
            let item = &cases.jorge.item;
            let both = tokio::join!(open(first, item), open(second, item));
            let (agent, opened, refused) = match both {
                (Ok(opened), Err(refused)) => (first, opened, refused),
                (Err(refused), Ok(opened)) => (second, opened, refused),
                (Ok(_), Ok(_)) => return Err(wrong("both agents opened it")),
                (Err(failure), Err(_)) => return Err(failure),
            };
            demand(
                refused.reason == "ALREADY_TAKEN",
                format!("the second agent was refused with {}", refused.reason),
            )?;
            reads(&opened, &customers.jorge)?;
            Ok((
                agent,
                format!("{} reads {:?}, the other got {}", agent.key, customers.jorge.words, refused.reason),
            ))
        })
        .await?;
    cases.jorge.agent = winner;
    clock
        .step("Lucía's mail opened", async {
            let opened = open(cases.lucia.agent, &cases.lucia.item).await?;
            reads(&opened, &customers.lucia)?;
            let file = customers.file_of_lucia();
            let attachment = newest(&opened)?.attachments.first().cloned();
            let attachment = attachment.ok_or_else(|| wrong("the attachment is not there"))?;
            let sha256 = hex::encode(Sha256::digest(&file.content));
            demand(
                attachment.file_name == file.name,
                format!("the attachment's name reads {:?}", attachment.file_name),
            )?;
            demand(attachment.sha256 == sha256, "the attachment's content is another")?;
            let evidence = format!(
                "{} sees {}, {} bytes, SHA-256 as sent",
                cases.lucia.agent.key, attachment.file_name, attachment.size_bytes
            );
            Ok(((), evidence))
        })
        .await
}

fn reads(opened: &OpenInteractionResponse, customer: &Customer) -> Result<(), Failure> {
    let message = newest(opened)?;
    demand(message.text.contains(customer.words), "the text reads otherwise than it was written")?;
    let from = message.from.as_ref().map(|from| from.address.as_str()).unwrap_or_default();
    let known = from.eq_ignore_ascii_case(&customer.address);
    if known {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "NOT_AS_PROMISED", "the sender reads otherwise"))
    }
}
