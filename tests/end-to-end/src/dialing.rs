//! Dialers as a supervisor's frontend drives them: made, filled, started, held and looked at; a call is repeated, with one request id
//! where it has one, while the service is away.

use std::time::Duration;

use anyhow::{Context, Result};
use hilo_proto::dialer::v1 as dialer;

use crate::Agent;
use crate::agent::persist;
use crate::chat::{Customer, until};
use crate::directory::WHATSAPP;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A template that the simulator has approved, in its language.
pub const TEMPLATE: &str = "order_update";

impl Agent {
    /// Makes a dialer of [`TEMPLATE`] for the campaign of WhatsApp that sends so many rows a minute.
    ///
    /// # Errors
    /// The refusal.
    pub async fn make_dialer(&self, name: &str, per_minute: i32) -> Result<dialer::Dialer> {
        let request = dialer::CreateDialerRequest {
            request_id: fresh(),
            name: name.to_owned(),
            campaign_key: WHATSAPP.to_owned(),
            template_name: TEMPLATE.to_owned(),
            template_language: "en_US".to_owned(),
            per_minute,
            ..Default::default()
        };
        let made = persist(PATIENCE, || {
            let (mut client, request) = (self.dialers(), request.clone());
            async move { client.create_dialer(request).await }
        });
        made.await?.dialer.context("no dialer in the answer")
    }

    /// Adds rows under a request id of its own.
    ///
    /// # Errors
    /// The refusal.
    pub async fn import_rows(&self, dialer_id: &str, csv: &str) -> Result<dialer::ImportRowsResponse> {
        let request = dialer::ImportRowsRequest {
            dialer_id: dialer_id.to_owned(),
            request_id: fresh(),
            csv: csv.as_bytes().to_vec(),
            skip_bad: false,
        };
        let imported = persist(PATIENCE, || {
            let (mut client, request) = (self.dialers(), request.clone());
            async move { client.import_rows(request).await }
        });
        Ok(imported.await?)
    }

    /// Starts a dialer, or lets it go on.
    ///
    /// # Errors
    /// The refusal.
    pub async fn start_dialer(&self, dialer_id: &str) -> Result<()> {
        let request = dialer::StartDialerRequest { dialer_id: dialer_id.to_owned() };
        let started = persist(PATIENCE, || {
            let (mut client, request) = (self.dialers(), request.clone());
            async move { client.start_dialer(request).await }
        });
        started.await?;
        Ok(())
    }

    /// Holds a dialer.
    ///
    /// # Errors
    /// The refusal.
    pub async fn pause_dialer(&self, dialer_id: &str) -> Result<()> {
        let request = dialer::PauseDialerRequest { dialer_id: dialer_id.to_owned() };
        let paused = persist(PATIENCE, || {
            let (mut client, request) = (self.dialers(), request.clone());
            async move { client.pause_dialer(request).await }
        });
        paused.await?;
        Ok(())
    }

    /// A dialer as it is now.
    ///
    /// # Errors
    /// The refusal.
    pub async fn dialer(&self, dialer_id: &str) -> Result<dialer::Dialer> {
        let request = dialer::GetDialerRequest { dialer_id: dialer_id.to_owned() };
        let found = persist(PATIENCE, || {
            let (mut client, request) = (self.dialers(), request.clone());
            async move { client.get_dialer(request).await }
        });
        found.await?.dialer.context("no dialer in the answer")
    }

    /// The first rows of a dialer, in the order of the list.
    ///
    /// # Errors
    /// The refusal.
    pub async fn dialer_rows(&self, dialer_id: &str) -> Result<Vec<dialer::Row>> {
        let request = dialer::ListRowsRequest { dialer_id: dialer_id.to_owned(), ..Default::default() };
        let listed = persist(PATIENCE, || {
            let (mut client, request) = (self.dialers(), request.clone());
            async move { client.list_rows(request).await }
        });
        Ok(listed.await?.rows)
    }

    /// Waits until every row of a dialer fits.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn dialer_rows_are(
        &self,
        what: &str,
        dialer_id: &str,
        fits: impl Fn(&dialer::Row) -> bool,
    ) -> Result<Vec<dialer::Row>> {
        let look = || async {
            let rows = self.dialer_rows(dialer_id).await?;
            Ok(Some(rows).filter(|rows| !rows.is_empty() && rows.iter().all(&fits)))
        };
        until(what, look).await
    }
}

impl Customer {
    /// How many templates are on the phone.
    pub fn templates(&self) -> usize {
        self.phone.received().iter().filter(|sent| sent.kind == "template").count()
    }
}

fn fresh() -> String {
    uuid::Uuid::now_v7().to_string()
}
