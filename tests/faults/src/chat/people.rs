//! Case 32: somebody with a username and no number, whose number appears, and then passes to another person: the right contact each
//! time, and nobody sees the other's history.

use anyhow::{Context as _, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::SOON;
use hilo_proto::attention::v1::{DeskItem, GetAttentionRequest};
use hilo_proto::contact::v1::Contact;
use hilo_proto::event::v1::InteractionState;
use hilo_simulators::{Customer, Say};

const DIGITS: &str = "51900000032";

/// Ana without a number, Ana with it, Beto with the same number.
///
/// # Errors
/// When one of them is taken for the other, or Ana for two.
pub async fn people(house: &Chat) -> Result<String> {
    let meta = house.meta()?;
    let number = house.installation.whatsapp_number();
    let ana = meta.customer(Customer::new(DIGITS).named("Ana Oculta").with_username("ana.oculta"));
    ana.says(&number, &Say::text("sin número"))?;
    let item = rings(house, "Ana Oculta").await?;
    house.agent.open(&item.interaction_id).await?;
    let without = contact(house, &item).await?;
    let shown = without.identities.iter().any(|one| one.value.contains(DIGITS));
    ensure!(!shown, "the number is known before it was told");

    ana.change(|customer| customer.hides_phone = false);
    ana.says(&number, &Say::text("con número"))?;
    house.said(&item.attention_id, 2).await?;
    let with = contact(house, &item).await?;
    ensure!(with.contact_id == without.contact_id, "the number made another contact of her");
    ensure!(
        with.identities.iter().any(|one| one.value.contains(DIGITS)),
        "her number is not with her contact"
    );
    house.agent.end(&item.interaction_id, true).await?;

    let beto = meta.customer(Customer::new(DIGITS).named("Beto Nuevo"));
    ensure!(beto.user_id() != ana.user_id(), "the simulator gave him her id");
    beto.says(&number, &Say::text("soy otro"))?;
    let other = rings(house, "Beto Nuevo").await?;
    house.agent.open(&other.interaction_id).await?;
    let his = contact(house, &other).await?;
    ensure!(his.contact_id != with.contact_id, "he is taken for her");
    let said = house.said(&other.attention_id, 1).await?;
    ensure!(said.iter().all(|one| one.text == "soy otro"), "he has her words");
    let hers = contact(house, &item).await?;
    ensure!(hers.contact_id == with.contact_id, "her attention is his now");
    Ok("3 steps, the right contact each time, 0 messages of the one with the other".to_owned())
}

async fn rings(house: &Chat, name: &str) -> Result<DeskItem> {
    let queued = InteractionState::Queued as i32;
    let fits = |item: &DeskItem| item.ringing && item.state == queued && item.customer_name == name;
    house.desk.wait_for(&format!("an offer from {name}"), SOON, fits).await
}

async fn contact(house: &Chat, item: &DeskItem) -> Result<Contact> {
    let request = GetAttentionRequest { attention_id: item.attention_id.clone() };
    let answer = house.agent.attention().get_attention(request).await?.into_inner();
    answer.attention.and_then(|attention| attention.contact).context("an attention has a contact")
}
