//! Encoding and decoding by prost, as [`tonic_prost::ProstCodec`] does it, with less room kept per stream.
//!
//! A stream keeps the buffer it encodes into. With tonic's defaults that buffer grows by doubling to hold the largest message and stays so
//! for as long as the stream lives: hundreds of desks that wait for changes each kept the room of their first whole list. Here a message gets
//! exactly the room it needs, and a larger one leaves the buffer at once, so that the next message begins a new one while the
//! large one is still on its way (see `WatchDesk`, which sends such a message).

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};

/// Room that a stream has from its beginning, in bytes; messages that are longer leave by themselves.
const ROOM: usize = 2 * 1024;

/// The codec of every service here; messages on the wire are those of any gRPC peer.
#[derive(Clone, Debug)]
pub struct LeanCodec<T, U> {
    marker: PhantomData<(T, U)>,
}

impl<T, U> Default for LeanCodec<T, U> {
    fn default() -> Self {
        Self { marker: PhantomData }
    }
}

impl<T, U> Codec for LeanCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = LeanEncoder<T>;
    type Decoder = <tonic_prost::ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        LeanEncoder { marker: PhantomData }
    }

    fn decoder(&mut self) -> Self::Decoder {
        tonic_prost::ProstCodec::<T, U>::default().decoder()
    }
}

/// Encodes into exactly the room a message needs.
#[derive(Clone, Debug)]
pub struct LeanEncoder<T> {
    marker: PhantomData<T>,
}

impl<T: Message> Encoder for LeanEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ROOM, ROOM)
    }
}
