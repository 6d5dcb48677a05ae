//! `hilo history`: finds, shows and exports ended threads over the public endpoint, with the rights of the user who signs in.

mod criteria;
mod export;

use hilo_proto::history::v1::{
    GetThreadRequest, SearchThreadsRequest, SearchThreadsResponse, Thread, ThreadPlace, ThreadSummary,
};

use super::desk::render;
use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean, clean_lines, counted, instant, shorten};
use super::{Exit, Failure, Installation};
use criteria::Criteria;

/// Pages of a thread: it has at most 5,000 messages, its notes among them, and every page at least one.
const MAX_PAGES: usize = 5_001;

/// Arguments of `hilo history`.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(subcommand)]
    command: HistoryCommand,
}

#[derive(Debug, clap::Subcommand)]
enum HistoryCommand {
    /// Find ended threads; all criteria are combined, newest first
    Search(Box<SearchArgs>),
    /// Show one thread with its messages
    Show(ShowArgs),
    /// Write threads into files: JSON lines, forms as CSV, mails
    Export(Box<export::ExportArgs>),
}

#[derive(Debug, clap::Args)]
struct SearchArgs {
    #[command(flatten)]
    sign_in: SignIn,
    #[command(flatten)]
    criteria: Criteria,
    /// How many at most, 1 to 200
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=200))]
    limit: i32,
    /// Next page: what the page before printed
    #[arg(long, value_name = "TOKEN")]
    page: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Interaction, as the search prints it
    id: String,
    #[command(flatten)]
    sign_in: SignIn,
    /// Print the thread as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hilo history`.
///
/// # Errors
/// When the sign-in or the request is refused; `NOTHING_FOUND` (exit code 4) when no thread fits.
pub async fn execute(args: HistoryArgs) -> Result<(), Failure> {
    let mut output = Output::stdout();
    match args.command {
        HistoryCommand::Search(search) => {
            let request = search.request()?;
            let session = Session::open(&args.installation, &search.sign_in).await?;
            let answer = session.history().search_threads(session.request(request)).await?.into_inner();
            print_found(&answer, search.json, &mut output)
        }
        HistoryCommand::Show(show) => {
            let session = Session::open(&args.installation, &show.sign_in).await?;
            let (thread, where_it_stands) = whole(&session, show.id).await?;
            if show.json {
                return output.line(json("hilo.history.v1.Thread", &thread)?);
            }
            let place = where_it_stands.as_ref().map(place);
            place.iter().chain(&lines(&thread)).try_for_each(|line| output.line(line))
        }
        HistoryCommand::Export(export) => export.execute(&args.installation).await,
    }
}

impl SearchArgs {
    fn request(&self) -> Result<SearchThreadsRequest, Failure> {
        let page_token = self.page.clone().unwrap_or_default();
        Ok(SearchThreadsRequest { page_size: self.limit, page_token, ..self.criteria.request()? })
    }
}

