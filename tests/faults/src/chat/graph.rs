//! Case 28: what the Graph API answers decides what becomes of a message, and nothing is sent twice.

use anyhow::{Context as _, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_simulators::{Effect, Endpoint, Fault};

/// An answer of the Graph API, what the message becomes, with which reason, and how often it reaches the customer.
struct Case {
    name: &'static str,
    effect: Effect,
    times: u32,
    ends: &'static str,
    reason: &'static str,
    arrives: usize,
}

fn refuse(code: u32) -> Effect {
    Effect::Refuse { code, http: None, details: None }
}

fn cases() -> Vec<Case> {
    let again =
        |name, code| Case { name, effect: refuse(code), times: 2, ends: "delivered", reason: "", arrives: 1 };
    let never = |name, code, reason| Case {
        name,
        effect: refuse(code),
        times: 1,
        ends: "failed",
        reason,
        arrives: 0,
    };
    let doubt = |name, effect, ends, arrives| Case { name, effect, times: 1, ends, reason: "", arrives };
    vec![
        doubt(
            "taken, no answer, status confirms",
            Effect::HangAfter { ms: 40_000, statuses: true },
            "delivered",
            1,
        ),
        doubt("taken, no answer, silence", Effect::HangAfter { ms: 40_000, statuses: false }, "unknown", 1),
        doubt("500 without a code", Effect::Answer { http: 500, body: "<html>".to_owned() }, "unknown", 0),
        again("131016, service unavailable", 131_016),
        again("130429, rate of the number", 130_429),
        again("131056, rate of the pair", 131_056),
        never("131026, undeliverable", 131_026, ""),
        never("131047, window closed", 131_047, "WINDOW_CLOSED"),
        never("100, wrong parameter", 100, ""),
        doubt("taken, then failed by a status", Effect::FailLater { code: 131_026, ms: 50 }, "failed", 1),
    ]
}

/// Answers one message of ours each as the table says.
///
/// # Errors
/// When one ends otherwise, or reaches the customer another number of times.
pub async fn graph(house: &Chat) -> Result<String> {
    let meta = house.meta()?;
    let mut served = Vec::new();
    for (n, case) in cases().into_iter().enumerate() {
        let digits = format!("5190000028{n:02}");
        let customer = house.customer(&digits, "Cliente")?;
        customer.writes("hola")?;
        let item = house.serve(&customer).await?;
        let fault =
            Fault { to: Some(digits), ..Fault::new(Endpoint::Messages, case.times, case.effect.clone()) };
        meta.fault(fault);
        let message = house.agent.reply(&item.interaction_id, case.name).await?;
        served.push((case, customer, item, message));
    }
    for (case, _, item, message) in &served {
        let now = house.becomes(item, &message.message_id, &[case.ends]).await;
        let now = now.with_context(|| case.name.to_owned())?;
        let reason = case.reason.is_empty() || now.delivery_reason == case.reason;
        ensure!(reason, "{}: the reason is {}", case.name, now.delivery_reason);
    }
    // What a second sending could add comes before this on the same way.
    for (case, customer, item, _) in &served {
        let arrived = customer.received(case.name).len();
        ensure!(arrived == case.arrives, "{}: reached the customer {arrived} times", case.name);
        let goes_on = house.agent.reply(&item.interaction_id, "fin").await?;
        house
            .becomes(item, &goes_on.message_id, &["delivered"])
            .await
            .with_context(|| case.name.to_owned())?;
        let arrived = customer.received(case.name).len();
        ensure!(arrived == case.arrives, "{}: sent again", case.name);
    }
    Ok(format!("{} answers, each with its end; 0 sent twice", served.len()))
}
