//! `hilo demo`.
use crate::cli::Failure;
/// Arguments of `hilo demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}
/// Runs the demo.
pub async fn execute(_args: DemoArgs) -> Result<(), Failure> { Ok(()) }
