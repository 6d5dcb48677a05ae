//! Mails that cannot be fetched: nothing is lost to a bad network, and one mail that the server itself refuses is put aside.

use std::time::Duration;

use hilo_test_support::eventually;

use crate::mailbox::{Content, Mailbox, Step};
use crate::rig::{Rig, Setup, VENTAS, fetching_from};

fn raw(uid: u32) -> Vec<u8> {
    format!("From: ana@cliente.example\r\nTo: {VENTAS}\r\nSubject: u{uid}\r\nMessage-ID: <u{uid}@cliente.example>\r\n\r\nHola\r\n")
        .into_bytes()
}

async fn rig(mails: &[(u32, Content)]) -> (Rig, Mailbox) {
    let mailbox = Mailbox::start().await;
    for (uid, content) in mails {
        mailbox.put(*uid, &raw(*uid), *content);
    }
    (rig_on(&mailbox).await, mailbox)
}

async fn rig_on(mailbox: &Mailbox) -> Rig {
    Rig::start(Setup { accounts: vec![fetching_from(mailbox.port)], ..Setup::default() }).await
}

async fn subjects(rig: &mut Rig, count: usize) -> Vec<String> {
    let mut subjects = Vec::new();
    for _ in 0..count {
        subjects.push(rig.inbound().await.1.subject);
    }
    subjects.sort();
    subjects
}

async fn put_aside(rig: &Rig) -> Vec<String> {
    sqlx::query_scalar("SELECT unfit FROM mail.inbound WHERE unfit IS NOT NULL")
        .fetch_all(rig.db.pool())
        .await
        .unwrap()
}

async fn cursor(rig: &Rig) -> i64 {
    sqlx::query_scalar("SELECT max(last_uid) FROM mail.cursor").fetch_one(rig.db.pool()).await.unwrap()
}

