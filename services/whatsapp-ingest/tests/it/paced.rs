//! Pace as the other side sees it: never more in a second than the number is granted, never more to a customer than his pair.

use std::time::{Duration, Instant};

use hilo_kit::ids::Uuid;
use hilo_proto::directory::v1::{Account, WhatsAppSettings};
use hilo_whatsapp_ingest::config::SenderConfig;

use crate::rig::{CUSTOMER, NUMBER, Rig, Setup, account, quick, send};

const SENT: &str = "SELECT count(*) FROM whatsapp.send WHERE state = 'sent'";

/// The most arrivals in any window.
fn most(arrivals: &[Instant], window: Duration) -> usize {
    let within = |from: &Instant| arrivals.iter().filter(|at| *at >= from && **at < *from + window).count();
    arrivals.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_never_exceeds_what_it_is_granted() {
    let mut number = account("ventas", NUMBER, "app");
    let settings = number.whatsapp.take().unwrap();
    let number =
        Account { whatsapp: Some(WhatsAppSettings { messages_per_second: 20, ..settings }), ..number };
    // Whatever this machine holds up on its way from the sender to the server, and so lets arrive together, is no more than may be
    // under way at once.
    let sender = SenderConfig { concurrency: 2, ..quick() };
    let rig = Rig::start(Setup { accounts: vec![number], sender, ..Setup::default() }).await;
    for n in 0..60 {
        rig.publish(&send(Uuid::now_v7(), 1, &format!("5190000{n:04}"))).await;
    }
    rig.counts(SENT, 60).await;
    let mut arrivals: Vec<Instant> = rig.graph.seen().iter().map(|seen| seen.at).collect();
    arrivals.sort();
    let most = most(&arrivals, Duration::from_secs(1));
    assert!(most <= 20 + 2, "{most} in a second");
    assert_eq!(arrivals.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_never_gets_more_than_his_pair_allows_and_in_order() {
    let sender = SenderConfig { pair_seconds: 0.2, pair_burst: 3, ..quick() };
    let rig = Rig::start(Setup { sender, ..Setup::default() }).await;
    let conversation = Uuid::now_v7();
    let began = Instant::now();
    for sequence in 1..=10 {
        rig.publish(&send(conversation, sequence, CUSTOMER)).await;
    }
    rig.counts(SENT, 10).await;
    let seen = rig.graph.seen();
    let bodies: Vec<&str> = seen.iter().filter_map(|one| one.body["text"]["body"].as_str()).collect();
    let expected: Vec<String> = (1..=10).map(|n| format!("texto {n}")).collect();
    assert_eq!(bodies, expected);
    // Two of the burst, and eight that each wait 0.2 s: a lower bound that no load can break.
    let took = seen.last().unwrap().at - began;
    assert!(took >= Duration::from_millis(1_600), "{took:?}");
}
