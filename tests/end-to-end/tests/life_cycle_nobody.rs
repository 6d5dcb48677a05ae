//! What happens to an item nobody takes, seen by another system: accept timeout and both kinds of overflow. The events equal
//! a frozen list (`life_cycle_nobody.txt`); a difference prints the new one.

use std::time::Duration;

use hilo_end_to_end::case::{Case, kind};
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::subscriber::{Log, Seen, Subscriber};
use hilo_end_to_end::{Installation, Options};

const SOON: Duration = Duration::from_secs(90);

/// Accept timeout and both kinds of overflow: what happens to an item nobody takes.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_moves_on_as_frozen() {
    let options = Options {
        mode: "round_robin",
        accept_timeout_seconds: 1,
        overflow: &[
            (
                "soporte",
                "overflow_seconds: 20\n    overflow_mode: send_to_campaign\n    overflow_campaign: buzon",
            ),
            ("buzon", "overflow_seconds: 1\n    overflow_mode: assign_to_all"),
        ],
        ..Options::default()
    };
    let installation = Installation::start(options).await.unwrap();
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let write = async |from: &str| {
        let mail = Mail::new(from, installation.support_address(), "Nadie", "¿Hay alguien?");
        // The directory reaches the listener a moment after the start.
        customer::send_until_accepted(installation.smtp(), &mail, SOON).await.unwrap();
    };
    // Nobody is there: it overflows into the other campaign, and there it rings at everyone.
    write("nadie@cliente.example").await;
    let overflows = |log: &Log| {
        let happened = |seen: &Seen| kind(seen) == "interaction_overflowed";
        log.attentions.iter().find(|(_, events)| events.values().any(happened)).map(|(id, _)| id.clone())
    };
    subscriber.wait_until("the overflow", SOON, |log| overflows(log).is_some()).await.unwrap();
    let overflowed = subscriber.with(overflows).unwrap();
    // Two are there and let it pass: it rings at one after the other.
    let first = installation.login("agente-0").await.unwrap();
    let second = installation.login("agente-1").await.unwrap();
    let _present = (first.be_present().await.unwrap(), second.be_present().await.unwrap());
    write("turno@cliente.example").await;
    let passes = |log: &Log| {
        let other = log.attentions.iter().find(|(id, _)| **id != overflowed);
        other.filter(|(_, events)| events.len() >= 6).map(|(id, _)| id.clone())
    };
    subscriber.wait_until("the next agent's turn", SOON, |log| passes(log).is_some()).await.unwrap();
    let passed = subscriber.with(passes).unwrap();
    let cases = [
        Case { seen: 6, ..Case::new("overflowed", &overflowed) },
        Case { seen: 6, ..Case::new("accept timeout", &passed) },
    ];
    let told: String = cases.iter().map(|case| case.told(&subscriber).unwrap()).collect();
    assert!(told == include_str!("life_cycle_nobody.txt"), "life_cycle_nobody.txt is now:\n{told}");
    let offered: Vec<String> = subscriber.with(|log| {
        let events =
            log.attentions.get(&passed).unwrap().values().filter(|seen| kind(seen) == "interaction_offered");
        events
            .map(|seen| seen.data["interaction"]["offer"]["agentKey"].as_str().unwrap().to_owned())
            .take(2)
            .collect()
    });
    assert_ne!(offered.first(), offered.get(1), "another agent's turn");
}
