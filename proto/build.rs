//! Compiles the contracts with protox (no system `protoc`) and embeds their descriptor set for reflection and canonical JSON.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

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

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=hilo");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    fs::write(out.join("hilo.binpb"), descriptors.encode_to_vec())?;
    // Ordered maps: equal messages have equal bytes, which request ids and frozen examples compare.
    tonic_prost_build::configure()
        .codec_path("crate::codec::LeanCodec")
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
