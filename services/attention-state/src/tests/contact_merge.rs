//! Two contacts become one: what moves, what stays apart, what history and desks see, and mail that comes meanwhile.

use std::sync::Arc;

use hilo_proto::contact::v1::{Contact, GetContactRequest, MergeContactsRequest};
use uuid::Uuid;

use super::contact_changes::{contacts, created, email, found, named};
use super::{House, Mail, fresh};
use crate::attention::ended;
use crate::contact::search;

fn request(stays: &Contact, goes: &Contact) -> MergeContactsRequest {
    MergeContactsRequest {
        contact_id: stays.contact_id.clone(),
        version: stays.version,
        merged_contact_id: goes.contact_id.clone(),
        merged_version: goes.version,
        request_id: fresh(),
    }
}

async fn merged(
    house: &House,
    user: &str,
    stays: &Contact,
    goes: &Contact,
) -> Result<Contact, hilo_kit::Error> {
    let access = house.access(user).await;
    Ok(contacts(house).merge(access, request(stays, goes)).await?.contact.unwrap())
}

async fn contact_of(house: &House, attention: Uuid) -> String {
    sqlx::query_scalar("SELECT contact_id::text FROM attention.attention WHERE attention_id = $1")
        .bind(attention)
        .fetch_one(house.db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn identities_and_attentions_move_and_two_live_conversations_stay() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").with(named("Eva"))]).await;
    house.take(&[Mail::from("eva@casa.example").with(named("Eva Q.")).id("m1@x")]).await;
    let casa = house.attentions().await[1].clone();
    house.end_item(casa.last_interaction, false).await;
    house.take(&[Mail::from("eva@casa.example").answers(&["m1@x"])]).await;
    let (eva, other) =
        (found(&house, "ana", "eva@cliente").await.remove(0), found(&house, "ana", "casa").await.remove(0));
    let stale = Contact { version: 9, ..other.clone() };
    assert_eq!(merged(&house, "ana", &eva, &stale).await.unwrap_err().reason(), "STALE_VERSION");
    let stale = Contact { version: 9, ..eva.clone() };
    assert_eq!(merged(&house, "ana", &stale, &other).await.unwrap_err().reason(), "STALE_VERSION");
    assert_eq!(merged(&house, "ana", &eva, &eva).await.unwrap_err().reason(), "INVALID_REQUEST");
    assert_eq!(merged(&house, "rosa", &eva, &other).await.unwrap_err().reason(), "CONTACT_NOT_FOUND");
    let events = house.events(casa.attention_id).await.len();
    let wish = request(&eva, &other);
    let ana = house.access("ana").await;
    let after = contacts(&house).merge(ana.clone(), wish.clone()).await.unwrap();
    assert_eq!(contacts(&house).merge(ana.clone(), wish).await.unwrap(), after, "same request, same answer");
    let after = after.contact.unwrap();
    assert_eq!((after.name.as_str(), after.version), ("Eva", 2));
    assert_eq!(after.merged_contact_ids, std::slice::from_ref(&other.contact_id));
    let values: Vec<&str> = after.identities.iter().map(|one| one.value.as_str()).collect();
    assert_eq!(values, ["eva@casa.example", "eva@cliente.example"]);
    // Two live conversations of one customer.
    for seen in house.attentions().await {
        assert_eq!(contact_of(&house, seen.attention_id).await, eva.contact_id);
        assert_eq!(seen.interactions.last().unwrap(), "queued");
    }
    let now = house.events(casa.attention_id).await;
    assert_eq!(now[events..], ["contact_changed"]);
    // The id that went means the one that stayed.
    let get = GetContactRequest { contact_id: other.contact_id.clone() };
    assert_eq!(search::get(&house.db, ana, get).await.unwrap().contact.unwrap().contact_id, eva.contact_id);
    assert_eq!(found(&house, "ana", "eva").await.len(), 1);
    // The next mail from either address is of the one customer.
    house.take(&[Mail::from("eva@casa.example")]).await;
    let last = house.attentions().await.pop().unwrap();
    assert_eq!(contact_of(&house, last.attention_id).await, eva.contact_id);
    let again = merged(&house, "ana", &after, &Contact { version: 2, ..other }).await.unwrap_err();
    assert_eq!(again.reason(), "STALE_VERSION", "merged before");
}

#[tokio::test]
async fn ended_threads_of_the_one_that_went_are_stored_again_under_the_one_that_stays() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").with(named("Eva"))]).await;
    house.take(&[Mail::from("eva@casa.example").with(named("")).id("m1@x")]).await;
    let casa = house.attentions().await[1].clone();
    house.end_item(casa.last_interaction, false).await;
    let confirm = async || {
        let ended = house
            .db
            .read(|conn| Box::pin(async move { ended::unconfirmed(conn, None, 10).await }))
            .await
            .unwrap();
        let stored: Vec<(Uuid, i64)> = ended.iter().map(|one| (one.interaction, one.version)).collect();
        let given = stored.clone();
        house
            .db
            .transaction(move |tx| {
                let stored = given.clone();
                Box::pin(async move { ended::confirm(tx, &stored).await })
            })
            .await
            .unwrap();
        stored.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(confirm().await, [casa.last_interaction]);
    assert!(confirm().await.is_empty());
    let (eva, other) =
        (found(&house, "ana", "eva@cliente").await.remove(0), found(&house, "ana", "casa").await.remove(0));
    merged(&house, "ana", &eva, &other).await.unwrap();
    assert_eq!(confirm().await, [casa.last_interaction], "a newer version");
    let id = casa.last_interaction;
    let thread =
        house.db.snapshot(move |tx| Box::pin(async move { ended::whole(tx, id).await })).await.unwrap();
    let thread = thread.unwrap();
    assert_eq!(
        (thread.contact_id, thread.summary.unwrap().customer_name),
        (eva.contact_id, "Eva".to_owned())
    );
}

#[tokio::test]
async fn an_attention_too_many_is_refused_and_nothing_moves() {
    let house = House::open().await;
    house
        .take(&[Mail::from("eva@cliente.example"), Mail::from("robot@cliente.example").with(named("Robot"))])
        .await;
    sqlx::raw_sql(
        "INSERT INTO attention.attention (attention_id, number, channel, account_key, campaign_key, contact_id,
           customer_address, state, closed_at, sequence, interaction_count, lineage_id)
         SELECT id, 10000 + n, 'email', 'soporte-mail', 'soporte', c.contact_id, 'robot@cliente.example', 'closed', now(), 1, 0, id
         FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, 2000) AS n) AS new,
           contact.contact c WHERE c.name = 'Robot'",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    let (eva, robot) =
        (found(&house, "ana", "quispe").await.remove(0), found(&house, "ana", "robot").await.remove(0));
    let error = merged(&house, "ana", &eva, &robot).await.unwrap_err();
    assert_eq!(error.reason(), "CONTACT_TOO_LARGE");
    assert_eq!(found(&house, "ana", "robot").await[0].version, 1);
    let after = merged(&house, "ana", &robot, &eva).await.unwrap();
    assert_eq!(after.identities.len(), 2, "the smaller into the larger");
}

