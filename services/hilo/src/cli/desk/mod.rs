//! `hilo desk`: an agent in the terminal, on the public gRPC endpoint, with nothing an agent's frontend would not have.
//!
//! [`list`] keeps the list by version, [`command`] reads what is typed, [`driver`] turns commands into calls and answers,
//! [`remote`] makes the calls, [`watch`] follows WatchDesk and keeps the session alive. Typing and a pipe work alike.

pub mod command;
pub mod driver;
mod file;
pub mod list;
pub mod remote;
pub mod render;
mod render_chat;
mod template;
pub mod watch;

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::installation::SignIn;
use super::session::Session;
use super::terminal::Output;
use super::{Exit, Failure, Installation};
use driver::{Driver, Next};
use remote::{DeskCalls, RemoteDesk};
use watch::News;

/// Longest line read; a reply may have 200,000 characters.
const MAX_LINE_BYTES: u64 = 1024 * 1024;
/// The first list must be there by then.
const FIRST_LIST: Duration = Duration::from_secs(20);

/// Arguments of `hilo desk`.
#[derive(Debug, clap::Args)]
pub struct DeskArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Only this channel [default: both in one list]
    #[arg(long, value_enum)]
    channel: Option<Channel>,
}

/// What a desk shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Channel {
    /// Mails.
    Email,
    /// WhatsApp.
    Whatsapp,
}

impl Channel {
    /// As the contract names it.
    fn word(self) -> &'static str {
        match self {
            Self::Email => watch::EMAIL,
            Self::Whatsapp => watch::WHATSAPP,
        }
    }
}

/// Runs `hilo desk` until `quit` or the end of its input; reading from a pipe, until a command fails.
///
/// # Errors
/// When the sign-in fails, or, reading from a pipe, when a command failed.
pub async fn execute(args: DeskArgs) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let who = watch::Who::Arguments(args.installation, args.sign_in);
    let channels = args.channel.map_or_else(|| vec![watch::EMAIL, watch::WHATSAPP], |one| vec![one.word()]);
    let interactive = std::io::stdin().is_terminal();
    let remote = RemoteDesk::new(session.clone());
    let mut driver = Driver::new(remote.clone(), Output::stdout(), interactive).over(channels.len());
    let (news_tx, news) = mpsc::channel(256);
    let (lines_tx, lines) = mpsc::channel(16);
    let mut watching = tokio::task::JoinSet::new();
    for channel in channels {
        let login = watch::Login { who: who.clone(), channel };
        watching.spawn(watch::follow(login, session.clone(), remote.clone(), news_tx.clone()));
    }
    drop(news_tx);
    let heart = tokio::spawn(watch::heartbeats(remote.clone()));
    // A thread of its own: a runtime would wait at its end for the line that nobody types any more.
    std::thread::spawn(move || read_lines(&lines_tx));
    let outcome = tokio::select! {
        outcome = run(&mut driver, news, lines, interactive) => outcome,
        // Leaving says so to routing; otherwise offers would go on ringing here for a minute.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    watching.abort_all();
    heart.abort();
    remote.leave().await;
    outcome?;
    match driver.failed() {
        0 => Ok(()),
        _ if interactive => Ok(()),
        _ => {
            let text = "a command failed (see above); the lines after it are left undone";
            Err(Failure::new(Exit::Rejected, "COMMAND_FAILED", text))
        }
    }
}

async fn run<C: DeskCalls>(
    driver: &mut Driver<C>,
    mut news: mpsc::Receiver<News>,
    mut lines: mpsc::Receiver<String>,
    interactive: bool,
) -> Result<(), Failure> {
    let first = tokio::time::timeout(FIRST_LIST, first_list(driver, &mut news)).await;
    first.map_err(|_| Failure::unavailable("NO_LIST", "the list did not come in time"))??;
    driver.prompt()?;
    loop {
        // In a pipe a line relies on those before it: nothing is ended that could not be answered.
        if !interactive && driver.failed() > 0 {
            return Ok(());
        }
        let waiting = driver.waits_until();
        let end_of_wait =
            tokio::time::sleep_until(waiting.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600)));
        tokio::select! {
            biased;
            item = news.recv() => match item {
                Some(item) => driver.news(item)?,
                None => return Err(Failure::unavailable("DESK_LOST", "the desk's stream ended for good")),
            },
            () = end_of_wait, if waiting.is_some() => driver.wait_is_over()?,
            line = lines.recv(), if waiting.is_none() => match line {
                Some(line) => {
                    if driver.line(&line).await? == Next::Quit {
                        return Ok(());
                    }
                    driver.prompt()?;
                }
                None => return Ok(()),
            },
        }
    }
}

async fn first_list<C: DeskCalls>(
    driver: &mut Driver<C>,
    news: &mut mpsc::Receiver<News>,
) -> Result<(), Failure> {
    while !driver.has_list() {
        match news.recv().await {
            Some(item) => driver.news(item)?,
            None => return Err(Failure::unavailable("DESK_LOST", "the desk's stream could not be opened")),
        }
    }
    Ok(())
}

/// Passes lines on until the end of input; a line that is too long, or not UTF-8, ends it.
fn read_lines(lines: &mpsc::Sender<String>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = String::new();
        match input.by_ref().take(MAX_LINE_BYTES).read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                eprintln!("hilo: INPUT: {error}");
                return;
            }
        }
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}
