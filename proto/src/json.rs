//! Canonical proto3 JSON (<https://protobuf.dev/programming-guides/json/>) of any message of the contracts.
//!
//! Public events are read by other systems, so their bytes must be the same every time: fields in field-number order,
//! instants ending in `Z`, 64-bit numbers as strings, default values left out.

pub(crate) mod plain;

use std::sync::LazyLock;

use crate::event::v1::AttentionEvent;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET)
        .expect("the embedded descriptor set was written by the build")
});

/// Why a message could not be turned into JSON, or back.
#[derive(Debug)]
pub struct JsonError(String);

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "message {} does not fit its contract", self.0)
    }
}

impl std::error::Error for JsonError {}

/// Canonical JSON of `message`, whose full protobuf name (for instance `hilo.event.v1.AttentionEvent`) is `name`.
///
/// # Errors
/// When `name` is not a message of the contracts or `message` is of another type.
pub fn to_json<M: prost::Message>(name: &str, message: &M) -> Result<Vec<u8>, JsonError> {
    let error = || JsonError(name.to_owned());
    let descriptor = POOL.get_message_by_name(name).ok_or_else(error)?;
    let dynamic =
        DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|_| error())?;
    let mut serializer = serde_json::Serializer::new(Vec::new());
    dynamic.serialize_with_options(&mut serializer, &SerializeOptions::new()).map_err(|_| error())?;
    Ok(serializer.into_inner())
}

/// Full name of a public event.
const EVENT: &str = "hilo.event.v1.AttentionEvent";

/// A public event as [`to_json`] writes it, byte for byte, by a plain path: reflection costs twenty times as much.
///
/// # Errors
/// Never for an event that is made of the contract's types.
pub fn event(event: &AttentionEvent) -> Result<Vec<u8>, JsonError> {
    serde_json::to_vec(event).map_err(|_| JsonError(EVENT.to_owned()))
}

/// Reads a public event as [`from_json`] does. Unknown fields are ignored, unknown words of an enum are "not set".
///
/// # Errors
/// When `json` does not fit the contract.
pub fn read_event(json: &[u8]) -> Result<AttentionEvent, JsonError> {
    serde_json::from_slice(json).map_err(|_| JsonError(EVENT.to_owned()))
}

/// Reads canonical JSON; unknown fields are ignored, since within a version contracts only grow.
///
/// # Errors
/// When `name` is unknown or `json` does not fit it.
pub fn from_json<M: prost::Message + Default>(name: &str, json: &[u8]) -> Result<M, JsonError> {
    let error = || JsonError(name.to_owned());
    let descriptor = POOL.get_message_by_name(name).ok_or_else(error)?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options)
        .map_err(|_| error())?;
    dynamic.transcode_to().map_err(|_| error())
}
