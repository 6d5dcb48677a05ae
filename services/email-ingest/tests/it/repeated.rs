//! A mail without a Message-ID that comes again because our 250 was not heard, and the equal mails that are not that.

use std::time::Duration;

use hilo_email_ingest::store::{Naming, NewMail, Source, Stored};
use hilo_kit::db::Db;
use hilo_kit::ids::Uuid;
use hilo_test_support::eventually;

use crate::client::Client;
use crate::rig::{Rig, Setup, VENTAS};
use crate::store::{mail, store};

fn nameless(naming: Naming) -> NewMail {
    NewMail {
        naming,
        envelope_sender: Some("ana@cliente.example".into()),
        envelope_recipients: vec!["ventas@hilo.example".into(), "ventas+a@hilo.example".into()],
        peer: Some("192.0.2.1".into()),
        ..mail(Source::Smtp, 1, Uuid::nil())
    }
}

async fn age(db: &Db, minutes: i32) {
    sqlx::query("UPDATE mail.inbound SET received_at = now() - make_interval(mins => $1)")
        .bind(minutes)
        .execute(db.pool())
        .await
        .unwrap();
}

/// Whether the second mail is taken as a new one, when the first came so many minutes ago.
async fn is_new(first: NewMail, minutes: i32, second: NewMail) -> bool {
    let (store, db) = store().await;
    store.accept(vec![first]).await.unwrap();
    age(&db, minutes).await;
    matches!(store.accept(vec![second]).await.unwrap().first(), Some(Stored::New(_)))
}

/// Guards: each condition of `repeated`, and its window.
#[tokio::test]
async fn equal_bytes_are_one_mail_only_in_the_same_envelope_and_time() {
    let day = 24 * 60;
    let change = |naming, change: fn(&mut NewMail)| {
        let mut mail = nameless(naming);
        change(&mut mail);
        mail
    };
    let peer: fn(&mut NewMail) = |mail| mail.peer = Some("192.0.2.2".into());
    let sender: fn(&mut NewMail) = |mail| mail.envelope_sender = Some("eva@cliente.example".into());
    let fewer: fn(&mut NewMail) = |mail| mail.envelope_recipients.truncate(1);
    let more: fn(&mut NewMail) = |mail| mail.envelope_recipients.push("ventas+b@hilo.example".into());
    let turned: fn(&mut NewMail) = |mail| mail.envelope_recipients.reverse();
    let account: fn(&mut NewMail) = |mail| mail.account_key = "soporte".into();
    let bytes: fn(&mut NewMail) = |mail| mail.digest = [2; 32];
    let same: fn(&mut NewMail) = |_| {};
    let table = [
        ("nothing, at once", Naming::Nothing, 0, same, false),
        ("nothing, 50 minutes", Naming::Nothing, 50, same, false),
        ("nothing, 70 minutes", Naming::Nothing, 70, same, true),
        ("nothing, another client", Naming::Nothing, 0, peer, true),
        ("nothing, another sender", Naming::Nothing, 0, sender, true),
        ("nothing, fewer recipients", Naming::Nothing, 0, fewer, true),
        ("nothing, more recipients", Naming::Nothing, 0, more, true),
        ("nothing, recipients in another order", Naming::Nothing, 0, turned, false),
        ("nothing, another account", Naming::Nothing, 0, account, true),
        ("nothing, other bytes", Naming::Nothing, 0, bytes, true),
        ("date, another client, four days", Naming::Date, 4 * day, peer, false),
        ("date, six days", Naming::Date, 6 * day, same, true),
        ("date, another sender", Naming::Date, 0, sender, true),
        ("date, other bytes", Naming::Date, 0, bytes, true),
    ];
    for (what, naming, minutes, other, expected) in table {
        let second = change(naming, other);
        assert_eq!(is_new(nameless(naming), minutes, second).await, expected, "{what}");
    }
}

/// Guard: the lock of `repeated`. A sender may give up and repeat while its first transaction still runs.
#[tokio::test(flavor = "multi_thread")]
async fn two_at_the_same_instant_are_one() {
    let (store, db) = store().await;
    let mut running = Vec::new();
    for number in 0..20u8 {
        for _ in 0..2 {
            let (store, mail) =
                (store.clone(), NewMail { digest: [number; 32], ..nameless(Naming::Nothing) });
            let mail = NewMail { id: Uuid::now_v7(), ..mail };
            running.push(tokio::spawn(async move { store.accept(vec![mail]).await.unwrap() }));
        }
    }
    for one in running {
        one.await.unwrap();
    }
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM mail.inbound").fetch_one(db.pool()).await.unwrap();
    assert_eq!(rows, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_went_away_before_the_250_and_repeats_the_mail_is_taken_once() {
    let mut rig = Rig::start(Setup::default()).await;
    let raw =
        format!("From: Ana <ana@cliente.example>\r\nTo: {VENTAS}\r\nSubject: alarma\r\n\r\nNivel bajo\r\n");
    let mut client = Client::connect(rig.smtp).await;
    client.say("EHLO cliente.example").await;
    client.say("MAIL FROM:<ana@cliente.example>").await;
    client.say(&format!("RCPT TO:<{VENTAS}>")).await;
    client.say("DATA").await;
    client.send(&format!("{raw}\r\n.")).await;
    drop(client);
    let db = rig.db.clone();
    eventually("the first is in the ledger", Duration::from_secs(60), || {
        let db = db.clone();
        async move {
            let rows: i64 =
                sqlx::query_scalar("SELECT count(*) FROM mail.inbound").fetch_one(db.pool()).await.unwrap();
            rows == 1
        }
    })
    .await
    .unwrap();
    assert!(rig.mail(&[VENTAS], &raw).await.starts_with("250"));
    assert_eq!(rig.inbound().await.1.subject, "alarma");
    assert!(rig.nothing_inbound().await);
    // The same alarm again, two hours later.
    age(&db, 120).await;
    assert!(rig.mail(&[VENTAS], &raw).await.starts_with("250"));
    assert_eq!(rig.inbound().await.1.subject, "alarma");
    rig.stop().await;
}
