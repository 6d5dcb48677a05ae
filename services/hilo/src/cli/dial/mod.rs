//! `hilo dial`: dialers, which write an approved WhatsApp template to a list of numbers.

mod hours;
mod list;
mod opt_outs;

use std::path::PathBuf;

use hilo_proto::dialer::v1 as dialer;

use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean};
use super::{Exit, Failure, Installation};

/// The contract's limit of one text.
const MAX_CSV_BYTES: u64 = 3 * 1024 * 1024;
/// Problems shown.
const SHOWN: usize = 50;

/// Arguments of `hilo dial`.
#[derive(Debug, clap::Args)]
pub struct DialArgs {
    #[command(subcommand)]
    command: DialCommand,
}

/// What is done with a dialer.
#[derive(Debug, clap::Subcommand)]
enum DialCommand {
    /// Make a dialer without rows; says its id
    Create(CreateArgs),
    /// Add the rows of a CSV file: `number` and the template's variables
    Import(ImportArgs),
    /// Start it, or go on with it
    Start(OneArgs),
    /// Hold it
    Pause(OneArgs),
    /// End it for good; pending rows are skipped
    Stop(OneArgs),
    /// Show it with its rows by state
    Show(OneArgs),
    /// Dialers of the campaigns you direct, newest first
    List(list::ListArgs),
    /// Rows of a dialer with what became of each
    Rows(list::RowsArgs),
    /// When a dialer sends
    Hours(list::HoursShownArgs),
    /// Numbers that the dialers of a campaign do not write to
    #[command(subcommand)]
    OptOut(opt_outs::OptOutCommand),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Campaign that gets the answers
    campaign: String,
    /// Name of an approved template
    template: String,
    /// Language of the template
    #[arg(long, default_value = "es")]
    language: String,
    /// Name of the dialer; the template's when left out
    #[arg(long, default_value = "")]
    name: String,
    /// Business number, where the campaign has several
    #[arg(long, default_value = "")]
    account: String,
    /// Rows per minute
    #[arg(long, default_value_t = 30)]
    per_minute: i32,
    /// Hours after which nobody is waited for any more; 0 is 72
    #[arg(long, default_value_t = 0)]
    answer_timeout: i32,
    #[command(flatten)]
    hours: hours::HoursArgs,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Id of the dialer
    dialer: String,
    /// CSV file in UTF-8
    file: PathBuf,
    /// Take the good rows when there are bad ones
    #[arg(long)]
    skip_bad: bool,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Id of the dialer
    dialer: String,
}

/// Runs `hilo dial`.
///
/// # Errors
/// `ROWS_REFUSED` (exit code 2) when rows are bad and nothing was imported; what the service refuses.
pub async fn execute(args: DialArgs) -> Result<(), Failure> {
    let mut output = Output::stdout();
    match args.command {
        DialCommand::Create(args) => create(args, &mut output).await,
        DialCommand::Import(args) => import(args, &mut output).await,
        DialCommand::Start(args) => {
            let session = Session::open(&args.installation, &args.sign_in).await?;
            let request = session.request(dialer::StartDialerRequest { dialer_id: args.dialer });
            said(&mut output, session.dialers().start_dialer(request).await?.into_inner().dialer)
        }
        DialCommand::Pause(args) => {
            let session = Session::open(&args.installation, &args.sign_in).await?;
            let request = session.request(dialer::PauseDialerRequest { dialer_id: args.dialer });
            said(&mut output, session.dialers().pause_dialer(request).await?.into_inner().dialer)
        }
        DialCommand::Stop(args) => {
            let session = Session::open(&args.installation, &args.sign_in).await?;
            let request = session.request(dialer::StopDialerRequest { dialer_id: args.dialer });
            let answer = session.dialers().stop_dialer(request).await?.into_inner();
            said(&mut output, answer.dialer)?;
            output.line(format!("{} skipped", answer.skipped))
        }
        DialCommand::Show(args) => {
            let session = Session::open(&args.installation, &args.sign_in).await?;
            let request = session.request(dialer::GetDialerRequest { dialer_id: args.dialer });
            let answer = session.dialers().get_dialer(request).await?.into_inner();
            said(&mut output, answer.dialer)?;
            for count in &answer.counts {
                output.line(format!(
                    "  {:<10}{}",
                    word(count.state().as_str_name(), "ROW_STATE_"),
                    count.rows
                ))?;
            }
            Ok(())
        }
        DialCommand::List(args) => list::dialers(args, &mut output).await,
        DialCommand::Rows(args) => list::rows(args, &mut output).await,
        DialCommand::Hours(args) => list::opening_hours(args, &mut output).await,
        DialCommand::OptOut(command) => opt_outs::execute(command, &mut output).await,
    }
}