/// A thread with all of its pages, and its place.
async fn whole(session: &Session, id: String) -> Result<(Thread, Option<ThreadPlace>), Failure> {
    let mut request = GetThreadRequest { interaction_id: id, ..GetThreadRequest::default() };
    let mut whole: Option<(Thread, Option<ThreadPlace>)> = None;
    for _ in 0..MAX_PAGES {
        let answer = session.history().get_thread(session.request(request.clone())).await?.into_inner();
        let page = answer
            .thread
            .ok_or_else(|| Failure::new(Exit::Failed, "INCOMPLETE_ANSWER", "the answer holds no thread"))?;
        match &mut whole {
            None => whole = Some((page, answer.place)),
            Some((thread, _)) => {
                thread.notes.extend(page.notes);
                thread.messages.extend(page.messages);
            }
        }
        request.page_token = answer.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    whole
        .filter(|_| request.page_token.is_empty())
        .ok_or_else(|| Failure::new(Exit::Failed, "INCOMPLETE_ANSWER", "the thread has no last page"))
}

fn print_found(answer: &SearchThreadsResponse, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    if as_json {
        output.line(json("hilo.history.v1.SearchThreadsResponse", answer)?)?;
    } else {
        answer.threads.iter().try_for_each(|thread| output.line(summary(thread)))?;
        if !answer.next_page_token.is_empty() {
            output.line(format!("more: --page {}", clean(&answer.next_page_token)))?;
        }
    }
    match answer.threads.is_empty() {
        true => Err(Failure::new(Exit::Missing, "NOTHING_FOUND", "no ended thread fits")),
        false => Ok(()),
    }
}

/// A message of the contracts as canonical JSON.
///
/// # Errors
/// `JSON` when it is not of that type.
pub(super) fn json<M: prost::Message>(name: &str, message: &M) -> Result<String, Failure> {
    let bytes = hilo_proto::json::to_json(name, message);
    let bytes = bytes.map_err(|error| Failure::new(Exit::Failed, "JSON", error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Its place in the attention, and how to go on from it.
fn place(place: &ThreadPlace) -> String {
    let mut line = format!("{} of {}", place.position, place.total);
    for (word, id) in [("previous", &place.previous_interaction_id), ("next", &place.next_interaction_id)] {
        if !id.is_empty() {
            line.push_str(&format!("  {word} {}", clean(id)));
        }
    }
    line
}

/// One line of the result.
fn summary(thread: &ThreadSummary) -> String {
    let who = if thread.customer_name.is_empty() { &thread.customer_address } else { &thread.customer_name };
    format!(
        "{}  #{}/{}{}  {}  {}  {}{}  {}  {}  {}",
        instant(thread.ended_at.as_ref()),
        thread.attention_number,
        thread.ordinal,
        if thread.attention_closed { " closed" } else { "" },
        clean(&thread.campaign_key),
        clean(&thread.agent_key),
        if thread.vip { "* " } else { "" },
        shorten(who, 28),
        shorten(&thread.subject, 48),
        counted(usize::try_from(thread.message_count).unwrap_or_default(), "message"),
        clean(&thread.interaction_id),
    )
}

fn lines(thread: &Thread) -> Vec<String> {
    let mut lines: Vec<String> = thread.summary.iter().map(summary).collect();
    if !thread.linked_attention_id.is_empty() {
        lines.push(format!("follows attention {}", clean(&thread.linked_attention_id)));
    }
    lines.extend(render::thread(&thread.messages));
    for note in &thread.notes {
        lines.push(format!("note {}  {}", instant(note.created_at.as_ref()), clean(&note.author_key)));
        lines.extend(clean_lines(&note.text).iter().map(|line| format!("    {line}")));
    }
    if let Some(form) = &thread.form {
        lines.push(format!("form {} (version {})", clean(&form.form_key), form.form_version));
        let values: std::collections::BTreeMap<&String, &String> = form.values.iter().collect();
        for (key, value) in values {
            let label = form.labels.get(key).unwrap_or(key);
            lines.push(format!("    {}: {}", clean(label), clean(&value.replace('\n', " | "))));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_found_has_its_own_exit_code() {
        let mut output = Output::kept();
        let failure =
            print_found(&SearchThreadsResponse::default(), false, &mut output).expect_err("nothing");
        assert_eq!((failure.reason.as_str(), failure.exit.code()), ("NOTHING_FOUND", 4));
    }

    #[test]
    fn a_found_thread_is_one_line_with_its_id_last() {
        let thread = ThreadSummary {
            interaction_id: "id".to_owned(),
            attention_number: 12,
            ordinal: 2,
            campaign_key: "soporte".to_owned(),
            agent_key: "ana".to_owned(),
            customer_address: "rosa@example.org".to_owned(),
            subject: "Pedido\u{1b}[2J".to_owned(),
            message_count: 3,
            ..ThreadSummary::default()
        };
        let mut output = Output::kept();
        let answer = SearchThreadsResponse { threads: vec![thread], next_page_token: "t".to_owned() };
        print_found(&answer, false, &mut output).expect("found");
        assert_eq!(
            output.take(),
            vec!["-  #12/2  soporte  ana  rosa@example.org  Pedido [2J  3 messages  id", "more: --page t"]
        );
    }
}
