//! Numbers that customers change: the notice in time, too late, and of a number that was somebody else's before.

use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{SystemKind, WhatsAppIdentity, WhatsAppSystem};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::House;
use super::whatsapp_rig::{Chat, EVA, house, identities, take};

/// The number that Eva has from now on.
const NEW: &str = "51900000001";

/// Meta's notice that Eva changed her number, as of this instant.
fn notice(at: OffsetDateTime) -> Chat {
    let new = WhatsAppIdentity { wa_id: NEW.into(), phone: format!("+{NEW}"), ..WhatsAppIdentity::default() };
    let system = WhatsAppSystem {
        kind: SystemKind::NumberChanged.into(),
        text: "Eva changed her number".into(),
        new_identity: Some(new),
    };
    Chat::from(EVA).kind(Kind::System(system)).at(at)
}

/// What Eva wrote before she changed her number.
fn earlier() -> Chat {
    Chat::from(EVA).at(OffsetDateTime::now_utc() - Duration::minutes(10))
}

/// Who has a live attention, newest last, and how many messages it has.
async fn live(house: &House) -> Vec<(Uuid, i64)> {
    sqlx::query_as(
        "SELECT contact_id, message_position FROM attention.attention WHERE state = 'open' ORDER BY number",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap()
}

/// Contacts that are somebody.
async fn contacts(house: &House) -> i64 {
    house.count("SELECT count(*) FROM contact.contact WHERE merged_into IS NULL").await
}

#[tokio::test]
async fn after_the_notice_the_new_number_goes_on_where_the_old_one_was() {
    let house = house().await;
    take(&house, &[Chat::from(EVA)]).await;
    take(&house, &[notice(OffsetDateTime::now_utc())]).await;
    // The channel may name another conversation by then.
    take(&house, &[Chat::from(NEW).says("soy yo")]).await;
    assert_eq!((live(&house).await.len(), live(&house).await[0].1), (1, 3));
    assert_eq!(contacts(&house).await, 1);
}

#[tokio::test]
async fn who_wrote_from_the_new_number_before_the_notice_is_the_same_person() {
    let house = house().await;
    take(&house, &[earlier()]).await;
    let changed = OffsetDateTime::now_utc() - Duration::minutes(5);
    take(&house, &[Chat::from(NEW).says("número nuevo")]).await;
    let before = live(&house).await;
    assert_eq!(before.len(), 2, "two persons, as far as anybody knows");
    let first = before[0].0;
    let moved = house.attentions().await.pop().unwrap();
    // With more of hers in the same batch.
    take(&house, &[notice(changed), Chat::from(NEW).says("¿hola?")]).await;
    assert_eq!(contacts(&house).await, 1);
    let after = live(&house).await;
    assert_eq!(after.iter().map(|one| one.0).collect::<Vec<_>>(), [first, first]);
    assert_eq!(after.iter().map(|one| one.1).collect::<Vec<_>>(), [2, 2], "each goes on until it ends");
    assert_eq!(house.events(moved.attention_id).await.last().unwrap(), "contact_changed");
    let values: Vec<String> = identities(&house).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [format!("+{NEW}"), NEW.to_owned()], "the old number is nobody's");
    take(&house, &[Chat::from(NEW).says("otra")]).await;
    assert_eq!(live(&house).await[1].1, 3);
    for attention in house.attentions().await {
        house.end_item(attention.last_interaction, true).await;
    }
    take(&house, &[Chat::from(NEW)]).await;
    let last = live(&house).await;
    assert_eq!((last.len(), last[0].0), (1, first), "one contact, one conversation");
}

