//! A running service with everything around it: its own database and broker, and a stand-in for attention-state.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::HeaderMap;
use hilo_email_ingest::config::{ImapConfig, ParserConfig, ResolverChoice, SenderConfig, SmtpConfig};
use hilo_email_ingest::{Config, Listeners, Section};
use hilo_kit::auth::{Keys, ServiceTokens, generate_keys};
use hilo_kit::config::{
    DatabaseConfig, Endpoints, GrpcConfig, NatsConfig, ObjectsConfig, Profile, Secret, TelemetryConfig,
};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Nats as Broker, StreamKind};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::delivery::v1::DeliveryEnvelope;
use hilo_proto::directory::v1::{Account, ImapSettings, SmtpSettings};
use hilo_proto::inbound::v1::{Attachment, EmailAddress, InboundEmail, InboundEnvelope, inbound_envelope};
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope, outbound_envelope};
use hilo_test_support::{Nats, Postgres, Reader};
use prost::Message as _;
use tokio::net::TcpListener;

use crate::client::Client;
use crate::feed::Feed;

pub const THREAD_KEY: &str = "0123456789abcdef0123456789abcdef";
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Address of the account that most tests use.
pub const VENTAS: &str = "ventas@hilo.example";

/// What a test wants to be different.
pub struct Setup {
    pub accounts: Vec<Account>,
    pub resolver: ResolverChoice,
    pub unknown_retry_seconds: u64,
    /// Address of a fresh database; by default on the server all tests share.
    pub database_url: Option<String>,
    /// Largest object.
    pub object_bytes: u64,
    /// How often a mailbox is looked at without a word of its server.
    pub imap: ImapConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            accounts: vec![account("ventas"), account("soporte")],
            resolver: ResolverChoice::None,
            unknown_retry_seconds: 1,
            database_url: None,
            object_bytes: ObjectsConfig::default().max_bytes,
            imap: ImapConfig { idle_seconds: 60, poll_seconds: 30 },
        }
    }
}

pub fn account(key: &str) -> Account {
    Account {
        key: key.into(),
        channel: "email".into(),
        address: format!("{key}@hilo.example"),
        active: true,
        ..Account::default()
    }
}

pub fn sending_to(port: u16) -> Account {
    let smtp = SmtpSettings {
        host: "127.0.0.1".into(),
        port: port.into(),
        security: "plain".into(),
        ..SmtpSettings::default()
    };
    Account { smtp: Some(smtp), ..account("ventas") }
}

pub fn fetching_from(port: u16) -> Account {
    let imap = ImapSettings {
        host: "127.0.0.1".into(),
        port: port.into(),
        security: "plain".into(),
        user: "ventas".into(),
        password_secret: "ventas-imap".into(),
        mailbox: String::new(),
    };
    Account { imap: Some(imap), ..account("ventas") }
}

/// Everything around the service, and the service while it runs.
pub struct Rig {
    pub nats: Nats,
    pub broker: Broker,
    pub db: Db,
    pub smtp: SocketAddr,
    pub grpc: String,
    pub tokens: ServiceTokens,
    config: Config,
    secrets: tempfile::TempDir,
    objects: tempfile::TempDir,
    around: Shutdown,
    accounts: Feed,
    feed: Shutdown,
    running: Option<(Shutdown, tokio::task::JoinHandle<Result<(), Error>>)>,
    inbound: Reader,
    delivery: Reader,
}

