//! `hilo dead`: the messages no service could process, over all services' dead letter books.
//!
//! The books lie behind the services' internal ports, so this command signs as a service with the secret of the data folder's
//! `hilo.yaml`, or, with `--as`, as a coordinator.

use hilo_kit::auth::ServiceTokens;
use hilo_proto::internal::v1::{
    DeadLetter, DeadLetterState, DropDeadLetterRequest, GetDeadLetterRequest, ListDeadLettersRequest,
    ReplayDeadLetterRequest,
};
use uuid::Uuid;

use super::installation::SignIn;
use super::session::{Session, connect};
use super::terminal::{Output, clean, instant};
use super::{Exit, Failure, Installation};

/// Letters read per service and page.
const PAGE: i32 = 200;
/// Bytes of a payload shown.
const SHOWN_BYTES: usize = 2048;

/// Arguments of `hilo dead`.
#[derive(Debug, clap::Args)]
pub struct DeadArgs {
    #[command(flatten)]
    installation: Installation,
    /// Sign in as this coordinator instead of as a service
    #[arg(long = "as", value_name = "USER", global = true)]
    user: Option<String>,
    /// Only this service, for instance attention-state
    #[arg(long, value_name = "NAME", global = true)]
    service: Option<String>,
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DeadCommand {
    /// List dead letters of all services, newest first in each
    List {
        /// Also those replayed or dropped
        #[arg(long)]
        all: bool,
    },
    /// Show one with its headers and payload
    Show {
        /// Dead letter
        id: Uuid,
    },
    /// Hand it to its consumer again
    Replay {
        /// Dead letter
        id: Uuid,
    },
    /// Drop it for good
    Drop {
        /// Dead letter
        id: Uuid,
    },
}

/// Runs `hilo dead`.
///
/// # Errors
/// When no service can be asked, one refuses, or the letter does not exist.
pub async fn execute(args: DeadArgs) -> Result<(), Failure> {
    let books = books(&args).await?;
    let mut output = Output::stdout();
    match &args.command {
        DeadCommand::List { all } => list(&books, *all, &mut output).await,
        DeadCommand::Show { id } => show(&books, &id.to_string(), &mut output).await,
        DeadCommand::Replay { id } => {
            let book = holder(&books, &id.to_string()).await?;
            let request = book.session.request(ReplayDeadLetterRequest { dead_letter_id: id.to_string() });
            let answer = book.session.dead_letters().replay_dead_letter(request).await?.into_inner();
            answer.dead_letter.iter().try_for_each(|letter| output.line(line(letter)))
        }
        DeadCommand::Drop { id } => {
            let book = holder(&books, &id.to_string()).await?;
            let request = book.session.request(DropDeadLetterRequest { dead_letter_id: id.to_string() });
            let answer = book.session.dead_letters().drop_dead_letter(request).await?.into_inner();
            answer.dead_letter.iter().try_for_each(|letter| output.line(line(letter)))
        }
    }
}

/// One service's book.
struct Book {
    service: String,
    session: Session,
}

async fn books(args: &DeadArgs) -> Result<Vec<Book>, Failure> {
    let local = args.installation.local()?;
    // Routing has no database, so it has no book.
    let wanted =
        |name: &str| name != "routing" && args.service.as_deref().is_none_or(|service| service == name);
    let services: Vec<(String, String)> =
        local.services().into_iter().filter(|(name, _)| wanted(name)).collect();
    if services.is_empty() {
        let file = args.installation.data.join("hilo.yaml");
        let message = format!("{} names no such service", file.display());
        return Err(Failure::invalid("NO_SERVICES", message).detail("give the data folder by --data FOLDER"));
    }
    let identity = Identity::of(args).await?;
    let mut books = Vec::new();
    for (service, url) in services {
        let channel = connect(&url).await?;
        books.push(Book { session: identity.session(channel)?, service });
    }
    Ok(books)
}

enum Identity {
    Service(ServiceTokens),
    User(Box<Session>),
}

impl Identity {
    async fn of(args: &DeadArgs) -> Result<Self, Failure> {
        if let Some(user) = &args.user {
            let sign_in = SignIn { user: Some(user.clone()), password_file: None };
            return Ok(Self::User(Box::new(Session::open(&args.installation, &sign_in).await?)));
        }
        let auth = args.installation.local()?.auth().filter(|auth| !auth.service_secret.is_empty());
        let auth = auth.ok_or_else(|| {
            let file = args.installation.data.join("hilo.yaml");
            Failure::new(Exit::Denied, "NO_IDENTITY", format!("{} holds no service secret", file.display()))
                .detail("sign in as a coordinator: --as USER")
        })?;
        Ok(Self::Service(ServiceTokens::new(&auth, "operator")))
    }

