//! Files of WhatsApp both ways, and the templates, when the channel dies: one process stands at six steps at once, with three files of
//! customers, two of the agent's and one list of templates, and is killed.

use anyhow::{Context as _, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::agent::persist;
use hilo_end_to_end::chat::{Customer, SOON, until};
use hilo_end_to_end::dialing::TEMPLATE;
use hilo_end_to_end::installation::Part;
use hilo_kit::objects::Digest256;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::attention::v1::{AttachmentRef, ChatContent, DeskItem, chat_content};
use hilo_proto::inbound::v1::MediaKind;
use hilo_simulators::{Endpoint, File, Number, Say, Template};
use serde_json::{Value, json};

use crate::chat::media::picture;
use crate::round::{self, Tally};
use crate::steps::CHANNEL;

/// Customers who send a file, one for each step of its way in.
const SENDERS: usize = 3;
/// Customers who are sent one, one for each step of its way out.
const RECEIVERS: usize = 2;
/// Templates that Meta approves meanwhile: more than a page.
const APPROVED: usize = 120;
/// Those that may be sent before.
const BEFORE: [&str; 2] = ["hello_world", TEMPLATE];

/// Attentions that this begins.
pub const ATTENTIONS: usize = SENDERS + RECEIVERS;

/// Every file arrives once, on either side, and the list of templates is whole at every instant.
///
/// # Errors
/// When no kill landed; what does not hold.
pub async fn files_and_templates(house: &Chat, tally: &mut Tally) -> Result<()> {
    house.templates_are(&BEFORE).await?;
    let mut served = Vec::new();
    for n in 0..RECEIVERS {
        let customer = house.customer(&format!("5190100000{n}"), "Cliente")?;
        customer.writes("Hola")?;
        let item = house.serve(&customer).await?;
        let bytes = format!("%PDF-1.4 recibo {n}");
        let upload = house.agent.upload("recibo.pdf", "application/pdf", bytes.as_bytes()).await?;
        served.push((customer, item, upload));
    }

    round::arm(&house.installation, CHANNEL)?;
    let mut senders = Vec::new();
    for n in 0..SENDERS {
        let customer = house.customer(&format!("5190100001{n}"), "Cliente")?;
        customer.says(&Say::media("image", File::new("image/jpeg", &picture(n))).caption("Mi foto"))?;
        senders.push((n, customer));
    }
    let mut sent = Vec::new();
    for (customer, item, upload) in served {
        let message_id = file(house, &item, upload).await?;
        sent.push((customer, item, message_id));
    }
    let meta = house.meta()?;
    (0..APPROVED).for_each(|n| meta.put_template(template(n)));
    let number = house.installation.whatsapp_number();
    meta.notice(&number, "message_template_status_update", &Value::Null)?;

    tally.strike(&house.installation, CHANNEL).await?;
    let known = house.templates().await?;
    let half = if known == BEFORE { Ok(()) } else { Err(anyhow::anyhow!("{} are known", known.len())) };
    let channel = CHANNEL.first().context("no steps")?.service;
    house.installation.start_part(Part::Service(channel)).await?;

    let (came, went, read) = tokio::join!(came(house, &senders), went(house, &sent), whole(house));
    round::all([
        ("files of customers", came),
        ("files to customers", went),
        ("half a list of templates", half),
        ("the list of templates", read),
    ])?;
    // What a repetition could add would come before the last messages, and nothing waits behind it.
    let stuck = "SELECT (SELECT count(*) FROM whatsapp.media WHERE state <> 'stored')
                      + (SELECT count(*) FROM whatsapp.send WHERE state IN ('planned', 'attempting', 'doubtful'))";
    let stuck = house.ledger(stuck).await?;
    ensure!(stuck == 0, "{stuck} files or sends have no end");
    Ok(())
}

/// Meta approves one more template than [`files_and_templates`] left behind and says so; answers the names that must be read then.
///
/// # Errors
/// When the simulator does not take it.
pub(crate) fn approve_another(house: &Chat, n: usize) -> Result<Vec<String>> {
    let meta = house.meta()?;
    meta.put_template(template(APPROVED + n));
    let number = house.installation.whatsapp_number();
    meta.notice(&number, "message_template_status_update", &Value::Null)?;
    let names = (0..=APPROVED + n).map(name);
    Ok(BEFORE.into_iter().map(str::to_owned).chain(names).collect())
}

fn template(n: usize) -> Template {
    Template {
        id: format!("2{n:03}"),
        business_account_id: Number::default().business_account_id,
        name: name(n),
        language: "es".to_owned(),
        status: "APPROVED".to_owned(),
        category: "UTILITY".to_owned(),
        parameter_format: "POSITIONAL".to_owned(),
        components: vec![json!({ "type": "BODY", "text": "Buenos días." })],
    }
}

/// Names that sort as they count, behind the others.
fn name(n: usize) -> String {
    format!("saludo_{n:03}")
}

/// Sends the upload as a document; the message's id.
async fn file(house: &Chat, item: &DeskItem, upload: String) -> Result<String> {
    let attachment = AttachmentRef { source: Some(Source::UploadId(upload)), content_id: String::new() };
    let request = attention::SendMessageRequest {
        interaction_id: item.interaction_id.clone(),
        request_id: uuid::Uuid::now_v7().to_string(),
        text: "Su recibo".to_owned(),
        attachments: vec![attachment],
        whatsapp: Some(ChatContent {
            kind: Some(chat_content::Kind::Media(MediaKind::Document.into())),
            preview_url: false,
        }),
        ..Default::default()
    };
    let answer = persist(SOON, || {
        let (mut client, request) = (house.agent.attention(), request.clone());
        async move { client.send_message(request).await }
    });
    Ok(answer.await?.message.context("no message in the answer")?.message_id)
}

/// Each customer's message is there once, with his file.
pub(crate) async fn came(house: &Chat, senders: &[(usize, Customer)]) -> Result<()> {
    for (n, customer) in senders {
        let item = house.serve(customer).await?;
        customer.writes("fin")?;
        let expected = Digest256::of(&picture(*n)).to_string();
        let shown = || async {
            let said = house.said(&item.attention_id, 2).await?;
            let files: Vec<String> =
                said.iter().flat_map(|one| &one.attachments).map(|file| file.sha256.clone()).collect();
            ensure!(files.is_empty() || files == [expected.as_str()], "he has {files:?}");
            Ok((!files.is_empty()).then_some(()))
        };
        until("his file is shown", shown).await.with_context(|| customer.address.clone())?;
    }
    Ok(())
}

/// Each customer has the document once, and Meta got no file a second time but the one whose id was lost.
async fn went(house: &Chat, sent: &[(Customer, DeskItem, String)]) -> Result<()> {
    let documents = |customer: &Customer| {
        customer.phone.received().into_iter().filter(|sent| sent.kind == "document").count()
    };
    for (customer, item, message_id) in sent {
        house.becomes(item, message_id, &["delivered", "read"]).await?;
        house.agent.reply(&item.interaction_id, "fin").await?;
        customer.receives("fin").await?;
        let got = documents(customer);
        ensure!(got == 1, "{} has {got} documents", customer.address);
    }
    let uploads = house.meta()?.requests();
    let uploads = uploads.iter().filter(|one| one.endpoint == Endpoint::MediaUpload).count();
    ensure!(uploads == RECEIVERS + 1, "{uploads} uploads");
    Ok(())
}

async fn whole(house: &Chat) -> Result<()> {
    let names: Vec<String> = (0..APPROVED).map(name).collect();
    let all: Vec<&str> = BEFORE.into_iter().chain(names.iter().map(String::as_str)).collect();
    house.templates_are(&all).await
}
