//! What happens in the demo, in order. Each part returns what the next one stands on.

mod arrival;
mod chat;
mod conversation;
mod ending;
mod evidence;
mod history;
mod stage;

pub use stage::Stage;

use super::DemoArgs;
use super::clock::Clock;
use super::scratch::Scratch;
use crate::cli::Failure;

/// Tells the whole story.
///
/// # Errors
/// What the first step failed with that did not happen.
pub async fn tell(
    args: &DemoArgs,
    clock: &mut Clock,
    scratch: &Scratch,
    stage: &mut Stage,
) -> Result<(), Failure> {
    stage.set(args, clock, scratch).await?;
    let play = stage.play()?;
    let mut cases = arrival::mails_arrive(clock, &play).await?;
    arrival::agents_open(clock, &play, &mut cases).await?;
    let rosa = chat::answered(clock, &play).await?;
    let replied = conversation::reply_and_answer(clock, &play, &cases.maria).await?;
    let again = ending::end_and_come_back(clock, &play, &cases.maria, &replied).await?;
    let linked = ending::close_and_come_back(clock, &play, &cases.maria, &again, &replied).await?;
    ending::serve_the_others(clock, &play, &cases, &linked).await?;
    history::finds_all(clock, &play, &cases, &again, &linked).await?;
    let next = chat::window_lost_and_ended(clock, &play, &rosa).await?;
    history::subscriber_saw_all(clock, &play, &cases, &[linked, rosa.case, next]).await
}
