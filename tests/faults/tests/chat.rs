//! The hardening cases of WhatsApp at a size that fits `make test`; the table in tests/README.md says which one shows which case.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Chat, Options};
use hilo_faults::chat::{self, Batch, Down, Statuses};

async fn house() -> Result<Chat> {
    Chat::start(Options { agents: 1, ..Options::default() }).await
}

/// Cases 24 and 25 and every documented kind, on one house. Guards: the signature is checked over the raw bytes before anything is
/// parsed; an item's id is unique per account; one bad item is set aside alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_is_refused_whole_or_stored_once() -> Result<()> {
    let house = house().await?;
    println!("{}", chat::altered(&house).await?);
    println!("{}", chat::fifty(&house).await?);
    println!("{}", chat::batch(&house, Batch { copies: 20, batches: 2, messages: 5 }).await?);
    println!("{}", chat::no_secret(&house).await?);
    Ok(())
}

/// No payload of the documented kinds is lost. Guard: what is not understood becomes a placeholder.
#[tokio::test(flavor = "multi_thread")]
async fn every_documented_kind_is_shown() -> Result<()> {
    println!("{}", chat::kinds(&house().await?).await?);
    Ok(())
}

/// Case 26. Guard: a status only ever raises what is known of a message.
#[tokio::test(flavor = "multi_thread")]
async fn statuses_in_all_24_orders_end_alike() -> Result<()> {
    println!("{}", chat::statuses(&house().await?, Statuses { gaps: false, repeats: 2 }).await?);
    Ok(())
}

/// Case 27 in small, and the broker away before. Guards: 200 only after the commit, and for nothing more than the commit.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_or_double_after_the_broker_or_the_database_was_away() -> Result<()> {
    let house = house().await?;
    let size = Down { customers: 3, messages: 4, lasting: Duration::from_secs(2) };
    println!("{}", chat::nats_down(&house, size).await?);
    println!("{}", chat::postgres_down(&house, size).await?);
    Ok(())
}

/// Case 30. Guards: the end of the window travels with the message and is looked at before each attempt; Meta's 131047 says the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_leave_within_the_window_does_not_leave() -> Result<()> {
    println!("{}", chat::window(&house().await?).await?);
    Ok(())
}

/// Case 31. Guards: a file is what Meta told of, by hash and by its first bytes, or nobody gets it; our token goes to Meta's hosts only.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_was_told_is_given_to_nobody() -> Result<()> {
    println!("{}", chat::media(&house().await?, false).await?);
    Ok(())
}

/// Case 32. Guards: a user id is stronger than a number; a number that passes to another user id begins another contact.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_passes_on_takes_no_history_along() -> Result<()> {
    println!("{}", chat::people(&house().await?).await?);
    Ok(())
}
