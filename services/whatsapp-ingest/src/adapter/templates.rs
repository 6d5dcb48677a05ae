//! The templates of a business account at the Graph API, page by page.

use hilo_kit::config::Secret;
use hilo_kit::fault;
use serde_json::Value;

use super::graph::{Graph, whole};
use super::version::VERSION;
use crate::domain::json::{array, error_of, object, text};
use crate::domain::templates::MOST;

/// Rows of a page.
const PAGE: &str = "100";
/// Longest page, in bytes.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Most pages: a cursor that goes round in a circle ends here.
const PAGES: usize = 200;
/// What is read of a template.
const FIELDS: &str = "name,language,status,category,components,parameter_format";

impl Graph {
    /// All templates of a business account, in whatever state.
    ///
    /// # Errors
    /// Why not, for the log.
    pub async fn templates(&self, business_account: &str, token: &Secret) -> Result<Vec<Value>, String> {
        let address = self.url(&[VERSION, business_account, "message_templates"]);
        let address = address.ok_or("the account has no usable id of its business account")?;
        let (mut rows, mut after) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let mut url = address.clone();
            url.query_pairs_mut().append_pair("limit", PAGE).append_pair("fields", FIELDS);
            if !after.is_empty() {
                url.query_pairs_mut().append_pair("after", &after);
            }
            let answer = self.client().get(url).bearer_auth(token.expose()).send().await;
            let answer = answer.map_err(|_| "the Graph API cannot be reached or did not answer")?;
            let status = answer.status();
            let body = whole(answer, PAGE_BYTES).await?;
            let page: Value = serde_json::from_slice(&body).map_err(|_| "an answer that is no JSON")?;
            if !status.is_success() {
                let (code, _) = error_of(object(&page, "error"));
                return Err(format!("refused with HTTP {} and code {code}", status.as_u16()));
            }
            if !page.get("data").is_some_and(Value::is_array) {
                return Err("an answer without a list".to_owned());
            }
            rows.extend_from_slice(array(&page, "data"));
            let paging = object(&page, "paging");
            after = text(object(paging, "cursors"), "after");
            if rows.len() > MOST {
                return Err(format!("there are more than {MOST} templates"));
            }
            if text(paging, "next").is_empty() || after.is_empty() {
                return Ok(rows);
            }
            fault::point("whatsapp.templates.after_page").await;
        }
        Err("the pages have no end".to_owned())
    }
}