impl Rig {
    pub async fn start(setup: Setup) -> Self {
        hilo_kit::install_crypto();
        let url = match setup.database_url {
            Some(url) => url,
            None => Postgres::shared().await.unwrap().fresh_database().await.unwrap(),
        };
        hilo_email_ingest::migrate(&url).await.unwrap();
        let nats = Nats::start().await.unwrap();
        let keys = generate_keys().unwrap();
        let around = Shutdown::new();
        let feeding = around.child();
        let accounts = Feed::of(setup.accounts);
        let attention_state = accounts.serve(&keys, &feeding).await;
        let objects = tempfile::tempdir().unwrap();
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("ventas-imap"), "secret").unwrap();
        let config = config(
            &url,
            &nats,
            &keys,
            attention_state,
            objects.path().to_owned(),
            secrets.path().to_owned(),
            setup.resolver,
            setup.unknown_retry_seconds,
            setup.object_bytes,
            setup.imap,
        );
        let broker = Broker::connect(&config.nats).await.unwrap();
        let streams = [StreamKind::Inbound, StreamKind::Outbound, StreamKind::Delivery];
        broker.ensure_streams(&streams).await.unwrap();
        let mut rig = Self {
            db: Db::connect(&DatabaseConfig::new(url)).await.unwrap(),
            tokens: ServiceTokens::new(&config.auth, "test"),
            nats,
            inbound: Reader::of(&broker.subjects().stream(StreamKind::Inbound)),
            delivery: Reader::of(&broker.subjects().stream(StreamKind::Delivery)),
            broker,
            smtp: SocketAddr::from(([127, 0, 0, 1], 0)),
            grpc: String::new(),
            config,
            secrets,
            objects,
            around,
            accounts,
            feed: feeding,
            running: None,
        };
        rig.run().await;
        rig
    }

    /// Starts the service on new ports and waits until it is ready for mail.
    pub async fn run(&mut self) {
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let smtp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.smtp = smtp.local_addr().unwrap();
        self.grpc = format!("http://{}", grpc.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let service = hilo_email_ingest::run(self.config.clone(), Listeners { grpc, smtp }, shutdown.clone());
        self.running = Some((shutdown, tokio::spawn(service)));
        let started = std::time::Instant::now();
        loop {
            let mut client = Client::connect(self.smtp).await;
            client.say("EHLO rig").await;
            client.say("MAIL FROM:<>").await;
            if client.say(&format!("RCPT TO:<{VENTAS}>")).await.starts_with("250") {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "the service did not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the service; it must end cleanly.
    pub async fn stop(&mut self) {
        if let Some((shutdown, running)) = self.running.take() {
            shutdown.begin();
            tokio::time::timeout(DEADLINE, running).await.expect("stopped in time").unwrap().unwrap();
        }
    }

    /// The stand-in for attention-state goes away for good.
    pub fn attention_state_leaves(&self) {
        self.feed.begin();
    }

    /// The next version of the directory.
    pub fn set_accounts(&self, accounts: Vec<Account>) {
        self.accounts.set(accounts);
    }

    /// Puts a file into the object store; how a mail names it.
    pub async fn file(&self, name: &str, media_type: &str, content: &[u8]) -> Attachment {
        let objects = Objects::open(&self.config.objects).await.unwrap();
        let digest = objects.put(content.to_vec().into()).await.unwrap();
        Attachment {
            sha256: digest.to_string(),
            file_name: name.to_owned(),
            media_type: media_type.to_owned(),
            size_bytes: i64::try_from(content.len()).unwrap(),
            ..Attachment::default()
        }
    }

    pub fn secrets(&self) -> &std::path::Path {
        self.secrets.path()
    }

    /// An object by its digest.
    pub async fn object(&self, sha256: &str) -> Option<bytes::Bytes> {
        let config = ObjectsConfig { path: self.objects.path().to_owned(), max_bytes: u64::MAX };
        hilo_kit::objects::Objects::open(&config).await.unwrap().get(sha256.parse().unwrap()).await.unwrap()
    }

    /// The next mail handed over.
    pub async fn inbound(&mut self) -> (InboundEnvelope, InboundEmail) {
        let payload = self
            .inbound
            .next(self.broker.jetstream(), DEADLINE)
            .await
            .unwrap()
            .expect("a mail is handed over");
        let envelope = InboundEnvelope::decode(payload).unwrap();
        let Some(inbound_envelope::Content::Email(email)) = envelope.content.clone() else {
            panic!("no mail")
        };
        (envelope, email)
    }

    /// True when no further mail comes within a second.
    pub async fn nothing_inbound(&mut self) -> bool {
        self.inbound.next(self.broker.jetstream(), Duration::from_secs(1)).await.unwrap().is_none()
    }

    /// The next report, but for those that only say that this machine was too slow for a lease; then the mail goes out later.
    pub async fn report(&mut self) -> DeliveryEnvelope {
        loop {
            let payload =
                self.delivery.next(self.broker.jetstream(), DEADLINE).await.unwrap().expect("a report");
            let report = DeliveryEnvelope::decode(payload).unwrap();
            let late =
                |text: &str| text.starts_with("the right to send") || text.starts_with("the ledger could");
            if !report.recipients.iter().any(|one| late(&one.reply_text)) {
                return report;
            }
        }
    }

    /// True when no further report comes within a second.
    pub async fn nothing_reported(&mut self) -> bool {
        self.delivery.next(self.broker.jetstream(), Duration::from_secs(1)).await.unwrap().is_none()
    }

    /// Publishes a send as attention-state's relay does; the message's id is not the send's.
    pub async fn publish(&self, send: &OutboundEnvelope) {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_ID, Uuid::now_v7().to_string());
        headers.insert(HEADER_KEY, send.conversation_key.as_str());
        headers.insert(HEADER_SEQUENCE, send.sequence.to_string());
        let subject =
            self.broker.subjects().handover(StreamKind::Outbound, "email", &send.account_key).unwrap();
        self.broker.publish(subject, headers, send.encode_to_vec().into()).await.unwrap();
    }

    /// Sends a mail by SMTP; the reply to its content.
    pub async fn mail(&self, recipients: &[&str], raw: &str) -> String {
        self.mail_from("ana@cliente.example", recipients, raw).await
    }

    /// Sends a mail by SMTP under an envelope sender; the reply to its content.
    pub async fn mail_from(&self, sender: &str, recipients: &[&str], raw: &str) -> String {
        let mut client = Client::connect(self.smtp).await;
        client.say("EHLO cliente.example").await;
        client.say(&format!("MAIL FROM:<{sender}>")).await;
        for recipient in recipients {
            client.say(&format!("RCPT TO:<{recipient}>")).await;
        }
        client.say("DATA").await;
        let reply = client.say(&format!("{}\r\n.", raw.replace("\r\n.", "\r\n.."))).await;
        client.say("QUIT").await;
        reply
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((shutdown, running)) = self.running.take() {
            shutdown.begin();
            running.abort();
        }
        self.around.begin();
    }
}

#[expect(clippy::too_many_arguments, reason = "one place puts the configuration together")]
fn config(
    url: &str,
    nats: &Nats,
    keys: &Keys,
    attention_state: String,
    objects: PathBuf,
    secrets: PathBuf,
    resolver: ResolverChoice,
    unknown_retry_seconds: u64,
    object_bytes: u64,
    imap: ImapConfig,
) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        nats: NatsConfig { url: nats.url(), ..NatsConfig::default() },
        telemetry: TelemetryConfig::default(),
        auth: keys.auth_config("hilo"),
        objects: ObjectsConfig { path: objects, max_bytes: object_bytes },
        endpoints: Endpoints { attention_state, ..Endpoints::default() },
        profile: Profile::Embedded,
        section: Section {
            grpc: GrpcConfig { listen: any },
            database: DatabaseConfig::new(url),
            smtp: SmtpConfig {
                listen: any,
                hostname: "mx.hilo.example".into(),
                max_message_bytes: 26_214_400,
                max_buffered_bytes: 100 * 1024 * 1024,
                max_connections: 50,
                idle_seconds: 30,
            },
            thread_key: Secret::new(THREAD_KEY),
            resolver,
            secrets: Some(secrets),
            trusted_receivers: vec!["mx.hilo.example".into()],
            ca_certificates: None,
            parser: ParserConfig::default(),
            sender: SenderConfig { concurrency: 4, reply_seconds: 30, unknown_retry_seconds },
            imap,
        },
    }
}

/// A send from `ventas` to these addresses.
pub fn send(conversation: Uuid, sequence: i64, to: &[&str]) -> OutboundEnvelope {
    let send_id = Uuid::now_v7();
    let address = |address: &str| EmailAddress { address: address.into(), name: String::new() };
    OutboundEnvelope {
        send_id: send_id.to_string(),
        account_key: "ventas".into(),
        conversation_key: conversation.to_string(),
        sequence,
        created_at: Some(hilo_kit::clock::to_proto(hilo_kit::clock::wall())),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        content: Some(outbound_envelope::Content::Email(OutboundEmail {
            message_id: format!("{send_id}@hilo.example"),
            from: Some(address(VENTAS)),
            to: to.iter().map(|one| address(one)).collect(),
            subject: format!("Respuesta {sequence}"),
            text: format!("Texto {sequence}\n.\nfin"),
            in_reply_to: "m1@cliente.example".into(),
            ..OutboundEmail::default()
        })),
    }
}
