//! `hilo events tail`: prints what happens as CloudEvents, read from the stream EVENTS as any other system could.
//!
//! It always reads the whole of `<prefix>.attention.v1.>` and filters what it prints, because only who reads everything can
//! tell a gap from a filtered event.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use futures::StreamExt as _;
use serde_json::Value;

use super::terminal::{Output, clean};
use super::{Failure, Installation};

/// A broker that does not answer by then is not there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Pause before the stream is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Attentions whose last sequence is remembered; with more, the longest untouched are forgotten.
const MAX_ATTENTIONS: usize = 200_000;

/// Arguments of `hilo events`.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum EventsCommand {
    /// Print events as they come, one per line
    Tail(TailArgs),
}

#[derive(Debug, clap::Args)]
struct TailArgs {
    /// Only events of this campaign
    #[arg(long, value_name = "KEY")]
    campaign: Option<String>,
    /// Only events of this type, for instance interaction_queued
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Begin with the oldest event that the stream still has
    #[arg(long)]
    from_start: bool,
    /// Print whole CloudEvents in JSON (structured mode)
    #[arg(long)]
    json: bool,
    /// End after this many printed events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Broker [default: from the data folder, else nats://127.0.0.1:8422]
    #[arg(long, env = "HILO_NATS", value_name = "URL")]
    nats: Option<String>,
}

/// A CloudEvent (CloudEvents 1.0, binary mode of the NATS binding) as received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloudEvent {
    /// `ce-id`.
    pub id: String,
    /// `ce-source`.
    pub source: String,
    /// `ce-type`, for instance `hilo.attention.v1.interaction_queued`.
    pub kind: String,
    /// `ce-time`, RFC 3339.
    pub time: String,
    /// `ce-subject`: the attention.
    pub subject: String,
    /// `ce-sequence` as a number; 0 when it is missing.
    pub sequence: u64,
    /// `ce-traceparent`.
    pub traceparent: String,
    /// The data, canonical proto3 JSON.
    pub data: Value,
}

impl CloudEvent {
    /// Reads headers and payload; what is missing stays empty.
    pub fn read(message: &async_nats::Message) -> Self {
        let header = |name: &str| {
            let headers = message.headers.as_ref();
            headers
                .and_then(|headers| headers.get(name))
                .map(|value| value.as_str().to_owned())
                .unwrap_or_default()
        };
        Self {
            id: header("ce-id"),
            source: header("ce-source"),
            kind: header("ce-type"),
            time: header("ce-time"),
            subject: header("ce-subject"),
            sequence: header("ce-sequence").parse().unwrap_or_default(),
            traceparent: header("ce-traceparent"),
            data: serde_json::from_slice(&message.payload).unwrap_or_default(),
        }
    }

    /// The last word of the type, for instance `interaction_queued`.
    pub fn name(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or_default()
    }

    /// A text of the data.
    pub fn text(&self, pointer: &str) -> &str {
        self.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// One line for a person.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{}  #{}  {:>3}  {:<26}  {}",
            milliseconds(&self.time),
            self.text("/attentionNumber"),
            self.sequence,
            clean(self.name()),
            clean(self.text("/campaignKey")),
        );
        let offered = self.text("/interaction/offer/agentKey");
        let facts = [
            (
                "interaction",
                self.text("/interaction/state").trim_start_matches("INTERACTION_STATE_").to_lowercase(),
            ),
            ("offered to", offered.to_owned()),
            ("agent", self.text("/interaction/agentKey").to_owned()),
            ("delivery", self.text("/message/deliveryState").to_owned()),
            ("reason", self.text("/reason").to_owned()),
        ];
        for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
            line.push_str(&format!("  {name} {}", clean(&value)));
        }
        line
    }

    /// The event in structured mode (CloudEvents JSON format).
    pub fn structured(&self) -> Value {
        serde_json::json!({
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.kind,
            "time": self.time,
            "subject": self.subject,
            "sequence": format!("{:020}", self.sequence),
            "traceparent": self.traceparent,
            "datacontenttype": "application/json",
            "data": self.data,
        })
    }
}

