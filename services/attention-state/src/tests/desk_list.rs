//! The list: every field of an item, search whatever the accents, supervisors, places of interactions.

use hilo_kit::Class;
use hilo_proto::attention::v1::{
    GetAttentionRequest, ListInteractionsRequest, ListInteractionsResponse, MessagesAt,
};
use hilo_proto::event::v1::{Direction, InteractionState};

use super::contact_changes::named;
use super::{House, Mail};
use crate::desk::{list, read};
use crate::directory::testing::{apply, directory_of};

async fn page(house: &House, user: &str, search: &str) -> Result<ListInteractionsResponse, hilo_kit::Error> {
    let request = ListInteractionsRequest {
        channel: "email".into(),
        search: search.into(),
        ..ListInteractionsRequest::default()
    };
    list::page(&house.db, house.access(user).await, request).await
}

#[tokio::test]
async fn an_item_shows_every_field_of_the_list() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").with(named("Eva María Ñuñez"))]).await;
    house.take(&[Mail::from("otto@cliente.example").with(named(""))]).await;
    let items = page(&house, "ana", "").await.unwrap().items;
    let eva = items.iter().find(|item| item.customer_address == "eva@cliente.example").unwrap();
    assert_eq!((eva.initials.as_str(), eva.customer_name.as_str()), ("EM", "Eva María Ñuñez"));
    assert_eq!(
        (eva.direction(), eva.state(), eva.priority),
        (Direction::Inbound, InteractionState::Queued, 0)
    );
    assert_eq!((eva.account_key.as_str(), eva.campaign_key.as_str()), ("soporte-mail", "soporte"));
    assert_eq!((eva.preview.as_str(), eva.message_count, eva.vip), ("Hola, no llegó.", 1, false));
    assert!(eva.last_message_at.is_some() && eva.waiting_since.is_some() && eva.tags.is_empty());
    let otto = items.iter().find(|item| item.customer_address == "otto@cliente.example").unwrap();
    assert_eq!(otto.initials, "O");
}

#[tokio::test]
async fn search_ignores_accents_and_case_and_covers_every_address_of_the_customer() {
    let house = House::open().await;
    house
        .take(&[Mail::from("eva@cliente.example").with(named("Eva Ñuñez")).subject("Devolución del COLCHÓN")])
        .await;
    house.take(&[Mail::from("otto@cliente.example").with(named("Otto")).subject("Otra devolución")]).await;
    let eva = house.attentions().await[0].clone();
    house.open_item("ana", eva.last_interaction).await;
    sqlx::raw_sql(
        "INSERT INTO contact.identity (kind, value, contact_id)
         SELECT 'phone', '+51987654321', contact_id FROM contact.contact WHERE name LIKE 'Eva%';
         UPDATE attention.attention SET tags = '{urgente}'",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    for (search, count) in [
        ("nunez", 1),
        ("ÑUÑEZ", 1),
        ("devolucion", 1),
        ("Colchón", 1),
        ("cliente.example", 1),
        ("987 654", 1),
        ("urgen", 1),
        ("otto", 0),
        ("_va", 0),
    ] {
        let found = page(&house, "ana", search).await.unwrap();
        assert_eq!(found.items.len(), count, "{search}");
        assert_eq!(found.counters.unwrap().queued, 1, "counters count the whole list");
    }
    assert!(page(&house, "luis", "nunez").await.unwrap().items.is_empty(), "open by another");
    assert_eq!(page(&house, "ana", "ñu").await.unwrap_err().reason(), "QUERY_TOO_SHORT");
}

#[tokio::test]
async fn supervisors_see_the_queues_they_were_given_and_nothing_rings_at_them() {
    let house = House::open().await;
    let yaml = directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
        + "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [ventas]}\n  - {key: carmen, name: Carmen, roles: [coordinator]}\n  - {key: raul, name: Raúl, roles: [reporter], campaigns: [ventas]}\n";
    apply(&house.db, &yaml).await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    house.take(&[Mail { account: "ventas-mail".into(), ..Mail::from("otto@cliente.example") }]).await;
    sqlx::raw_sql("UPDATE attention.interaction SET offer_id = gen_random_uuid(), offered_at = now()")
        .execute(house.db.pool())
        .await
        .unwrap();
    let seen = async |user: &str| {
        let page = page(&house, user, "").await.unwrap();
        let items =
            page.items.iter().map(|item| (item.campaign_key.clone(), item.ringing, item.offer_id.is_empty()));
        (items.collect::<Vec<_>>(), page.counters.unwrap().queued)
    };
    assert_eq!(seen("rosa").await, (vec![("ventas".to_owned(), true, false)], 1));
    assert_eq!(seen("sara").await, (vec![("ventas".to_owned(), false, true)], 1));
    assert_eq!(
        seen("carmen").await,
        (vec![("ventas".to_owned(), false, true), ("soporte".to_owned(), false, true)], 2)
    );
    let error = page(&house, "raul", "").await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Denied, "AGENT_REQUIRED"));
}

#[tokio::test]
async fn places_tell_position_neighbours_and_where_the_messages_are() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    for _ in 0..2 {
        let last = house.attentions().await[0].last_interaction;
        house.end_item(last, false).await;
        house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    }
    let seen = house.attentions().await[0].clone();
    let request = GetAttentionRequest { attention_id: seen.attention_id.to_string() };
    let attention =
        read::attention(&house.db, house.access("ana").await, request).await.unwrap().attention.unwrap();
    let places = &attention.places;
    let ids: Vec<&str> = attention.interactions.iter().map(|one| one.interaction_id.as_str()).collect();
    assert_eq!(
        places.iter().map(|one| (one.ordinal, one.count)).collect::<Vec<_>>(),
        [(1, 3), (2, 3), (3, 3)]
    );
    assert_eq!(
        (places[1].previous_interaction_id.as_str(), places[1].next_interaction_id.as_str()),
        (ids[0], ids[2])
    );
    assert!(places.iter().all(|one| one.messages_at() == MessagesAt::Live));
    let purge = "UPDATE attention.message SET purged = true, text_body = '', html_body = ''
                   WHERE interaction_id = (SELECT interaction_id FROM attention.interaction WHERE ordinal = 1)";
    sqlx::raw_sql(purge).execute(house.db.pool()).await.unwrap();
    let opened = house.open_item("ana", seen.last_interaction).await;
    assert_eq!(opened.place.as_ref(), places.last());
    let at: Vec<MessagesAt> = opened.attention.unwrap().places.iter().map(|one| one.messages_at()).collect();
    assert_eq!(at, [MessagesAt::History, MessagesAt::Live, MessagesAt::Live]);
}
