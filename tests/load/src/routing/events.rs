//! The public events after a run, read as another system reads them: nothing missing, nothing under one number twice, in order.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures::StreamExt as _;
use hilo_end_to_end::Installation;
use uuid::Uuid;

/// A stream that says nothing for so long has been read to its end.
const SILENCE: Duration = Duration::from_secs(10);

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// Attentions with events.
    pub attentions: usize,
    /// Events read.
    pub events: usize,
    /// Numbers seen again, which the rules allow.
    pub repeated: usize,
    /// Numbers that came after a gap or late: there must be none.
    pub out_of_order: usize,
}

impl Order {
    /// Reads the whole event stream of an installation. The rule: who reads everything sees no gap, and ignores a number he has seen.
    ///
    /// # Errors
    /// When the broker cannot be read or an event lacks its attributes.
    pub async fn read(installation: &Installation) -> Result<Self> {
        let client = async_nats::connect(installation.nats_url()).await?;
        let name = format!("{}_EVENTS", installation.prefix().to_uppercase());
        let mut stream = async_nats::jetstream::new(client).get_stream(name).await?;
        let last = stream.info().await?.state.last_sequence;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        };
        let mut messages = stream.create_consumer(config).await?.messages().await?;
        let (mut order, mut known): (Self, HashMap<Uuid, u64>) = (Self::default(), HashMap::new());
        let mut at = 0;
        while at < last {
            let message =
                tokio::time::timeout(SILENCE, messages.next()).await.context("the event stream is silent")?;
            let message = message.context("the event stream ended")??;
            at = message.info().map_err(|error| anyhow::anyhow!("{error}"))?.stream_sequence;
            let headers = message.headers.as_ref().context("an event without headers")?;
            let header = |name: &str| headers.get(name).map(|value| value.as_str()).context("an attribute");
            let number: u64 = header("ce-sequence")?.parse().context("ce-sequence")?;
            let seen = known.entry(header("ce-subject")?.parse().context("ce-subject")?).or_default();
            order.events += 1;
            order.repeated += usize::from(number <= *seen);
            order.out_of_order += usize::from(number > *seen + 1);
            *seen = number.max(*seen);
        }
        order.attentions = known.len();
        Ok(order)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attentions, events, repeated, out_of_order } = self;
        write!(
            f,
            "{events} events of {attentions} attentions, {repeated} repeated, {out_of_order} out of order"
        )
    }
}
