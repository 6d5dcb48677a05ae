//! A house with WhatsApp as its people see it: the customers' phones in the simulator, an agent with a desk, and a poster of webhooks that
//! signs them as Meta does, or not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hilo_proto::attention::v1::{DeskItem, ListTemplatesRequest};
use hilo_proto::event::v1::Direction;
use hilo_proto::history::v1::ThreadMessage;
use hilo_simulators::{Phone, SIGNATURE_HEADER, Say, Sent, Simulator, signature};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::agent::{Presence, persist};
use crate::{Agent, Desk, Installation, Options, directory};

/// How long anything may take that waits for a condition.
pub const SOON: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The house, and the one agent who answers.
pub struct Chat {
    /// The processes.
    pub installation: Installation,
    /// The agent.
    pub agent: Agent,
    /// What his desk shows of WhatsApp.
    pub desk: Desk,
    _present: Presence,
}

/// A customer with a phone.
pub struct Customer {
    /// The phone.
    pub phone: Phone,
    /// As the desk shows him: number with `+`, where it is known.
    pub address: String,
    number: String,
}

impl Customer {
    /// Says something and gives its id.
    ///
    /// # Errors
    /// When the simulator cannot.
    pub fn says(&self, say: &Say) -> Result<String> {
        Ok(self.phone.says(&self.number, say)?)
    }

    /// Writes a text.
    ///
    /// # Errors
    /// When the simulator cannot.
    pub fn writes(&self, text: &str) -> Result<String> {
        self.says(&Say::text(text))
    }

    /// What arrived on the phone with this text.
    pub fn received(&self, text: &str) -> Vec<Sent> {
        let is = |sent: &Sent| sent.body.pointer("/text/body").is_some_and(|body| body == text);
        self.phone.received().into_iter().filter(is).collect()
    }

    /// Waits until the text is on the phone.
    ///
    /// # Errors
    /// When it is not in time, or there twice.
    pub async fn receives(&self, text: &str) -> Result<Sent> {
        let arrived = || async { Ok(self.received(text).into_iter().next()) };
        let sent = until(&format!("the phone has {text:?}"), arrived).await?;
        ensure!(self.received(text).len() == 1, "{text:?} came twice");
        Ok(sent)
    }
}

/// Looks until there is something.
///
/// # Errors
/// When there is nothing in [`SOON`], or a look fails.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

