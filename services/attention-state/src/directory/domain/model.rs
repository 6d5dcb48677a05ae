//! What the directory holds. The same values are read from YAML, loaded from the database, compared and sent.

use std::collections::BTreeSet;

use secrecy::SecretString;

use super::catalogue::{ContactField, QuickReply, Tag};
use super::hours::Hours;
use super::key::{AccountKey, CampaignKey, FormKey, UserKey};
use super::selection::{Selection, SkillLevel};
use super::whatsapp::WhatsAppNumber;

/// Defines an enum whose variants have one stable word in YAML, database and contracts.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every word with its value, in order.
            pub const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];

            /// The stable word.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The value of a word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
            }
        }
    };
}

words! {
    /// Where a conversation takes place.
    Channel {
        /// Email.
        Email = "email",
        /// WhatsApp.
        Whatsapp = "whatsapp",
    }
}

words! {
    /// How new work is spread over agents.
    AssignmentMode {
        /// Rings at all available agents at once.
        Everyone = "everyone",
        /// Fixed order of members.
        RoundRobin = "round_robin",
        /// Fewest open items in the channel.
        LeastBusy = "least_busy",
        /// Uniformly at random.
        Random = "random",
        /// Who has had nothing in the channel for the longest time.
        LongestIdle = "longest_idle",
    }
}

words! {
    /// What happens when an item waited longer than the campaign's overflow time.
    OverflowMode {
        /// Nothing.
        None = "none",
        /// It rings at every available agent.
        AssignToAll = "assign_to_all",
        /// It moves to another campaign.
        SendToCampaign = "send_to_campaign",
    }
}

words! {
    /// What a user may do.
    Role {
        /// Serves customers.
        Agent = "agent",
        /// Watches live and sets up dialers.
        Supervisor = "supervisor",
        /// Administers campaigns.
        Coordinator = "coordinator",
        /// Reads reports.
        Reporter = "reporter",
        /// Reads the live panel.
        Monitor = "monitor",
    }
}

words! {
    /// Kind of a form's field.
    FieldType {
        /// One line.
        Text = "text",
        /// Several lines.
        Paragraph = "paragraph",
        /// Number.
        Number = "number",
        /// One of the choices, all visible.
        SingleChoice = "single_choice",
        /// Any of the choices.
        MultipleChoice = "multiple_choice",
        /// One of the choices, in a drop-down list.
        List = "list",
        /// Date, `YYYY-MM-DD`.
        Date = "date",
    }
}

words! {
    /// Protection of a connection to a mail server.
    Security {
        /// Implicit TLS (RFC 8314).
        Tls = "tls",
        /// STARTTLS, required.
        Starttls = "starttls",
        /// None; loopback only.
        Plain = "plain",
    }
}

/// Items at once per channel when the directory does not say.
pub const DEFAULT_CAPACITY: i32 = 5;

/// A mail server of an account, for fetching or sending.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MailServer {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protection; the word of [`Security`].
    pub security: String,
    /// User; empty means none.
    pub user: String,
    /// Name of the secret with the password; empty means none.
    pub password_secret: String,
    /// IMAP mailbox; empty for SMTP.
    #[serde(default)]
    pub mailbox: String,
}

/// An address or number of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Key.
    pub key: AccountKey,
    /// Channel; immutable.
    pub channel: Channel,
    /// Address with lower-case domain; empty outside email.
    pub address: String,
    /// Display name; may be empty.
    pub display_name: String,
    /// The named policy switch, see `directory.proto`.
    pub accept_unauthenticated_replies: bool,
    /// Where mail is fetched.
    pub imap: Option<MailServer>,
    /// Where mail is sent.
    pub smtp: Option<MailServer>,
    /// The business number; of WhatsApp accounts.
    pub whatsapp: Option<WhatsAppNumber>,
    /// False neither receives nor sends.
    pub active: bool,
    /// Campaign its inbound messages enter; an inactive account keeps its last one, for mail still on its way.
    pub campaign: Option<CampaignKey>,
}