async fn asked(mailbox: &Mailbox, uid: u32, times: usize) {
    eventually("the content was asked for", Duration::from_secs(60), || async {
        mailbox.asked(uid) >= times
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_drops_in_the_same_mail_again_and_again_costs_nobody_a_mail() {
    for content in [Content::Drops, Content::Closes] {
        dropping(content).await;
    }
}

async fn dropping(content: Content) {
    let (mut rig, mailbox) =
        rig(&[(3, Content::Comes), (4, content), (5, Content::Comes), (6, Content::Comes)]).await;
    // The others do not wait for it, and it is never blamed.
    assert_eq!(subjects(&mut rig, 3).await, vec!["u3", "u5", "u6"], "{content:?}");
    asked(&mailbox, 4, 4).await;
    assert!(put_aside(&rig).await.is_empty(), "{content:?}");
    assert_eq!(cursor(&rig).await, 3, "the cursor waits in front of it");
    mailbox.put(4, &raw(4), Content::Comes);
    assert_eq!(subjects(&mut rig, 1).await, vec!["u4"], "{content:?}");
    eventually("the cursor goes on", Duration::from_secs(60), || async { cursor(&rig).await == 6 })
        .await
        .unwrap();
    assert_eq!((mailbox.asked(3), mailbox.asked(6)), (1, 1), "what is stored is not fetched again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_the_server_refuses_while_it_hands_out_others_is_put_aside() {
    for content in [Content::No, Content::Noise] {
        let (mut rig, mailbox) = rig(&[(3, Content::Comes), (4, content), (5, Content::Comes)]).await;
        assert_eq!(subjects(&mut rig, 2).await, vec!["u3", "u5"], "{content:?}");
        eventually("it is put aside", Duration::from_secs(60), || async {
            put_aside(&rig).await == ["MAIL_NOT_FETCHABLE"]
        })
        .await
        .unwrap();
        assert!(mailbox.asked(4) >= 3, "{content:?}");
        assert_eq!(cursor(&rig).await, 5, "{content:?}");
        assert!(rig.nothing_inbound().await, "{content:?}");
        rig.stop().await;
    }
}

/// Guard: the comparison with another mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_every_mail_blames_itself() {
    let (mut rig, mailbox) = rig(&[(3, Content::No), (4, Content::No)]).await;
    asked(&mailbox, 4, 5).await;
    assert!(put_aside(&rig).await.is_empty());
    // At one instant: a look in between would find that the server hands out one and not the other.
    mailbox.all_come();
    assert_eq!(subjects(&mut rig, 2).await, vec!["u3", "u4"]);
    assert!(put_aside(&rig).await.is_empty());
    rig.stop().await;
}

/// Guard: what is not listed any more is forgotten. It stayed due, and every wait ended at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_troubled_mail_that_leaves_its_mailbox_ends_the_quick_looks() {
    let (mut rig, mailbox) = rig(&[(3, Content::No)]).await;
    asked(&mailbox, 3, 1).await;
    mailbox.remove(3);
    let before = mailbox.looks();
    eventually("a look without it", Duration::from_secs(60), || async { mailbox.looks() > before })
        .await
        .unwrap();
    let forgotten = mailbox.looks();
    // Six shortest waits; one look may be the regular one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(mailbox.looks() <= forgotten + 1, "{} looks", mailbox.looks() - forgotten);
    rig.stop().await;
}

/// Guard: the question for another mail is one that a mailbox of one mail can answer. A strict server called it an error,
/// which ended the session before the mail was tried again, and so every time.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_alone_is_tried_again_until_another_tells_whose_fault_it_is() {
    let (mut rig, mailbox) = rig(&[(3, Content::No)]).await;
    asked(&mailbox, 3, 4).await;
    assert!(put_aside(&rig).await.is_empty(), "there is nothing to compare it with");
    mailbox.put(4, &raw(4), Content::Comes);
    assert_eq!(subjects(&mut rig, 1).await, vec!["u4"]);
    eventually("it is put aside", Duration::from_secs(60), || async {
        put_aside(&rig).await == ["MAIL_NOT_FETCHABLE"]
    })
    .await
    .unwrap();
    rig.stop().await;
}

/// Guard: the newer end of the mailbox is compared with.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_put_aside_does_not_stand_in_for_the_others_for_ever() {
    let mails = [(3, Content::No), (4, Content::Comes), (5, Content::No), (6, Content::Comes)];
    let (mut rig, _mailbox) = rig(&mails).await;
    assert_eq!(subjects(&mut rig, 2).await, vec!["u4", "u6"]);
    eventually("both are put aside", Duration::from_secs(60), || async { put_aside(&rig).await.len() == 2 })
        .await
        .unwrap();
    rig.stop().await;
}

/// Guard: what an empty look is told. The server says it once; the mail waited for the next regular look.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_announced_during_an_empty_look_is_fetched_at_once() {
    let mailbox = Mailbox::start().await;
    mailbox.put_during_next_look(3, &raw(3));
    let mut rig = rig_on(&mailbox).await;
    assert_eq!(subjects(&mut rig, 1).await, vec!["u3"]);
    let steps: Vec<Step> = mailbox.steps().into_iter().take(3).collect();
    assert_eq!(steps, [Step::Look, Step::Look, Step::Asked(3)]);
    rig.stop().await;
}

/// Guard: what is stored behind a troubled mail is remembered here, because the ledger knows it under the old UIDVALIDITY.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_uidvalidity_a_known_mail_behind_a_troubled_one_comes_once() {
    let (mut rig, mailbox) = rig(&[(5, Content::Comes)]).await;
    assert_eq!(subjects(&mut rig, 1).await, vec!["u5"]);
    rig.stop().await;
    mailbox.renumber();
    mailbox.put(4, &raw(4), Content::Closes);
    rig.run().await;
    asked(&mailbox, 4, 3).await;
    assert_eq!(mailbox.asked(5), 2, "once under each UIDVALIDITY");
    mailbox.put(4, &raw(4), Content::Comes);
    assert_eq!(subjects(&mut rig, 1).await, vec!["u4"]);
    eventually("the cursor goes on", Duration::from_secs(60), || async {
        sqlx::query_scalar::<_, i64>("SELECT last_uid FROM mail.cursor WHERE uid_validity = 8")
            .fetch_one(rig.db.pool())
            .await
            .unwrap()
            == 5
    })
    .await
    .unwrap();
    rig.stop().await;
}
