//! Live desks on the whole service: long queues, what a contact or tag changes, items of campaigns one has left, supervisors.

use std::collections::BTreeSet;

use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{
    DeskItem, DeskSnapshot, ListInteractionsRequest, OpenInteractionRequest, ReleaseInteractionRequest,
    TagAttentionRequest, WatchDeskRequest,
};
use hilo_proto::contact::v1::{Contact, UpdateContactRequest};
use hilo_proto::event::v1::InteractionState;
use uuid::Uuid;

use super::contact_changes::{contacts, found};
use super::desk::ring;
use super::service::{Rig, item, next, removal, until};
use super::{House, Mail, fresh};
use crate::directory::testing::{apply, directory_of};

fn snapshot(update: &Update) -> Option<DeskSnapshot> {
    match update {
        Update::Snapshot(snapshot) => Some(snapshot.clone()),
        Update::Item(_) | Update::Removal(_) | Update::Counters(_) | Update::Alive(_) => None,
    }
}

/// The only item of a desk, also when the new directory made its stream begin anew.
fn shown(update: &Update) -> Option<DeskItem> {
    snapshot(update).map_or_else(|| item(update), |all| all.items.into_iter().next())
}

/// Takes mails in and waits until all are queued.
async fn queue(rig: &Rig, mails: usize) -> House {
    let house = House::at(rig.db.clone());
    let mails: Vec<Mail> = (0..mails).map(|n| Mail::from(&format!("c{n}@cliente.example"))).collect();
    for some in mails.chunks(40) {
        house.take(some).await;
    }
    house
}

/// Without `LEAST_QUEUED` in `is_out_of_shape` the desk ends with 49 of 108 queued items, without `all_fit` with some 80 of 88; without
/// the floor in `Session::item` the older one that rings at luis is sent too.
#[tokio::test(flavor = "multi_thread")]
async fn a_desk_of_a_long_queue_keeps_to_the_newest_and_is_filled_up_again() {
    let rig = Rig::start().await;
    let house = queue(&rig, 160).await;
    let (mut ana, first) = rig.watch("ana").await;
    assert_eq!((first.items.len(), first.counters.unwrap().queued), (100, 160));
    let shown = ids(&first);
    let older: Vec<Uuid> = house
        .attentions()
        .await
        .iter()
        .map(|one| one.last_interaction)
        .filter(|id| !shown.contains(id))
        .collect();
    // Of older items only those that ring at her are her business.
    ring(&house, older[0], Some("luis")).await;
    ring(&house, older[1], Some("ana")).await;
    let rings = until(&mut ana, item).await;
    assert_eq!((rings.interaction_id, rings.ringing), (older[1].to_string(), true));
    let (_again, second) = rig.watch("ana").await;
    assert_eq!(second.items.len(), 101, "the next stream begins with it");
    // So many that only without the last one too few are left: the desk begins anew when all are taken.
    take(&rig, &shown[..52]).await;
    let filled = until(&mut ana, snapshot).await;
    assert_eq!(filled.items.len(), 101, "the newest 100 of 108, and what rings at her");
    // What is left fits: the desk shows all of it, without one more being taken.
    take(&rig, &ids(&filled)[..20]).await;
    let listed = ListInteractionsRequest { channel: "email".into(), ..ListInteractionsRequest::default() };
    let listed = rig.desk("ana").list_interactions(listed).await.unwrap().into_inner();
    assert_eq!(listed.counters.unwrap().queued, 88);
    let mut left: BTreeSet<String> = listed.items.iter().map(|one| one.interaction_id.clone()).collect();
    let all = until(&mut ana, snapshot).await;
    assert!(all.items.len() >= left.len(), "{} of {}", all.items.len(), left.len());
    left.retain(|id| all.items.iter().all(|one| one.interaction_id != *id));
    assert!(left.is_empty(), "not shown: {left:?}");
    rig.stop().await;
}

fn ids(snapshot: &DeskSnapshot) -> Vec<Uuid> {
    snapshot.items.iter().map(|one| one.interaction_id.parse().unwrap()).collect()
}

