//! The configuration file of a test installation.

use anyhow::Result;
use hilo_test_support::Dovecot;

use super::{Installation, Service};

/// Subject prefix; not the default, so that a hard-wired one is noticed.
pub const PREFIX: &str = "prueba";
const THREAD_KEY: &str = "clave-de-hilos-de-una-instalacion-de-prueba-0123456789";

/// A Dovecot with the mailbox `buzon`.
///
/// # Errors
/// When Dovecot is missing.
pub async fn mailbox() -> Result<Dovecot> {
    Dovecot::start(&[("buzon", "secreto-del-buzon")]).await
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// The one file all five processes read.
pub fn yaml(installation: &Installation) -> String {
    let port = |service| installation.ports.get(&service).copied().unwrap_or_default();
    let folder = installation.folder.path().display();
    let database = |name: &str| installation.postgres.url(name);
    let otlp =
        installation.options.otlp_endpoint.as_deref().map_or("null".to_owned(), |url| format!("\"{url}\""));
    let keys = &installation.keys;
    format!(
        "profile: embedded
nats: {{url: \"{nats}\", prefix: {PREFIX}}}
telemetry: {{otlp_endpoint: {otlp}, log: info, json: true}}
objects: {{path: \"{folder}/objects\"}}
auth:
  issuer: hilo
  verify_key: |
{verify_key}  service_secret: {service_secret}
endpoints:
  attention_state: http://127.0.0.1:{attention}
  routing: http://127.0.0.1:{routing}
  history: http://127.0.0.1:{history}
  email_ingest: http://127.0.0.1:{email}
  whatsapp_ingest: http://127.0.0.1:{whatsapp}
attention-state:
  grpc: {{listen: \"127.0.0.1:{attention}\"}}
  database: {{url: \"{attention_database}\"}}
  thread_key: {THREAD_KEY}
  purge_after_seconds: {purge_after}
  signing_key: |
{signing_key}routing:
  grpc: {{listen: \"127.0.0.1:{routing}\"}}
history:
  grpc: {{listen: \"127.0.0.1:{history}\"}}
  database: {{url: \"{history_database}\"}}
email-ingest:
  grpc: {{listen: \"127.0.0.1:{email}\"}}
  database: {{url: \"{email_database}\"}}
  smtp: {{listen: \"127.0.0.1:{smtp}\"}}
  resolver: none
  sender: {{unknown_retry_seconds: 2}}
  thread_key: {THREAD_KEY}
whatsapp-ingest:
  grpc: {{listen: \"127.0.0.1:{whatsapp}\"}}
  database: {{url: \"{whatsapp_database}\"}}
{whatsapp_more}",
        nats = installation.nats_url,
        verify_key = indented(&keys.verify_key),
        service_secret = keys.service_secret.expose(),
        signing_key = indented(keys.signing_key.expose()),
        attention = port(Service::AttentionState),
        routing = port(Service::Routing),
        history = port(Service::History),
        email = port(Service::EmailIngest),
        whatsapp = port(Service::WhatsappIngest),
        smtp = installation.smtp_port,
        purge_after = installation.options.purge_after_seconds,
        attention_database = database("hilo_attention"),
        history_database = database("hilo_history"),
        email_database = database("hilo_email"),
        whatsapp_database = database("hilo_whatsapp"),
        whatsapp_more = super::meta::Meta::configuration(installation.meta.as_ref()),
    )
}
