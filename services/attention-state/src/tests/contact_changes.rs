//! Contacts by hand: search, creation, change, matches, and what open items show of it.

use hilo_kit::nats::Subjects;
use hilo_proto::contact::v1::{
    Contact, ContactIdentity, CreateContactRequest, GetContactRequest, ListMatchesRequest,
    SearchContactsRequest, UpdateContactRequest,
};
use hilo_proto::inbound::v1::EmailAddress;
use uuid::Uuid;

use super::{House, Mail, fresh};
use crate::contact::change::Contacts;
use crate::contact::{matches, search};
use crate::directory::testing::apply;
use crate::directory::{Access, testing};

pub(super) fn contacts(house: &House) -> Contacts {
    Contacts::new(house.db.clone(), Subjects::new("hilo").unwrap())
}

pub(super) fn named(name: &str) -> impl Fn(&mut hilo_proto::inbound::v1::InboundEmail) {
    let name = name.to_owned();
    move |email| email.from.as_mut().unwrap().name.clone_from(&name)
}

pub(super) fn email(value: &str) -> ContactIdentity {
    ContactIdentity { kind: "email".into(), value: value.into() }
}

pub(super) fn phone(value: &str) -> ContactIdentity {
    ContactIdentity { kind: "phone".into(), value: value.into() }
}

pub(super) async fn found(house: &House, user: &str, query: &str) -> Vec<Contact> {
    let request = SearchContactsRequest { query: query.into(), ..Default::default() };
    search::search(&house.db, house.access(user).await, request).await.unwrap().contacts
}

async fn names(house: &House, user: &str, query: &str) -> Vec<String> {
    found(house, user, query).await.into_iter().map(|one| one.name).collect()
}

pub(super) async fn created(house: &House, user: &str, contact: Contact) -> Result<Contact, hilo_kit::Error> {
    let request = CreateContactRequest { contact: Some(contact), request_id: fresh() };
    let answer = contacts(house).create(house.access(user).await, request).await?;
    Ok(answer.contact.unwrap())
}

async fn updated(
    house: &House,
    user: &str,
    contact: Contact,
    add: &[ContactIdentity],
    remove: &[ContactIdentity],
) -> Result<Contact, hilo_kit::Error> {
    let request = UpdateContactRequest {
        contact: Some(contact),
        add_identities: add.to_vec(),
        remove_identities: remove.to_vec(),
    };
    Ok(contacts(house).update(house.access(user).await, request).await?.contact.unwrap())
}

/// Coordinators see all contacts; `carmen` is one.
async fn with_coordinator(house: &House) {
    let yaml = testing::directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "");
    let yaml = yaml
        + "  - {key: carmen, name: Carmen, roles: [coordinator]}\n  - {key: raul, name: Raúl, roles: [reporter]}\n";
    apply(&house.db, &yaml).await;
}

#[tokio::test]
async fn contacts_are_found_by_part_of_name_address_and_number_by_those_who_may_see_them() {
    let house = House::open().await;
    with_coordinator(&house).await;
    house.take(&[Mail::from("eva@cliente.example").with(named("Eva Quiñones"))]).await;
    house.take(&[Mail::from("otto@cliente.example").with(named("Otto 100%"))]).await;
    let ventas = Mail { account: "ventas-mail".into(), ..Mail::from("eva.ruiz@otro.example") };
    house.take(&[ventas.with(named("Évâ RUIZ"))]).await;
    let telephone = Contact {
        name: "Ada Núñez".into(),
        identities: vec![phone("0051 987-654-321"), email("Ada@Cliente.Example")],
        ..Contact::default()
    };
    created(&house, "luis", telephone).await.unwrap();
    let rows: [(&str, &str, &[&str]); 14] = [
        ("ana", "quinon", &["Eva Quiñones"]),
        ("ana", "QUIÑON", &["Eva Quiñones"]),
        ("ana", "@cliente.example", &["Eva Quiñones", "Otto 100%"]),
        ("ana", "00%", &["Otto 100%"]),
        ("ana", "t_o", &[]),
        ("ana", "eva", &["Eva Quiñones"]),
        ("rosa", "eva", &["Évâ RUIZ"]),
        ("carmen", "eva", &["Eva Quiñones", "Évâ RUIZ"]),
        ("luis", "nunez", &["Ada Núñez"]),
        ("luis", "987 654", &["Ada Núñez"]),
        ("luis", "+51987654321", &["Ada Núñez"]),
        ("luis", "ada@", &["Ada Núñez"]),
        ("ana", "nunez", &[]),
        ("raul", "eva", &[]),
    ];
    for (user, query, expected) in rows {
        assert_eq!(names(&house, user, query).await, expected, "{user}: {query}");
    }
    for query in ["", "ev", "  ev  ", "a\0bc"] {
        let request = SearchContactsRequest { query: query.into(), ..Default::default() };
        let error = search::search(&house.db, house.access("ana").await, request).await.unwrap_err();
        assert_eq!(error.reason(), "QUERY_TOO_SHORT", "{query:?}");
    }
}