#[tokio::test]
async fn who_had_the_new_number_before_is_somebody_else() {
    let house = house().await;
    take(&house, &[Chat::from(NEW).says("soy Otto")]).await;
    take(&house, &[Chat::from(EVA)]).await;
    sqlx::query("UPDATE contact.identity SET created_at = created_at - interval '1 year'")
        .execute(house.db.pool())
        .await
        .unwrap();
    let (otto, eva) = (live(&house).await[0].0, live(&house).await[1].0);
    take(&house, &[notice(OffsetDateTime::now_utc())]).await;
    take(&house, &[Chat::from(NEW).says("soy Eva")]).await;
    assert_eq!(contacts(&house).await, 2, "nobody is merged");
    assert_eq!(live(&house).await, [(otto, 1), (eva, 3)], "what she writes is hers");
    let fresh = "SELECT count(*) FROM contact.identity WHERE created_at > now() - interval '1 hour'";
    assert_eq!(house.count(fresh).await, 2, "she has the number since now");
}

/// The number went on to somebody else before the notice came: his user id says so. Without `may_be` in `change` two people become one.
#[tokio::test]
async fn a_late_notice_merges_nobody_who_has_another_user_id() {
    let house = house().await;
    take(&house, &[earlier().who(|eva| eva.user_id = "PE.1".into())]).await;
    let changed = OffsetDateTime::now_utc() - Duration::minutes(5);
    take(&house, &[Chat::from(NEW).who(|zoe| zoe.user_id = "PE.9".into()).says("soy Zoe")]).await;
    let before = live(&house).await;
    let new = WhatsAppIdentity {
        wa_id: NEW.into(),
        phone: format!("+{NEW}"),
        user_id: "PE.2".into(),
        ..WhatsAppIdentity::default()
    };
    let system = WhatsAppSystem {
        kind: SystemKind::NumberChanged.into(),
        text: "Eva changed her number".into(),
        new_identity: Some(new),
    };
    let late = Chat::from(EVA).who(|eva| eva.user_id = "PE.1".into()).kind(Kind::System(system)).at(changed);
    take(&house, &[late]).await;
    assert_eq!(contacts(&house).await, 2, "nobody is merged");
    take(&house, &[Chat::from(NEW).who(|zoe| zoe.user_id = "PE.9".into()).says("sigo")]).await;
    let after = live(&house).await;
    assert_eq!((after[1].0, after[1].1), (before[1].0, 2), "the number stays Zoe's");
}

#[tokio::test]
async fn a_repeated_notice_changes_nothing_more() {
    let house = house().await;
    take(&house, &[earlier()]).await;
    take(&house, &[Chat::from(NEW)]).await;
    let changed = OffsetDateTime::now_utc() - Duration::minutes(5);
    take(&house, &[notice(changed)]).await;
    let before = (contacts(&house).await, live(&house).await.len());
    take(&house, &[notice(changed)]).await;
    assert_eq!((contacts(&house).await, live(&house).await.len()), before);
}

/// Meta's notice of the change of one kind to these identities, of whoever wrote from `number`.
fn changed(number: &str, kind: SystemKind, new: WhatsAppIdentity) -> Chat {
    let system = WhatsAppSystem { kind: kind.into(), text: "changed".into(), new_identity: Some(new) };
    Chat::from(number).who(|who| who.user_id = "PE.1".into()).kind(Kind::System(system))
}

/// Without `leaves_number` in `change` whoever has the number next and writes without a user id is taken for her.
#[tokio::test]
async fn a_number_that_was_left_is_nobodys_also_when_the_new_one_is_hidden() {
    let hidden = WhatsAppIdentity { user_id: "PE.2".into(), ..WhatsAppIdentity::default() };
    let house = house().await;
    take(&house, &[Chat::from(EVA).who(|eva| eva.user_id = "PE.1".into())]).await;
    take(&house, &[changed(EVA, SystemKind::NumberChanged, hidden.clone())]).await;
    take(&house, &[Chat::from(EVA).says("soy Zoe")]).await;
    let both = live(&house).await;
    assert_eq!((contacts(&house).await, both.len()), (2, 2));
    let eva = Chat::from(EVA).says("soy Eva").who(|eva| {
        *eva = hidden.clone();
    });
    take(&house, &[eva]).await;
    assert_eq!(live(&house).await.iter().map(|one| one.1).collect::<Vec<_>>(), [3, 1]);

    // A new user id alone leaves the number where it is.
    let house = super::whatsapp_rig::house().await;
    take(&house, &[Chat::from(EVA).who(|eva| eva.user_id = "PE.1".into())]).await;
    take(&house, &[changed(EVA, SystemKind::UserIdChanged, hidden)]).await;
    take(&house, &[Chat::from(EVA).says("sigo")]).await;
    assert_eq!((contacts(&house).await, live(&house).await.len()), (1, 1));
}

