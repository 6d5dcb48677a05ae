//! `hilo mail`: plays a customer with nothing but mail. `send` hands a mail to the SMTP door, `read` shows what Hilo sent
//! (the local catcher writes it into the outbox folder), `reply` answers the newest of those.

pub mod compose;
pub mod mailbox;
pub mod smtp;

use std::path::PathBuf;

use super::terminal::{Output, clean, clean_lines};
use super::{Exit, Failure, Installation};
use compose::{File, Letter};
use mailbox::Received;

/// Largest file attached: with base64 it still fits the listener's 25 MiB.
const MAX_ATTACHMENT_BYTES: u64 = 18 * 1024 * 1024;

/// Arguments of `hilo mail`.
#[derive(Debug, clap::Args)]
pub struct MailArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(subcommand)]
    command: MailCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MailCommand {
    /// Hand a mail to Hilo by SMTP, as a customer would
    Send(SendArgs),
    /// Show the mails Hilo sent, as the local catcher received them
    Read(ReadArgs),
    /// Answer the newest mail Hilo sent, as its recipient
    Reply(ReplyArgs),
}

#[derive(Debug, clap::Args)]
struct Server {
    /// SMTP server, ADDRESS:PORT [default: from the data folder, else 127.0.0.1:8425]
    #[arg(long, env = "HILO_SMTP", value_name = "ADDRESS:PORT")]
    smtp: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Body {
    /// Plain text; `\n` starts a new line
    #[arg(long)]
    text: String,
    /// HTML file sent beside the text
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// File to attach; may be repeated
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    /// Sender: an address, or `Name <address>`
    #[arg(long)]
    from: String,
    /// Recipient; may be repeated
    #[arg(long, required = true)]
    to: Vec<String>,
    /// Copy; may be repeated
    #[arg(long)]
    cc: Vec<String>,
    /// Subject
    #[arg(long)]
    subject: String,
    #[command(flatten)]
    body: Body,
    /// Message-ID answered; repeated ones are the References chain, oldest first
    #[arg(long, value_name = "ID")]
    in_reply_to: Vec<String>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct ReadArgs {
    /// Only mails to this address, also as a blind copy
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// How many, newest last
    #[arg(long, default_value_t = 5, value_name = "N")]
    last: usize,
}

#[derive(Debug, clap::Args)]
struct ReplyArgs {
    /// Answer the newest mail to this address instead of the newest of all
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    #[command(flatten)]
    body: Body,
    #[command(flatten)]
    server: Server,
}

/// Runs `hilo mail`.
///
/// # Errors
/// When the arguments are wrong, the server refuses, or there is nothing to read or answer.
pub async fn execute(args: MailArgs) -> Result<(), Failure> {
    let MailArgs { installation, command } = args;
    let mut output = Output::stdout();
    match command {
        MailCommand::Send(args) => {
            let letter = Letter {
                cc: args.cc,
                references: args.in_reply_to,
                ..args.body.letter(args.from, args.to, args.subject)?
            };
            send(&installation, &args.server, letter, &mut output).await
        }
        MailCommand::Read(args) => read(&installation, &args, &mut output),
        MailCommand::Reply(args) => {
            let mail = newest(&installation, args.to.as_deref())?;
            let named = || mail.to.first().cloned();
            let letter = Letter {
                references: mail.references_of_answer(),
                ..args.body.letter(
                    args.to.or_else(named).unwrap_or_default(),
                    vec![mail.answer_to().to_owned()],
                    mail.subject_of_answer(),
                )?
            };
            output.line(format!("answering <{}> to {}", clean(&mail.message_id), clean(mail.answer_to())))?;
            send(&installation, &args.server, letter, &mut output).await
        }
    }
}

impl Body {
    fn letter(self, from: String, to: Vec<String>, subject: String) -> Result<Letter, Failure> {
        let html = self.html.as_deref().map(std::fs::read_to_string).transpose();
        let html =
            html.map_err(|error| Failure::invalid("FILE_UNREADABLE", format!("the HTML file: {error}")))?;
        let files = self.attach.into_iter().map(attachment).collect::<Result<_, _>>()?;
        Ok(Letter {
            from,
            to,
            subject,
            text: self.text.replace("\\n", "\n"),
            html,
            files,
            ..Letter::default()
        })
    }
}

fn attachment(path: PathBuf) -> Result<File, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::invalid("FILE_UNREADABLE", format!("{}: {error}", path.display()));
    let size = std::fs::metadata(&path).map_err(unreadable)?.len();
    if size > MAX_ATTACHMENT_BYTES {
        return Err(Failure::invalid(
            "FILE_TOO_LARGE",
            format!("{}: at most 18 MiB can be attached", path.display()),
        ));
    }
    let content = std::fs::read(&path).map_err(unreadable)?;
    let name = path.file_name().map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(File { media_type: compose::media_type(&name), name, content })
}

async fn send(
    installation: &Installation,
    server: &Server,
    letter: Letter,
    output: &mut Output,
) -> Result<(), Failure> {
    let address = match &server.smtp {
        Some(address) => address.clone(),
        None => installation.local()?.smtp(),
    };
    let composed = compose::compose(&letter)?;
    let answer = smtp::hand_in(&address, &composed.envelope, &composed.raw).await?;
    output.line(format!("{address} answered: {}", clean(&answer)))?;
    output.line(format!("Message-ID: <{}>", composed.message_id))
}

fn newest(installation: &Installation, to: Option<&str>) -> Result<Received, Failure> {
    let folder = installation.local()?.outbox();
    mailbox::read(&folder, to)?.pop().ok_or_else(|| nothing(&folder, to))
}

fn nothing(folder: &std::path::Path, to: Option<&str>) -> Failure {
    let whom = to.map(|to| format!(" to {to}")).unwrap_or_default();
    Failure::new(Exit::Missing, "NO_MAIL", format!("there is no mail{whom} in {}", folder.display()))
}

fn read(installation: &Installation, args: &ReadArgs, output: &mut Output) -> Result<(), Failure> {
    let folder = installation.local()?.outbox();
    let mails = mailbox::read(&folder, args.to.as_deref())?;
    if mails.is_empty() {
        return Err(nothing(&folder, args.to.as_deref()));
    }
    for mail in mails.iter().skip(mails.len().saturating_sub(args.last)) {
        show(mail, output)?;
    }
    Ok(())
}

fn show(mail: &Received, output: &mut Output) -> Result<(), Failure> {
    output.line("----------------------------------------------------------------")?;
    output.line(format!("From: {}", clean(&mail.from)))?;
    output.line(format!("To: {}", clean(&mail.to.join(", "))))?;
    if !mail.cc.is_empty() {
        output.line(format!("Cc: {}", clean(&mail.cc.join(", "))))?;
    }
    let hidden = mail.hidden();
    if !hidden.is_empty() {
        output.line(format!("Delivered-To: {}", clean(&hidden.join(", "))))?;
    }
    output.line(format!("Subject: {}", clean(&mail.subject)))?;
    output.line(format!("Message-ID: <{}>", clean(&mail.message_id)))?;
    if let Some(id) = mail.in_reply_to.last() {
        output.line(format!("In-Reply-To: <{}>", clean(id)))?;
    }
    if !mail.references.is_empty() {
        let chain: Vec<String> = mail.references.iter().map(|id| format!("<{}>", clean(id))).collect();
        output.line(format!("References: {}", chain.join(" ")))?;
    }
    if !mail.files.is_empty() {
        output.line(format!("Files: {}", clean(&mail.files.join("; "))))?;
    }
    output.line("")?;
    for line in clean_lines(mail.text.trim_end()) {
        output.line(line)?;
    }
    Ok(())
}