#[tokio::test]
async fn pages_of_a_search_cover_it_once_in_the_order_of_names() {
    let house = House::open().await;
    let mails: Vec<Mail> = (0..7)
        .map(|n| Mail::from(&format!("c{n}@x.example")).with(named(["Ána", "ana", "Bea"][n % 3])))
        .collect();
    house.take(&mails).await;
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request =
            SearchContactsRequest { query: "x.example".into(), page_size: 2, page_token: token.clone() };
        let page = search::search(&house.db, house.access("ana").await, request).await.unwrap();
        assert!(page.contacts.len() <= 2);
        seen.extend(page.contacts);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let folded: Vec<bool> = seen.iter().map(|one| one.name == "Bea").collect();
    assert!(folded.is_sorted(), "Ána and ana before Bea");
    let mut ids: Vec<String> = seen.into_iter().map(|one| one.contact_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7);
}

#[tokio::test]
async fn a_contact_made_by_hand_is_found_again_by_its_first_mail() {
    let house = House::open().await;
    let nobody = created(&house, "ana", Contact::default()).await.unwrap_err();
    assert_eq!(nobody.violations()[0].field, "contact.name");
    let bad = Contact { identities: vec![email("eva"), phone("12")], ..Contact::default() };
    let error = created(&house, "ana", bad).await.unwrap_err();
    let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["contact.identities[0].value", "contact.identities[1].value"]);
    let request = CreateContactRequest {
        contact: Some(Contact { identities: vec![email("EVA@cliente.example")], ..Contact::default() }),
        request_id: fresh(),
    };
    let ana = house.access("ana").await;
    let first = contacts(&house).create(ana.clone(), request.clone()).await.unwrap();
    assert_eq!(
        contacts(&house).create(ana.clone(), request).await.unwrap(),
        first,
        "same request, same answer"
    );
    let made = first.contact.unwrap();
    assert_eq!((made.version, made.identities[0].value.as_str()), (1, "eva@cliente.example"));
    let get = |id: &str| GetContactRequest { contact_id: id.into() };
    assert!(search::get(&house.db, ana, get(&made.contact_id)).await.is_ok());
    let other = search::get(&house.db, house.access("luis").await, get(&made.contact_id)).await;
    assert_eq!(other.unwrap_err().reason(), "CONTACT_NOT_FOUND", "nobody's customer yet");
    let taken =
        Contact { name: "Otra".into(), identities: vec![email("eva@cliente.example")], ..Contact::default() };
    assert_eq!(created(&house, "luis", taken).await.unwrap_err().reason(), "IDENTITY_TAKEN");
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1, "nothing half-done");
    house.take(&[Mail::from("eva@cliente.example")]).await;
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
    let seen = search::get(&house.db, house.access("luis").await, get(&made.contact_id)).await.unwrap();
    assert_eq!(seen.contact.unwrap().contact_id, made.contact_id, "his customer now");
}

