//! The gRPC services: parse the request, check role and campaign, call one named function, build the answer.

pub(crate) mod assignment_rpc;
pub(crate) mod attention_rpc;
pub(crate) mod contact_rpc;
pub(crate) mod dialer_rpc;
pub(crate) mod directory_feed_rpc;
pub(crate) mod directory_rpc;
pub(crate) mod ended_rpc;
pub(crate) mod identity_rpc;
pub(crate) mod queue_rpc;
pub(crate) mod template_rpc;