/// luis takes them.
async fn take(rig: &Rig, items: &[Uuid]) {
    for id in items {
        let open = OpenInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
        rig.desk("luis").open_interaction(open).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vip_star_and_a_tag_come_to_the_desk_without_reloading() {
    let rig = Rig::start().await;
    let yaml = directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
        + "tags:\n  - {key: urgente, name: Urgente}\n";
    apply(&rig.db, &yaml).await;
    let house = queue(&rig, 1).await;
    let (mut ana, first) = rig.watch("ana").await;
    assert!(!first.items[0].vip && first.items[0].tags.is_empty());
    let customer = found(&house, "ana", "quispe").await.remove(0);
    let request = UpdateContactRequest {
        contact: Some(Contact { vip: true, ..customer }),
        ..UpdateContactRequest::default()
    };
    contacts(&house).update(house.access("ana").await, request).await.unwrap();
    let vip = until(&mut ana, |update| shown(update).filter(|one| one.vip)).await;
    assert!(vip.version > first.items[0].version);
    let request = TagAttentionRequest {
        attention_id: vip.attention_id.clone(),
        tag_key: "urgente".into(),
        request_id: fresh(),
    };
    rig.desk("luis").tag_attention(request).await.unwrap();
    until(&mut ana, |update| shown(update).filter(|one| one.tags == ["urgente"])).await;
    rig.stop().await;
}

/// Without `by_item` in `Hub::tell` the removal never comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_item_of_a_campaign_one_has_left_is_still_followed() {
    let rig = Rig::start().await;
    let with = "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte]}\n";
    queue(&rig, 1).await;
    let (mut luis, first) = rig.watch("luis").await;
    let id = first.items[0].interaction_id.clone();
    let open = OpenInteractionRequest { interaction_id: id.clone(), request_id: fresh() };
    rig.desk("luis").open_interaction(open).await.unwrap();
    until(&mut luis, |update| item(update).filter(|one| one.state() == InteractionState::Open)).await;
    let yaml = directory_of(&[("soporte", &["ana"]), ("ventas", &["rosa", "luis"])], "") + with;
    apply(&rig.db, &yaml).await;
    let anew = until(&mut luis, snapshot).await;
    assert_eq!(anew.items.len(), 1, "what he has open stays his");
    let release = ReleaseInteractionRequest { interaction_id: id.clone(), request_id: fresh() };
    rig.desk("sara").release_interaction(release).await.unwrap();
    assert_eq!(until(&mut luis, removal).await, id);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisors_stream_shows_the_queues_he_was_given_and_never_rings() {
    let rig = Rig::start().await;
    let yaml = directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
        + "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte]}\n  - {key: raul, name: Raúl, roles: [reporter], campaigns: [soporte]}\n";
    apply(&rig.db, &yaml).await;
    let house = queue(&rig, 1).await;
    let knows = "the service knows the new directory";
    hilo_test_support::eventually(knows, std::time::Duration::from_secs(60), || {
        let mut desk = rig.desk("sara");
        async move { desk.watch_desk(WatchDeskRequest { channel: "email".into() }).await.is_ok() }
    })
    .await
    .unwrap();
    let (mut sara, first) = rig.watch("sara").await;
    let id: Uuid = first.items[0].interaction_id.parse().unwrap();
    ring(&house, id, None).await;
    let version = first.items[0].version;
    let offered = until(&mut sara, |update| shown(update).filter(|one| one.version > version)).await;
    assert_eq!((offered.ringing, offered.offer_id.as_str()), (false, ""));
    let mut raul = rig.desk("raul");
    let request = WatchDeskRequest { channel: "email".into() };
    let refused = match raul.watch_desk(request).await {
        Ok(stream) => next(&mut stream.into_inner()).await.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(hilo_kit::error::reason_of(&refused).as_deref(), Some("AGENT_REQUIRED"));
    rig.stop().await;
}
