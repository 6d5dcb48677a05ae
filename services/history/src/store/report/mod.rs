//! The facts of reports in PostgreSQL: `record` writes them, `rows` counts them within the caller's scope.

mod record;
mod rows;

use std::sync::Arc;

use hilo_kit::error::Error;

use super::Store;
use crate::domain::Scope;
use crate::domain::report::{Fact, Group, Kind, Query};

/// A page of a report.
#[derive(Clone, Debug)]
pub struct ReportRequest {
    /// What the caller may read.
    pub scope: Scope,
    /// Which report.
    pub kind: Kind,
    /// What is asked.
    pub query: Query,
    /// IANA name of the time zone in which days begin and end.
    pub time_zone: String,
    /// Where the page before ended.
    pub after: Option<Group>,
}

/// A row: what it stands for, and the figures in the order of [`Kind::figures`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// What it stands for.
    pub group: Group,
    /// Figures.
    pub figures: Vec<i64>,
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct ReportPage {
    /// Ordered by day, campaign, agent.
    pub rows: Vec<ReportRow>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Group>,
}

impl Store {
    /// Adds facts and computes anew what is known of their interactions. Facts that are there already change nothing.
    ///
    /// # Errors
    /// Database errors.
    pub async fn record(&self, facts: Vec<Fact>) -> Result<(), Error> {
        if facts.is_empty() {
            return Ok(());
        }
        let facts = Arc::new(facts);
        let recorded = self.db().transaction(move |tx| {
            let facts = facts.clone();
            Box::pin(async move {
                record::record(tx, &facts).await?;
                hilo_kit::fault::point("history.report.before_commit").await;
                Ok(())
            })
        });
        recorded.await
    }

    /// A page of a report.
    ///
    /// # Errors
    /// Database errors.
    pub async fn report(&self, request: ReportRequest) -> Result<ReportPage, Error> {
        self.db().read(move |conn| Box::pin(async move { rows::page(conn, &request).await })).await
    }
}
