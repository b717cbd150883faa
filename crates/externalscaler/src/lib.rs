//! Generated code of KEDA's external scaler protocol (`proto/externalscaler.proto`): messages, server and client.
//! It is committed so that building needs no protobuf compiler; `tests/regenerate.rs` keeps it equal to the proto.

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
#[rustfmt::skip]
#[path = "generated/externalscaler.rs"]
mod generated;

pub use generated::*;

/// The protocol's description, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/externalscaler.bin");
