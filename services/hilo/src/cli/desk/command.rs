//! What is typed at the desk, parsed. The same lines work from a pipe.

use std::time::Duration;

use super::template::filled;
pub use super::template::{Filled, FirstChat};

/// How an item is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemName {
    /// What rings here, else what waits longest.
    Next,
    /// The number the desk gave it in this session.
    Number(u32),
    /// The attention's number, written `#5804`.
    Attention(i64),
    /// The interaction's UUID.
    Id(String),
}

/// Where an item is transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A campaign, by its key.
    Campaign(String),
    /// An agent, by his key.
    Agent(String),
}

/// A message that starts an attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// Key of the campaign.
    pub campaign: String,
    /// Address.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// Text.
    pub text: String,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeskCommand {
    /// Nothing was typed.
    Nothing,
    /// What can be typed.
    Help,
    /// The list.
    List,
    /// Claims an item, or goes back to one of the own open ones.
    Open(ItemName),
    /// The thread of the current item.
    Read,
    /// Answers the customer.
    Reply {
        /// Text; `\n` in the line is a line feed here.
        text: String,
        /// To all recipients.
        all: bool,
    },
    /// Sends the customer's mail on.
    Forward {
        /// To whom.
        to: Vec<String>,
        /// With its files.
        files: bool,
        /// Text above it; may be empty.
        text: String,
    },
    /// A file for the next mail.
    Attach(String),
    /// Copies of the next mail.
    Copy {
        /// To whom.
        to: Vec<String>,
        /// True for copies that others do not see.
        hidden: bool,
    },
    /// Saves a file of the thread.
    Download {
        /// Its number in `read`.
        number: usize,
        /// Folder or file; empty is its own name here.
        to: String,
    },
    /// The templates that may be sent in the current item.
    Templates,
    /// Sends a template of WhatsApp in the current item.
    Template(Filled),
    /// Writes to somebody first in WhatsApp.
    StartChat(FirstChat),
    /// Shows the form (no fields) or fills fields in.
    Form(Vec<(String, String)>),
    /// Ends the current item.
    End {
        /// Closes the attention too.
        close: bool,
    },
    /// Sends the newest message of ours that failed again.
    Retry,
    /// Gives the current item back.
    Release,
    /// Gives the current item to a campaign or an agent.
    Transfer {
        /// Where to.
        to: To,
        /// Note for whoever gets it; may be empty.
        note: String,
    },
    /// Writes an internal note.
    Note(String),
    /// Writes to somebody first.
    Start(First),
    /// Opens an ended interaction again, by its UUID.
    Reopen(String),
    /// Lets an offer pass.
    Decline(ItemName),
    /// Takes no new offers.
    Pause,
    /// Takes offers again.
    Resume,
    /// Waits until something is queued or rings; for scripts.
    Wait(Duration),
    /// Why the item was offered as it was.
    Why(ItemName),
    /// Leaves.
    Quit,
}

/// One line per command, for `help`.
pub const HELP: &[&str] = &[
    "list                    the list, queued first",
    "open [N]                claim item N (or #5804), or go back to it; alone: what rings, else what waits longest",
    "read                    the thread of the open item",
    "reply [--all] TEXT      answer the customer; \\n starts a new line",
    "replyall TEXT           the same to everybody",
    "attach FILE             a file for the next answer;  of a mail also  cc A,B  and  bcc A,B",
    "templates               WhatsApp: what may be sent also after the 24 hours",
    "template NAME [--lang es] [VALUE \"TWO WORDS\"]   send one of them",
    "forward A,B [--files] [TEXT]  send the customer's mail on, with its files",
    "retry                   send the newest message that failed, or may not have been sent, again",
    "download N [TO]         save file N of the thread (see read)",
    "form                    show the form;  form field=value other=\"two words\" several=one|two  fills it in",
    "end [--close]           end the interaction, and the attention too with --close",
    "release                 give the item back to the queue",
    "transfer TO [NOTE]      give the item to a campaign (soporte), or offer it to an agent (@luis)",
    "note TEXT               write an internal note; it is never sent",
    "start CAMPAIGN ADDRESS \"SUBJECT\" TEXT   write to somebody first;  WhatsApp: start CAMPAIGN +NUMBER TEMPLATE [VALUES]",
    "reopen ID               open an ended interaction again (its id: hilo history search)",
    "decline N               let an offer pass",
    "why [N]                 why an item was offered as it was; alone: the open item, else what rings",
    "pause / resume          take no new offers / take them again",
    "wait [SECONDS]          wait until something is queued (for scripts)",
    "quit                    leave",
];

