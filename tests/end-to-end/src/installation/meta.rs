//! WhatsApp's other side of an installation: the simulator of the Cloud API in the test's own process, its number in the directory,
//! its secrets in the environment of the services.

use std::time::Duration;

use anyhow::{Context, Result};
use hilo_simulators::{App, Config, Customer, Number, Phone, Simulator};
use hilo_test_support::{eventually, free_port};

use super::Installation;

/// How long the services may take to know the verify token of a directory that was just applied.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// A simulator, and where whatsapp-ingest waits for its webhooks.
pub struct Meta {
    simulator: Simulator,
    webhook_port: u16,
}

impl Meta {
    pub(super) async fn start() -> Result<Self> {
        let mut config = Config::default();
        // On a slow machine a killed service is away for so long that the next try would come in half a minute.
        config.behaviour.retry.ceiling_ms = 2_000;
        Ok(Self { simulator: Simulator::start(config).await?, webhook_port: free_port() })
    }

    /// The secrets that the directory names.
    pub(super) fn environment() -> [(String, String); 3] {
        let App { access_token, secret, verify_token, .. } = App::default();
        [("TOKEN", access_token), ("APP", secret), ("VERIFY", verify_token)]
            .map(|(name, value)| (format!("HILO_SECRET_META_{name}"), value))
    }

    /// The lines of whatsapp-ingest's configuration that follow its database.
    pub(super) fn configuration(meta: Option<&Self>) -> String {
        let port = meta.map_or(0, |meta| meta.webhook_port);
        let graph = meta.map_or_else(String::new, |meta| {
            format!("  graph: {{base_url: \"{}\"}}\n", meta.simulator.base_url())
        });
        format!("  webhook: {{listen: \"127.0.0.1:{port}\"}}\n{graph}")
    }

    fn webhook(&self) -> String {
        format!("http://127.0.0.1:{}/webhook", self.webhook_port)
    }

    /// Sets the callback as an app's dashboard does, once the service knows the directory.
    pub(super) async fn subscribe(&self) -> Result<()> {
        let callback = self.webhook();
        let app = App::default().id;
        let known = || async { self.simulator.subscribe(&app, &callback).await.is_ok() };
        eventually("whatsapp-ingest gives the challenge back", HANDSHAKE, known).await
    }
}

impl Installation {
    /// The simulator of the Cloud API.
    ///
    /// # Errors
    /// When the installation was started without WhatsApp.
    pub fn meta(&self) -> Result<&Simulator> {
        self.meta.as_ref().map(|meta| &meta.simulator).context("started without WhatsApp")
    }

    /// Where whatsapp-ingest waits for webhooks.
    ///
    /// # Errors
    /// As [`Installation::meta`].
    pub fn webhook(&self) -> Result<String> {
        self.meta.as_ref().map(Meta::webhook).context("started without WhatsApp")
    }

    /// What webhooks are signed with.
    pub fn app_secret(&self) -> String {
        App::default().secret
    }

    /// Meta's id of the business number.
    pub fn whatsapp_number(&self) -> String {
        Number::default().phone_number_id
    }

    /// The phone of a customer with this number (digits) and profile name.
    ///
    /// # Errors
    /// As [`Installation::meta`].
    pub fn phone(&self, digits: &str, name: &str) -> Result<Phone> {
        Ok(self.meta()?.customer(Customer::new(digits).named(name)))
    }
}
