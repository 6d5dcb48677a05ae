//! `ListTemplates`, and what a refusal of free text offers instead.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::{ListTemplatesRequest, ListTemplatesResponse, Template};
use prost::Message as _;
use sqlx::PgConnection;

use super::store::{self, Place};
use crate::desk::rights;
use crate::directory::{self, Access, Channel};

/// Page size when none is named.
const DEFAULT_PAGE: i32 = 50;
/// Largest page.
const MAX_PAGE: i32 = 200;
/// Most bytes of one page, well below gRPC's message limit; one template at least.
const PAGE_BYTES: usize = 3 * 1024 * 1024;
/// Details of a status travel in headers, which some clients bound at 8 KiB.
const DETAIL_BYTES: usize = 2_500;

/// Templates that may be sent from the accounts of a campaign the caller serves.
///
/// # Errors
/// `AGENT_REQUIRED`, `CAMPAIGN_NOT_FOUND` for a campaign he does not serve, `OTHER_CHANNEL`, `INVALID_PAGE_TOKEN`; database errors.
pub(crate) async fn list(
    db: &Db,
    access: Access,
    request: ListTemplatesRequest,
) -> Result<ListTemplatesResponse, Error> {
    rights::check_agent(&access)?;
    let missing = || Error::missing("CAMPAIGN_NOT_FOUND", "there is no such campaign of yours");
    if !access.may_serve(&request.campaign_key) {
        return Err(missing());
    }
    let after = decode(&request.page_token)?;
    let size = if request.page_size <= 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
    db.snapshot(move |tx| {
        Box::pin(async move {
            let campaign = directory::campaign(tx, &request.campaign_key).await?.ok_or_else(missing)?;
            if campaign.channel != Channel::Whatsapp {
                return Err(Error::rejected("OTHER_CHANNEL", "the campaign serves another channel"));
            }
            let (of, wanted) = (&request.campaign_key, &request.account_key);
            let accounts = directory::accounts_of(tx, of, Channel::Whatsapp, wanted).await?;
            let accounts: Vec<String> = accounts.into_iter().map(|one| one.key).collect();
            let found = store::page(tx, &accounts, &after, i64::from(size) + 1).await?;
            Ok(fitting(found, usize::try_from(size).unwrap_or(1), PAGE_BYTES))
        })
    })
    .await
}

/// Adds the templates of an account that may be sent now to a refusal, as many as fit: `hilo.attention.v1.ListTemplatesResponse` in
/// the details of the status; ListTemplates has the rest.
///
/// # Errors
/// Database errors.
pub(crate) async fn usable(tx: &mut PgConnection, account: &str, refusal: Error) -> Result<Error, Error> {
    let first = Place::default();
    let found = store::page(tx, &[account.to_owned()], &first, i64::from(DEFAULT_PAGE)).await?;
    let most = usize::try_from(DEFAULT_PAGE).unwrap_or(1);
    let mut told = fitting(found, most, DETAIL_BYTES);
    if told.encoded_len() > DETAIL_BYTES {
        // Even the first is too long; its name is enough to ask for it.
        told.templates.iter_mut().for_each(|one| one.parts.clear());
    }
    Ok(refusal.detail("hilo.attention.v1.ListTemplatesResponse", told.encode_to_vec()))
}

/// The first of them, at most so many and so many bytes, with where the next page begins.
fn fitting(found: Vec<Template>, most: usize, bytes: usize) -> ListTemplatesResponse {
    let (all, mut length) = (found.len(), 0);
    let fits = |(at, one): &(usize, Template)| {
        length += one.encoded_len() + 8;
        *at == 0 || length <= bytes
    };
    let templates: Vec<Template> =
        found.into_iter().take(most).enumerate().take_while(fits).map(|(_, one)| one).collect();
    let more = templates.last().filter(|_| templates.len() < all);
    let next_page_token = more.map(encode).unwrap_or_default();
    ListTemplatesResponse { templates, next_page_token }
}

fn encode(last: &Template) -> String {
    [&last.name, &last.language, &last.account_key].map(hex::encode).join(".")
}

fn decode(token: &str) -> Result<Place, Error> {
    if token.is_empty() {
        return Ok(Place::default());
    }
    let text =
        |part: &str| String::from_utf8(hex::decode(part).ok()?).ok().filter(|text| !text.contains('\0'));
    let parts: Option<Vec<String>> = token.split('.').map(text).collect();
    match parts.as_deref() {
        Some([name, language, account]) => Ok((name.clone(), language.clone(), account.clone())),
        Some(_) | None => Err(Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours")
            .field("page_token", "malformed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str, length: usize) -> Template {
        Template {
            name: name.into(),
            language: "es".into(),
            category: "x".repeat(length),
            ..Template::default()
        }
    }

    #[test]
    fn a_page_ends_at_its_size_or_bytes_and_says_where_the_next_begins() {
        let found = || vec![template("a", 10), template("b", 1_000), template("c", 10)];
        for (most, bytes, names, next) in [
            (5, 10_000, vec!["a", "b", "c"], ""),
            (2, 10_000, vec!["a", "b"], "b"),
            (5, 500, vec!["a"], "a"),
            (5, 1, vec!["a"], "a"),
        ] {
            let page = fitting(found(), most, bytes);
            assert_eq!(page.templates.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), names);
            let place = decode(&page.next_page_token).unwrap();
            assert_eq!((place.0.as_str(), place.1.as_str()), (next, if next.is_empty() { "" } else { "es" }));
        }
        for odd in ["x", "61.62", "61.62.63.64", "zz.62.63", "00.62.63"] {
            assert_eq!(decode(odd).unwrap_err().reason(), "INVALID_PAGE_TOKEN", "{odd}");
        }
    }
}