/// Deleting `AND version = $2` from `store::update` turns the stale half red.
#[tokio::test]
async fn addresses_and_numbers_come_and_go_with_the_contacts_version() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    house.take(&[Mail::from("otto@cliente.example").with(named("Otto"))]).await;
    let eva = found(&house, "ana", "quispe").await.remove(0);
    let add = [email("Eva@Casa.example"), phone("+51 987 654 321"), phone("+51987654321")];
    let after = updated(&house, "ana", eva.clone(), &add, &[]).await.unwrap();
    let values: Vec<&str> = after.identities.iter().map(|one| one.value.as_str()).collect();
    assert_eq!(values, ["eva@casa.example", "eva@cliente.example", "+51987654321"]);
    assert_eq!(after.version, 2);
    let stale = updated(&house, "ana", eva, &[email("otra@casa.example")], &[]).await.unwrap_err();
    assert_eq!(stale.reason(), "STALE_VERSION");
    let taken =
        updated(&house, "ana", after.clone(), &[email("otto@cliente.example")], &[]).await.unwrap_err();
    assert_eq!(taken.reason(), "IDENTITY_TAKEN");
    let remove = [email("eva@cliente.example"), email("otto@cliente.example")];
    let fewer = updated(&house, "ana", after, &[], &remove).await.unwrap();
    assert_eq!((fewer.identities.len(), fewer.version), (2, 3), "another's address stays his");
    assert_eq!(found(&house, "ana", "otto@cliente").await.len(), 1);
    // Her next mail comes from the added address and is hers.
    house.take(&[Mail::from("eva@casa.example")]).await;
    assert_eq!(house.count("SELECT count(DISTINCT contact_id) FROM attention.attention").await, 2);
    let words =
        house.count("SELECT count(*) FROM contact.trail WHERE what = 'updated' AND changed_by = 'ana'").await;
    assert_eq!(words, 2);
}

#[tokio::test]
async fn a_vip_star_shows_on_live_items_at_once_and_a_new_name_reaches_history() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let old = house.attentions().await[0].clone();
    house.end_item(old.last_interaction, true).await;
    house.take(&[Mail::from("eva@cliente.example").subject("Otra cosa")]).await;
    let live = house.attentions().await[1].clone();
    let version = async |interaction: Uuid| -> i64 {
        sqlx::query_scalar("SELECT version FROM attention.interaction WHERE interaction_id = $1")
            .bind(interaction)
            .fetch_one(house.db.pool())
            .await
            .unwrap()
    };
    let before = (version(old.last_interaction).await, version(live.last_interaction).await);
    let eva = found(&house, "ana", "quispe").await.remove(0);
    let vip = updated(&house, "ana", Contact { vip: true, ..eva }, &[], &[]).await.unwrap();
    let after = (version(old.last_interaction).await, version(live.last_interaction).await);
    assert_eq!(after, (before.0, before.1 + 1), "only what lists show");
    assert_eq!(house.events(live.attention_id).await.last().unwrap(), "contact_changed");
    updated(&house, "ana", Contact { name: "Eva Rojas".into(), ..vip }, &[], &[]).await.unwrap();
    let renamed = (version(old.last_interaction).await, version(live.last_interaction).await);
    assert_eq!(renamed, (before.0 + 1, before.1 + 2), "history fetches the ended one again");
    assert_eq!(
        house.events(old.attention_id).await.last().unwrap(),
        "attention_closed",
        "and no event tells of it"
    );
}

async fn reasons(house: &House, access: Access, request: ListMatchesRequest) -> Vec<(String, String)> {
    let listed = matches::list(&house.db, access, request).await.unwrap().matches;
    listed
        .into_iter()
        .map(|one| (one.contact.unwrap().identities[0].value.clone(), one.reasons.join(" ")))
        .collect()
}

