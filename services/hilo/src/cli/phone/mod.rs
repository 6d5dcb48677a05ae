//! `hilo phone`: plays a customer of WhatsApp at the simulator of the Cloud API. `send` writes to the business, `read` opens
//! the chat, `reply` and `react` answer the newest message in it.
//!
//! Only the simulator's HTTP is spoken here, never Meta's: nothing this command does can reach a real customer.

mod chat;
pub(crate) mod remote;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};

use super::mail::compose::media_type;
use super::terminal::{Output, clean, counted};
use super::{Exit, Failure, Installation};
use remote::Simulator;

/// Largest file attached; what a document may have is more than a person at a terminal needs.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Arguments of `hilo phone`.
#[derive(Debug, clap::Args)]
pub struct PhoneArgs {
    #[command(flatten)]
    installation: Installation,
    /// Where the simulator is [default: from the data folder, else http://127.0.0.1:8460]
    #[arg(long, env = "HILO_PHONE", value_name = "URL", global = true)]
    simulator: Option<String>,
    #[command(subcommand)]
    command: PhoneCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PhoneCommand {
    /// Write to the business, as a customer would
    Send(SendArgs),
    /// Open the chat: shows both sides, and the business learns that it was read
    Read(ReadArgs),
    /// Answer the newest message of the business, quoting it
    Reply(ReplyArgs),
    /// Put an emoji to the newest message of the business
    React(ReactArgs),
    /// The customers the simulator knows
    List,
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    /// The customer's phone number; who is not known yet is added
    #[arg(long, value_name = "PHONE")]
    from: String,
    /// The text, or the caption of the file; `\n` starts a new line
    #[arg(long, default_value = "")]
    text: String,
    /// File to send: an image, sound, video, or else a document
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Any documented kind instead, by the name of its fixture (location, order, unsupported ...)
    #[arg(long, conflicts_with_all = ["text", "file"])]
    kind: Option<String>,
    /// JSON laid over the message of that kind
    #[arg(long, value_name = "JSON", requires = "kind")]
    with: Option<String>,
    /// Profile name of a new customer
    #[arg(long)]
    name: Option<String>,
    /// Username of a new customer, who then hides the phone number
    #[arg(long)]
    username: Option<String>,
    /// WhatsApp id of a new customer, where it is not the number's digits (some of Argentina, Brazil and Mexico)
    #[arg(long, value_name = "DIGITS")]
    wa_id: Option<String>,
    /// Written so many seconds ago, by the customer's clock
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    ago: i64,
    /// Phone number id of the business [default: the simulator's first]
    #[arg(long, value_name = "ID")]
    number: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ReadArgs {
    /// Whose chat: phone number, user id or username
    #[arg(long, value_name = "CUSTOMER")]
    of: String,
    /// How many messages, newest last
    #[arg(long, default_value_t = 10, value_name = "N")]
    last: usize,
    /// Look without opening the chat: nothing becomes read
    #[arg(long)]
    peek: bool,
}

#[derive(Debug, clap::Args)]
struct ReplyArgs {
    /// Who answers: phone number, user id or username
    #[arg(long, value_name = "CUSTOMER")]
    of: String,
    /// The text; `\n` starts a new line
    #[arg(long)]
    text: String,
}

#[derive(Debug, clap::Args)]
struct ReactArgs {
    /// Who reacts: phone number, user id or username
    #[arg(long, value_name = "CUSTOMER")]
    of: String,
    /// The emoji; an empty one takes the reaction back
    #[arg(long)]
    emoji: String,
}

/// Runs `hilo phone`.
///
/// # Errors
/// When the arguments are wrong, the simulator does not answer, or there is nothing to read or answer.
pub async fn execute(args: PhoneArgs) -> Result<(), Failure> {
    run(args, &mut Output::stdout()).await
}

async fn run(args: PhoneArgs, output: &mut Output) -> Result<(), Failure> {
    let address = args.simulator.map_or_else(|| Ok(args.installation.local()?.phone()), Ok::<_, Failure>)?;
    let simulator = Simulator::at(&address);
    match args.command {
        PhoneCommand::Send(args) => send(&simulator, args, output).await,
        PhoneCommand::Read(args) => read(&simulator, &args, output).await,
        PhoneCommand::Reply(args) => {
            let quoted = newest(&simulator, &args.of).await?;
            let said = json!({ "text": { "body": lines(&args.text) }, "context": { "id": quoted.wamid } });
            say(&simulator, &args.of, Some(&quoted.number), json!({ "with": said }), output).await
        }
        PhoneCommand::React(args) => {
            let quoted = newest(&simulator, &args.of).await?;
            let (kind, emoji) = if args.emoji.is_empty() {
                ("reaction_removed", Value::Null)
            } else {
                ("reaction", json!(args.emoji))
            };
            let reaction = json!({ "reaction": { "message_id": quoted.wamid, "emoji": emoji } });
            let said = json!({ "kind": kind, "with": reaction });
            say(&simulator, &args.of, Some(&quoted.number), said, output).await
        }
        PhoneCommand::List => list(&simulator, output).await,
    }
}

/// What a person types as `\n` becomes a new line.
fn lines(text: &str) -> String {
    text.replace("\\n", "\n")
}

async fn send(simulator: &Simulator, args: SendArgs, output: &mut Output) -> Result<(), Failure> {
    let mut said = content(&args)?;
    if let Some(map) = said.as_object_mut().filter(|_| args.ago > 0) {
        map.insert("seconds_ago".to_owned(), json!(args.ago));
    }
    if simulator.chat(&args.from).await?.is_none() {
        let customer = json!({
            "phone": args.from,
            "wa_id": args.wa_id,
            "name": args.name.clone().unwrap_or_default(),
            "username": args.username,
            "hides_phone": args.username.is_some(),
        });
        let added = simulator.post("/customers", &customer).await?;
        let id = added.get("user_id").and_then(Value::as_str).unwrap_or_default();
        output.line(format!("{} is new here: {}", clean(&args.from), clean(id)))?;
    }
    say(simulator, &args.from, args.number.as_deref(), said, output).await
}

/// What the arguments say, as the simulator takes it.
fn content(args: &SendArgs) -> Result<Value, Failure> {
    if let Some(kind) = &args.kind {
        let with = args.with.as_deref().map(serde_json::from_str::<Value>).transpose();
        let with = with.map_err(|error| Failure::invalid("WITH_IS_NO_JSON", format!("--with: {error}")))?;
        return Ok(json!({ "kind": kind, "with": with }));
    }
    let text = lines(&args.text);
    let Some(path) = &args.file else {
        if text.trim().is_empty() {
            return Err(Failure::invalid("NOTHING_TO_SEND", "one of --text, --file and --kind is needed"));
        }
        return Ok(json!({ "text": text }));
    };
    let name = path.file_name().map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned());
    let mime = media_type(&name);
    let kind = kind_of(mime);
    let mut fields = serde_json::Map::new();
    // The fixture has a caption of its own; without a text there is none. Sounds never have one.
    let caption = if text.is_empty() { Value::Null } else { json!(text) };
    fields.insert("caption".to_owned(), if kind == "audio" { Value::Null } else { caption });
    if kind == "document" {
        fields.insert("filename".to_owned(), json!(name));
    }
    let file = json!({ "base64": encoded(path)?, "mime_type": mime });
    Ok(json!({ "kind": kind, "with": { kind: fields }, "file": file }))
}

/// How WhatsApp sends a file of this type.
fn kind_of(mime: &str) -> &'static str {
    match mime.split('/').next() {
        Some("image") => "image",
        Some("audio") => "audio",
        Some("video") => "video",
        _ => "document",
    }
}