/// The work unit of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Key.
    pub key: CampaignKey,
    /// Name.
    pub name: String,
    /// Description; may be empty.
    pub description: String,
    /// Channel; immutable.
    pub channel: Channel,
    /// Members in their fixed order.
    pub members: Vec<UserKey>,
    /// Mode.
    pub assignment_mode: AssignmentMode,
    /// Seconds an agent has to take an offer; 0 is off.
    pub accept_timeout_seconds: i32,
    /// Seconds until overflow; 0 is off.
    pub overflow_seconds: i32,
    /// Overflow mode.
    pub overflow_mode: OverflowMode,
    /// Target of `send_to_campaign`.
    pub overflow_campaign: Option<CampaignKey>,
    /// Form for inbound attentions.
    pub inbound_form: Option<FormKey>,
    /// Form for outbound attentions.
    pub outbound_form: Option<FormKey>,
    /// Signature; may be empty.
    pub signature: String,
    /// Seconds an agent may be absent before an open item goes back to the queue; 0 is off.
    pub orphan_timeout_seconds: i32,
    /// Seconds within which an item should be opened, for the service level; 0 is no target.
    pub service_level_seconds: i32,
    /// When it is open; none is always.
    pub hours: Option<Hours>,
    /// What it asks for, and what goes first, beyond the mode.
    pub selection: Selection,
    /// False takes no new offers.
    pub active: bool,
}

/// A person who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Key.
    pub key: UserKey,
    /// Name.
    pub name: String,
    /// Roles.
    pub roles: BTreeSet<Role>,
    /// Campaigns a supervisor, reporter or monitor may see.
    pub campaigns: BTreeSet<CampaignKey>,
    /// False may not sign in.
    pub active: bool,
    /// Items at once in email, by weight.
    pub email_capacity: i32,
    /// Items at once in WhatsApp, by weight.
    pub whatsapp_capacity: i32,
    /// What he masters, each skill once, by skill.
    pub skills: Vec<SkillLevel>,
}

/// A form at a version.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Key.
    pub key: FormKey,
    /// Version, from 1; 0 in what was just read from YAML.
    pub version: i32,
    /// Title.
    pub title: String,
    /// Fields in order.
    pub fields: Vec<FormField>,
    /// When this version came into force; the database's clock.
    pub created_at: time::OffsetDateTime,
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FormField {
    /// Key within the form; immutable together with its type.
    pub key: String,
    /// Label.
    pub label: String,
    /// The word of [`FieldType`].
    #[serde(rename = "type")]
    pub kind: String,
    /// True blocks ending while empty.
    pub required: bool,
    /// Choices of the choice types.
    pub choices: Vec<String>,
    /// Least value, length or number of choices.
    pub minimum: Option<f64>,
    /// Greatest value, length or number of choices.
    pub maximum: Option<f64>,
}

/// Everything administered.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// IANA time zone of the installation; empty in a given one that leaves it out.
    pub time_zone: String,
    /// Accounts by key.
    pub accounts: Vec<Account>,
    /// Campaigns by key.
    pub campaigns: Vec<Campaign>,
    /// Users by key.
    pub users: Vec<User>,
    /// Current forms by key.
    pub forms: Vec<Form>,
    /// Tags by key.
    pub tags: Vec<Tag>,
    /// Quick replies by key.
    pub quick_replies: Vec<QuickReply>,
    /// Extra fields of contacts: the given ones in their order, then those switched off.
    pub contact_fields: Vec<ContactField>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            accounts: Vec::new(),
            campaigns: Vec::new(),
            users: Vec::new(),
            forms: Vec::new(),
            tags: Vec::new(),
            quick_replies: Vec::new(),
            contact_fields: Vec::new(),
        }
    }
}

/// How the YAML gave a user's password.
#[derive(Clone, Debug)]
pub enum Credential {
    /// In clear; hashed before anything is stored.
    Password(SecretString),
    /// As an argon2id PHC string whose parameters were checked.
    Hash(SecretString),
}

/// What a YAML text holds: the directory and the passwords apart from it, so that they cannot reach a log or a difference.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The directory.
    pub directory: Directory,
    /// Passwords by user.
    pub credentials: Vec<(UserKey, Credential)>,
    /// Accounts that the text leaves out and a campaign of the text names.
    pub claimed: Vec<(AccountKey, CampaignKey)>,
}
