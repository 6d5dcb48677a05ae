//! Tags: put on and taken off by who may, from the directory's, shown at once, in the ended thread, found by name.

use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{ListInteractionsRequest, TagAttentionRequest, UntagAttentionRequest};
use uuid::Uuid;

use super::{House, Mail, fresh};
use crate::attention::ended;
use crate::desk::{list, tags};
use crate::directory::testing::{apply, directory_of};

async fn tagged_house() -> House {
    let house = House::open().await;
    let yaml = directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
        + "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte]}\n  - {key: raul, name: Raúl, roles: [reporter], campaigns: [soporte]}
tags:
  - {key: urgente, name: Atención Rápida}
  - {key: reclamo, name: Reclamo, campaigns: [soporte]}
  - {key: cotizacion, name: Cotización, campaigns: [ventas]}
  - {key: vieja, name: Vieja, active: false}
";
    apply(&house.db, &yaml).await;
    house
}

async fn tag(house: &House, user: &str, attention: Uuid, key: &str) -> Result<Vec<String>, hilo_kit::Error> {
    let request =
        TagAttentionRequest { attention_id: attention.to_string(), tag_key: key.into(), request_id: fresh() };
    let subjects = Subjects::new("hilo").unwrap();
    Ok(tags::tag(&house.db, &subjects, house.access(user).await, request).await?.tags)
}

async fn untag(
    house: &House,
    user: &str,
    attention: Uuid,
    key: &str,
) -> Result<Vec<String>, hilo_kit::Error> {
    let request = UntagAttentionRequest {
        attention_id: attention.to_string(),
        tag_key: key.into(),
        request_id: fresh(),
    };
    let subjects = Subjects::new("hilo").unwrap();
    Ok(tags::untag(&house.db, &subjects, house.access(user).await, request).await?.tags)
}

#[tokio::test]
async fn tags_of_the_directory_go_on_and_off_by_who_may_see_the_attention() {
    let house = tagged_house().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let seen = house.attentions().await[0].clone();
    let id = seen.attention_id;
    let rows = [
        ("ana", "urgente", Ok("urgente")),
        ("ana", "urgente", Ok("urgente")),
        ("luis", "reclamo", Ok("reclamo urgente")),
        ("ana", "cotizacion", Err("TAG_NOT_FOUND")),
        ("ana", "vieja", Err("TAG_NOT_FOUND")),
        ("ana", "nada", Err("TAG_NOT_FOUND")),
        ("ana", "", Err("INVALID_REQUEST")),
        ("rosa", "urgente", Err("ATTENTION_NOT_FOUND")),
        ("raul", "urgente", Err("AGENT_REQUIRED")),
    ];
    for (user, key, expected) in rows {
        let answer = tag(&house, user, id, key).await;
        let answer = answer.map(|tags| tags.join(" ")).map_err(|error| error.reason().to_owned());
        assert_eq!(answer, expected.map(str::to_owned).map_err(str::to_owned), "{user} {key}");
    }
    assert_eq!(
        tag(&house, "ana", Uuid::now_v7(), "urgente").await.unwrap_err().reason(),
        "ATTENTION_NOT_FOUND"
    );
    assert_eq!(untag(&house, "sara", id, "reclamo").await.unwrap(), ["urgente"]);
    assert_eq!(untag(&house, "sara", id, "reclamo").await.unwrap(), ["urgente"], "as good as taken off");
    assert_eq!(untag(&house, "rosa", id, "urgente").await.unwrap_err().reason(), "ATTENTION_NOT_FOUND");
    let events = house.events(id).await;
    assert_eq!(events[3..], ["attention_tagged", "attention_tagged", "attention_tagged"]);
    let request =
        TagAttentionRequest { attention_id: id.to_string(), tag_key: "reclamo".into(), request_id: fresh() };
    let subjects = Subjects::new("hilo").unwrap();
    let ana = house.access("ana").await;
    let first = tags::tag(&house.db, &subjects, ana.clone(), request.clone()).await.unwrap();
    untag(&house, "ana", id, "reclamo").await.unwrap();
    assert_eq!(
        tags::tag(&house.db, &subjects, ana, request).await.unwrap(),
        first,
        "same request, same answer"
    );
    assert_eq!(house.events(id).await.len(), 8, "and nothing done twice");
}

#[tokio::test]
async fn items_show_tags_searches_find_their_names_and_every_ended_thread_has_them() {
    let house = tagged_house().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let first = house.attentions().await[0].clone();
    house.end_item(first.last_interaction, false).await;
    house.take(&[Mail::from("eva@cliente.example").answers(&["m1@x"])]).await;
    let second = house.attentions().await[0].clone();
    house.open_item("ana", second.last_interaction).await;
    let before = house.count("SELECT version FROM attention.interaction WHERE ordinal = 1").await;
    tag(&house, "ana", first.attention_id, "urgente").await.unwrap();
    let list = async |search: &str| {
        let request =
            ListInteractionsRequest { channel: "email".into(), search: search.into(), ..Default::default() };
        list::page(&house.db, house.access("ana").await, request).await.unwrap().items
    };
    let items = list("").await;
    assert_eq!(items[0].tags, ["urgente"]);
    assert_eq!(
        (list("rapida").await.len(), list("RÁPIDA").await.len(), list("reclamo").await.len()),
        (1, 1, 0)
    );
    let after = house.count("SELECT version FROM attention.interaction WHERE ordinal = 1").await;
    assert_eq!(after, before + 1, "history fetches it again");
    let id = first.last_interaction;
    let thread =
        house.db.snapshot(move |tx| Box::pin(async move { ended::whole(tx, id).await })).await.unwrap();
    assert_eq!(thread.unwrap().summary.unwrap().tags, ["urgente"]);
    house.end_item(second.last_interaction, true).await;
    assert_eq!(tag(&house, "ana", first.attention_id, "reclamo").await.unwrap().len(), 2, "also closed");
}
