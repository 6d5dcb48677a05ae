//! Quick replies: whose they are, and what stands in them.

use hilo_proto::attention::v1::{ListQuickRepliesRequest, RenderQuickReplyRequest};
use uuid::Uuid;

use super::{House, Mail};
use crate::conversation::quick;
use crate::directory::testing::{apply, directory_of};

const REPLIES: &str = "
quick_replies:
  - key: saludo
    title: Saludo
    text: 'Hola {{contact.name}}, le saluda {{agent.name}} por su caso #{{attention.number}}. {{contact.company}}'
    html: '<p>Hola {{contact.name}}</p>'
  - key: garantia
    title: Garantía
    text: Envíenos la boleta.
    campaigns: [soporte]
  - key: ofertas
    title: Ofertas
    text: Compre ya.
    campaigns: [ventas]
  - key: vieja
    title: Vieja
    text: Ya no.
    active: false
";

async fn house() -> (House, Uuid) {
    let house = House::open().await;
    let campaigns: [(&str, &[&str]); 2] = [("soporte", &["ana", "luis"]), ("ventas", &["rosa"])];
    apply(&house.db, &format!("{}{REPLIES}", directory_of(&campaigns, ""))).await;
    let mail = Mail::from("eva@cliente.example").with(|email| {
        email.from.as_mut().unwrap().name = "<b>Eva</b> {{agent.name}}".into();
    });
    house.take(&[mail]).await;
    let interaction = house.attentions().await[0].last_interaction;
    (house, interaction)
}

#[tokio::test]
async fn each_sees_those_of_his_campaigns() {
    let (house, _) = house().await;
    let keys = async |user: &str, campaign: &str| {
        let request = ListQuickRepliesRequest { campaign_key: campaign.into() };
        match quick::list(&house.db, house.access(user).await, request).await {
            Ok(answer) => answer.quick_replies.into_iter().map(|one| one.key).collect::<Vec<_>>().join(" "),
            Err(error) => error.reason().to_owned(),
        }
    };
    assert_eq!(keys("ana", "").await, "garantia saludo");
    assert_eq!(keys("ana", "soporte").await, "garantia saludo");
    assert_eq!(keys("ana", "ventas").await, "CAMPAIGN_NOT_FOUND");
    assert_eq!(keys("rosa", "").await, "ofertas saludo");
}

#[tokio::test]
async fn variables_are_filled_in_and_html_stays_html() {
    let (house, interaction) = house().await;
    let render = async |user: &str, key: &str| {
        let request =
            RenderQuickReplyRequest { interaction_id: interaction.to_string(), quick_reply_key: key.into() };
        let access = house.access(user).await;
        quick::render(&house.db, access, request).await.map_err(|error| error.reason().to_owned())
    };
    let reply = render("ana", "saludo").await.unwrap();
    let agent = house.access("ana").await.name;
    let number = house.count("SELECT number FROM attention.attention").await;
    assert_eq!(
        reply.text.trim_end(),
        format!("Hola <b>Eva</b> {{{{agent.name}}}}, le saluda {agent} por su caso #{number}.")
    );
    assert_eq!(reply.html, "<p>Hola &lt;b&gt;Eva&lt;/b&gt; {{agent.name}}</p>");
    assert_eq!(reply.unresolved, ["contact.company"]);
    for (user, key, reason) in [
        ("ana", "ofertas", "QUICK_REPLY_NOT_FOUND"),
        ("ana", "vieja", "QUICK_REPLY_NOT_FOUND"),
        ("ana", "nada", "QUICK_REPLY_NOT_FOUND"),
        ("rosa", "saludo", "INTERACTION_NOT_FOUND"),
    ] {
        assert_eq!(render(user, key).await.unwrap_err(), reason, "{user} {key}");
    }
}
