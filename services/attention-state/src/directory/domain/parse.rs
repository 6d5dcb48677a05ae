//! From YAML text to a directory: accounts and campaigns here, people and forms in their own files.

use super::catalogue_yaml::{contact_field, quick_reply, tag};
use super::forms::form;
use super::hours_yaml::{self, hours};
use super::key::{AccountKey, CampaignKey, FormKey, UserKey};
use super::model::{
    Account, AssignmentMode, Campaign, Channel, Credential, Directory, Given, MailServer, OverflowMode,
    Security,
};
use super::people::user;
use super::problems::{Problem, Problems};
use super::section::Section;
use super::selection::{self, selection};
use super::tree::{self, Node};
use super::whatsapp;

/// Most entries of each list; 1 MiB holds about as many.
const MAX_ENTRIES: usize = 20_000;
/// Longest accept timeout: a day.
const MAX_ACCEPT_SECONDS: i32 = 86_400;
/// Longest overflow time: a week.
const MAX_OVERFLOW_SECONDS: i32 = 604_800;

/// Longest orphan timeout: a day.
const MAX_ORPHAN_SECONDS: i32 = 86_400;

/// A campaign names its accounts; the account keeps the reference.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    /// Path of the naming and the account named, with the campaign.
    pub accounts: Vec<(String, AccountKey, CampaignKey)>,
}

/// What one pass over the text found; nothing in it was compared with anything else yet.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) given: Given,
    pub(super) claims: Claims,
    pub(super) problems: Problems,
}

impl Draft {
    /// Passwords by user.
    #[must_use]
    pub fn credentials(&self) -> &[(UserKey, Credential)] {
        &self.given.credentials
    }

    /// The directory as it is written, before its parts were compared.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.given.directory
    }

    /// Checks what must hold between the parts; a part may refer to what is `kept`, which the text leaves out.
    #[must_use]
    pub fn checked(mut self, kept: &Directory) -> (Given, Problems) {
        super::check::check(&mut self, kept);
        (self.given, self.problems)
    }
}

/// Reads the text; what is wrong with its parts is in the draft.
///
/// # Errors
/// What makes it no YAML that we read, or nothing at all.
pub fn draft(text: &str) -> Result<Draft, Vec<Problem>> {
    match tree::read(text)? {
        Some(root) => Ok(read(&root)),
        None => Err(vec![Problem::new(1, "", "MISSING", "the text is empty".to_owned())]),
    }
}

fn read(root: &Node) -> Draft {
    let mut problems = Problems::of(root);
    let known =
        ["time_zone", "accounts", "campaigns", "users", "forms", "tags", "quick_replies", "contact_fields"];
    let top = Section::open(root, "", &known, &mut problems);
    let mut given = Given::default();
    let mut claims = Claims { accounts: Vec::new() };
    let zone = hours_yaml::zone(&top, &mut problems);
    let accounts = each(&top, "accounts", &mut problems, account);
    let campaigns = each(&top, "campaigns", &mut problems, |node, path, problems| {
        campaign(node, path, &mut claims, problems)
    });
    let users = each(&top, "users", &mut problems, user);
    let forms = each(&top, "forms", &mut problems, form);
    given.credentials =
        users.iter().filter_map(|(user, credential)| Some((user.key.clone(), credential.clone()?))).collect();
    given.directory = Directory {
        time_zone: zone,
        accounts,
        campaigns,
        users: users.into_iter().map(|(user, _)| user).collect(),
        forms,
        tags: each(&top, "tags", &mut problems, tag),
        quick_replies: each(&top, "quick_replies", &mut problems, quick_reply),
        contact_fields: each(&top, "contact_fields", &mut problems, contact_field),
    };
    Draft { given, claims, problems }
}

fn each<T>(
    top: &Section<'_>,
    field: &str,
    problems: &mut Problems,
    mut read: impl FnMut(&Node, &str, &mut Problems) -> T,
) -> Vec<T> {
    let items = top.items(field, MAX_ENTRIES, problems);
    items.iter().enumerate().map(|(at, node)| read(node, &format!("{field}[{at}]"), problems)).collect()
}

fn account(node: &Node, path: &str, problems: &mut Problems) -> Account {
    let known = [
        "key",
        "channel",
        "address",
        "display_name",
        "accept_unauthenticated_replies",
        "imap",
        "smtp",
        "whatsapp",
        "active",
    ];
    let section = Section::open(node, path, &known, problems);
    let key = AccountKey::unchecked(section.own_key(problems));
    let channel = section.choice("channel", Channel::WORDS, None, problems).unwrap_or(Channel::Email);
    let address = match channel {
        Channel::Email => {
            if section.node("whatsapp").is_some() {
                let message = "only a WhatsApp account has this";
                problems.add(&section.path("whatsapp"), "WRONG_CHANNEL", message);
            }
            address(&section, problems)
        }
        Channel::Whatsapp => {
            if section.node("whatsapp").is_none() {
                let message = "a WhatsApp account needs the settings of its number";
                problems.add(&section.path("whatsapp"), "MISSING", message);
            }
            for field in ["address", "imap", "smtp"] {
                if section.node(field).is_some() {
                    problems.add(&section.path(field), "WRONG_CHANNEL", "only an email account has this");
                }
            }
            String::new()
        }
    };
    Account {
        key,
        channel,
        address,
        display_name: section.line("display_name", 100, problems),
        accept_unauthenticated_replies: section.boolean("accept_unauthenticated_replies", false, problems),
        imap: section.node("imap").map(|node| server(node, &section.path("imap"), true, problems)),
        smtp: section.node("smtp").map(|node| server(node, &section.path("smtp"), false, problems)),
        whatsapp: section
            .node("whatsapp")
            .map(|node| whatsapp::number(node, &section.path("whatsapp"), problems)),
        active: section.boolean("active", true, problems),
        campaign: None,
    }
}

