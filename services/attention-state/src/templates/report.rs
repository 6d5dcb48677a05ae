//! `ReportTemplates`: the whole list of an account as Meta has it.

use std::collections::BTreeSet;

use hilo_kit::clock::from_proto;
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::Template;
use hilo_proto::internal::v1::{ReportTemplatesRequest, ReportTemplatesResponse, ReportedTemplate};
use prost::Message as _;
use sqlx::PgConnection;

use super::store::{self, Row};

/// Most templates of a business account (Meta allows 6,000 to a verified one).
const MAX_TEMPLATES: usize = 6_000;
/// Longest name (Meta's rule) and language, in bytes.
const MAX_NAME: usize = 512;
const MAX_LANGUAGE: usize = 20;
/// Longest state.
const MAX_STATUS: usize = 60;

/// Stores a list; one that is older than the stored one changes nothing.
///
/// # Errors
/// `INVALID_REQUEST` with violations, `ACCOUNT_UNKNOWN` for what is no WhatsApp account of the directory; database errors.
pub(crate) async fn report(
    db: &Db,
    request: ReportTemplatesRequest,
) -> Result<ReportTemplatesResponse, Error> {
    let bad = || Error::invalid("INVALID_REQUEST", "the list of templates is malformed");
    let read_at = request.read_at.as_ref().and_then(from_proto);
    let read_at = read_at.ok_or_else(|| bad().field("read_at", "required"))?;
    let rows = rows(&request.templates)?;
    let account = request.account_key;
    let stored = db
        .transaction(move |tx| {
            let (account, rows) = (account.clone(), rows.clone());
            Box::pin(async move {
                if !is_whatsapp(tx, &account).await? {
                    return Err(Error::rejected("ACCOUNT_UNKNOWN", "no WhatsApp account of the directory"));
                }
                store::replace(tx, &account, read_at, &rows).await
            })
        })
        .await?;
    Ok(ReportTemplatesResponse { stored })
}

fn rows(reported: &[ReportedTemplate]) -> Result<Vec<Row>, Error> {
    let mut bad = Error::invalid("INVALID_REQUEST", "the list of templates is malformed");
    if reported.len() > MAX_TEMPLATES {
        return Err(bad.field("templates", format!("at most {MAX_TEMPLATES}")));
    }
    let plain =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.contains(char::is_control);
    let (mut rows, mut seen) = (Vec::with_capacity(reported.len()), BTreeSet::new());
    for (at, one) in reported.iter().enumerate() {
        let template = one.template.clone().unwrap_or_default();
        let named = plain(&template.name, MAX_NAME) && plain(&template.language, MAX_LANGUAGE);
        if !named || !plain(&one.status, MAX_STATUS) {
            bad =
                bad.field(format!("templates[{at}]"), "name, language and status are required, in one line");
        } else if !seen.insert((template.name.clone(), template.language.clone())) {
            bad = bad.field(format!("templates[{at}]"), "this name in this language stands there twice");
        }
        let content = Template { account_key: String::new(), synchronised_at: None, ..template.clone() };
        rows.push(Row {
            name: template.name,
            language: template.language,
            status: one.status.to_ascii_uppercase(),
            content: content.encode_to_vec(),
        });
    }
    if bad.violations().is_empty() { Ok(rows) } else { Err(bad) }
}

async fn is_whatsapp(tx: &mut PgConnection, account: &str) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM directory.account WHERE account_key = $1 AND channel = 'whatsapp') AS "is!""#,
        account
    )
    .fetch_one(tx)
    .await?)
}