#[tokio::test]
async fn matches_are_the_same_name_or_an_address_of_the_same_messages() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").with(named("Eva Núñez"))]).await;
    house.take(&[Mail::from("eva@trabajo.example").with(named("EVA NUNEZ"))]).await;
    house.take(&[Mail::from("otto@cliente.example").with(named(""))]).await;
    house.take(&[Mail::from("ada@cliente.example").with(named(""))]).await;
    let reply_to = EmailAddress { address: "Otto@cliente.example".into(), name: String::new() };
    let mail = Mail::from("eva@cliente.example").dmarc(hilo_proto::inbound::v1::DmarcResult::Pass);
    house.take(&[mail.with(|email| email.reply_to = vec![reply_to.clone()])]).await;
    let eva = found(&house, "ana", "eva@cliente").await.remove(0);
    let of = ListMatchesRequest { contact_id: eva.contact_id.clone(), ..Default::default() };
    let mut found = reasons(&house, house.access("ana").await, of.clone()).await;
    found.sort();
    let expected = [("eva@trabajo.example", "same_name"), ("otto@cliente.example", "same_address")];
    assert_eq!(found, expected.map(|(one, other)| (one.to_owned(), other.to_owned())));
    // Of the first attention only its own messages count.
    let attention_id = house.attentions().await[0].attention_id.to_string();
    let of_attention = ListMatchesRequest { attention_id: attention_id.clone(), ..Default::default() };
    let found = reasons(&house, house.access("ana").await, of_attention.clone()).await;
    assert_eq!(found, [("eva@trabajo.example".to_owned(), "same_name".to_owned())]);
    for request in [of, of_attention] {
        let error = matches::list(&house.db, house.access("rosa").await, request).await.unwrap_err();
        assert_eq!(error.class(), hilo_kit::Class::Missing);
    }
    for request in
        [ListMatchesRequest::default(), ListMatchesRequest { attention_id, contact_id: eva.contact_id }]
    {
        let error = matches::list(&house.db, house.access("ana").await, request).await.unwrap_err();
        assert_eq!(error.reason(), "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn extra_fields_are_those_of_the_directory_with_its_types() {
    let house = House::open().await;
    let yaml = |fields: &str| {
        testing::directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
            + "contact_fields:\n"
            + fields
    };
    let fields = "  - {key: dni, label: DNI, type: text, minimum: 8, maximum: 8}
  - {key: notas, label: Notas, type: paragraph}
  - {key: compras, label: Compras, type: number, minimum: 0}
  - {key: genero, label: Género, type: single_choice, choices: [F, M]}
  - {key: temas, label: Temas, type: multiple_choice, choices: [Pagos, Envíos], maximum: 1}
  - {key: distrito, label: Distrito, type: list, choices: [Lince, Surco]}
  - {key: nacimiento, label: Nacimiento, type: date}
";
    apply(&house.db, &yaml(fields)).await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let mut eva = found(&house, "ana", "quispe").await.remove(0);
    let rows = [
        ("dni", "1234567", false),
        ("dni", "12345678", true),
        ("notas", "Prefiere\nla tarde", true),
        ("compras", "-1", false),
        ("compras", "muchas", false),
        ("compras", "12", true),
        ("genero", "X", false),
        ("genero", "F", true),
        ("temas", "Pagos\nEnvíos", false),
        ("temas", "Envíos", true),
        ("distrito", "Ate", false),
        ("distrito", "Surco", true),
        ("nacimiento", "1990-02-30", false),
        ("nacimiento", "1990-02-28", true),
        ("apodo", "Evi", false),
    ];
    for (key, value, fits) in rows {
        let mut wanted = eva.clone();
        wanted.extra.insert(key.into(), value.into());
        match updated(&house, "ana", wanted, &[], &[]).await {
            Ok(after) => {
                assert!(fits, "{key}: {value}");
                eva = after;
            }
            Err(error) => {
                assert!(!fits, "{key}: {value}: {error:?}");
                assert_eq!(error.violations()[0].field, format!("contact.extra.{key}"));
            }
        }
    }
    assert_eq!(eva.extra.len(), 7);
    // A field that is switched off keeps its value and takes no new one.
    apply(&house.db, &yaml("  - {key: notas, label: Notas, type: paragraph}\n")).await;
    let vip = updated(&house, "ana", Contact { vip: true, ..eva }, &[], &[]).await.unwrap();
    assert_eq!(vip.extra["dni"], "12345678");
    let mut wanted = vip;
    wanted.extra.insert("dni".into(), "87654321".into());
    assert_eq!(updated(&house, "ana", wanted, &[], &[]).await.unwrap_err().reason(), "INVALID_REQUEST");
}

/// Red with maps in no order: the same bytes, decoded again, would be another request under the same id.
#[tokio::test]
async fn a_creation_with_several_extra_fields_is_the_same_request_when_it_comes_again() {
    use prost::Message as _;
    let house = House::open().await;
    let mut yaml = testing::directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "");
    yaml += "contact_fields:\n";
    for number in 0..8 {
        yaml += &format!("  - {{key: campo{number}, label: Campo {number}, type: text}}\n");
    }
    apply(&house.db, &yaml).await;
    let extra = (0..8).map(|number| (format!("campo{number}"), number.to_string())).collect();
    let contact = Contact { name: "Eva Quispe".into(), extra, ..Contact::default() };
    let sent = CreateContactRequest { contact: Some(contact), request_id: fresh() }.encode_to_vec();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let again = CreateContactRequest::decode(sent.as_slice()).unwrap();
        answers.push(contacts(&house).create(house.access("ana").await, again).await.unwrap());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
}