impl Chat {
    /// Starts the house with WhatsApp, the first agent at his desk.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn start(options: Options) -> Result<Self> {
        let installation = Installation::start(Options { whatsapp: true, ..options }).await?;
        let agent = installation.login("agente-0").await?;
        let present = agent.be_present().await?;
        let desk = agent.watch_whatsapp();
        Ok(Self { installation, agent, desk, _present: present })
    }

    /// The other side.
    ///
    /// # Errors
    /// Never: the house has one.
    pub fn meta(&self) -> Result<&Simulator> {
        self.installation.meta()
    }

    /// A customer with these digits.
    ///
    /// # Errors
    /// As [`Chat::meta`].
    pub fn customer(&self, digits: &str, name: &str) -> Result<Customer> {
        let phone = self.installation.phone(digits, name)?;
        Ok(Customer { phone, address: format!("+{digits}"), number: self.installation.whatsapp_number() })
    }

    /// Waits until a customer's item rings, and opens it.
    ///
    /// # Errors
    /// When it does not ring or cannot be opened.
    pub async fn serve(&self, customer: &Customer) -> Result<DeskItem> {
        let item = self.desk.wait_for_offer(&customer.address, SOON).await?;
        self.agent.open(&item.interaction_id).await?;
        Ok(item)
    }

    /// Waits until an attention has exactly so many messages of the customer; more is an error.
    ///
    /// # Errors
    /// When it has not in time, or more.
    pub async fn said(&self, attention_id: &str, count: usize) -> Result<Vec<ThreadMessage>> {
        let inbound = Direction::Inbound as i32;
        let look = || async {
            let mut all = self.agent.all_messages(attention_id).await?;
            all.retain(|one| one.direction == inbound);
            ensure!(all.len() <= count, "{} messages instead of {count}", all.len());
            Ok(Some(all).filter(|all| all.len() == count))
        };
        until(&format!("{count} messages of the customer"), look).await
    }

    /// Waits until a message of ours is in one of these states.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn becomes(&self, item: &DeskItem, message_id: &str, states: &[&str]) -> Result<ThreadMessage> {
        let look = || async {
            let all = self.agent.all_messages(&item.attention_id).await?;
            let found = all.into_iter().find(|one| one.message_id == message_id);
            Ok(found.filter(|one| states.contains(&one.delivery_state.as_str())))
        };
        until(&format!("the message is {}", states.join(" or ")), look).await
    }

    /// A number from whatsapp-ingest's ledger: what was stored can be seen nowhere else.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ledger(&self, query: &'static str) -> Result<i64> {
        self.count("hilo_whatsapp", query).await
    }

    /// A number from a service's database, of what can be seen nowhere else.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count(&self, database: &str, query: &'static str) -> Result<i64> {
        let mut session = PgConnection::connect(&self.installation.database(database)).await?;
        let count = sqlx::query_scalar(query).fetch_one(&mut session).await?;
        session.close().await?;
        Ok(count)
    }

    /// Moves an instant in a service's database: hours pass at once. Answers how many rows it found.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn hours_pass(&self, database: &str, statement: &'static str) -> Result<u64> {
        let mut session = PgConnection::connect(&self.installation.database(database)).await?;
        let moved = sqlx::query(statement).execute(&mut session).await?.rows_affected();
        session.close().await?;
        Ok(moved)
    }

    /// Names of the templates that the agent may send now, sorted.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn templates(&self) -> Result<Vec<String>> {
        let request = ListTemplatesRequest {
            campaign_key: directory::WHATSAPP.to_owned(),
            page_size: 200,
            ..ListTemplatesRequest::default()
        };
        let answer = persist(SOON, || {
            let (mut client, request) = (self.agent.attention(), request.clone());
            async move { client.list_templates(request).await }
        });
        let mut names: Vec<String> = answer.await?.templates.into_iter().map(|one| one.name).collect();
        names.sort();
        Ok(names)
    }

    /// Waits until exactly these templates were read from Meta and reported.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn templates_are(&self, names: &[&str]) -> Result<()> {
        let look = || async { Ok((self.templates().await? == names).then_some(())) };
        until(&format!("the templates are {names:?}"), look).await
    }

    /// Waits until everything that was taken in is parsed.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn parsed(&self) -> Result<()> {
        let waiting = || async {
            Ok((self.ledger("SELECT count(*) FROM whatsapp.parse_queue").await? == 0).then_some(()))
        };
        until("every body is parsed", waiting).await
    }

    /// A poster of webhooks.
    ///
    /// # Errors
    /// As [`Chat::meta`].
    pub fn poster(&self) -> Result<Poster> {
        Poster::new(&self.installation.webhook()?, &self.installation.app_secret())
    }
}

/// Posts webhooks, on connections that are kept.
#[derive(Clone)]
pub struct Poster {
    http: Client<HttpConnector, Full<Bytes>>,
    uri: http::Uri,
    secret: String,
}

impl Poster {
    /// To this address, signed with this secret.
    ///
    /// # Errors
    /// When it is no address.
    pub fn new(url: &str, secret: &str) -> Result<Self> {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { http, uri: url.parse().context("webhook address")?, secret: secret.to_owned() })
    }

    /// The signature of a body.
    pub fn signature(&self, body: &[u8]) -> String {
        signature(&self.secret, body)
    }

    /// Posts a body as Meta would.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn post(&self, body: impl Into<Bytes>) -> Result<StatusCode> {
        let body = body.into();
        let signature = self.signature(&body);
        self.post_with(&[signature], body).await
    }

    /// Posts a body with these signatures, as many as there are.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn post_with(&self, signatures: &[String], body: impl Into<Bytes>) -> Result<StatusCode> {
        let mut request = Request::post(self.uri.clone()).header("content-type", "application/json");
        for signature in signatures {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let answer = self.http.request(request.body(Full::new(body.into()))?).await?;
        let status = answer.status();
        // A connection is kept only when its answer was read.
        answer.into_body().collect().await?;
        Ok(status)
    }
}

/// A webhook body with these messages, texts or whole ones, to a number.
pub fn webhook(number: &str, from: &str, messages: Vec<Value>) -> Value {
    let metadata = json!({ "display_phone_number": "15550783881", "phone_number_id": number });
    let contacts = json!([{ "profile": { "name": "Cliente" }, "wa_id": from }]);
    let value = json!({ "messaging_product": "whatsapp", "metadata": metadata, "contacts": contacts, "messages": messages });
    let changes = json!([{ "field": "messages", "value": value }]);
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398", "changes": changes }] })
}

/// A text of now.
pub fn text(wamid: &str, from: &str, body: &str) -> Value {
    let now = time::OffsetDateTime::now_utc().unix_timestamp().to_string();
    json!({ "from": from, "id": wamid, "timestamp": now, "type": "text", "text": { "body": body } })
}
