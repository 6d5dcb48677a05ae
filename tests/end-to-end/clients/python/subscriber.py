"""Another system that subscribes to attention events by the published rules: nats-py, and the `cloudevents` package as reader.

A durable pull consumer reads `<prefix>.attention.v1.>`. After the first closed attention the program goes away with a message
unacknowledged, connects again, and must get that one again and everything since. In the end a second reader replays the stream
from its start and must see the same events, byte for byte.

Every message must be a CloudEvent in binary mode, its data must be what protobuf's own JSON reader takes for
hilo.event.v1.AttentionEvent (unknown fields refused), and each attention's sequences have no gap.

Prints `subscribed`, `connected again`, and in the end `evidence` with a JSON object.
"""

import argparse
import asyncio
import json
import time

import nats
import nats.errors
from cloudevents.core.bindings.http import HTTPMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from google.protobuf import json_format, timestamp_pb2
from hilo.event.v1 import event_pb2 as proto
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

# Generous: the machine may be busy with other tests.
PATIENCE = 240
# The headers of the published table (proto/README.md); each is there, and of its kind no other but the trace context.
HEADERS = {"id", "specversion", "source", "type", "time", "subject", "sequence", "datacontenttype"}
# Short, so that what was left unacknowledged comes back soon.
ACK_WAIT = 2


def check(true, what):
    # Not `assert`: python -O would drop it.
    if not true:
        raise SystemExit(f"failed: {what}")


class Log:
    """What was seen, in order per attention."""

    def __init__(self):
        self.attentions = {}
        self.repeats = 0

    def note(self, message):
        """Reads one message; answers the event's type without its prefix."""
        event, kind, subject, sequence = read(message)
        seen = self.attentions.setdefault(subject, [])
        if sequence <= len(seen):
            check(seen[sequence - 1][1:] == (event, bytes(message.data)), f"{subject}: two events under {sequence}")
            self.repeats += 1
            return kind
        check(sequence == len(seen) + 1, f"{subject}: {sequence} came after {len(seen)}")
        seen.append((kind, event, bytes(message.data)))
        return kind

    def closed(self):
        return sum(1 for seen in self.attentions.values() if seen[-1][0] == "attention_closed")

    def size(self):
        return sum(len(seen) for seen in self.attentions.values())


def read(message):
    """A message as a CloudEvent, with everything the contract promises about it checked."""
    headers = dict(message.headers or {})
    # The package takes a missing version for 1.0 and any header for an extension.
    attributes = {name[3:] for name in headers if name.startswith("ce-")}
    check(attributes - {"traceparent"} == HEADERS, f"headers: {headers}")
    # The package has no reader for NATS; that of HTTP reads it, for both name a header as its attribute with `ce-` before it.
    event = from_binary(HTTPMessage(headers=headers, body=bytes(message.data)), JSONFormat(), CloudEvent)
    check(event.get_specversion() == "1.0", f"specversion of {headers}")
    check(event.get_source() == "/hilo/attention-state", f"source of {headers}")
    check(event.get_datacontenttype() == "application/json", f"datacontenttype of {headers}")
    prefix, kind = event.get_type().rsplit(".", 1)
    check(prefix == "hilo.attention.v1", f"type of {headers}")
    written = event.get_extension("sequence")
    check(len(written) == 20 and written.isdigit(), f"sequence of {headers}")

    data = json_format.Parse(message.data, proto.AttentionEvent())
    check(proto.EventType.Name(data.type) == f"EVENT_TYPE_{kind.upper()}", f"{kind}: the data says {data.type}")
    check(message.subject.endswith(f".attention.v1.{data.campaign_key}.{kind}"), f"{message.subject} of {data}")
    check((data.attention_id, data.sequence) == (event.get_subject(), int(written)), f"{headers} of {data}")
    at = timestamp_pb2.Timestamp()
    at.FromDatetime(event.get_time())
    check(at == data.occurred_at, f"ce-time of {headers}: {data}")
    check(headers["ce-time"].endswith("Z"), f"ce-time of {headers}")
    # Canonical: what protobuf's own writer makes of it says the same.
    check(json.loads(json_format.MessageToJson(data)) == json.loads(message.data), f"not canonical: {message.data}")
    known = (event.get_id(), event.get_type(), event.get_subject(), event.get_time().isoformat())
    return known, kind, event.get_subject(), int(written)


async def follow(url, arguments, log, until):
    """Reads by the durable consumer until `until` answers true; leaves the last message unacknowledged."""
    connection = await nats.connect(url)
    context = connection.jetstream()
    consumer = await context.pull_subscribe(
        f"{arguments.prefix}.attention.v1.>",
        durable="independent-subscriber",
        config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.ALL, ack_wait=ACK_WAIT),
    )
    print("subscribed" if log.size() == 0 else "connected again", flush=True)
    deadline = time.monotonic() + PATIENCE
    while True:
        check(time.monotonic() < deadline, f"nothing more in {PATIENCE} s after {log.size()} events")
        try:
            messages = await consumer.fetch(batch=1, timeout=1)
        except (nats.errors.TimeoutError, asyncio.TimeoutError):
            continue
        for message in messages:
            log.note(message)
            if until():
                await connection.close()
                return
            await message.ack_sync()


async def replay(url, arguments, wanted):
    """A new reader, from the start, until it has seen as much of every attention."""
    connection = await nats.connect(url)
    context = connection.jetstream()
    consumer = await context.pull_subscribe(
        f"{arguments.prefix}.attention.v1.>",
        config=ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL),
    )
    log = Log()
    deadline = time.monotonic() + PATIENCE
    while any(len(log.attentions.get(key, [])) < len(seen) for key, seen in wanted.attentions.items()):
        check(time.monotonic() < deadline, f"the replay has {log.size()} of {wanted.size()} events")
        try:
            messages = await consumer.fetch(batch=50, timeout=1)
        except (nats.errors.TimeoutError, asyncio.TimeoutError):
            continue
        for message in messages:
            log.note(message)
    await connection.close()
    for key, seen in wanted.attentions.items():
        check(log.attentions[key][: len(seen)] == seen, f"{key}: the replay differs")
    return log


async def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nats", required=True, help="address of the broker")
    arguments.add_argument("--prefix", default="hilo", help="subject prefix of the installation")
    arguments.add_argument("--closed", type=int, required=True, help="ends after so many closed attentions")
    arguments = arguments.parse_args()
    log = Log()
    await follow(arguments.nats, arguments, log, lambda: log.closed() >= 1)
    await follow(arguments.nats, arguments, log, lambda: log.closed() >= arguments.closed and log.repeats >= 1)
    again = await replay(arguments.nats, arguments, log)
    evidence = {
        "attentions": {key: [kind for kind, _, _ in seen] for key, seen in log.attentions.items()},
        "delivered_again": log.repeats,
        "replayed": again.size(),
    }
    print("evidence", json.dumps(evidence), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