/// Longest wait.
const MAX_WAIT_SECONDS: u64 = 3600;
/// Wait without a number.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Parses a line.
///
/// # Errors
/// One line that says what would be right.
pub fn parse(line: &str) -> Result<DeskCommand, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let command = match word {
        "" => DeskCommand::Nothing,
        "help" | "?" => DeskCommand::Help,
        "list" | "ls" => DeskCommand::List,
        "open" if rest.is_empty() => DeskCommand::Open(ItemName::Next),
        "open" => DeskCommand::Open(item(rest)?),
        "read" => DeskCommand::Read,
        "reply" => return reply(rest),
        "replyall" => return reply(&format!("--all {rest}")),
        "forward" => return forward(rest),
        "attach" if rest.is_empty() => return Err("attach needs a file".to_owned()),
        "attach" => DeskCommand::Attach(rest.to_owned()),
        "cc" | "bcc" => DeskCommand::Copy { to: addresses(rest)?, hidden: word == "bcc" },
        "download" => return download(rest),
        "form" => DeskCommand::Form(fields(rest)?),
        "end" => DeskCommand::End { close: flag(rest, "--close")? },
        "retry" => DeskCommand::Retry,
        "release" => DeskCommand::Release,
        "transfer" => transfer(rest)?,
        "note" if rest.is_empty() => return Err("note needs a text".to_owned()),
        "note" => DeskCommand::Note(rest.replace("\\n", "\n")),
        "templates" => DeskCommand::Templates,
        "template" => DeskCommand::Template(filled(rest)?),
        "start" => start(rest)?,
        "reopen" => match item(rest)? {
            ItemName::Id(id) => DeskCommand::Reopen(id),
            ItemName::Next | ItemName::Number(_) | ItemName::Attention(_) => {
                return Err("reopen takes the id of an interaction, a UUID".to_owned());
            }
        },
        "decline" => DeskCommand::Decline(item(rest)?),
        "pause" => DeskCommand::Pause,
        "resume" => DeskCommand::Resume,
        "wait" => DeskCommand::Wait(wait(rest)?),
        "why" if rest.is_empty() => DeskCommand::Why(ItemName::Next),
        "why" => DeskCommand::Why(item(rest)?),
        "quit" | "exit" => DeskCommand::Quit,
        other => return Err(format!("there is no command {other:?}; type help")),
    };
    let takes_nothing = matches!(
        word,
        "help"
            | "?"
            | "list"
            | "ls"
            | "read"
            | "templates"
            | "retry"
            | "release"
            | "pause"
            | "resume"
            | "quit"
            | "exit"
    );
    if takes_nothing && !rest.is_empty() {
        return Err(format!("{word} takes nothing after it"));
    }
    Ok(command)
}

fn reply(rest: &str) -> Result<DeskCommand, String> {
    let all = rest == "--all" || rest.starts_with("--all ");
    let text = if all { rest.trim_start_matches("--all").trim() } else { rest };
    Ok(DeskCommand::Reply { text: text.replace("\\n", "\n"), all })
}

fn transfer(rest: &str) -> Result<DeskCommand, String> {
    let (to, note) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let to = match to.strip_prefix('@') {
        Some("") => return Err("transfer @AGENT needs the agent's key".to_owned()),
        Some(agent) => To::Agent(agent.to_owned()),
        None if to.is_empty() => return Err("transfer needs a campaign, or @ and an agent".to_owned()),
        None => To::Campaign(to.to_owned()),
    };
    Ok(DeskCommand::Transfer { to, note: note.trim().replace("\\n", "\n") })
}