/// An instant cut, or filled up, to milliseconds, so that lines stand below each other.
fn milliseconds(instant: &str) -> String {
    let text = clean(instant);
    let (seconds, fraction) =
        text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    format!("{seconds}.{fraction}Z")
}

/// What a sequence says beside the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The first event of this attention that this reader sees.
    First,
    /// The next one.
    Next,
    /// Events are missing from this number on.
    Gap(u64),
    /// Seen before: delivered again.
    Again,
}

/// The last sequence of every attention.
#[derive(Debug, Default)]
pub struct SequenceBook {
    last: HashMap<String, u64>,
}

impl SequenceBook {
    /// Notes a sequence.
    pub fn note(&mut self, attention: &str, sequence: u64) -> Seen {
        if self.last.len() >= MAX_ATTENTIONS && !self.last.contains_key(attention) {
            // A forgotten attention only loses its gap check for one event.
            self.last.clear();
        }
        match self.last.get_mut(attention) {
            None => {
                self.last.insert(attention.to_owned(), sequence);
                Seen::First
            }
            Some(last) if sequence <= *last => Seen::Again,
            Some(last) => {
                let expected = *last + 1;
                *last = sequence;
                if sequence == expected { Seen::Next } else { Seen::Gap(expected) }
            }
        }
    }
}

/// Connects to the broker.
///
/// # Errors
/// `NOBODY_ANSWERS` when it is not there.
pub async fn connect(url: &str) -> Result<async_nats::Client, Failure> {
    let nobody =
        || Failure::unavailable("NOBODY_ANSWERS", format!("no NATS server answers at {}", clean(url)));
    let connecting = tokio::time::timeout(CONNECT_DEADLINE, async_nats::connect(url)).await;
    connecting.map_err(|_| nobody())?.map_err(|_| nobody().detail("is `make run` running?"))
}

/// An ephemeral ordered reader of all events: it leaves nothing behind on the server.
///
/// # Errors
/// `NO_EVENTS_STREAM` when the stream does not exist.
pub async fn subscribe(
    client: async_nats::Client,
    prefix: &str,
    from_start: bool,
) -> Result<consumer::pull::Ordered, Failure> {
    let stream = format!("{}_EVENTS", prefix.to_uppercase());
    let missing = |error: String| {
        Failure::unavailable("NO_EVENTS_STREAM", format!("stream {stream} cannot be read: {error}"))
    };
    let found =
        jetstream::new(client).get_stream(&stream).await.map_err(|error| missing(error.to_string()))?;
    let deliver_policy = if from_start { consumer::DeliverPolicy::All } else { consumer::DeliverPolicy::New };
    let filter_subject = format!("{prefix}.attention.v1.>");
    let config = consumer::pull::OrderedConfig { deliver_policy, filter_subject, ..Default::default() };
    let reader = found.create_consumer(config).await.map_err(|error| missing(error.to_string()))?;
    reader.messages().await.map_err(|error| missing(error.to_string()))
}

/// Runs `hilo events`.
///
/// # Errors
/// When the broker or its stream is not there.
pub async fn execute(args: EventsArgs) -> Result<(), Failure> {
    let EventsCommand::Tail(tail) = args.command;
    let local = args.installation.local()?;
    let client = connect(&tail.nats.clone().unwrap_or_else(|| local.nats())).await?;
    let mut messages = subscribe(client.clone(), &local.prefix(), tail.from_start).await?;
    let mut output = Output::stdout();
    let mut book = SequenceBook::default();
    let mut printed = 0;
    while tail.count.is_none_or(|count| printed < count) {
        match messages.next().await {
            Some(Ok(message)) => {
                printed += u64::from(print(&tail, &CloudEvent::read(&message), &mut book, &mut output)?)
            }
            Some(Err(error)) => {
                eprintln!("hilo: reading again after: {}", clean(&error.to_string()));
                tokio::time::sleep(RETRY).await;
            }
            None => messages = come_back(&client, &local.prefix()).await,
        }
    }
    Ok(())
}

