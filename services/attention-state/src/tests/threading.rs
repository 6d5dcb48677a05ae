//! Which attention a mail joins, on a real database: life cycle, lineage, evidence, attacks.

use hilo_proto::inbound::v1::{DmarcResult, EmailAddress};
use uuid::Uuid;

use super::{House, Mail};

/// One attention begun by eva with Message-ID `m1@x`.
async fn begun() -> (House, Uuid) {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let attention = house.attentions().await[0].attention_id;
    (house, attention)
}

#[tokio::test]
async fn the_joining_rule_on_the_way_through_the_database() {
    use DmarcResult::{Fail, NoPolicy, Pass, TemporaryError};
    enum Then {
        Joins,
        Unverified,
        Unlinked,
    }
    let rows = [
        ("participant, passes", "eva@cliente.example", Pass, false, Then::Joins),
        ("participant, no policy", "EVA@cliente.example", NoPolicy, false, Then::Joins),
        ("participant, fails", "eva@cliente.example", Fail, false, Then::Unverified),
        ("participant, look-up failed", "eva@cliente.example", TemporaryError, false, Then::Unlinked),
        ("participant, fails, switch", "eva@cliente.example", Fail, true, Then::Joins),
        ("participant, look-up failed, switch", "eva@cliente.example", TemporaryError, true, Then::Joins),
        ("stranger, passes", "mallory@otro.example", Pass, false, Then::Unverified),
        ("stranger, no policy", "mallory@otro.example", NoPolicy, false, Then::Unverified),
        ("stranger, switch", "mallory@otro.example", NoPolicy, true, Then::Unverified),
    ];
    for by_token in [false, true] {
        for (what, from, dmarc, switch, then) in &rows {
            let (house, first) = begun().await;
            let answer =
                Mail::from(from).dmarc(*dmarc).evidence(|e| e.unauthenticated_replies_accepted = *switch);
            let answer = if by_token { answer.token(first) } else { answer.answers(&["m1@x"]) };
            house.take(&[answer]).await;
            let attentions = house.attentions().await;
            match then {
                Then::Joins => {
                    assert_eq!(attentions.len(), 1, "{what}");
                    assert_eq!(attentions[0].messages, 2, "{what}");
                    assert!(attentions[0].sender_verified, "{what}");
                }
                Then::Unverified => {
                    assert_eq!(attentions.len(), 2, "{what}");
                    assert_eq!(attentions[1].linked_attention_id, Some(first), "{what}");
                    assert_ne!(
                        attentions[1].lineage_id, first,
                        "{what}: an unverified one starts its own lineage"
                    );
                    assert!(!attentions[1].sender_verified, "{what}");
                }
                Then::Unlinked => {
                    assert_eq!(attentions.len(), 2, "{what}");
                    assert_eq!(attentions[1].linked_attention_id, None, "{what}");
                    assert!(!attentions[1].sender_verified, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_after_ending_is_a_new_queued_interaction_of_the_same_attention() {
    let (house, attention) = begun().await;
    house.end_item(house.attentions().await[0].last_interaction, false).await;
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 1);
    assert_eq!(attentions[0].interactions, ["ended", "queued"]);
    assert_eq!(
        house.events(attention).await[3..],
        ["interaction_opened", "interaction_ended", "interaction_queued", "message_received"]
    );
}

#[tokio::test]
async fn answers_after_closing_share_one_open_successor() {
    let (house, first) = begun().await;
    house.end_item(house.attentions().await[0].last_interaction, true).await;
    house.take(&[Mail::from("eva@cliente.example").id("m2@x").answers(&["m1@x"])]).await;
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 2);
    assert_eq!((attentions[0].state.as_str(), attentions[1].state.as_str()), ("closed", "open"));
    assert_eq!(attentions[1].linked_attention_id, Some(first));
    assert_eq!(attentions[1].messages, 2);
    assert_eq!(attentions[1].participants, attentions[0].participants);
    assert!(attentions[1].sender_verified);
    // The successor closed as well: the next answer to the very first mail follows the newest.
    house.end_item(attentions[1].last_interaction, true).await;
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 3);
    assert_eq!(attentions[2].linked_attention_id, Some(attentions[1].attention_id));
    assert_eq!(attentions[2].lineage_id, first);
    let numbers: Vec<i64> = sqlx::query_scalar("SELECT number FROM attention.attention ORDER BY number")
        .fetch_all(house.db.pool())
        .await
        .unwrap();
    assert_eq!(numbers, [1, 2, 3], "answers draw no numbers");
}

#[tokio::test]
async fn several_answers_to_a_closed_attention_in_one_batch_share_one_successor() {
    let (house, _) = begun().await;
    house.end_item(house.attentions().await[0].last_interaction, true).await;
    let answers: Vec<Mail> = (0..5).map(|_| Mail::from("eva@cliente.example").answers(&["m1@x"])).collect();
    house.take(&answers).await;
    let messages: Vec<i64> = house.attentions().await.iter().map(|one| one.messages).collect();
    assert_eq!(messages, [1, 5]);
}

#[tokio::test]
async fn a_parent_that_comes_late_links_the_attentions_in_any_order_of_batches() {
    for together in [false, true] {
        let house = House::open().await;
        let child = Mail::from("eva@cliente.example").id("m2@x").answers(&["m1@x"]);
        let parent = Mail::from("eva@cliente.example").id("m1@x");
        if together {
            house.take(&[child, parent]).await;
        } else {
            house.take(&[child]).await;
            house.take(&[parent]).await;
        }
        let attentions = house.attentions().await;
        assert_eq!(attentions.len(), 2);
        assert_eq!(
            attentions[0].linked_attention_id,
            Some(attentions[1].attention_id),
            "together: {together}"
        );
        assert!(house.events(attentions[0].attention_id).await.contains(&"attention_linked".to_owned()));
        assert_eq!(
            house.count("SELECT count(*) FROM attention.awaited_parent WHERE attention_id IS NULL").await,
            0
        );
    }
}

/// Guard: the account in `link_children`. A mail to two of our addresses comes once for each; its answer, which came first,
/// waits for the copy of its own account.
#[tokio::test]
async fn a_late_parent_links_only_what_waits_in_its_own_account() {
    for together in [false, true] {
        let house = House::open().await;
        let answer = Mail::from("eva@cliente.example").id("m2@x").answers(&["m1@x"]);
        let copy =
            |account: &str| Mail { account: account.into(), ..Mail::from("otto@cliente.example").id("m1@x") };
        let copies = [copy("ventas-mail"), copy("soporte-mail")];
        if together {
            let [first, second] = copies;
            house.take(&[answer, first, second]).await;
        } else {
            house.take(&[answer]).await;
            house.take(&copies[..1]).await;
            assert_eq!(house.attentions().await[0].linked_attention_id, None, "another campaign's");
            assert_eq!(house.count("SELECT count(*) FROM attention.awaited_parent").await, 1);
            house.take(&copies[1..]).await;
        }
        let attentions = house.attentions().await;
        let [child, astray, parent] = attentions.as_slice() else { panic!("{attentions:?}") };
        assert_eq!(child.linked_attention_id, Some(parent.attention_id), "together: {together}");
        assert_eq!((astray.linked_attention_id, astray.campaign_key.as_str()), (None, "ventas"));
        assert_eq!(house.count("SELECT count(*) FROM attention.awaited_parent").await, 0);
    }
}

/// Guard: `parents_came` by attention. What waits in another account goes on waiting.
#[tokio::test]
async fn one_that_found_its_parent_leaves_the_notes_of_others() {
    let house = House::open().await;
    let answer = |account: &str| Mail {
        account: account.into(),
        ..Mail::from("eva@cliente.example").answers(&["m1@x"])
    };
    house.take(&[answer("soporte-mail"), answer("ventas-mail")]).await;
    house.take(&[Mail::from("otto@cliente.example").id("m1@x")]).await;
    let late = Mail { account: "ventas-mail".into(), ..Mail::from("otto@cliente.example").id("m1@x") };
    house.take(&[late]).await;
    let attentions = house.attentions().await;
    let linked: Vec<Option<Uuid>> = attentions.iter().map(|one| one.linked_attention_id).collect();
    let [_, _, support, sales] = attentions.as_slice() else { panic!("{attentions:?}") };
    assert_eq!(linked, [Some(support.attention_id), Some(sales.attention_id), None, None]);
}

#[tokio::test]
async fn a_mail_to_another_account_never_joins_across() {
    let (house, first) = begun().await;
    let astray = Mail { account: "ventas-mail".into(), ..Mail::from("eva@cliente.example").token(first) };
    house.take(&[astray]).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 2);
    assert_eq!(attentions[1].linked_attention_id, None);
}

/// Zendesk, 2024: the spoofed requester with right references and the attacker in Cc (hardening 4.1).
#[tokio::test]
async fn spoofed_answers_with_the_attacker_in_cc_gain_nothing() {
    let (house, first) = begun().await;
    let spoofed: Vec<Mail> = (0..100)
        .map(|_| {
            Mail::from("eva@cliente.example").dmarc(DmarcResult::Fail).answers(&["m1@x"]).with(|email| {
                email.cc = vec![EmailAddress { address: "mallory@otro.example".into(), name: String::new() }]
            })
        })
        .collect();
    for batch in spoofed.chunks(50) {
        house.take(batch).await;
    }
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 101);
    assert_eq!(attentions[0].messages, 1);
    assert!(attentions.iter().all(|one| !one.participants.contains(&"mallory@otro.example".to_owned())));
    assert!(attentions[1..].iter().all(|one| one.linked_attention_id == Some(first) && !one.sender_verified));
    assert_eq!(house.count("SELECT count(*) FROM kit.outbox_log WHERE stream = 'outbound'").await, 0);
    // The attacker's own, authenticated mail does not get in through the attention he forged either.
    house.take(&[Mail::from("mallory@otro.example").dmarc(DmarcResult::Pass).answers(&["m1@x"])]).await;
    assert_eq!(house.attentions().await[0].messages, 1);
}
