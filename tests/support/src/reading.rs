//! A reader of a stream that gives up waiting only at the test's own deadline.

use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use bytes::Bytes;
use futures::StreamExt;

/// How long one request for the next message lasts.
const ONE_ASKING: Duration = Duration::from_secs(5);

/// Reads a stream from its beginning and acknowledges what it read, by a durable consumer that is made when it is first asked.
#[derive(Debug)]
pub struct Reader {
    stream: String,
    consumer: Option<PullConsumer>,
}

impl Reader {
    /// Of the stream with this name.
    pub fn of(stream: &str) -> Self {
        Self { stream: stream.to_owned(), consumer: None }
    }

    /// The next message's payload, or none in that time. It is asked for again and again: a request that went out while the
    /// broker was away is answered by nobody.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not take the acknowledgement.
    pub async fn next(&mut self, jetstream: &Context, wait: Duration) -> Result<Option<Bytes>> {
        let reader = self.consumer(jetstream).await?;
        let began = Instant::now();
        while let Some(left) = wait.checked_sub(began.elapsed()) {
            let asked = reader.fetch().max_messages(1).expires(left.min(ONE_ASKING)).messages().await;
            if let Ok(mut batch) = asked
                && let Some(Ok(message)) = batch.next().await
            {
                message.ack().await.map_err(|error| anyhow::anyhow!("acknowledging: {error}"))?;
                return Ok(Some(message.payload.clone()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }

    async fn consumer(&mut self, jetstream: &Context) -> Result<PullConsumer> {
        if let Some(known) = &self.consumer {
            return Ok(known.clone());
        }
        let stream = jetstream.get_stream(&self.stream).await?;
        let settings = pull::Config { durable_name: Some("test".into()), ..pull::Config::default() };
        let made = stream.create_consumer(settings).await?;
        self.consumer = Some(made.clone());
        Ok(made)
    }
}
