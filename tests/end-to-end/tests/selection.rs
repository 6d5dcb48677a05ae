//! How items and agents are chosen, as a coordinator writes it into the directory and as `hilo explain` tells it afterwards: one
//! running house, a directory applied by `hilo apply`, mails in, and who gets what. Each rule has campaigns and agents of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use hilo_end_to_end::agent::Presence;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::embedded::Embedded;
use hilo_end_to_end::{Agent, Desk, directory};
use hilo_kit::clock::from_proto;
use hilo_proto::attention::v1::DeskItem;
use hilo_proto::contact::v1::{Contact, ContactIdentity, CreateContactRequest};
use hilo_proto::routing::v1::ExplainInteractionRequest;
use time::OffsetDateTime;

const SOON: Duration = Duration::from_secs(90);

/// The house, and the coordinator who sees everything in it.
struct House {
    stack: Embedded,
    coordinator: Agent,
    /// Of the directory that was applied.
    version: String,
}

/// An agent at an open desk, not present yet.
struct Seat {
    agent: Agent,
    desk: Desk,
}

impl House {
    async fn open() -> Self {
        let stack = Embedded::start().await.unwrap();
        let file = stack.folder().join("selection.yaml");
        std::fs::write(&file, include_str!("selection.yaml")).unwrap();
        let applied = stack.hilo("coordinadora", &["apply", "-f", file.to_str().unwrap()]).await.unwrap();
        let version = applied.trim_end().rsplit_once("applied, version ").unwrap().1.to_owned();
        let password = stack.password("coordinadora").unwrap();
        let endpoints = stack.endpoints().unwrap();
        let coordinator = Agent::login(&endpoints, "coordinadora", &password).await.unwrap();
        Self { stack, coordinator, version }
    }

    async fn seat(&self, user: &str) -> Seat {
        let endpoints = self.stack.endpoints().unwrap();
        let agent = Agent::login(&endpoints, user, &directory::password(user)).await.unwrap();
        let desk = agent.watch();
        Seat { agent, desk }
    }

    /// A customer writes to a campaign.
    async fn write(&self, from: &str, to: &str) {
        let mail = Mail::new(from, &format!("{to}@hilo.example"), "Consulta", "Hola");
        customer::send_until_accepted(self.stack.smtp().unwrap(), &mail, SOON).await.unwrap();
    }

    async fn is_vip(&self, address: &str) {
        let identity = ContactIdentity { kind: "email".to_owned(), value: address.to_owned() };
        let contact = Contact { vip: true, identities: vec![identity], ..Contact::default() };
        let request =
            CreateContactRequest { contact: Some(contact), request_id: uuid::Uuid::now_v7().to_string() };
        self.coordinator.contacts().create_contact(request).await.unwrap();
    }

    /// What `hilo explain` prints.
    async fn explain(&self, item: &DeskItem, agent: Option<&str>) -> String {
        let mut arguments = vec!["explain", item.interaction_id.as_str()];
        arguments.extend(agent.into_iter().flat_map(|agent| ["--agent", agent]));
        self.stack.hilo("coordinadora", &arguments).await.unwrap()
    }

    /// `hilo explain` prints all of this, in this order.
    async fn tells(&self, item: &DeskItem, agent: Option<&str>, words: &[&str]) {
        let said = self.explain(item, agent).await;
        let mut rest = said.as_str();
        for word in words {
            let found = rest.split_once(word);
            assert!(found.is_some(), "not in its place: {word}\n{said}");
            rest = found.unwrap().1;
        }
    }

    /// It does so in the end: what routing decides from is a moment behind what a desk shows.
    async fn comes_to_tell(&self, item: &DeskItem, words: &[&str]) {
        let told = || async {
            let said = self.explain(item, None).await;
            words.iter().all(|word| said.contains(word))
        };
        hilo_test_support::eventually(&format!("it is told: {words:?}"), SOON, told).await.unwrap();
    }

    /// When the last offer of an item was decided.
    async fn decided_at(&self, item: &DeskItem) -> OffsetDateTime {
        let request = ExplainInteractionRequest {
            interaction_id: item.interaction_id.clone(),
            agent_key: String::new(),
        };
        let answer = self.coordinator.routing().explain_interaction(request).await.unwrap().into_inner();
        from_proto(answer.decisions[0].decided_at.as_ref().unwrap()).unwrap()
    }
}

impl Seat {
    async fn comes(&self) -> Presence {
        self.agent.be_present().await.unwrap()
    }

    /// An item in one of his campaigns, whoever has it.
    async fn sees(&self, from: &str) -> DeskItem {
        let of_him = |item: &DeskItem| item.customer_address == from;
        self.desk.wait_for(&format!("an item of {from}"), SOON, of_him).await.unwrap()
    }

    async fn rings(&self, from: &str) -> DeskItem {
        self.desk.wait_for_offer(from, SOON).await.unwrap()
    }

    fn never_rang(&self, item: &DeskItem) {
        let rang = self.desk.with(|desk| desk.rang_at.contains_key(&item.interaction_id));
        assert!(!rang, "{} rang at {}", item.customer_address, self.agent.key);
    }