async fn create(args: CreateArgs, output: &mut Output) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let request = session.request(dialer::CreateDialerRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        name: if args.name.is_empty() { args.template.clone() } else { args.name },
        campaign_key: args.campaign,
        account_key: args.account,
        template_name: args.template,
        template_language: args.language,
        per_minute: args.per_minute,
        answer_timeout_hours: args.answer_timeout,
        hours: args.hours.hours(),
    });
    let made = session.dialers().create_dialer(request).await?.into_inner().dialer.unwrap_or_default();
    let columns: Vec<&str> =
        std::iter::once("number").chain(made.columns.iter().map(String::as_str)).collect();
    output.line(clean(&made.dialer_id))?;
    output.line(clean(&format!("columns of the CSV: {}", columns.join(","))))
}

async fn import(args: ImportArgs, output: &mut Output) -> Result<(), Failure> {
    let name = args.file.display().to_string();
    let unreadable = |error: std::io::Error| Failure::invalid("FILE_UNREADABLE", format!("{name}: {error}"));
    if std::fs::metadata(&args.file).map_err(unreadable)?.len() > MAX_CSV_BYTES {
        let text =
            format!("{name} has more than {MAX_CSV_BYTES} bytes; split it, each part with the header line");
        return Err(Failure::invalid("FILE_TOO_LARGE", text));
    }
    let csv = std::fs::read(&args.file).map_err(unreadable)?;
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let request = session.request(dialer::ImportRowsRequest {
        dialer_id: args.dialer,
        request_id: uuid::Uuid::now_v7().to_string(),
        csv,
        skip_bad: args.skip_bad,
    });
    let answer = session.dialers().import_rows(request).await?.into_inner();
    let lines = answer.problems.iter().take(SHOWN).map(problem);
    if answer.bad_rows > 0 && !args.skip_bad {
        let text = format!("{} bad rows in {name}; nothing was imported", answer.bad_rows);
        let failure = Failure::new(Exit::Invalid, "ROWS_REFUSED", text);
        return Err(lines.fold(failure, Failure::detail));
    }
    for line in lines {
        output.line(line)?;
    }
    output.line(format!(
        "{} imported, {} known already, {} bad, {} in all",
        answer.imported, answer.duplicates, answer.bad_rows, answer.total_rows
    ))
}

fn problem(one: &dialer::RowProblem) -> String {
    let place = if one.column.is_empty() { String::new() } else { format!(", {}", one.column) };
    clean(&format!("line {}{place}: {} ({})", one.line, one.text, one.reason))
}

fn said(output: &mut Output, dialer: Option<dialer::Dialer>) -> Result<(), Failure> {
    let one = dialer.unwrap_or_default();
    let why = if one.state_reason.is_empty() { String::new() } else { format!(" ({})", one.state_reason) };
    let state = word(one.state().as_str_name(), "DIALER_STATE_");
    output.line(clean(&format!("{}: {state}{why}", one.name)))
}

/// A word of an enum without its prefix.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_and_states_read_as_lines() {
        let one = |column: &str| dialer::RowProblem {
            line: 3,
            column: column.into(),
            reason: "NUMBER_MISSING".into(),
            text: "every row\u{1b}[31m needs a number".into(),
        };
        assert!(problem(&one("number")).starts_with("line 3, number: every row"));
        assert!(!problem(&one("")).contains('\u{1b}'), "nothing of a file moves the cursor");
        let mut output = Output::kept();
        let dialer = dialer::Dialer {
            name: "Avisos".into(),
            state: dialer::DialerState::Paused.into(),
            state_reason: "TEMPLATE_PAUSED".into(),
            ..dialer::Dialer::default()
        };
        said(&mut output, Some(dialer)).expect("kept");
        assert_eq!(output.take(), ["Avisos: paused (TEMPLATE_PAUSED)"]);
    }
}
