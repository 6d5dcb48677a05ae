//! `hilo dial list`, `rows` and `hours`: what there is, read page by page.

use hilo_proto::dialer::v1 as dialer;

use super::super::history::json;
use super::super::installation::SignIn;
use super::super::session::Session;
use super::super::terminal::{Output, clean, instant};
use super::super::{Failure, Installation};
use super::{hours, word};

/// Entries asked for at once.
const PAGE: i32 = 200;

/// How much of a list is shown, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Shown {
    /// Most entries shown
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit: usize,
    /// Print every entry as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

impl Shown {
    /// Prints the entries of a list until it ends or the limit is reached. `page` asks for so many entries behind a page
    /// token and answers with them and the next token, which is empty on the last page.
    pub(super) async fn pages<M: prost::Message>(
        &self,
        output: &mut Output,
        name: &str,
        line: impl Fn(&M) -> String,
        page: impl AsyncFn(i32, String) -> Result<(Vec<M>, String), Failure>,
    ) -> Result<(), Failure> {
        let (mut left, mut token) = (self.limit, String::new());
        while left > 0 {
            let size = i32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let (entries, next) = page(size, token).await?;
            for one in entries.iter().take(left) {
                self.print(output, name, one, line(one))?;
            }
            left = left.saturating_sub(entries.len());
            token = next;
            if token.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// One entry.
    pub(super) fn print<M: prost::Message>(
        &self,
        output: &mut Output,
        name: &str,
        one: &M,
        line: String,
    ) -> Result<(), Failure> {
        output.line(if self.json { json(name, one)? } else { line })
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Only of this campaign
    #[arg(long, default_value = "", hide_default_value = true)]
    campaign: String,
    #[command(flatten)]
    shown: Shown,
}

/// State of a row, as typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    Pending,
    Queued,
    Sent,
    Delivered,
    Read,
    Answered,
    Failed,
    Skipped,
    Unknown,
}

impl From<State> for dialer::RowState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Queued => Self::Queued,
            State::Sent => Self::Sent,
            State::Delivered => Self::Delivered,
            State::Read => Self::Read,
            State::Answered => Self::Answered,
            State::Failed => Self::Failed,
            State::Skipped => Self::Skipped,
            State::Unknown => Self::Unknown,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct RowsArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Id of the dialer
    dialer: String,
    /// Only rows in this state
    #[arg(long)]
    state: Option<State>,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, clap::Args)]
pub(super) struct HoursShownArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Id of the dialer
    dialer: String,
    /// Print the hours as JSON; `{}` when it has none of its own
    #[arg(long)]
    json: bool,
}

/// Dialers, newest first.
pub(super) async fn dialers(args: ListArgs, output: &mut Output) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let page = async |page_size, page_token| {
        let campaign_key = args.campaign.clone();
        let request = session.request(dialer::ListDialersRequest { campaign_key, page_size, page_token });
        let page = session.dialers().list_dialers(request).await?.into_inner();
        Ok((page.dialers, page.next_page_token))
    };
    args.shown.pages(output, "hilo.dialer.v1.Dialer", line, page).await
}

/// Rows in the order of the list.
pub(super) async fn rows(args: RowsArgs, output: &mut Output) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let state = args.state.map_or(dialer::RowState::Unspecified, dialer::RowState::from);
    let page = async |page_size, page_token| {
        let (dialer_id, state) = (args.dialer.clone(), state.into());
        let request = session.request(dialer::ListRowsRequest { dialer_id, state, page_size, page_token });
        let page = session.dialers().list_rows(request).await?.into_inner();
        Ok((page.rows, page.next_page_token))
    };
    args.shown.pages(output, "hilo.dialer.v1.Row", row, page).await
}

/// When a dialer sends.
pub(super) async fn opening_hours(args: HoursShownArgs, output: &mut Output) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let request = session.request(dialer::GetDialerRequest { dialer_id: args.dialer });
    let found = session.dialers().get_dialer(request).await?.into_inner().dialer.unwrap_or_default();
    if args.json {
        let own = found.hours.unwrap_or_default();
        return output.line(json("hilo.directory.v1.OpeningHours", &own)?);
    }
    hours::lines(found.hours.as_ref()).into_iter().try_for_each(|line| output.line(line))
}

