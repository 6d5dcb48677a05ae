//! Writes what the services and the command-line clients of this stack need to know: `hilo.yaml` and `stack.json`.

use hilo_kit::error::Error;
use serde_json::{Value, json};

use super::folder::{self, DataFolder};
use super::ports::Ports;
use super::postgres::ROLE;
use super::secrets::Secrets;

const HEADER: &str = "# Written by `hilo run` at every start; changes here are lost.\n\
    # Change a setting by the environment instead: HILO__NATS__PREFIX=hilo, HILO__EMAIL_INGEST__SMTP__MAX_MESSAGE_BYTES=...\n";

/// Writes `hilo.yaml`.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(folder: &DataFolder, ports: &Ports, secrets: &Secrets) -> Result<(), Error> {
    let text = serde_yaml_ng::to_string(&services(folder, ports, secrets))
        .map_err(|error| Error::internal("CONFIG_NOT_WRITTEN", "hilo.yaml").with_source(error))?;
    folder::write_private(&folder.config(), &format!("{HEADER}{text}"))
}

fn services(folder: &DataFolder, ports: &Ports, secrets: &Secrets) -> Value {
    let listen = |port: u16| json!({ "listen": format!("127.0.0.1:{port}") });
    let database = |name: &str| json!({ "url": database_url(ports, secrets, name) });
    json!({
        "profile": "embedded",
        "nats": { "url": nats_url(ports), "prefix": "hilo" },
        "telemetry": { "log": "info", "json": true },
        "auth": {
            "issuer": "hilo",
            "verify_key": secrets.verify_key,
            "service_secret": secrets.service_secret,
        },
        "objects": { "path": folder.objects() },
        "endpoints": endpoints(ports),
        "front": listen(ports.front()),
        "attention-state": {
            "grpc": listen(ports.attention_state()),
            "database": database("hilo_attention"),
            "signing_key": secrets.signing_key,
            "thread_key": secrets.thread_key,
        },
        "routing": { "grpc": listen(ports.routing()) },
        "history": { "grpc": listen(ports.history()), "database": database("hilo_history") },
        "email-ingest": {
            "grpc": listen(ports.email_ingest()),
            "database": database("hilo_email"),
            "smtp": { "listen": format!("127.0.0.1:{}", ports.smtp()) },
            "thread_key": secrets.thread_key,
            // The demo's customers live under .example, where nothing can be looked up.
            "resolver": "none",
            // Passwords of mailboxes that a directory names (`password_secret`), one file each.
            "secrets": folder.mail_secrets(),
        },
        "whatsapp-ingest": {
            "grpc": listen(ports.whatsapp_ingest()),
            "database": database("hilo_whatsapp"),
            "webhook": listen(ports.webhook()),
            // App secrets, verify tokens and access tokens that a directory names, one file each.
            "secrets": folder.mail_secrets(),
            // The simulator in this stack. For Meta itself: HILO__WHATSAPP_INGEST__GRAPH__BASE_URL=https://graph.facebook.com
            "graph": { "base_url": at(ports.simulator()) },
        },
    })
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn nats_url(ports: &Ports) -> String {
    format!("nats://127.0.0.1:{}", ports.nats())
}

fn database_url(ports: &Ports, secrets: &Secrets, name: &str) -> String {
    format!("postgres://{ROLE}:{}@127.0.0.1:{}/{name}", secrets.database_password, ports.postgres())
}

fn endpoints(ports: &Ports) -> Value {
    json!({
        "attention_state": at(ports.attention_state()),
        "routing": at(ports.routing()),
        "history": at(ports.history()),
        "email_ingest": at(ports.email_ingest()),
        "whatsapp_ingest": at(ports.whatsapp_ingest()),
    })
}

/// Writes `stack.json`, the sign of a running stack and the way to it. No secret is in it.
///
/// # Errors
/// When the folder cannot be written to.
pub fn announce(folder: &DataFolder, ports: &Ports) -> Result<(), Error> {
    let stack = json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "front": at(ports.front()),
        "phone": at(ports.simulator()),
        "smtp": format!("127.0.0.1:{}", ports.smtp()),
        "mailbox": format!("127.0.0.1:{}", ports.mailbox()),
        "outbox": folder.outbox(),
        "nats": nats_url(ports),
        "prefix": "hilo",
        "config": folder.config(),
        "agents": folder.agents(),
        "services": endpoints(ports),
    });
    folder::write_private(&folder.endpoints(), &format!("{stack:#}\n"))
}

/// Takes the announcement back.
pub fn withdraw(folder: &DataFolder) {
    // Absent is what we want.
    let _ = std::fs::remove_file(folder.endpoints());
}