/// The address with its domain in lower case; the local part is kept as written (RFC 5321 2.4).
fn address(section: &Section<'_>, problems: &mut Problems) -> String {
    let text = section.required_line("address", 254, problems);
    let Some((local, domain)) = text.rsplit_once('@') else {
        problems.add(&section.path("address"), "BAD_VALUE", "must be an address such as soporte@ejemplo.pe");
        return text;
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part.chars().all(|one| one.is_alphanumeric() || "._-+!#$%&'*/=?^`{|}~".contains(one))
    };
    let labels =
        domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    let host = domain.chars().all(|one| one.is_alphanumeric() || one == '-' || one == '.');
    if !plain(local) || local.len() > 64 || !labels || !host {
        problems.add(&section.path("address"), "BAD_VALUE", "must be an address such as soporte@ejemplo.pe");
    }
    format!("{local}@{}", domain.to_lowercase())
}

fn server(node: &Node, path: &str, imap: bool, problems: &mut Problems) -> MailServer {
    let known: &[&str] = if imap {
        &["host", "port", "security", "user", "password_secret", "mailbox"]
    } else {
        &["host", "port", "security", "user", "password_secret"]
    };
    let section = Section::open(node, path, known, problems);
    let words: Vec<(&'static str, Security)> =
        Security::WORDS.iter().copied().filter(|(_, one)| !imap || *one != Security::Starttls).collect();
    let host = section.required_line("host", 253, problems);
    let security = section.choice("security", &words, None, problems).unwrap_or(Security::Tls);
    if security == Security::Plain && !["localhost", "127.0.0.1", "::1"].contains(&host.as_str()) {
        problems.add(
            &section.path("security"),
            "PLAIN_NOT_LOOPBACK",
            "only a loopback host may be spoken to in clear",
        );
    }
    if section.node("port").is_none() {
        problems.add(&section.path("port"), "MISSING", "`port` is required");
    }
    let port = section.integer("port", 1..=65_535, 0, problems);
    let user =
        if imap { section.required_line("user", 254, problems) } else { section.line("user", 254, problems) };
    let password_secret = whatsapp::secret_name(&section, "password_secret", !user.is_empty(), problems);
    MailServer {
        host,
        port: u16::try_from(port).unwrap_or_default(),
        security: security.as_str().to_owned(),
        user,
        password_secret,
        mailbox: if imap { section.line("mailbox", 200, problems) } else { String::new() },
    }
}

fn campaign(node: &Node, path: &str, claims: &mut Claims, problems: &mut Problems) -> Campaign {
    let own = [
        "key",
        "name",
        "description",
        "channel",
        "accounts",
        "members",
        "assignment_mode",
        "accept_timeout_seconds",
        "overflow_seconds",
        "overflow_mode",
        "overflow_campaign",
        "inbound_form",
        "outbound_form",
        "signature",
        "orphan_timeout_seconds",
        "service_level_seconds",
        "hours",
        "active",
    ];
    let known: Vec<&str> = own.into_iter().chain(selection::KEYS).collect();
    let section = Section::open(node, path, &known, problems);
    let key = CampaignKey::unchecked(section.own_key(problems));
    for (at, account) in section.list("accounts", 1_000, true, problems).into_iter().enumerate() {
        let path = format!("{}[{at}]", section.path("accounts"));
        claims.accounts.push((path, AccountKey::unchecked(account), key.clone()));
    }
    let members = section.list("members", MAX_ENTRIES, true, problems);
    Campaign {
        key,
        name: section.required_line("name", 100, problems),
        description: section.text("description", 1_000, problems),
        channel: section.choice("channel", Channel::WORDS, None, problems).unwrap_or(Channel::Email),
        members: members.into_iter().map(UserKey::unchecked).collect(),
        assignment_mode: section
            .choice("assignment_mode", AssignmentMode::WORDS, None, problems)
            .unwrap_or(AssignmentMode::Everyone),
        accept_timeout_seconds: section.integer(
            "accept_timeout_seconds",
            0..=MAX_ACCEPT_SECONDS,
            0,
            problems,
        ),
        overflow_seconds: section.integer("overflow_seconds", 0..=MAX_OVERFLOW_SECONDS, 0, problems),
        overflow_mode: section
            .choice("overflow_mode", OverflowMode::WORDS, Some(OverflowMode::None), problems)
            .unwrap_or(OverflowMode::None),
        overflow_campaign: section.key("overflow_campaign", problems).map(CampaignKey::unchecked),
        inbound_form: section.key("inbound_form", problems).map(FormKey::unchecked),
        outbound_form: section.key("outbound_form", problems).map(FormKey::unchecked),
        signature: section.text("signature", 2_000, problems),
        orphan_timeout_seconds: section.integer(
            "orphan_timeout_seconds",
            0..=MAX_ORPHAN_SECONDS,
            0,
            problems,
        ),
        service_level_seconds: section.integer(
            "service_level_seconds",
            0..=MAX_OVERFLOW_SECONDS,
            0,
            problems,
        ),
        hours: section.node("hours").map(|node| hours(node, &section.path("hours"), problems)),
        selection: selection(&section, problems),
        active: section.boolean("active", true, problems),
    }
}
