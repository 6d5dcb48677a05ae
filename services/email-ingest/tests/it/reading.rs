//! What the service hands over, read from the broker.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt;
use hilo_kit::nats::{Nats as Broker, StreamKind};

/// How long one request for the next message lasts.
const ONE_ASKING: Duration = Duration::from_secs(5);

/// The test's reader of a stream, made when it is asked for first.
pub async fn reader(broker: &Broker, known: &mut Option<PullConsumer>, kind: StreamKind) -> PullConsumer {
    if known.is_none() {
        let stream = broker.jetstream().get_stream(broker.subjects().stream(kind)).await.unwrap();
        let settings = pull::Config { durable_name: Some("test".into()), ..pull::Config::default() };
        *known = Some(stream.create_consumer(settings).await.unwrap());
    }
    known.clone().unwrap()
}

/// The next message, or none in that time. Asked for again and again: a request that went out while the broker was away is answered by nobody.
pub async fn next(reader: &PullConsumer, wait: Duration) -> Option<bytes::Bytes> {
    let began = Instant::now();
    while let Some(left) = wait.checked_sub(began.elapsed()) {
        let asked = reader.fetch().max_messages(1).expires(left.min(ONE_ASKING)).messages().await;
        if let Ok(mut batch) = asked
            && let Some(Ok(message)) = batch.next().await
        {
            message.ack().await.unwrap();
            return Some(message.payload.clone());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}
