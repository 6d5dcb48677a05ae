//! `hilo audit`: who changed what in the directory and of identities, newest first.

use hilo_proto::directory::v1::{AuditEntry, ListAuditRequest};

use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean, instant};
use super::{Failure, Installation};

/// Entries asked for at once.
const PAGE: i32 = 200;
/// Characters of a value shown.
const SHOWN: usize = 80;

/// Arguments of `hilo audit`.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Only this kind: account, campaign, user, form, tag, quick_reply, contact_field, time_zone
    #[arg(long, default_value = "")]
    kind: String,
    /// Only the thing with this key
    #[arg(long, default_value = "")]
    key: String,
    /// Only what this one did, for instance user:coordinadora
    #[arg(long, default_value = "")]
    by: String,
    /// Most entries shown
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
}

/// Runs `hilo audit`.
///
/// # Errors
/// When the user is no coordinator, nothing answers, or a filter is not understood.
pub async fn execute(args: AuditArgs) -> Result<(), Failure> {
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let mut output = Output::stdout();
    let (mut left, mut page_token) = (args.limit, String::new());
    while left > 0 {
        let request = session.request(ListAuditRequest {
            kind: args.kind.clone(),
            key: args.key.clone(),
            actor: args.by.clone(),
            page_size: i32::try_from(left).unwrap_or(PAGE).min(PAGE),
            page_token,
        });
        let page = session.directory().list_audit(request).await?.into_inner();
        for entry in page.entries.iter().take(left) {
            output.line(line(entry))?;
        }
        left = left.saturating_sub(page.entries.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(())
}

fn line(entry: &AuditEntry) -> String {
    let at = instant(entry.recorded_at.as_ref());
    let thing = format!("{} {}", entry.kind, entry.key);
    let mut line = format!("{at}  {}  {} {}", entry.actor, entry.action, thing.trim_end());
    for (position, field) in entry.fields.iter().enumerate() {
        let separator = if position == 0 { "  " } else { "; " };
        let change = match entry.action.as_str() {
            "created" => format!("{separator}{}={}", field.name, short(&field.after)),
            _ => format!("{separator}{} {} -> {}", field.name, short(&field.before), short(&field.after)),
        };
        line.push_str(&change);
    }
    clean(&line)
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0 => "(none)".to_owned(),
        1..=SHOWN => line,
        _ => line.chars().take(SHOWN).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use hilo_proto::directory::v1::AuditedField;

    use super::*;

    #[test]
    fn a_change_is_one_line_with_its_values() {
        let field = |name: &str, before: &str, after: &str| AuditedField {
            name: name.into(),
            before: before.into(),
            after: after.into(),
        };
        let mut entry = AuditEntry {
            actor: "user:coordinadora".into(),
            action: "changed".into(),
            kind: "campaign".into(),
            key: "ventas".into(),
            fields: vec![field("name", "Ventas", "Ventas Lima"), field("signature", "", "Ventas\nLima")],
            ..Default::default()
        };
        assert_eq!(
            line(&entry),
            "-  user:coordinadora  changed campaign ventas  name Ventas -> Ventas Lima; signature (none) -> Ventas Lima"
        );
        entry.action = "created".into();
        entry.fields.truncate(1);
        assert_eq!(line(&entry), "-  user:coordinadora  created campaign ventas  name=Ventas Lima");
    }
}