    fn session(&self, channel: tonic::transport::Channel) -> Result<Session, Failure> {
        match self {
            Self::Service(tokens) => Session::with_token(channel, "operator", &tokens.token()?),
            Self::User(session) => Ok(session.on(channel)),
        }
    }
}

async fn list(books: &[Book], all: bool, output: &mut Output) -> Result<(), Failure> {
    let mut count = 0;
    for book in books {
        let mut page_token = String::new();
        loop {
            let request = ListDeadLettersRequest { page_size: PAGE, page_token, include_settled: all };
            let answer = book
                .session
                .dead_letters()
                .list_dead_letters(book.session.request(request))
                .await?
                .into_inner();
            for letter in &answer.dead_letters {
                count += 1;
                output.line(line(letter))?;
            }
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    match count {
        0 => output.line("no dead letters"),
        _ => Ok(()),
    }
}

/// The book that holds the letter.
async fn holder<'a>(books: &'a [Book], id: &str) -> Result<&'a Book, Failure> {
    for book in books {
        let request = book.session.request(GetDeadLetterRequest { dead_letter_id: id.to_owned() });
        match book.session.dead_letters().get_dead_letter(request).await.map_err(Failure::from) {
            Ok(_) => return Ok(book),
            Err(failure) if failure.exit == Exit::Missing => {}
            Err(failure) => return Err(failure),
        }
    }
    let asked: Vec<&str> = books.iter().map(|book| book.service.as_str()).collect();
    Err(Failure::new(Exit::Missing, "NO_SUCH_DEAD_LETTER", format!("none of {} has {id}", asked.join(", "))))
}

async fn show(books: &[Book], id: &str, output: &mut Output) -> Result<(), Failure> {
    let book = holder(books, id).await?;
    let request = book.session.request(GetDeadLetterRequest { dead_letter_id: id.to_owned() });
    let answer = book.session.dead_letters().get_dead_letter(request).await?.into_inner();
    if let Some(letter) = &answer.dead_letter {
        output.line(line(letter))?;
        output.line(format!(
            "message {}  subject {}  {} bytes",
            clean(&letter.message_id),
            clean(&letter.subject),
            letter.size_bytes
        ))?;
    }
    let headers: std::collections::BTreeMap<&String, &String> = answer.headers.iter().collect();
    for (name, value) in headers {
        output.line(format!("  {}: {}", clean(name), clean(value)))?;
    }
    for row in dump(&answer.payload) {
        output.line(row)?;
    }
    Ok(())
}

/// Hexadecimal and printable characters, 16 bytes a row.
fn dump(payload: &[u8]) -> Vec<String> {
    let shown = payload.get(..SHOWN_BYTES).unwrap_or(payload);
    let mut rows: Vec<String> = shown
        .chunks(16)
        .enumerate()
        .map(|(row, bytes)| {
            let hexadecimal: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let printable: String = bytes
                .iter()
                .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
                .collect();
            format!("  {:06x}  {:<47}  {printable}", row * 16, hexadecimal.join(" "))
        })
        .collect();
    if payload.len() > shown.len() {
        rows.push(format!("  ... {} bytes more", payload.len() - shown.len()));
    }
    rows
}

fn line(letter: &DeadLetter) -> String {
    let state = match DeadLetterState::try_from(letter.state) {
        Ok(DeadLetterState::Dead) => "dead",
        Ok(DeadLetterState::Replayed) => "replayed",
        Ok(DeadLetterState::Dropped) => "dropped",
        Ok(DeadLetterState::Unspecified) | Err(_) => "?",
    };
    let detail =
        if letter.detail.is_empty() { String::new() } else { format!(": {}", clean(&letter.detail)) };
    format!(
        "{}  {}  {state}  {}/{}  {}{detail}  after {} attempts",
        clean(&letter.dead_letter_id),
        instant(letter.created_at.as_ref()),
        clean(&letter.service),
        clean(&letter.consumer),
        clean(&letter.reason),
        letter.attempts,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_shown_in_rows_and_cut() {
        let rows = dump(b"Hola \x1b[2J\n");
        assert_eq!(rows, vec!["  000000  48 6f 6c 61 20 1b 5b 32 4a 0a                    Hola .[2J."]);
        assert_eq!(dump(&[0; SHOWN_BYTES + 5]).last().map(String::as_str), Some("  ... 5 bytes more"));
    }

    #[test]
    fn a_letter_is_one_line() {
        let letter = DeadLetter {
            dead_letter_id: "id".to_owned(),
            service: "attention-state".to_owned(),
            consumer: "attention-intake".to_owned(),
            reason: "UNDECODABLE".to_owned(),
            attempts: 5,
            state: DeadLetterState::Dead as i32,
            ..DeadLetter::default()
        };
        assert_eq!(
            line(&letter),
            "id  -  dead  attention-state/attention-intake  UNDECODABLE  after 5 attempts"
        );
    }
}
