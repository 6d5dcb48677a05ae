//! An installation with two campaigns that have nothing to do with each other. Whatever belongs to one bears its words, so that a
//! single byte of it in a stranger's hands is noticed: the first word stands in what is administered, the second in what
//! customers and agents write.

use std::time::Duration;

use hilo_end_to_end::agent::{Agent, Presence};
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Desk, Installation, Options, Service};
use hilo_kit::auth::{Issuer, ServiceTokens};
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::contact::v1 as contact;
use hilo_proto::contact::v1::contact_service_client::ContactServiceClient;
use hilo_proto::history::v1::SearchThreadsRequest;
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::internal::v1::ListDeadLettersRequest;
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_test_support::eventually;
use sqlx::{Connection as _, PgConnection};
use tonic::transport::Channel;

use crate::both::directory;
use crate::wire;

pub const SOON: Duration = Duration::from_secs(90);
/// The campaign whose people look.
pub const OURS: [&str; 2] = ["topacio", "amatista"];
/// The campaign they must not see.
pub const THEIRS: [&str; 2] = ["zafiro", "obsidiana"];

pub fn fresh() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// One attention with one interaction.
#[derive(Clone, Debug, Default)]
pub struct Item {
    pub attention: String,
    pub interaction: String,
    /// The customer's mail; it has an attachment.
    pub message: String,
    /// The agent's answer.
    pub answer: String,
    pub number: i64,
}

/// Names of everything a campaign has; also of what nobody has.
#[derive(Clone, Debug, Default)]
pub struct Seeds {
    /// Key of campaign, account, form, tag and quick reply.
    pub key: String,
    /// Word of the contents.
    pub word: String,
    pub agent: String,
    /// Open by the agent: draft, form, note, tag, answer.
    pub open: Item,
    /// Open by the agent, for what ends it.
    pub spare: Item,
    /// In the queue, ringing.
    pub queued: Item,
    pub offer: String,
    /// Ended, its attention closed, in the history.
    pub ended: Item,
    pub contact: String,
    /// Another contact, who bears the same name.
    pub twin: String,
    /// Finished upload of the agent.
    pub upload: String,
    pub dead_letter: String,
    /// A dialer with one row.
    pub dialer: String,
}

impl Seeds {
    /// What does not exist.
    pub fn made_up() -> Self {
        let item = || Item {
            attention: fresh(),
            interaction: fresh(),
            message: fresh(),
            answer: fresh(),
            number: 987_654_321,
        };
        Self {
            key: "nadie".to_owned(),
            word: "cuarcita".to_owned(),
            agent: "nadie".to_owned(),
            open: item(),
            spare: item(),
            queued: item(),
            offer: fresh(),
            ended: item(),
            contact: fresh(),
            twin: fresh(),
            upload: fresh(),
            dead_letter: fresh(),
            dialer: fresh(),
        }
    }
}

/// Everything that is running.
pub struct World {
    pub installation: Installation,
    pub ours: Seeds,
    pub theirs: Seeds,
    issuer: Issuer,
    services: ServiceTokens,
    _present: Vec<Presence>,
    _desks: Vec<Desk>,
}

impl World {
    pub async fn start() -> Self {
        let installation = Installation::start(Options::default()).await.unwrap();
        installation.change_directory(directory).await.unwrap();
        let issuer = Issuer::new(installation.keys().signing_key.expose(), "hilo").unwrap();
        let services = ServiceTokens::new(&installation.keys().auth_config("hilo"), "routing");
        let mut world = Self {
            installation,
            ours: Seeds::default(),
            theirs: Seeds::default(),
            issuer,
            services,
            _present: Vec::new(),
            _desks: Vec::new(),
        };
        world.is_known_everywhere().await;
        let (ours, theirs) = tokio::join!(world.seed(OURS), world.seed(THEIRS));
        for (seeds, presence, desk) in [ours, theirs] {
            match seeds.key == OURS[0] {
                true => world.ours = seeds,
                false => world.theirs = seeds,
            }
            world._present.push(presence);
            world._desks.push(desk);
        }
        world
    }

    /// Waits until every process has read the new directory.
    async fn is_known_everywhere(&self) {
        for service in Service::ALL {
            let method = match service {
                Service::Routing => "hilo.routing.v1.RoutingService/ExplainInteraction",
                _ => "hilo.internal.v1.DeadLetterService/ListDeadLetters",
            };
            let (channel, path) = (self.channel(service), format!("/{method}"));
            eventually(&format!("{} knows the directory", service.name()), SOON, || async {
                let token = self.token(&format!("agente-{}", THEIRS[0]));
                let answer = wire::call(&channel, &path, Some(&token), Vec::new(), false).await;
                answer.code != tonic::Code::Unauthenticated
            })
            .await
            .unwrap();
        }
    }

