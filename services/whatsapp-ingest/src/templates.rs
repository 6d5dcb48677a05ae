//! Keeps attention-state's templates like Meta's: read after a start, every ten minutes, and when a notice says that one changed;
//! by one replica at a time.

use std::time::Duration;

use hilo_kit::clock;
use hilo_kit::grpc::{InternalChannel, with_deadline};
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Keeper, TERM};
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::secrets::Secrets;
use hilo_proto::internal::v1::ReportTemplatesRequest;
use hilo_proto::internal::v1::template_service_client::TemplateServiceClient;
use time::OffsetDateTime;

use crate::accounts::NumbersCache;
use crate::adapter::graph::Graph;
use crate::config::TemplatesConfig;
use crate::domain::accounts::Number;
use crate::domain::templates;
use crate::metrics;
use crate::store::Store;

/// It looks this often whether something is due.
const LOOK: Duration = Duration::from_secs(2);
/// Longest time of a report.
const REPORT: Duration = Duration::from_secs(20);

/// What the reader needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Ledger.
    pub store: Store,
    /// Directory.
    pub numbers: NumbersCache,
    /// Access tokens.
    pub secrets: Secrets,
    /// The Graph API.
    pub graph: Graph,
    /// attention-state.
    pub reports: TemplateServiceClient<InternalChannel>,
    /// Settings.
    pub config: TemplatesConfig,
}

/// Runs until the shutdown begins.
pub async fn run(parts: Parts, shutdown: Shutdown) {
    let holder = format!("whatsapp-ingest-{}", Uuid::new_v4());
    let keeper = Keeper::spawn(parts.store.db().clone(), "whatsapp-templates", holder, TERM, &shutdown);
    while !shutdown.is_cancelled() {
        let held = tokio::select! {
            held = keeper.held() => held,
            () = shutdown.cancelled() => return,
        };
        let Some(lease) = held else { return };
        // What a predecessor read may be old: everything once.
        let mut first = true;
        while keeper.current().is_some_and(|now| now.epoch == lease.epoch) {
            if parts.numbers.current().is_some() {
                parts.look(first, &shutdown).await;
                first = false;
            }
            if !shutdown.sleep(LOOK).await {
                return;
            }
        }
    }
}

impl Parts {
    async fn look(&self, all: bool, stop: &Shutdown) {
        let numbers = self.numbers.current().unwrap_or_default();
        let active = || numbers.iter().filter(|number| number.active);
        let accounts = active().map(|number| (number.key.clone(), number.business_account_id.clone()));
        let (due, now) = match self.store.due_templates(accounts.collect()).await {
            Ok(found) => found,
            Err(error) => {
                error.log("looking whose templates are due");
                return;
            }
        };
        for number in active().filter(|number| all || due.contains(&number.key)) {
            if stop.is_cancelled() {
                return;
            }
            self.one(number, now).await;
        }
    }

    async fn one(&self, number: &Number, now: OffsetDateTime) {
        let refresh = Duration::from_secs(self.config.refresh_seconds);
        let written = match self.synchronise(number, now).await {
            Ok(count) => {
                metrics::templates("reported");
                tracing::info!(account = %number.key, count, "templates were read and reported");
                self.store.templates_reported(&number.key, now, refresh).await
            }
            Err(why) => {
                metrics::templates("failed");
                let retry = Duration::from_secs_f64(self.config.retry_seconds);
                self.store.templates_failed(&number.key, retry, refresh).await.map(|failures| {
                    // Said once, not with every try.
                    if failures == 1 {
                        tracing::warn!(account = %number.key, %why, "templates were not brought up to date; again later");
                    }
                })
            }
        };
        if let Err(error) = written {
            error.log("writing when templates were read");
        }
    }

    async fn synchronise(&self, number: &Number, now: OffsetDateTime) -> Result<usize, String> {
        let token =
            self.secrets.get(&number.access_token).await.map_err(|error| error.message().to_owned())?;
        if token.is_empty() {
            return Err("the access token is empty".to_owned());
        }
        let rows = self.graph.templates(&number.business_account_id, &token).await?;
        let templates = templates::reported(&rows);
        if templates.len() < rows.len() {
            let left_out = rows.len() - templates.len();
            tracing::warn!(account = %number.key, left_out, "templates without a name, a language or a state, or twice");
        }
        let count = templates.len();
        let request = ReportTemplatesRequest {
            account_key: number.key.clone(),
            read_at: Some(clock::to_proto(now)),
            templates,
        };
        let mut reports = self.reports.clone();
        match reports.report_templates(with_deadline(request, REPORT)).await {
            Ok(_) => Ok(count),
            Err(status) => Err(format!("attention-state answered {:?}: {}", status.code(), status.message())),
        }
    }
}
