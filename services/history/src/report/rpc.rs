//! `hilo.report.v1.ReportService`: each report as pages of rows, and any of them as a CSV stream.

use std::sync::Arc;

use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::report::v1 as wire;
use hilo_proto::report::v1::report_service_server::ReportService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::contract;
use crate::domain::export::csv;
use crate::domain::report::query::LARGEST_PAGE;
use crate::domain::report::{Kind, Query};
use crate::export::MAX_EXPORTS;
use crate::export::pipe::{self, Chunks, Pipe, Receiving};
use crate::rights::{Caller, Right, Rights};
use crate::store::{ReportPage, ReportRequest, ReportRow, Store};

/// The public service.
#[derive(Clone)]
pub struct ReportRpc {
    store: Store,
    rights: Rights,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
}

impl ReportRpc {
    /// Answers from `store` what `rights` allow; its streams are part of `shutdown`.
    pub fn new(store: Store, rights: Rights, shutdown: Shutdown) -> Self {
        Self { store, rights, shutdown, permits: Arc::new(Semaphore::new(MAX_EXPORTS)) }
    }

    /// The rows of a page, and the token of the next one.
    async fn rows(
        &self,
        caller: Caller,
        kind: Kind,
        asked: Option<wire::ReportQuery>,
    ) -> Result<(Vec<ReportRow>, String), Error> {
        // Rights first: who may not read reports learns nothing about what he asked.
        self.rights.scope_of(&caller)?;
        let token = asked.as_ref().map(|query| query.page_token.clone()).unwrap_or_default();
        let query = Query::parse(contract::asked(asked))?;
        let after = query.after(kind, &token)?;
        let page = self.page(&caller, kind, &query, after).await?;
        let next = page.next.map(|group| query.token(kind, &group));
        Ok((page.rows, next.unwrap_or_default()))
    }

    async fn page(
        &self,
        caller: &Caller,
        kind: Kind,
        query: &Query,
        after: Option<crate::domain::report::Group>,
    ) -> Result<ReportPage, Error> {
        let scope = self.rights.scope_of(caller)?;
        let time_zone = self.rights.time_zone(None);
        self.store.report(ReportRequest { scope, kind, query: query.clone(), time_zone, after }).await
    }

    fn export(
        &self,
        request: Request<wire::ExportReportRequest>,
    ) -> Result<Receiving<wire::ExportReportResponse>, Error> {
        let caller = self.rights.caller(&request, Right::Reports)?;
        self.rights.scope_of(&caller)?;
        let asked = request.into_inner();
        let kind = kind(asked.kind()).ok_or_else(|| {
            Error::invalid("INVALID_REPORT", "the report is malformed").field("kind", "must name a report")
        })?;
        let query = Query { page_size: LARGEST_PAGE, ..Query::parse(contract::asked(asked.query))? };
        let this = self.clone();
        pipe::open(&self.shutdown, &self.permits, move |pipe| async move {
            this.write(pipe, caller, kind, query).await
        })
    }

    async fn write(
        &self,
        pipe: Pipe<wire::ExportReportResponse>,
        caller: Caller,
        kind: Kind,
        query: Query,
    ) -> Result<(), Error> {
        let mut out = Chunks::new(pipe, |chunk| wire::ExportReportResponse { chunk });
        let names = kind.figures().iter().map(|(name, _)| *name);
        let header = csv::row(["date", "campaign_key", "agent_key"].into_iter().chain(names));
        out.write(header.as_bytes()).await?;
        let mut after = None;
        loop {
            let page = self.page(&caller, kind, &query, after).await?;
            for row in page.rows {
                let figures: Vec<String> = row.figures.iter().map(ToString::to_string).collect();
                let group = [&*row.group.day, &*row.group.campaign, &*row.group.agent];
                out.write(csv::row(group.into_iter().chain(figures.iter().map(String::as_str))).as_bytes())
                    .await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return out.flush().await,
            }
        }
    }
}

fn kind(asked: wire::ReportKind) -> Option<Kind> {
    match asked {
        wire::ReportKind::Unspecified => None,
        wire::ReportKind::Volumes => Some(Kind::Volumes),
        wire::ReportKind::States => Some(Kind::States),
        wire::ReportKind::Reassigned => Some(Kind::Reassigned),
        wire::ReportKind::Orphaned => Some(Kind::Orphaned),
        wire::ReportKind::OutOfHours => Some(Kind::OutOfHours),
        wire::ReportKind::Messages => Some(Kind::Messages),
        wire::ReportKind::FirstResponse => Some(Kind::FirstResponse),
        wire::ReportKind::TimeToAssign => Some(Kind::TimeToAssign),
    }
}

/// The service, one method per report: its rows are the contract's, its figures in the order of [`Kind::figures`], which a
/// test compares with the contract.
macro_rules! service {
    ($($method:ident: $kind:ident, $request:ident => $response:ident, $row:ident { $($field:ident),+ };)+) => {
        #[tonic::async_trait]
        impl ReportService for ReportRpc {
            $(async fn $method(
                &self,
                request: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Status> {
                let caller = self.rights.caller(&request, Right::Reports)?;
                let (rows, next_page_token) =
                    self.rows(caller, Kind::$kind, request.into_inner().query).await?;
                let row = |row: ReportRow| {
                    let mut figures = row.figures.into_iter();
                    let group = Some(contract::group(row.group));
                    wire::$row { group, $($field: figures.next().unwrap_or_default()),+ }
                };
                Ok(Response::new(wire::$response { rows: rows.into_iter().map(row).collect(), next_page_token }))
            })+

            type ExportReportStream = Receiving<wire::ExportReportResponse>;

            async fn export_report(
                &self,
                request: Request<wire::ExportReportRequest>,
            ) -> Result<Response<Self::ExportReportStream>, Status> {
                Ok(Response::new(self.export(request)?))
            }
        }

        #[cfg(test)]
        const ROWS: &[(Kind, &str, &[&str])] = &[$((Kind::$kind, stringify!($row), &[$(stringify!($field)),+])),+];
    };
}

service! {
    get_volumes: Volumes, GetVolumesRequest => GetVolumesResponse, VolumesRow { attentions, interactions, inbound, outbound, ended, closed };
    get_states: States, GetStatesRequest => GetStatesResponse, StatesRow { queued, open, ended, closed };
    get_reassigned: Reassigned, GetReassignedRequest => GetReassignedResponse, ReassignedRow { reassigned, times, interactions };
    get_orphaned: Orphaned, GetOrphanedRequest => GetOrphanedResponse, OrphanedRow { orphaned, times, interactions };
    get_out_of_hours: OutOfHours, GetOutOfHoursRequest => GetOutOfHoursResponse, OutOfHoursRow { out_of_hours, interactions };
    get_messages: Messages, GetMessagesRequest => GetMessagesResponse, MessagesRow { received, sent, pending, failed, unknown };
    get_first_response: FirstResponse, GetFirstResponseRequest => GetFirstResponseResponse, FirstResponseRow { answered, unanswered, average_milliseconds, longest_milliseconds };
    get_time_to_assign: TimeToAssign, GetTimeToAssignRequest => GetTimeToAssignResponse, TimeToAssignRow { offered, average_to_offer_milliseconds, opened, average_to_open_milliseconds, longest_to_open_milliseconds };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_in_the_order_of_the_contract() {
        assert_eq!(ROWS.len(), Kind::ALL.len());
        for (kind, row, fields) in ROWS {
            let names: Vec<_> = kind.figures().iter().map(|(name, _)| *name).collect();
            assert_eq!(&names, fields, "{row}");
        }
    }
}