    /// A fresh token of a user; each call has one of its own, so that signing out hurts nobody else.
    pub fn token(&self, user: &str) -> String {
        self.issuer.issue(user, hilo_kit::clock::wall(), Duration::from_secs(3_600)).unwrap().token
    }

    /// A token of a service.
    pub fn service_token(&self) -> String {
        self.services.token().unwrap()
    }

    pub fn channel(&self, service: Service) -> Channel {
        Channel::from_shared(self.installation.endpoint(service)).unwrap().connect_lazy()
    }

    async fn seed(&self, [key, word]: [&'static str; 2]) -> (Seeds, Presence, Desk) {
        let agent = self.installation.signed_in(&format!("agente-{key}")).unwrap();
        let present = agent.be_present().await.unwrap();
        let desk = agent.watch();
        let mut seeds = Seeds {
            key: key.to_owned(),
            word: word.to_owned(),
            agent: agent.key.clone(),
            ..Seeds::default()
        };
        for case in ["abierta", "libre", "cola", "cerrada"] {
            self.write(key, word, case).await;
        }
        seeds.open = self.open(&agent, &desk, word, "abierta").await;
        seeds.spare = self.open(&agent, &desk, word, "libre").await;
        seeds.ended = self.open(&agent, &desk, word, "cerrada").await;
        seeds.upload = upload(&agent, word).await;
        seeds.twin = customer_of(&agent, &seeds.spare.attention).await.contact_id;
        seeds.contact = self.dress(&agent, &seeds).await;
        let note = attention::AddNoteRequest {
            interaction_id: seeds.ended.interaction.clone(),
            request_id: fresh(),
            text: format!("Nota {word}"),
        };
        agent.attention().add_note(note).await.unwrap();
        agent.end(&seeds.ended.interaction, true).await.unwrap();
        let search = SearchThreadsRequest { words: word.to_owned(), ..Default::default() };
        let found = agent.find_in_history(search, 1, SOON).await.unwrap();
        seeds.ended.number = found[0].attention_number;
        let rings = desk.wait_for_offer(&format!("cola-{word}@cliente.example"), SOON).await.unwrap();
        let opened = agent.messages(&rings.attention_id).await.unwrap();
        seeds.offer = rings.offer_id;
        seeds.queued = Item {
            attention: rings.attention_id,
            interaction: rings.interaction_id,
            message: opened[0].message_id.clone(),
            answer: String::new(),
            number: rings.attention_number,
        };
        seeds.dead_letter = self.dead_letter(key, word).await;
        seeds.dialer = self.dialer(key, word).await;
        (seeds, present, desk)
    }

    /// A customer's first mail to the campaign.
    pub async fn write(&self, key: &str, word: &str, case: &str) {
        let from = format!("Cliente {word} <{case}-{word}@cliente.example>");
        let (subject, text) = (format!("Asunto {word} {case}"), format!("Texto {word}"));
        let mut mail = Mail::new(&from, &format!("{key}@hilo.example"), &subject, &text);
        mail.cc = Some(format!("copia-{word}@cliente.example"));
        let content = format!("contenido {word}").into_bytes();
        mail.attachment = Some((format!("{word}.txt"), "text/plain".to_owned(), content));
        customer::send_until_accepted(self.installation.smtp(), &mail, SOON).await.unwrap();
    }

    /// Opened and answered, the answer delivered.
    async fn open(&self, agent: &Agent, desk: &Desk, word: &str, case: &str) -> Item {
        let customer = format!("{case}-{word}@cliente.example");
        let item = desk.wait_for_offer(&customer, SOON).await.unwrap();
        let opened = agent.open(&item.interaction_id).await.unwrap();
        let answer = agent.reply(&item.interaction_id, &format!("Respuesta {word}")).await.unwrap();
        eventually("the answer is delivered", SOON, || async {
            let messages = agent.messages(&item.attention_id).await.unwrap_or_default();
            messages.iter().any(|one| one.message_id == answer.message_id && one.delivery_state == "sent")
        })
        .await
        .unwrap();
        Item {
            attention: item.attention_id,
            interaction: item.interaction_id,
            message: opened.messages[0].message_id.clone(),
            answer: answer.message_id,
            number: item.attention_number,
        }
    }

    /// Draft, form, note, tag and contact of the open item; answers the contact.
    async fn dress(&self, agent: &Agent, seeds: &Seeds) -> String {
        let (id, word) = (seeds.open.interaction.clone(), &seeds.word);
        agent.fill_form(&id, 0, &[(&format!("{}-dato", seeds.key), &format!("valor {word}"))]).await.unwrap();
        agent
            .fill_form(&seeds.ended.interaction, 0, &[(&format!("{}-dato", seeds.key), word)])
            .await
            .unwrap();
        let mut client = agent.attention();
        let note = attention::AddNoteRequest {
            interaction_id: id.clone(),
            request_id: fresh(),
            text: format!("Nota {word}"),
        };
        client.add_note(note).await.unwrap();
        let to = EmailAddress { address: format!("borrador-{word}@cliente.example"), name: word.clone() };
        let file = attention::AttachmentRef {
            source: Some(Source::UploadId(seeds.upload.clone())),
            content_id: String::new(),
        };
        let content = attention::DraftContent {
            subject: format!("Borrador {word}"),
            to: vec![to],
            attachments: vec![file],
            ..Default::default()
        };
        let draft = attention::SaveDraftRequest {
            interaction_id: id,
            base_version: 0,
            text: format!("Borrador {word}"),
            content: Some(content),
        };
        client.save_draft(draft).await.unwrap();
        let tag = attention::TagAttentionRequest {
            attention_id: seeds.open.attention.clone(),
            tag_key: seeds.key.clone(),
            request_id: fresh(),
        };
        client.tag_attention(tag).await.unwrap();
        let known = customer_of(agent, &seeds.open.attention).await;
        let channel = self.channel(Service::AttentionState);
        let bearer = hilo_kit::grpc::Bearer(self.token(&seeds.agent));
        let update = contact::UpdateContactRequest {
            contact: Some(contact::Contact {
                company: format!("Empresa {word}"),
                extra: [("documento".to_owned(), format!("doc {word}"))].into(),
                ..known.clone()
            }),
            add_identities: Vec::new(),
            remove_identities: Vec::new(),
        };
        ContactServiceClient::with_interceptor(channel, bearer).update_contact(update).await.unwrap();
        known.contact_id
    }

    /// A dialer with a row, by hand: the campaigns of this world serve mail, where nobody could make one.
    async fn dialer(&self, key: &str, word: &str) -> String {
        let mut session = PgConnection::connect(&self.installation.database("hilo_attention")).await.unwrap();
        let id: uuid::Uuid = sqlx::query_scalar(
            "INSERT INTO dialer.dialer (dialer_id, name, campaign_key, account_key, template_name, template_language, columns,
               per_minute, answer_timeout_hours, state, total_rows, created_by)
             VALUES (gen_random_uuid(), 'Marcador ' || $2, $1, $1, 'aviso', 'es', '{1}', 10, 72, 'draft', 1, 'nadie')
             RETURNING dialer_id",
        )
        .bind(key)
        .bind(word)
        .fetch_one(&mut session)
        .await
        .unwrap();
        sqlx::query(
            r#"INSERT INTO dialer.row (dialer_id, ordinal, number, "values") VALUES ($1, 1, '+51900000001', ARRAY[$2])"#,
        )
        .bind(id)
        .bind(word)
        .execute(&mut session)
        .await
        .unwrap();
        id.to_string()
    }