/// The stream went away (deleted, or created anew): reads it from its start once it is there again. What was printed before is
/// known by its sequence and not printed again.
async fn come_back(client: &async_nats::Client, prefix: &str) -> consumer::pull::Ordered {
    eprintln!("hilo: the stream is gone; waiting for it");
    loop {
        tokio::time::sleep(RETRY).await;
        if let Ok(messages) = subscribe(client.clone(), prefix, true).await {
            return messages;
        }
    }
}

fn print(
    tail: &TailArgs,
    event: &CloudEvent,
    book: &mut SequenceBook,
    output: &mut Output,
) -> Result<bool, Failure> {
    match book.note(&event.subject, event.sequence) {
        Seen::Again => return Ok(false),
        Seen::Gap(expected) => eprintln!(
            "hilo: GAP: attention {} has no events {expected} to {}; GetAttention or ListEvents heals it",
            clean(&event.subject),
            event.sequence - 1
        ),
        Seen::First | Seen::Next => {}
    }
    let wanted = tail.campaign.as_deref().is_none_or(|campaign| event.text("/campaignKey") == campaign)
        && tail.kind.as_deref().is_none_or(|kind| event.name() == kind || event.kind == kind);
    if wanted {
        output.line(if tail.json { event.structured().to_string() } else { event.line() })?;
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64) -> CloudEvent {
        CloudEvent {
            kind: "hilo.attention.v1.interaction_offered".to_owned(),
            time: "2026-11-21T21:14:03.12345Z".to_owned(),
            subject: "att".to_owned(),
            sequence,
            data: serde_json::json!({
                "attentionNumber": "5804", "campaignKey": "soporte",
                "interaction": {"state": "INTERACTION_STATE_QUEUED", "offer": {"agentKey": "ana"}},
            }),
            ..CloudEvent::default()
        }
    }

    #[test]
    fn a_line_says_what_happened() {
        assert_eq!(
            event(3).line(),
            "2026-11-21T21:14:03.123Z  #5804    3  interaction_offered         soporte  interaction queued  offered to ana"
        );
        assert_eq!(milliseconds("2026-11-21T21:14:03Z"), "2026-11-21T21:14:03.000Z");
        assert_eq!(milliseconds("2026-11-21T21:14:03.5Z"), "2026-11-21T21:14:03.500Z");
        assert_eq!(event(3).structured()["sequence"], "00000000000000000003");
    }

    #[test]
    fn gaps_and_repetitions_are_told_apart() {
        let mut book = SequenceBook::default();
        assert_eq!(book.note("a", 4), Seen::First);
        assert_eq!(book.note("a", 5), Seen::Next);
        assert_eq!(book.note("b", 1), Seen::First);
        assert_eq!(book.note("a", 5), Seen::Again);
        assert_eq!(book.note("a", 8), Seen::Gap(6));
        assert_eq!(book.note("a", 9), Seen::Next);
    }

    #[test]
    fn filters_leave_the_gap_check_whole() {
        let tail = TailArgs {
            campaign: Some("ventas".to_owned()),
            kind: None,
            from_start: false,
            json: false,
            count: None,
            nats: None,
        };
        let (mut book, mut output) = (SequenceBook::default(), Output::kept());
        assert!(!print(&tail, &event(1), &mut book, &mut output).expect("printed"));
        assert_eq!(book.note("att", 2), Seen::Next);
        let tail = TailArgs { campaign: None, kind: Some("interaction_offered".to_owned()), ..tail };
        assert!(print(&tail, &event(3), &mut book, &mut output).expect("printed"));
        assert!(!print(&tail, &event(3), &mut book, &mut output).expect("printed"));
        assert_eq!(output.take().len(), 1);
    }
}
