//! From a real Dovecot to INBOUND.

use hilo_email_ingest::config::ImapConfig;
use hilo_proto::inbound::v1::DmarcResult;
use hilo_test_support::Dovecot;

use crate::rig::{Rig, Setup, VENTAS, fetching_from};

fn mail(id: &str) -> Vec<u8> {
    format!(
        "Authentication-Results: mx.hilo.example; spf=pass; dmarc=pass header.from=cliente.example\r\n\
         Return-Path: <ana@cliente.example>\r\nDelivered-To: {VENTAS}\r\nFrom: Ana <ana@cliente.example>\r\n\
         To: {VENTAS}\r\nSubject: {id}\r\nMessage-ID: <{id}@cliente.example>\r\n\r\nHola\r\n"
    )
    .into_bytes()
}

/// `None` where Dovecot is not installed; `make test` installs it.
async fn rig() -> Option<(Rig, Dovecot)> {
    let dovecot = match Dovecot::start(&[("ventas", "secret")]).await {
        Ok(dovecot) => dovecot,
        Err(error) => {
            eprintln!("NOT RUN: no Dovecot: {error:#}");
            return None;
        }
    };
    for number in 0..5 {
        dovecot.deliver("ventas", &mail(&format!("old{number}"))).unwrap();
    }
    // Longer than any test waits: what comes while a session lasts was announced.
    let imap = ImapConfig { idle_seconds: 600, poll_seconds: 600 };
    let setup = Setup { accounts: vec![fetching_from(dovecot.imap_port())], imap, ..Setup::default() };
    Some((Rig::start(setup).await, dovecot))
}

async fn next_ids(rig: &mut Rig, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(rig.inbound().await.1.subject);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mail_is_fetched_once_over_stops_of_both_sides() {
    let Some((mut rig, mut dovecot)) = rig().await else { return };
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (_, email) = rig.inbound().await;
        // Our receiver's word counts for fetched mail, although there is no resolver here.
        assert_eq!(email.evidence.unwrap().dmarc(), DmarcResult::Pass);
        ids.push(email.subject);
    }
    ids.sort();
    assert_eq!(ids, vec!["old0", "old1", "old2", "old3", "old4"]);
    // IDLE wakes it, long before the next poll.
    dovecot.deliver("ventas", &mail("idle")).unwrap();
    assert_eq!(next_ids(&mut rig, 1).await, vec!["idle"]);
    dovecot.stop().await.unwrap();
    dovecot.deliver("ventas", &mail("away")).unwrap();
    dovecot.restart().await.unwrap();
    assert_eq!(next_ids(&mut rig, 1).await, vec!["away"]);
    rig.stop().await;
    dovecot.deliver("ventas", &mail("stopped")).unwrap();
    rig.run().await;
    assert_eq!(next_ids(&mut rig, 1).await, vec!["stopped"]);
    assert!(rig.nothing_inbound().await);
    let (rows, cursor): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM mail.inbound), (SELECT max(last_uid) FROM mail.cursor)")
            .fetch_one(rig.db.pool())
            .await
            .unwrap();
    assert_eq!((rows, cursor), (8, 8));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_retried_without_ending_the_service() {
    let Some((mut rig, dovecot)) = rig().await else { return };
    next_ids(&mut rig, 5).await;
    rig.stop().await;
    let secret = rig.secrets().join("ventas-imap");
    std::fs::write(&secret, "wrong").unwrap();
    rig.run().await;
    dovecot.deliver("ventas", &mail("later")).unwrap();
    assert!(rig.nothing_inbound().await);
    std::fs::write(&secret, "secret").unwrap();
    assert_eq!(next_ids(&mut rig, 1).await, vec!["later"]);
    rig.stop().await;
}