    async fn opens(&self, item: &DeskItem) {
        self.agent.open(&item.interaction_id).await.unwrap();
    }

    async fn ends(&self, item: &DeskItem) {
        self.agent.end(&item.interaction_id, true).await.unwrap();
    }

    async fn serves(&self, item: &DeskItem) {
        self.opens(item).await;
        self.ends(item).await;
    }
}

fn waits_since(item: &DeskItem) -> OffsetDateTime {
    from_proto(item.waiting_since.as_ref().unwrap()).unwrap()
}

async fn skills(house: &House) {
    let (maestra, aprendiz) = (house.seat("maestra").await, house.seat("aprendiz").await);
    let _present = (maestra.comes().await, aprendiz.comes().await);
    house.write("uno@cliente.example", "garantia").await;
    let first = maestra.rings("uno@cliente.example").await;
    let configuration = format!("configuration {}", house.version);
    let decided = ["offered to maestra; round_robin", "of 2 members, not: unskilled 1;", &configuration];
    house.tells(&first, None, &decided).await;
    let why = ["aprendiz: unskilled", "lacks     garantia 50, which he has at 20", "admitted  at 20"];
    house.tells(&first, Some("aprendiz"), &why).await;
    // She is full, and nobody else is good enough yet.
    house.write("dos@cliente.example", "garantia").await;
    let second = aprendiz.sees("dos@cliente.example").await;
    let why =
        ["it has not been offered", "nobody can take it", "asks for  garantia 50", "full        1  maestra"];
    house.tells(&second, None, &why).await;
    house.tells(&second, None, &["unskilled   1  aprendiz", "eligible    0"]).await;
    house.tells(&second, Some("maestra"), &["maestra: full, 1 of 1 are taken"]).await;
    maestra.serves(&first).await;
    maestra.rings("dos@cliente.example").await;
    aprendiz.never_rang(&first);
    aprendiz.never_rang(&second);
}

async fn relaxation(house: &House) {
    let novata = house.seat("novata").await;
    let _present = novata.comes().await;
    house.write("tres@cliente.example", "paciencia").await;
    let item = novata.rings("tres@cliente.example").await;
    let waited = house.decided_at(&item).await - waits_since(&item);
    assert!(waited >= time::Duration::seconds(4), "offered after {waited}");
    house.tells(&item, None, &["offered to novata", "of 1 member;", "asks for  garantia 20"]).await;
}

async fn a_vip_goes_first(house: &House) {
    let vera = house.seat("vera").await;
    house.is_vip("vip@cliente.example").await;
    house.write("comun@cliente.example", "estrella").await;
    let common = vera.sees("comun@cliente.example").await;
    house.write("vip@cliente.example", "estrella").await;
    let vip = vera.sees("vip@cliente.example").await;
    assert!(vip.vip && !common.vip && waits_since(&common) < waits_since(&vip));
    let _present = vera.comes().await;
    vera.rings("vip@cliente.example").await;
    vera.never_rang(&common);
    house.tells(&vip, None, &["offered to vera; least_busy, load 0 before it; of 1 member;"]).await;
    house.tells(&common, None, &["nobody can take it", "full        1  vera"]).await;
    vera.serves(&vip).await;
    vera.rings("comun@cliente.example").await;
}

async fn age_outweighs_a_vip(house: &House) {
    let edna = house.seat("edna").await;
    house.is_vip("otra@cliente.example").await;
    house.write("viejo@cliente.example", "edad").await;
    let old = edna.sees("viejo@cliente.example").await;
    // A VIP is worth two seconds here.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    house.write("otra@cliente.example", "edad").await;
    let vip = edna.sees("otra@cliente.example").await;
    assert!(vip.vip && waits_since(&vip) - waits_since(&old) > time::Duration::seconds(2));
    let _present = edna.comes().await;
    edna.rings("viejo@cliente.example").await;
    edna.never_rang(&vip);
    house.tells(&old, None, &["offered to edna"]).await;
    edna.serves(&old).await;
    edna.rings("otra@cliente.example").await;
}

async fn who_knows_the_customer_is_preferred(house: &House) {
    let (pablo, pilar) = (house.seat("pablo").await, house.seat("pilar").await);
    let _pilar = pilar.comes().await;
    house.write("fiel@cliente.example", "cartera").await;
    let first = pilar.rings("fiel@cliente.example").await;
    pilar.serves(&first).await;
    let _pablo = pablo.comes().await;
    // It would be his turn.
    house.write("fiel@cliente.example", "cartera").await;
    let again = |item: &DeskItem| item.ringing && item.interaction_id != first.interaction_id;
    let second = pilar.desk.wait_for("his next one", SOON, again).await.unwrap();
    house.tells(&second, None, &["offered to pilar; round_robin", "of 2 members, not: reserved 1;"]).await;
    house.tells(&second, Some("pablo"), &["pablo: kept for pilar until 20"]).await;
    // She is full now, and it waits for her all the same.
    house.write("fiel@cliente.example", "cartera").await;
    let known = [&first.interaction_id, &second.interaction_id];
    let other = |item: &DeskItem| {
        item.customer_address == "fiel@cliente.example" && !known.contains(&&item.interaction_id)
    };
    let third = pablo.desk.wait_for("the third", SOON, other).await.unwrap();
    let why =
        ["nobody can take it", "asks for  pilar until 20", "full        1  pilar", "reserved    1  pablo"];
    house.tells(&third, None, &why).await;
    pablo.never_rang(&second);
    pablo.never_rang(&third);
    // What has ended is told as well.
    let ended =
        ["offered to pilar", "pablo: nothing keeps it from him (as of now; it is not queued any more)"];
    house.tells(&first, Some("pablo"), &ended).await;
}