fn encoded(path: &Path) -> Result<String, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::invalid("FILE_UNREADABLE", format!("{}: {error}", path.display()));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(Failure::invalid("FILE_TOO_LARGE", format!("{}: at most 16 MiB", path.display())));
    }
    Ok(base64::engine::general_purpose::STANDARD.encode(std::fs::read(path).map_err(unreadable)?))
}

async fn say(
    simulator: &Simulator,
    who: &str,
    number: Option<&str>,
    said: Value,
    output: &mut Output,
) -> Result<(), Failure> {
    let wamid = simulator.say(who, number, &said).await?;
    output.line(format!("sent: {}", clean(&wamid)))
}

async fn chat_of(simulator: &Simulator, who: &str) -> Result<Vec<chat::Line>, Failure> {
    let rows = simulator.chat(who).await?;
    let rows = rows.ok_or_else(|| {
        Failure::new(
            Exit::Missing,
            "NO_SUCH_CUSTOMER",
            format!("the simulator knows no customer {}", clean(who)),
        )
    })?;
    Ok(chat::lines(&rows))
}

/// The newest message of the business in a chat.
async fn newest(simulator: &Simulator, who: &str) -> Result<chat::Line, Failure> {
    let chat = chat_of(simulator, who).await?;
    chat.into_iter().rev().find(|line| line.from_business).ok_or_else(|| {
        Failure::new(Exit::Missing, "NO_MESSAGE", format!("the business has not written to {}", clean(who)))
    })
}

async fn read(simulator: &Simulator, args: &ReadArgs, output: &mut Output) -> Result<(), Failure> {
    if !args.peek {
        simulator.read(&args.of).await?;
    }
    let chat = chat_of(simulator, &args.of).await?;
    for line in chat.iter().skip(chat.len().saturating_sub(args.last)) {
        for text in line.shown() {
            output.line(text)?;
        }
    }
    if chat.is_empty() {
        output.line("nobody has written yet")?;
    }
    Ok(())
}

async fn list(simulator: &Simulator, output: &mut Output) -> Result<(), Failure> {
    let customers = simulator.get("/customers").await?.unwrap_or_default();
    let customers = customers.as_array().cloned().unwrap_or_default();
    for customer in &customers {
        let field = |name: &str| clean(customer.get(name).and_then(Value::as_str).unwrap_or_default());
        let username =
            customer.get("username").and_then(Value::as_str).map(|name| format!("  @{}", clean(name)));
        let (phone, name, id) = (field("phone"), field("name"), field("user_id"));
        output.line(format!("{phone}  {name}  {id}{}", username.unwrap_or_default()))?;
    }
    output.line(counted(customers.len(), "customer"))
}