/// Mails of both addresses come in while the contacts are merged and merged on: each ends in one attention of the contact
/// that stayed, none at a contact that went. Without `keys::lock` in `Merge::apply` some end there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mail_that_comes_during_a_merge_ends_at_the_contact_that_stays() {
    let house = Arc::new(House::open().await);
    sqlx::raw_sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON attention.attention FOR EACH ROW EXECUTE FUNCTION slow();",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    for round in 0..20 {
        let address = |which: &str| format!("{which}{round}@cliente.example");
        let mut two = Vec::new();
        for which in ["a", "b"] {
            let contact = Contact {
                name: format!("{which}{round}"),
                identities: vec![email(&address(which))],
                ..Contact::default()
            };
            two.push(created(&house, "ana", contact).await.unwrap());
        }
        let mails: Vec<_> = ["a", "b", "b"]
            .iter()
            .map(|which| {
                tokio::spawn(super::concurrency::until_taken(house.clone(), Mail::from(&address(which))))
            })
            .collect();
        merged(&house, "ana", &two[0], &two[1]).await.unwrap();
        for mail in mails {
            mail.await.unwrap();
        }
    }
    let lost = "SELECT count(*) FROM attention.attention JOIN contact.contact USING (contact_id) WHERE merged_into IS NOT NULL";
    assert_eq!(house.count(lost).await, 0);
    assert_eq!(house.count("SELECT count(*) FROM attention.attention").await, 60);
    assert_eq!(house.count("SELECT count(*) FROM contact.contact WHERE merged_into IS NULL").await, 20);
}

/// Both ways at the same instant: one merge wins, the other finds its version stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_opposite_merges_at_once_one_wins() {
    let house = Arc::new(House::open().await);
    for round in 0..20 {
        let mut two = Vec::new();
        for which in ["a", "b"] {
            let contact = Contact { name: format!("{which}{round}"), ..Contact::default() };
            two.push(created(&house, "ana", contact).await.unwrap());
        }
        let merge = |stays: &Contact, goes: &Contact| {
            let (house, stays, goes) = (house.clone(), stays.clone(), goes.clone());
            tokio::spawn(async move { merged(&house, "ana", &stays, &goes).await })
        };
        let (one, other) = (merge(&two[0], &two[1]), merge(&two[1], &two[0]));
        let results = [one.await.unwrap(), other.await.unwrap()];
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "round {round}: {results:?}");
        let lost = results.iter().find_map(|result| result.as_ref().err()).unwrap();
        assert_eq!(lost.reason(), "STALE_VERSION");
    }
    let chains =
        "SELECT count(*) FROM contact.contact a JOIN contact.contact b ON a.merged_into = b.contact_id
        WHERE b.merged_into IS NOT NULL";
    assert_eq!(house.count(chains).await, 0);
}
