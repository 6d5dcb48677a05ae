//! The contracts of Hilo as Rust types: one module per protobuf package, generated at build time from `proto/hilo`.
//!
//! What a message or field means stands in the `.proto` files. `json` turns messages into canonical proto3 JSON.

pub mod codec;
pub mod json;

/// Descriptor set of every contract, for gRPC reflection and canonical JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hilo.binpb"));

macro_rules! package {
    ($area:ident, $name:literal) => {
        #[doc = concat!("Package `", $name, "`.")]
        pub mod $area {
            /// Version 1.
            #[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated code")]
            pub mod v1 {
                tonic::include_proto!($name);
            }
        }
    };
}

package!(inbound, "hilo.inbound.v1");
package!(outbound, "hilo.outbound.v1");
package!(delivery, "hilo.delivery.v1");
package!(event, "hilo.event.v1");
package!(internal, "hilo.internal.v1");
package!(directory, "hilo.directory.v1");
package!(identity, "hilo.identity.v1");
package!(contact, "hilo.contact.v1");
package!(history, "hilo.history.v1");
package!(report, "hilo.report.v1");
package!(routing, "hilo.routing.v1");
package!(attention, "hilo.attention.v1");
package!(dialer, "hilo.dialer.v1");
