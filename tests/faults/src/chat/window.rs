//! Case 30: the window closes while a message waits to be sent: it does not leave as free text, and the agent is told; so he is when
//! only Meta knows that it is closed.

use std::time::Duration;

use anyhow::{Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::until;
use hilo_simulators::{Effect, Endpoint, Fault, Say};

/// Left of the window when the customer's message is handed over.
const LEFT: i64 = 20;
/// Free text is refused so long before the 24 hours are over: our clock is not Meta's.
const EARLY: i64 = 60;

/// Both ways.
///
/// # Errors
/// When a message leaves after the window, or the agent is not told why it did not.
pub async fn window(house: &Chat) -> Result<String> {
    let meta = house.meta()?;
    let digits = "51900000030";
    let customer = house.customer(digits, "Cliente")?;
    customer.says(&Say::text("hola").seconds_ago(86_400 - EARLY - LEFT))?;
    let item = house.serve(&customer).await?;
    let refused = Effect::Refuse { code: 131_056, http: None, details: None };
    let busy = meta.fault(Fault {
        to: Some(digits.to_owned()),
        times: None,
        ..Fault::new(Endpoint::Messages, 1, refused)
    });
    let message = house.agent.reply(&item.interaction_id, "llego tarde").await?;
    let tried = || async { Ok((meta.totals().refused > 0).then_some(())) };
    until("it was tried within the window", tried).await?;
    tokio::time::sleep(Duration::from_secs(LEFT.unsigned_abs() + 1)).await;
    meta.heal(Some(busy));
    let now = house.becomes(&item, &message.message_id, &["failed"]).await?;
    ensure!(now.delivery_reason == "WINDOW_CLOSED", "the agent is told {}", now.delivery_reason);
    ensure!(customer.phone.received().is_empty(), "it left after the window");

    let other = house.customer("51900000130", "Cliente")?;
    other.writes("hola")?;
    let item = house.serve(&other).await?;
    meta.advance(Duration::from_secs(86_401));
    let message = house.agent.reply(&item.interaction_id, "sólo Meta lo sabe").await?;
    let now = house.becomes(&item, &message.message_id, &["failed"]).await?;
    ensure!(now.delivery_reason == "WINDOW_CLOSED", "the agent is told {} of 131047", now.delivery_reason);
    ensure!(other.phone.received().is_empty(), "Meta took it");
    Ok("0 left after the window; WINDOW_CLOSED told for ours and for Meta's 131047".to_owned())
}