async fn but_not_for_ever(house: &House) {
    let (paula, pedro) = (house.seat("paula").await, house.seat("pedro").await);
    let _paula = paula.comes().await;
    house.write("asidua@cliente.example", "plazo").await;
    let first = paula.rings("asidua@cliente.example").await;
    paula.serves(&first).await;
    house.write("relleno@cliente.example", "plazo").await;
    let filler = paula.rings("relleno@cliente.example").await;
    paula.opens(&filler).await;
    let _pedro = pedro.comes().await;
    house.write("asidua@cliente.example", "plazo").await;
    let item = pedro.rings("asidua@cliente.example").await;
    let kept = house.decided_at(&item).await - waits_since(&item);
    assert!(kept >= time::Duration::seconds(4), "offered to somebody else after {kept}");
    house.tells(&item, None, &["offered to pedro", "not: full 1;"]).await;
}

async fn weights(house: &House) {
    let (pluma, yunque) = (house.seat("pluma").await, house.seat("yunque").await);
    let _present = (pluma.comes().await, yunque.comes().await);
    house.write("grande@cliente.example", "pesada").await;
    let first = yunque.rings("grande@cliente.example").await;
    house
        .tells(
            &first,
            None,
            &["offered to yunque; least_busy, load 0 before it; of 2 members, not: too_heavy 1;"],
        )
        .await;
    house.tells(&first, Some("pluma"), &["pluma: it weighs 3, and 0 of his capacity of 2 are taken"]).await;
    house.write("mayor@cliente.example", "pesada").await;
    let second = pluma.sees("mayor@cliente.example").await;
    house
        .tells(&second, None, &["nobody can take it", "asks for  weight 3", "too_heavy   2  pluma yunque"])
        .await;
    house
        .tells(&second, Some("yunque"), &["yunque: it weighs 3, and 3 of his capacity of 4 are taken"])
        .await;
    yunque.serves(&first).await;
    yunque.rings("mayor@cliente.example").await;
    pluma.never_rang(&second);
}

async fn capacity_is_saved_for_what_is_heavy(house: &House) {
    let carga = house.seat("carga").await;
    let _present = carga.comes().await;
    let mut light = Vec::new();
    for from in ["leve-1@cliente.example", "leve-2@cliente.example"] {
        house.write(from, "furgon").await;
        light.push(carga.rings(from).await);
        carga.opens(light.last().unwrap()).await;
    }
    house.write("pesado@cliente.example", "camion").await;
    let heavy = carga.sees("pesado@cliente.example").await;
    // Longer than the overflow time, from which on capacity is saved.
    house.comes_to_tell(&heavy, &["nobody can take it", "full        1  carga"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    house.write("leve-3@cliente.example", "furgon").await;
    let third = carga.sees("leve-3@cliente.example").await;
    for item in &light {
        carga.ends(item).await;
    }
    carga.rings("pesado@cliente.example").await;
    carga.never_rang(&third);
    house.tells(&third, None, &["nobody can take it", "full        1  carga"]).await;
}

async fn longest_idle(house: &House) {
    let (iris, ivan) = (house.seat("iris").await, house.seat("ivan").await);
    let _present = (iris.comes().await, ivan.comes().await);
    house.write("a@cliente.example", "turno").await;
    let hers = iris.rings("a@cliente.example").await;
    iris.opens(&hers).await;
    house.write("b@cliente.example", "turno").await;
    let his = ivan.rings("b@cliente.example").await;
    ivan.serves(&his).await;
    iris.ends(&hers).await;
    // By rotation it would be her turn.
    house.write("c@cliente.example", "turno").await;
    let item = ivan.rings("c@cliente.example").await;
    house
        .tells(&item, None, &["offered to ivan; longest_idle", "of 2 members; next best iris; configuration"])
        .await;
    house
        .tells(
            &item,
            Some("iris"),
            &["iris: he could take it; it was another's turn", "iris was the next best"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_selection_decides_as_it_is_written_and_is_explained() {
    let house = House::open().await;
    tokio::join!(skills(&house), relaxation(&house));
    tokio::join!(a_vip_goes_first(&house), age_outweighs_a_vip(&house));
    tokio::join!(who_knows_the_customer_is_preferred(&house), but_not_for_ever(&house));
    tokio::join!(weights(&house), capacity_is_saved_for_what_is_heavy(&house), longest_idle(&house));
    house.stack.stop().await.unwrap();
}
