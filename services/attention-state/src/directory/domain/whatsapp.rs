//! The settings of a WhatsApp business number at the Cloud API: what they are and how they are written.

use super::model::Account;
use super::problems::Problems;
use super::section::Section;
use super::tree::Node;

/// What Meta lets an unraised number send per second
/// (<https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput>).
const DEFAULT_RATE: i32 = 80;
/// What Meta raises a number to.
const MAX_RATE: i32 = 1_000;
/// Longest id of Meta's.
const MAX_ID: usize = 32;

/// A business number; field names are those of the YAML and of `directory.proto`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WhatsAppNumber {
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// Meta's id of the WhatsApp Business Account.
    pub business_account_id: String,
    /// As customers see it, `+` and digits.
    pub display_number: String,
    /// Name of the secret with the access token.
    pub access_token_secret: String,
    /// Name of the secret with the app secret.
    pub app_secret_secret: String,
    /// Name of the secret with the verify token.
    pub verify_token_secret: String,
    /// Most messages per second.
    pub messages_per_second: i32,
}

impl WhatsAppNumber {
    /// For the difference of two directories.
    pub fn line(&self) -> String {
        format!(
            "{} {} {} {} {} {} {}/s",
            self.phone_number_id,
            self.business_account_id,
            self.display_number,
            self.access_token_secret,
            self.app_secret_secret,
            self.verify_token_secret,
            self.messages_per_second
        )
    }
}

/// Reads the mapping `whatsapp` of an account.
pub(super) fn number(node: &Node, path: &str, problems: &mut Problems) -> WhatsAppNumber {
    let known = [
        "phone_number_id",
        "business_account_id",
        "display_number",
        "access_token_secret",
        "app_secret_secret",
        "verify_token_secret",
        "messages_per_second",
    ];
    let section = Section::open(node, path, &known, problems);
    WhatsAppNumber {
        phone_number_id: id(&section, "phone_number_id", problems),
        business_account_id: id(&section, "business_account_id", problems),
        display_number: display(&section, problems),
        access_token_secret: secret_name(&section, "access_token_secret", true, problems),
        app_secret_secret: secret_name(&section, "app_secret_secret", true, problems),
        verify_token_secret: secret_name(&section, "verify_token_secret", true, problems),
        messages_per_second: section.integer("messages_per_second", 1..=MAX_RATE, DEFAULT_RATE, problems),
    }
}

fn id(section: &Section<'_>, field: &str, problems: &mut Problems) -> String {
    let text = section.required_line(field, MAX_ID, problems);
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        problems.add(&section.path(field), "BAD_VALUE", "must be an id of Meta's, digits only");
    }
    text
}

/// ITU-T E.164: `+` and at most 15 digits.
fn display(section: &Section<'_>, problems: &mut Problems) -> String {
    let text = section.required_line("display_number", 40, problems);
    let plain: String = text.chars().filter(|one| !matches!(one, ' ' | '-' | '(' | ')')).collect();
    let digits = plain.strip_prefix('+').unwrap_or_default();
    let right = (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !right || digits.starts_with('0') {
        let message = "must be a number with its country code such as +51 987 654 321";
        problems.add(&section.path("display_number"), "BAD_VALUE", message);
    }
    plain
}

/// The name of a secret, whose value comes from the environment or a file.
pub(super) fn secret_name(
    section: &Section<'_>,
    field: &str,
    needed: bool,
    problems: &mut Problems,
) -> String {
    let name = section.line(field, 60, problems);
    if needed && name.is_empty() {
        problems.add(&section.path(field), "MISSING", "the name of the secret is required");
    }
    if !name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') {
        let message = "the name of a secret is made of A-Z, 0-9 and `_`; the secret itself never stands here";
        problems.add(&section.path(field), "BAD_VALUE", message);
    }
    name
}

/// Two active accounts of one number would each take its messages.
pub(super) fn numbers(accounts: &[Account], problems: &mut Problems) {
    let mut seen = std::collections::HashMap::new();
    for (at, account) in accounts.iter().enumerate().filter(|(_, account)| account.active) {
        let Some(number) = account.whatsapp.as_ref().filter(|one| !one.phone_number_id.is_empty()) else {
            continue;
        };
        let first = *seen.entry(number.phone_number_id.as_str()).or_insert(at);
        if first != at {
            let line = problems.line(&format!("accounts[{first}].whatsapp.phone_number_id"));
            let message = format!("the account on line {line} has this number too");
            let path = format!("accounts[{at}].whatsapp.phone_number_id");
            problems.add(&path, "DUPLICATE_NUMBER", message);
        }
    }
}
