//! The other side of WhatsApp on a machine that cannot reach Meta: the simulator of the Cloud API from `tests/simulators`, with the number
//! of the demo directory, its templates and the phones of its customers. Part of the embedded stack only.
//!
//! It runs in this process, on a port of its own, and is spoken to by HTTP alone, as Meta would be: whatsapp-ingest knows nothing of it. A
//! process of its own would be one more program to build, find, watch and stop.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_simulators::{App, Config, Number, Simulator, Template};
use serde_json::json;

use super::folder::{self, DataFolder};
use super::poll;
use super::ports::{Ports, loopback};
use super::secrets::Secrets;

/// Meta's id of the demo's number; the directory names it too.
pub const NUMBER: &str = "106540352242922";
/// The WhatsApp Business Account of the demo's numbers.
pub const BUSINESS_ACCOUNT: &str = "102290129340398";
/// The app that owns them.
pub const APP: &str = "hilo-demo";
/// Names of the secrets, as the directory has them, and of their files.
pub const APP_SECRET: &str = "DEMO_META_APP";
/// As [`APP_SECRET`].
pub const VERIFY_TOKEN: &str = "DEMO_META_VERIFY";
/// As [`APP_SECRET`].
pub const ACCESS_TOKEN: &str = "DEMO_META_TOKEN";
/// Language of the demo's templates.
pub const LANGUAGE: &str = "es";
/// A template without variables, for a conversation that goes on after its window.
pub const RESUME: &str = "seguimos_en_contacto";

/// A directory reaches whatsapp-ingest within a second; a loaded machine gets more.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The running simulator; it stops, and writes down the chats, when this is dropped.
pub struct Meta {
    simulator: Simulator,
    webhook: String,
}

impl Meta {
    /// Puts the secrets where whatsapp-ingest looks for them and starts the simulator.
    ///
    /// # Errors
    /// `PORT_IN_USE`, or when its file of chats is damaged.
    pub async fn start(folder: &DataFolder, ports: &Ports, secrets: &Secrets) -> Result<Self, Error> {
        for (name, value) in [
            (APP_SECRET, &secrets.meta_app_secret),
            (VERIFY_TOKEN, &secrets.meta_verify_token),
            (ACCESS_TOKEN, &secrets.meta_access_token),
        ] {
            folder::write_private(&folder.mail_secrets().join(name), value)?;
        }
        let simulator = Simulator::start(config(folder, ports, secrets)).await.map_err(|error| {
            Error::unavailable("SIMULATOR_NOT_STARTED", format!("the simulator of the Cloud API: {error:#}"))
        })?;
        Ok(Self { simulator, webhook: format!("http://127.0.0.1:{}/webhook", ports.webhook()) })
    }

    /// Subscribes whatsapp-ingest to its webhooks, as the dashboard of an app does; `false` when it does not give the challenge back in
    /// time, because the directory has no account with the demo's verify token (any more).
    pub async fn subscribe(&self) -> bool {
        let answered = poll(HANDSHAKE, || async { self.simulator.subscribe(APP, &self.webhook).await.ok() });
        answered.await.is_some()
    }
}

fn config(folder: &DataFolder, ports: &Ports, secrets: &Secrets) -> Config {
    let app = App {
        id: APP.to_owned(),
        secret: secrets.meta_app_secret.clone(),
        verify_token: secrets.meta_verify_token.clone(),
        access_token: secrets.meta_access_token.clone(),
        callback: None,
    };
    let number = Number {
        phone_number_id: NUMBER.to_owned(),
        business_account_id: BUSINESS_ACCOUNT.to_owned(),
        verified_name: "Soporte Demo".to_owned(),
        app: APP.to_owned(),
        ..Number::default()
    };
    Config {
        listen: loopback(ports.simulator()),
        apps: vec![app],
        numbers: vec![number],
        templates: templates(),
        keep: Some(folder.phones()),
        ..Config::default()
    }
}

/// Approved ones but the last, which shows that only approved ones can be sent.
fn templates() -> Vec<Template> {
    let template = |id: &str, name: &str, status: &str, body: &str, example: &[&str]| {
        let mut part = json!({ "type": "BODY", "text": body });
        if let (false, Some(part)) = (example.is_empty(), part.as_object_mut()) {
            part.insert("example".to_owned(), json!({ "body_text": [example] }));
        }
        Template {
            id: id.to_owned(),
            business_account_id: BUSINESS_ACCOUNT.to_owned(),
            name: name.to_owned(),
            language: LANGUAGE.to_owned(),
            status: status.to_owned(),
            category: "UTILITY".to_owned(),
            parameter_format: "POSITIONAL".to_owned(),
            components: vec![part],
        }
    };
    vec![
        template(
            "2001",
            RESUME,
            "APPROVED",
            "Hola, seguimos atendiendo su consulta. ¿Podemos continuar por aquí?",
            &[],
        ),
        template(
            "2002",
            "pedido_en_camino",
            "APPROVED",
            "Hola {{1}}, su pedido {{2}} está en camino.",
            &["Rosa", "4711"],
        ),
        template("2003", "promocion", "PENDING", "Esta semana, envíos sin costo.", &[]),
    ]
}
