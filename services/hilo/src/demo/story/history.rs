//! The history finds everything by each criterion, and the subscriber saw every event in order.

use std::collections::{BTreeMap, BTreeSet};

use hilo_proto::history::v1::{GetThreadRequest, SearchThreadsRequest, ThreadSummary};
use time::{Date, OffsetDateTime};

use super::super::agents::Agent;
use super::super::clock::{Clock, demand, until, wrong};
use super::super::overlay::CAMPAIGN;
use super::evidence::{Case, Cases, SOON};
use super::stage::Play;
use crate::cli::Failure;

/// All four attentions' ended threads are found by word, customer, campaign and date, and not by wrong ones.
pub async fn finds_all(
    clock: &mut Clock,
    play: &Play<'_>,
    cases: &Cases<'_>,
    again: &Case<'_>,
    linked: &Case<'_>,
) -> Result<(), Failure> {
    let searcher = play.agents[0];
    let all: BTreeSet<String> = [&cases.maria, again, linked, &cases.jorge, &cases.lucia]
        .into_iter()
        .map(|case| case.item.interaction_id.clone())
        .collect();
    clock.step("history has María's thread", whole_thread(searcher, &cases.maria)).await?;
    clock
        .step("history finds by word and campaign", async {
            let criteria = SearchThreadsRequest { words: play.customers.run.clone(), campaign_key: CAMPAIGN.to_owned(), ..Default::default() };
            let first_mails = [&cases.maria, &cases.jorge, &cases.lucia].map(|case| case.item.interaction_id.clone());
            let found = found(searcher, &criteria, &BTreeSet::from(first_mails)).await?;
            let accents = SearchThreadsRequest {
                words: "colchon todavia".to_owned(),
                customer: play.customers.maria.address.clone(),
                ..criteria.clone()
            };
            found_exactly(searcher, &accents, &BTreeSet::from([cases.maria.item.interaction_id.clone()])).await?;
            let nonsense = SearchThreadsRequest { words: format!("{} inexistente", play.customers.run), ..criteria };
            demand(search(searcher, &nonsense).await?.is_empty(), "a word that nobody wrote was found")?;
            Ok(((), format!("{} threads by {:?}, one of them by \"colchon todavia\" (no accents), none by a word nobody wrote", found.len(), play.customers.run)))
        })
        .await?;
    clock
        .step("history finds by customer", async {
            let criteria =
                SearchThreadsRequest { customer: play.customers.maria.address.clone(), ..Default::default() };
            let hers = [&cases.maria, again, linked].map(|case| case.item.interaction_id.clone());
            found_exactly(searcher, &criteria, &BTreeSet::from(hers)).await?;
            Ok(((), format!("3 threads of {} in 2 attentions", play.customers.maria.name)))
        })
        .await?;
    clock.step("history finds by date", by_date(searcher, play, &all)).await
}

async fn whole_thread(searcher: &Agent, maria: &Case<'_>) -> Result<((), String), Failure> {
    let thread = until(SOON, "the thread is stored", || async {
        let session = searcher.desk.session();
        let request = session.request(GetThreadRequest {
            interaction_id: maria.item.interaction_id.clone(),
            ..Default::default()
        });
        match session.history().get_thread(request).await.map_err(Failure::from) {
            Ok(answer) => Ok(answer.into_inner().thread),
            Err(failure) if failure.exit == crate::cli::Exit::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    })
    .await?;
    demand(thread.messages.len() == 3, format!("it has {} messages", thread.messages.len()))?;
    let form = thread.form.ok_or_else(|| wrong("the form is not stored"))?;
    demand(form.values.values().any(|value| value == "Consulta"), "the form's value is not stored")?;
    let states: Vec<&str> = thread
        .messages
        .iter()
        .map(|message| message.delivery_state.as_str())
        .filter(|state| !state.is_empty())
        .collect();
    Ok(((), format!("3 messages (reply {}), form version {}", states.join(", "), form.form_version)))
}

async fn by_date(searcher: &Agent, play: &Play<'_>, all: &BTreeSet<String>) -> Result<((), String), Failure> {
    // Dates are those of the installation's time zone, which may be a day off from ours either way.
    let today = OffsetDateTime::now_utc().date();
    let day = |days: i64| today.saturating_add(time::Duration::days(days));
    let range = |from: Date, to: Date| SearchThreadsRequest {
        customer: play.customers.run.clone(),
        ended_from: from.to_string(),
        ended_to: to.to_string(),
        ..Default::default()
    };
    found_exactly(searcher, &range(day(-1), day(1)), all).await?;
    demand(
        search(searcher, &range(day(-9), day(-2))).await?.is_empty(),
        "threads of another week were found",
    )?;
    Ok(((), format!("all {} threads between {} and {}, none in the week before", all.len(), day(-1), day(1))))
}

pub(super) async fn search(
    searcher: &Agent,
    criteria: &SearchThreadsRequest,
) -> Result<Vec<ThreadSummary>, Failure> {
    let session = searcher.desk.session();
    Ok(session.history().search_threads(session.request(criteria.clone())).await?.into_inner().threads)
}

/// Waits until all of `wanted` are found; others may be too.
async fn found(
    searcher: &Agent,
    criteria: &SearchThreadsRequest,
    wanted: &BTreeSet<String>,
) -> Result<Vec<ThreadSummary>, Failure> {
    until(SOON, "the history finds all of them", || async {
        let threads = search(searcher, criteria).await?;
        let ids: BTreeSet<String> = threads.iter().map(|thread| thread.interaction_id.clone()).collect();
        Ok(wanted.is_subset(&ids).then_some(threads))
    })
    .await
}

/// As [`found`], and nothing else is found.
pub(super) async fn found_exactly(
    searcher: &Agent,
    criteria: &SearchThreadsRequest,
    wanted: &BTreeSet<String>,
) -> Result<(), Failure> {
    let threads = found(searcher, criteria, wanted).await?;
    let ids: BTreeSet<String> = threads.into_iter().map(|thread| thread.interaction_id).collect();
    demand(&ids == wanted, format!("{} threads were found, {} fit", ids.len(), wanted.len()))
}

/// Prints the CloudEvents and checks that no sequence is missing.
pub async fn subscriber_saw_all(
    clock: &mut Clock,
    play: &Play<'_>,
    cases: &Cases<'_>,
    others: &[Case<'_>],
) -> Result<(), Failure> {
    let events = clock
        .step("the subscriber saw every event", async {
            let mut last = BTreeMap::new();
            for case in [&cases.maria, &cases.jorge, &cases.lucia].into_iter().chain(others) {
                let attention = case.agent.attention(&case.item.attention_id).await?;
                last.insert(attention.attention_id, u64::try_from(attention.sequence).unwrap_or_default());
            }
            let events = play.subscriber.complete(&last, SOON).await?;
            let kinds: BTreeSet<&str> = events.iter().map(|event| event.name()).collect();
            let needed = [
                "attention_opened",
                "interaction_queued",
                "interaction_offered",
                "interaction_opened",
                "message_received",
            ];
            let more = [
                "message_queued",
                "message_status_changed",
                "form_saved",
                "interaction_ended",
                "attention_closed",
                "window_expiry_announced",
            ];
            for kind in needed.iter().chain(&more) {
                demand(kinds.contains(kind), format!("no event {kind} came"))?;
            }
            let evidence = format!(
                "{} CloudEvents of {} attentions, sequences without a gap:",
                events.len(),
                last.len()
            );
            Ok((events, evidence))
        })
        .await?;
    for event in events {
        clock.line(&format!("    {}", event.line()))?;
    }
    Ok(())
}