    /// A message nobody could read.
    async fn dead_letter(&self, key: &str, word: &str) -> String {
        let client = async_nats::connect(self.installation.nats_url()).await.unwrap();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", fresh());
        let subject = format!("{}.inbound.email.{key}", self.installation.prefix());
        let payload = format!("ilegible {word}").into_bytes().into();
        async_nats::jetstream::new(client)
            .publish_with_headers(subject.clone(), headers, payload)
            .await
            .unwrap()
            .await
            .unwrap();
        let mut client = DeadLetterServiceClient::new(self.installation.internal().unwrap());
        let started = std::time::Instant::now();
        loop {
            let list =
                client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner();
            if let Some(found) = list.dead_letters.into_iter().find(|one| one.subject == subject) {
                return found.dead_letter_id;
            }
            assert!(started.elapsed() < SOON, "no dead letter");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn customer_of(agent: &Agent, attention: &str) -> contact::Contact {
    let get = attention::GetAttentionRequest { attention_id: attention.to_owned() };
    let found = agent.attention().get_attention(get).await.unwrap().into_inner();
    found.attention.unwrap().contact.unwrap()
}

async fn upload(agent: &Agent, word: &str) -> String {
    let (name, content) = (format!("subido-{word}.txt"), format!("subido {word}"));
    agent.upload(&name, "text/plain", content.as_bytes()).await.unwrap()
}
