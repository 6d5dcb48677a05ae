//! `hilo-graph-simulator`: the simulator as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use hilo_simulators::{Config, Simulator};

/// The WhatsApp Cloud API on loopback, as Meta documents it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; loopback only.
    #[arg(long, default_value = "127.0.0.1:8460")]
    listen: SocketAddr,
    /// A file of apps, numbers, templates and behaviour (JSON). Without it: one app, one number, three templates.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where the webhooks of the first app go; loopback only. Set without a handshake, so that the receiver may start later.
    #[arg(long)]
    callback: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut config = match &arguments.config {
        None => Config::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?
        }
    };
    config.listen = arguments.listen;
    if let (Some(app), Some(callback)) = (config.apps.first_mut(), arguments.callback) {
        app.callback = Some(callback);
    }
    let simulator = Simulator::start(config).await?;
    println!("{}", simulator.base_url());
    tokio::signal::ctrl_c().await.context("waiting for the end")
}
