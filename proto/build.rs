//! Compiles the contracts with protox (no system `protoc`) and embeds their descriptor set for reflection and canonical JSON.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const FILES: [&str; 17] = [
    "hilo/inbound/v1/inbound.proto",
    "hilo/outbound/v1/outbound.proto",
    "hilo/delivery/v1/delivery.proto",
    "hilo/event/v1/event.proto",
    "hilo/internal/v1/assignment.proto",
    "hilo/internal/v1/operations.proto",
    "hilo/internal/v1/queues.proto",
    "hilo/internal/v1/templates.proto",
    "hilo/internal/v1/stored_thread.proto",
    "hilo/directory/v1/directory.proto",
    "hilo/identity/v1/identity.proto",
    "hilo/contact/v1/contact.proto",
    "hilo/history/v1/history.proto",
    "hilo/report/v1/report.proto",
    "hilo/routing/v1/routing.proto",
    "hilo/attention/v1/attention.proto",
    "hilo/dialer/v1/dialer.proto",
];

/// Package of the public events.
const EVENTS: &str = "hilo.event.v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=hilo");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    fs::write(out.join("hilo.binpb"), descriptors.encode_to_vec())?;
    // Ordered maps: equal messages have equal bytes, which request ids and frozen examples compare.
    let builder = tonic_prost_build::configure().codec_path("crate::codec::LeanCodec").btree_map(".");
    with_plain_json(builder, &descriptors)?.compile_fds(descriptors)?;
    Ok(())
}

/// Events are written and read by the thousand, so their JSON is derived (`src/json/plain.rs` says how each type is written), not
/// reflected. A field of a type that is not known there ends the build.
fn with_plain_json(
    mut builder: tonic_prost_build::Builder,
    descriptors: &FileDescriptorSet,
) -> Result<tonic_prost_build::Builder, Box<dyn Error>> {
    let events = descriptors.file.iter().filter(|file| file.package() == EVENTS);
    for message in events.flat_map(|file| &file.message_type) {
        builder = builder.type_attribute(
            format!("{EVENTS}.{}", message.name()),
            "#[derive(serde::Serialize, serde::Deserialize)] #[serde(rename_all = \"camelCase\", default)]",
        );
        for field in &message.field {
            let path = format!("{EVENTS}.{}.{}", message.name(), field.name());
            builder = builder.field_attribute(path, format!("#[serde({})]", plain(message, field)?));
        }
    }
    Ok(builder)
}

/// How a field is written, and when it is left out: default values are.
fn plain(message: &DescriptorProto, field: &FieldDescriptorProto) -> Result<String, String> {
    let by = |module: &str, empty: &str| {
        format!("with = \"crate::json::plain::{module}\", skip_serializing_if = \"{empty}\"")
    };
    let zero = "crate::json::plain::is_default";
    let of = field.type_name().rsplit('.').next().unwrap_or_default();
    Ok(match (field.label(), field.r#type()) {
        (Label::Repeated, Type::String) => "skip_serializing_if = \"Vec::is_empty\"".to_owned(),
        (Label::Optional, Type::String) => "skip_serializing_if = \"String::is_empty\"".to_owned(),
        (Label::Optional, Type::Bool | Type::Int32) => format!("skip_serializing_if = \"{zero}\""),
        (Label::Optional, Type::Int64) => by("int64", zero),
        (Label::Optional, Type::Enum) => by(&format!("words::{of}"), zero),
        (Label::Optional, Type::Message) if field.type_name() == ".google.protobuf.Timestamp" => {
            by("instant", "Option::is_none")
        }
        (Label::Optional, Type::Message) => "skip_serializing_if = \"Option::is_none\"".to_owned(),
        _ => return Err(format!("{}.{}: no plain JSON for its type", message.name(), field.name())),
    })
}
