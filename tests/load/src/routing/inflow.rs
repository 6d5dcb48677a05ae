//! Messages as an ingest service's relay hands them over: protobuf on INBOUND with the headers of an outbox row, on an open schedule.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishAckFuture;
use bytes::Bytes;
use hilo_end_to_end::Installation;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::inbound::v1::inbound_envelope::Content;
use hilo_proto::inbound::v1::{
    DmarcResult, EmailAddress, InboundEmail, InboundEnvelope, MailClass, ThreadingEvidence,
};
use prost::Message as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Ledger, World};

/// A refused or unanswered publication is repeated with the same id after this pause, as a relay does it.
const AGAIN: Duration = Duration::from_millis(100);
/// Given up after this long.
const PATIENCE: Duration = Duration::from_secs(90);
/// What a customer writes.
const TEXT: &str = "Buenos días, compré un colchón la semana pasada y todavía no llega. ¿Me pueden ayudar?";

/// The way into the house.
#[derive(Clone)]
pub struct Inflow {
    jetstream: Context,
    subjects: Subjects,
    ledger: Arc<Ledger>,
}

/// Messages and when they are due.
#[derive(Clone, Debug)]
pub struct Due {
    /// Numbers in the ledger.
    pub messages: Range<usize>,
    /// Campaigns they are for, in turn.
    pub campaigns: Range<usize>,
    /// Per second.
    pub rate: f64,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Largest delay between a due instant and the publication: the generator's own lateness.
    pub lag: Duration,
    /// Publications that had to be repeated.
    pub repeated: usize,
}

/// A publication that waits for its acknowledgement.
struct Waiting {
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    ack: Option<PublishAckFuture>,
}

impl Inflow {
    /// To an installation's broker.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn connect(installation: &Installation, ledger: Arc<Ledger>) -> Result<Self> {
        let client = async_nats::connect(installation.nats_url()).await?;
        let jetstream = async_nats::jetstream::new(client);
        let subjects = Subjects::new(installation.prefix()).context("prefix")?;
        Ok(Self { jetstream, subjects, ledger })
    }

    /// Publishes on schedule and waits until the broker has everything.
    ///
    /// # Errors
    /// When the broker does not take a message for a long time.
    pub async fn run(&self, due: Due) -> Result<Sent> {
        let (waiting, mut acks) = mpsc::channel::<Waiting>(8_192);
        let jetstream = self.jetstream.clone();
        let acknowledged = tokio::spawn(async move {
            let mut repeated = 0;
            while let Some(one) = acks.recv().await {
                repeated += settle(&jetstream, one).await?;
            }
            anyhow::Ok(repeated)
        });
        let begun = Instant::now() + Duration::from_millis(100);
        let mut lag = Duration::ZERO;
        for (nth, message) in due.messages.clone().enumerate() {
            let at = begun + Duration::from_secs_f64(nth as f64 / due.rate);
            if at > Instant::now() {
                tokio::time::sleep_until(at.into()).await;
            }
            let campaign = due.campaigns.start + nth % due.campaigns.len().max(1);
            self.ledger.due(message, campaign, at);
            let mut one = self.message(message, campaign)?;
            let sent = self
                .jetstream
                .publish_with_headers(one.subject.clone(), one.headers.clone(), one.payload.clone())
                .await;
            // How late it left, not how late it was begun.
            lag = lag.max(at.elapsed());
            one.ack = sent.ok();
            waiting.send(one).await.context("acknowledgements")?;
        }
        drop(waiting);
        Ok(Sent { lag, repeated: acknowledged.await?? })
    }

    /// Waits until attention-state has taken everything in: a work queue keeps what nobody has acknowledged.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn taken_in(&self, within: Duration) -> Result<()> {
        let mut stream = self.jetstream.get_stream(self.subjects.stream(StreamKind::Inbound)).await?;
        let until = Instant::now() + within;
        loop {
            let left = stream.info().await?.state.messages;
            if left == 0 {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "{left} messages were not taken in within {within:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The first message of a new customer.
    fn message(&self, message: usize, campaign: usize) -> Result<Waiting> {
        let account = World::campaign(campaign);
        let (ledger_id, conversation) = (Uuid::now_v7(), Uuid::now_v7());
        let subject = self.subjects.handover(StreamKind::Inbound, "email", &account).context("subject")?;
        let envelope = InboundEnvelope {
            ledger_id: ledger_id.to_string(),
            account_key: account.clone(),
            conversation_key: conversation.to_string(),
            sequence: 1,
            received_at: Some(hilo_kit::clock::to_proto(hilo_kit::clock::wall())),
            traceparent: String::new(),
            content: Some(Content::Email(mail(message, &account, ledger_id))),
        };
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_ID, ledger_id.to_string());
        headers.insert(HEADER_KEY, conversation.to_string());
        headers.insert(HEADER_SEQUENCE, "1");
        headers.insert(NATS_MESSAGE_ID, ledger_id.to_string());
        Ok(Waiting { subject, headers, payload: envelope.encode_to_vec().into(), ack: None })
    }
}

/// Address of the customer of a message.
pub fn customer(message: usize) -> String {
    format!("cliente-{message}@cliente.example")
}

/// The message a customer of ours wrote.
pub fn message_of(address: &str) -> Option<usize> {
    address.strip_prefix("cliente-")?.split('@').next()?.parse().ok()
}

fn mail(message: usize, account: &str, id: Uuid) -> InboundEmail {
    let address = |address: String| EmailAddress { address, name: String::new() };
    let to = format!("{account}@hilo.example");
    InboundEmail {
        message_id: format!("{id}@cliente.example"),
        from: Some(address(customer(message))),
        to: vec![address(to.clone())],
        envelope_recipients: vec![to],
        envelope_sender: customer(message),
        subject: "Consulta por mi pedido".to_owned(),
        text: TEXT.to_owned(),
        evidence: Some(ThreadingEvidence {
            dmarc: DmarcResult::NoPolicy.into(),
            spf: "none".to_owned(),
            dkim: "none".to_owned(),
            unauthenticated_replies_accepted: true,
            ..ThreadingEvidence::default()
        }),
        mail_class: MailClass::Human.into(),
        ..InboundEmail::default()
    }
}

/// Waits for the acknowledgement, repeating the publication under its id; answers how often.
async fn settle(jetstream: &Context, mut one: Waiting) -> Result<usize> {
    let begun = Instant::now();
    let mut repeated = 0;
    loop {
        if let Some(ack) = one.ack.take()
            && ack.await.is_ok()
        {
            return Ok(repeated);
        }
        anyhow::ensure!(
            begun.elapsed() < PATIENCE,
            "the broker took a message neither at once nor in {PATIENCE:?}"
        );
        tokio::time::sleep(AGAIN).await;
        repeated += 1;
        let again =
            jetstream.publish_with_headers(one.subject.clone(), one.headers.clone(), one.payload.clone());
        one.ack = again.await.ok();
    }
}