/// Without `dialled_as` who dials the number as before still reaches her contact, though somebody else answers.
#[tokio::test]
async fn a_number_that_was_left_is_nobodys_however_it_was_dialled() {
    const WA_ID: &str = "5215512345678";
    let house = house().await;
    take(&house, &[Chat::from(WA_ID).who(|eva| eva.user_id = "PE.1".into())]).await;
    sqlx::query(
        "INSERT INTO contact.identity (kind, value, contact_id) SELECT 'phone', '+525512345678', contact_id FROM contact.contact",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    let new = WhatsAppIdentity { wa_id: NEW.into(), phone: format!("+{NEW}"), ..WhatsAppIdentity::default() };
    take(&house, &[changed(WA_ID, SystemKind::NumberChanged, new)]).await;
    let values: Vec<String> = identities(&house).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["PE.1".to_owned(), format!("+{NEW}"), NEW.to_owned()]);
}

/// Meta tells a change of number twice: by a message of the system and, without the old number, by the field `user_id_update`. Without
/// the new id in `told_of` the second of them meets nobody when the ids come first: her old number stays hers, and the agent is not told.
#[tokio::test]
async fn two_notices_of_one_change_end_alike_in_both_orders() {
    let of = |number: &str, user_id: &str| WhatsAppIdentity {
        wa_id: number.into(),
        phone: if number.is_empty() { String::new() } else { format!("+{number}") },
        user_id: user_id.into(),
        ..WhatsAppIdentity::default()
    };
    for ids_first in [true, false] {
        let house = house().await;
        take(&house, &[Chat::from(EVA).who(|eva| eva.user_id = "PE.1".into())]).await;
        let by_number = changed(EVA, SystemKind::NumberChanged, of(NEW, "PE.2"));
        let by_id = changed(EVA, SystemKind::UserIdChanged, of("", "PE.2")).who(|eva| *eva = of("", "PE.1"));
        let both = if ids_first { [by_id, by_number] } else { [by_number, by_id] };
        for notice in &both {
            take(&house, std::slice::from_ref(notice)).await;
        }
        take(&house, &[Chat::from(NEW).who(|eva| eva.user_id = "PE.2".into()).says("soy Eva")]).await;
        assert_eq!((contacts(&house).await, live(&house).await.len()), (1, 1), "ids first: {ids_first}");
        assert_eq!(live(&house).await[0].1, 4, "both notices are shown; ids first: {ids_first}");
        let mut numbers = identities(&house).await;
        numbers.retain(|(kind, _)| kind != "phone");
        assert_eq!(numbers, [("bsuid".into(), "PE.2".into()), ("whatsapp".into(), NEW.into())]);
        take(&house, &[Chat::from(EVA).says("soy Zoe")]).await;
        assert_eq!((contacts(&house).await, live(&house).await.len()), (2, 2), "her old number is free");
    }
}

/// Without `is_back` a notice that comes late takes the number from her that she has again, and her next message begins a second
/// conversation.
#[tokio::test]
async fn a_late_notice_takes_no_number_that_was_used_since() {
    let left = || notice(OffsetDateTime::now_utc() - Duration::minutes(5));
    for together in [false, true] {
        let house = house().await;
        take(&house, &[earlier()]).await;
        let (back, late) = (Chat::from(EVA).says("otra vez yo"), left());
        if together {
            take(&house, &[back, late]).await;
        } else {
            take(&house, &[back]).await;
            take(&house, &[late]).await;
        }
        take(&house, &[Chat::from(EVA).says("sigo")]).await;
        assert_eq!((contacts(&house).await, live(&house).await.len()), (1, 1), "in one batch: {together}");
        assert_eq!(live(&house).await[0].1, 3, "and nothing is said of it");
    }
}
