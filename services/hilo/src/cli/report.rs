//! `hilo report`: the reports of the public endpoint, as a table or as the CSV the service makes.

use hilo_proto::event::v1::Direction;
use hilo_proto::report::v1::{
    ExportReportRequest, ReportCondition, ReportFilter, ReportGrouping, ReportKind, ReportQuery, ReportState,
};

use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean};
use super::{Exit, Failure, Installation};

/// Rows a table may have; more are for `--csv`.
const MAX_TABLE_BYTES: usize = 16 * 1024 * 1024;

/// Arguments of `hilo report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Which report
    #[arg(value_parser = ["volumes", "states", "reassigned", "orphaned", "out-of-hours", "messages", "first-response", "time-to-assign"])]
    report: String,
    /// First day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    from: String,
    /// Last day, YYYY-MM-DD, inclusive
    #[arg(long, value_name = "DATE")]
    to: String,
    /// A row per day, campaign, agent; may be repeated [default: one row for everything]
    #[arg(long, value_name = "WHAT", value_parser = ["day", "campaign", "agent"])]
    by: Vec<String>,
    /// Campaign key; may be repeated
    #[arg(long)]
    campaign: Vec<String>,
    /// User key of an agent; may be repeated
    #[arg(long)]
    agent: Vec<String>,
    /// Present state; may be repeated
    #[arg(long, value_parser = ["queued", "open", "ended", "closed"])]
    state: Vec<String>,
    /// What must have happened; may be repeated
    #[arg(long, value_parser = ["reassigned", "orphaned", "out-of-hours"])]
    condition: Vec<String>,
    /// inbound or outbound
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,
    /// Print the CSV
    #[arg(long)]
    csv: bool,
}

/// Runs `hilo report`.
///
/// # Errors
/// When the sign-in or the report is refused or breaks off; `NOTHING_FOUND` (exit code 4) for a table without rows.
pub async fn execute(args: ReportArgs) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let request = session.stream_request(args.request());
    let mut stream = session.reports().export_report(request).await?.into_inner();
    let mut gathered = Vec::new();
    while let Some(piece) = stream.message().await? {
        if args.csv {
            std::io::Write::write_all(&mut std::io::stdout().lock(), &piece.chunk)?;
            continue;
        }
        gathered.extend(piece.chunk);
        if gathered.len() > MAX_TABLE_BYTES {
            return Err(Failure::invalid("TOO_LARGE", "too many rows for a table; take --csv or fewer days"));
        }
    }
    if args.csv {
        return Ok(());
    }
    let lines = table(&String::from_utf8_lossy(&gathered));
    let mut output = Output::stdout();
    lines.iter().try_for_each(|line| output.line(line))?;
    match lines.len() {
        0 | 1 => Err(Failure::new(Exit::Missing, "NOTHING_FOUND", "nothing fits")),
        _ => Ok(()),
    }
}

impl ReportArgs {
    fn request(&self) -> ExportReportRequest {
        let name = |word: &str| word.to_uppercase().replace('-', "_");
        let number = |prefix: &str, word: &str| format!("{prefix}_{}", name(word));
        let state = |word: &String| ReportState::from_str_name(&number("REPORT_STATE", word)).map(i32::from);
        let condition =
            |word: &String| ReportCondition::from_str_name(&number("REPORT_CONDITION", word)).map(i32::from);
        let grouping =
            |word: &String| ReportGrouping::from_str_name(&number("REPORT_GROUPING", word)).map(i32::from);
        let direction =
            self.direction.as_deref().and_then(|word| Direction::from_str_name(&number("DIRECTION", word)));
        let filter = ReportFilter {
            from_date: self.from.clone(),
            to_date: self.to.clone(),
            campaign_keys: self.campaign.clone(),
            agent_keys: self.agent.clone(),
            states: self.state.iter().filter_map(state).collect(),
            conditions: self.condition.iter().filter_map(condition).collect(),
            direction: direction.unwrap_or_default().into(),
        };
        let group_by = self.by.iter().filter_map(grouping).collect();
        let kind = ReportKind::from_str_name(&number("REPORT_KIND", &self.report)).unwrap_or_default();
        ExportReportRequest {
            kind: kind.into(),
            query: Some(ReportQuery { filter: Some(filter), group_by, ..ReportQuery::default() }),
        }
    }
}

/// The CSV in columns, without those that are empty in every row. Keys, days and numbers need no quotes.
fn table(csv: &str) -> Vec<String> {
    let rows: Vec<Vec<String>> = csv.lines().map(|line| line.split(',').map(clean).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = || rows.iter().filter_map(|row| row.get(column));
            let empty = cells().skip(1).all(String::is_empty);
            if empty { 0 } else { cells().map(|cell| cell.chars().count()).max().unwrap_or(0) }
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).filter(|(_, width)| **width > 0);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        report: ReportArgs,
    }

    #[test]
    fn every_word_is_one_of_the_contract() {
        let line = "x out-of-hours --from 2026-01-01 --to 2026-01-31 --by day --by campaign --by agent --state queued --state open \
                    --state ended --state closed --condition reassigned --condition orphaned --condition out-of-hours \
                    --direction outbound --as rita";
        let request = Line::try_parse_from(line.split_whitespace()).expect("parsed").report.request();
        assert_eq!(request.kind(), ReportKind::OutOfHours);
        let query = request.query.expect("a query");
        let filter = query.filter.clone().expect("a filter");
        assert_eq!(
            (query.group_by, filter.states, filter.conditions),
            (vec![1, 2, 3], vec![1, 2, 3, 4], vec![1, 2, 3])
        );
        assert_eq!(filter.direction, i32::from(Direction::Outbound));
        for report in
            ["volumes", "states", "reassigned", "orphaned", "messages", "first-response", "time-to-assign"]
        {
            let line = ["x", report, "--from", "a", "--to", "b", "--as", "c"];
            let request = Line::try_parse_from(line).expect("parsed").report.request();
            assert_ne!(request.kind(), ReportKind::Unspecified, "{report}");
        }
    }

    #[test]
    fn a_table_leaves_out_what_is_empty() {
        let csv = "date,campaign_key,agent_key,sent\r\n2026-01-01,,ana,7\r\n2026-01-02,,luis,12\r\n";
        let expected =
            ["date        agent_key  sent", "2026-01-01  ana        7", "2026-01-02  luis       12"];
        assert_eq!(table(csv), expected);
        assert_eq!(table("").len(), 0);
    }
}