fn line(one: &dialer::Dialer) -> String {
    let state = word(one.state().as_str_name(), "DIALER_STATE_");
    let why = if one.state_reason.is_empty() { String::new() } else { format!(" ({})", one.state_reason) };
    clean(&format!(
        "{}  {}  {state}{why}  {}  {} {}  {} a minute  {}",
        one.dialer_id,
        instant(one.created_at.as_ref()),
        one.campaign_key,
        one.template_name,
        one.template_language,
        one.per_minute,
        one.name
    ))
}

fn row(one: &dialer::Row) -> String {
    let state = word(one.state().as_str_name(), "ROW_STATE_");
    let why = [&one.reason, &one.detail].into_iter().filter(|text| !text.is_empty());
    let why: Vec<&str> = why.map(String::as_str).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(": ")) };
    let at = one.answered_at.as_ref().or(one.sent_at.as_ref());
    let at = at.map(|at| format!("  {}", instant(Some(at)))).unwrap_or_default();
    let values = if one.values.is_empty() { String::new() } else { format!("  {}", one.values.join(" | ")) };
    clean(&format!("{}  {}  {state}{why}{at}{values}", one.ordinal, one.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialers_and_rows_are_a_line_each() {
        let of = dialer::Dialer {
            dialer_id: "0198".into(),
            name: "Avisos\u{1b}[2J".into(),
            campaign_key: "mensajes".into(),
            template_name: "aviso".into(),
            template_language: "es".into(),
            per_minute: 30,
            state: dialer::DialerState::Paused.into(),
            state_reason: "SPAM_LIMIT".into(),
            ..dialer::Dialer::default()
        };
        assert_eq!(line(&of), "0198  -  paused (SPAM_LIMIT)  mensajes  aviso es  30 a minute  Avisos [2J");
        let mut of = dialer::Row {
            ordinal: 7,
            number: "+51987654321".into(),
            values: vec!["17".into(), "Eva".into()],
            state: dialer::RowState::Failed.into(),
            reason: "RECIPIENT_UNREACHABLE".into(),
            detail: "131026 undeliverable".into(),
            ..dialer::Row::default()
        };
        assert_eq!(
            row(&of),
            "7  +51987654321  failed (RECIPIENT_UNREACHABLE: 131026 undeliverable)  17 | Eva"
        );
        (of.reason, of.detail, of.values) = (String::new(), String::new(), Vec::new());
        of.state = dialer::RowState::Answered.into();
        of.answered_at = Some(prost_types::Timestamp { seconds: 1_795_000_000, nanos: 0 });
        assert_eq!(row(&of), "7  +51987654321  answered  2026-11-18T11:06:40Z");
    }

    #[test]
    fn an_entry_is_json_when_that_is_wanted() {
        let (mut output, of) = (Output::kept(), dialer::Row { ordinal: 7, ..dialer::Row::default() });
        for (json, expected) in [(false, "words"), (true, "{\"ordinal\":7}")] {
            let shown = Shown { limit: 1, json };
            shown.print(&mut output, "hilo.dialer.v1.Row", &of, "words".to_owned()).unwrap();
            assert_eq!(output.take(), [expected]);
        }
    }

    /// A list of 450 entries, behind tokens that say where the next page begins.
    async fn of_450(size: i32, token: String) -> Result<(Vec<dialer::Row>, String), Failure> {
        let from: i32 = token.parse().unwrap_or(0);
        let to = (from + size).min(450);
        let rows = (from..to).map(|ordinal| dialer::Row { ordinal, ..dialer::Row::default() });
        Ok((rows.collect(), if to < 450 { to.to_string() } else { String::new() }))
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_end_or_to_the_limit() {
        for (limit, printed) in [(0, 0), (1, 1), (200, 200), (201, 201), (450, 450), (9_000, 450)] {
            let (mut output, shown) = (Output::kept(), Shown { limit, json: false });
            let line = |row: &dialer::Row| row.ordinal.to_string();
            shown.pages(&mut output, "hilo.dialer.v1.Row", line, of_450).await.unwrap();
            let expected: Vec<String> = (0..printed).map(|ordinal: i32| ordinal.to_string()).collect();
            assert_eq!(output.take(), expected, "limit {limit}");
        }
    }
}