fn start(rest: &str) -> Result<DeskCommand, String> {
    let mut parts = rest.splitn(3, char::is_whitespace);
    if let (Some(campaign), Some(phone), template) = (parts.next(), parts.next(), parts.next())
        && phone.starts_with('+')
    {
        let template = filled(template.unwrap_or_default())?;
        let (campaign, phone) = (campaign.to_owned(), phone.to_owned());
        return Ok(DeskCommand::StartChat(FirstChat { campaign, phone, template }));
    }
    start_mail(rest).map(DeskCommand::Start)
}

fn start_mail(rest: &str) -> Result<First, String> {
    let wrong = || "for instance: start ventas eva@example.org \"Su pedido\" Buenos días".to_owned();
    let (campaign, rest) = rest.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let (to, rest) = rest.trim_start().split_once(char::is_whitespace).ok_or_else(wrong)?;
    let quoted = rest.trim_start().strip_prefix('"').ok_or_else(wrong)?;
    let (subject, text) = quoted.split_once('"').ok_or_else(wrong)?;
    if text.trim().is_empty() {
        return Err(wrong());
    }
    let text = text.trim().replace("\\n", "\n");
    Ok(First { campaign: campaign.to_owned(), to: to.to_owned(), subject: subject.to_owned(), text })
}

fn forward(rest: &str) -> Result<DeskCommand, String> {
    let (to, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let files = rest == "--files" || rest.starts_with("--files ");
    let text = if files { rest.trim_start_matches("--files").trim() } else { rest };
    Ok(DeskCommand::Forward { to: addresses(to)?, files, text: text.replace("\\n", "\n") })
}

fn addresses(text: &str) -> Result<Vec<String>, String> {
    let list: Vec<String> = text.split([',', ' ']).filter(|one| !one.is_empty()).map(str::to_owned).collect();
    match list.iter().find(|one| !one.contains('@')) {
        Some(one) => Err(format!("{one:?} is not an email address")),
        None if list.is_empty() => Err("an email address is needed, several with commas between".to_owned()),
        None => Ok(list),
    }
}

fn download(rest: &str) -> Result<DeskCommand, String> {
    let (number, to) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let number =
        number.parse().map_err(|_| "download needs the number of a file, as read shows it".to_owned())?;
    Ok(DeskCommand::Download { number, to: to.trim().to_owned() })
}

fn item(text: &str) -> Result<ItemName, String> {
    let wrong = || format!("{text:?} names no item; use its number in the list, or #5804");
    if let Some(number) = text.strip_prefix('#') {
        return number.parse().map(ItemName::Attention).map_err(|_| wrong());
    }
    if let Ok(number) = text.parse() {
        return Ok(ItemName::Number(number));
    }
    match uuid::Uuid::try_parse(text) {
        Ok(id) => Ok(ItemName::Id(id.to_string())),
        Err(_) => Err(wrong()),
    }
}

fn flag(rest: &str, name: &str) -> Result<bool, String> {
    match rest {
        "" => Ok(false),
        flag if flag == name => Ok(true),
        other => Err(format!("{other:?} is not known here; {name} is")),
    }
}

fn wait(rest: &str) -> Result<Duration, String> {
    if rest.is_empty() {
        return Ok(DEFAULT_WAIT);
    }
    match rest.parse::<u64>() {
        Ok(seconds) if (1..=MAX_WAIT_SECONDS).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("wait takes seconds between 1 and {MAX_WAIT_SECONDS}")),
    }
}

/// `key=value` pairs; a value in double quotes may hold spaces, `|` separates several choices.
fn fields(rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| format!("{rest:?} is not field=value"))?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("{key:?} is not the key of a field"));
        }
        if found.iter().any(|(known, _)| known == key) {
            return Err(format!(
                "{key} stands here twice; several values are one, with | between: {key}=one|two"
            ));
        }
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                quoted.split_once('"').ok_or_else(|| format!("the value of {key} has no closing quote"))?
            }
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        found.push((key.to_owned(), value.replace('|', "\n").replace("\\n", "\n")));
        rest = left.trim_start();
    }
    Ok(found)
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
