//! Reports: `consumer` turns public events into facts, `rpc` answers from them, `contract` translates.

pub mod consumer;
mod contract;
mod rpc;

pub use contract::fact;
pub use rpc::ReportRpc;
