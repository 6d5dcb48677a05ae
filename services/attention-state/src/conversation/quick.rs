//! Quick replies as agents use them: those of their campaigns, with variables filled in by the server, so that every frontend
//! writes the same.

use std::collections::BTreeMap;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::attention::v1::{
    ListQuickRepliesRequest, ListQuickRepliesResponse, RenderQuickReplyRequest, RenderQuickReplyResponse,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::html;
use crate::desk::rights::{self, Right};
use crate::directory::{self, Access, CampaignKey, QuickReply};

/// Quick replies of the campaigns the caller serves.
///
/// # Errors
/// `AGENT_REQUIRED`, `CAMPAIGN_NOT_FOUND` for a campaign he does not serve; database errors.
pub(crate) async fn list(
    db: &Db,
    access: Access,
    request: ListQuickRepliesRequest,
) -> Result<ListQuickRepliesResponse, Error> {
    rights::check_agent(&access)?;
    let campaigns: Vec<CampaignKey> = match request.campaign_key.as_str() {
        "" => access.member_of.iter().cloned().map(CampaignKey::unchecked).collect(),
        key if access.may_serve(key) => vec![CampaignKey::unchecked(key.to_owned())],
        _ => return Err(Error::missing("CAMPAIGN_NOT_FOUND", "there is no such campaign of yours")),
    };
    let all = db.read(|conn| Box::pin(directory::quick_replies(conn))).await?;
    let usable = |reply: &QuickReply| {
        reply.active && campaigns.iter().any(|campaign| directory::in_scope(&reply.campaigns, campaign))
    };
    let mut replies: Vec<QuickReply> = all.into_iter().filter(usable).collect();
    for reply in &mut replies {
        // Which other campaigns share it is not his to know.
        reply.campaigns.retain(|campaign| access.may_see(campaign.as_str()));
    }
    replies.sort_by(|a, b| (&a.title, &a.key).cmp(&(&b.title, &b.key)));
    let quick_replies = replies.iter().map(directory::proto_catalogue::quick_reply).collect();
    Ok(ListQuickRepliesResponse { quick_replies })
}

/// A quick reply with its variables filled in for an interaction.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`, `QUICK_REPLY_NOT_FOUND`, `AGENT_REQUIRED`; database errors.
pub(crate) async fn render(
    db: &Db,
    access: Access,
    request: RenderQuickReplyRequest,
) -> Result<RenderQuickReplyResponse, Error> {
    let id = ids::parse(&request.interaction_id, "interaction_id")?;
    db.snapshot(move |tx| {
        Box::pin(async move {
            let values = values(tx, &access, id).await?;
            let reply = directory::quick_reply(tx, &request.quick_reply_key).await?;
            let fits =
                |reply: &QuickReply| reply.active && directory::in_scope(&reply.campaigns, &values.campaign);
            let reply = reply.filter(fits).ok_or_else(|| {
                Error::missing("QUICK_REPLY_NOT_FOUND", "there is no such quick reply for this campaign")
            })?;
            let (text, mut unresolved) = fill(&reply.text, &values.named, false);
            let (html, more) = fill(&reply.html, &values.named, true);
            unresolved.extend(more);
            unresolved.sort();
            unresolved.dedup();
            Ok(RenderQuickReplyResponse { text, html, unresolved })
        })
    })
    .await
}

struct Values {
    campaign: CampaignKey,
    named: BTreeMap<&'static str, String>,
}

async fn values(tx: &mut PgConnection, access: &Access, id: Uuid) -> Result<Values, Error> {
    let row = sqlx::query!(
        r#"SELECT i.campaign_key, a.number, a.subject, c.name AS contact, c.company, g.name AS campaign
           FROM attention.interaction AS i JOIN attention.attention AS a USING (attention_id)
           JOIN contact.contact AS c USING (contact_id) JOIN directory.campaign AS g ON g.campaign_key = i.campaign_key
           WHERE i.interaction_id = $1"#,
        id
    )
    .fetch_optional(tx)
    .await?;
    let row = row.ok_or_else(crate::attention::commands::not_found)?;
    rights::check(access, Right::Serve, &row.campaign_key)?;
    Ok(Values {
        campaign: CampaignKey::unchecked(row.campaign_key),
        named: BTreeMap::from([
            ("contact.name", row.contact),
            ("contact.company", row.company),
            ("agent.name", access.name.clone()),
            ("attention.number", row.number.to_string()),
            ("attention.subject", row.subject),
            ("campaign.name", row.campaign),
        ]),
    })
}

/// Fills `{{name}}` in, in one pass: a value that looks like a variable stays what the customer wrote. Also answers what had no
/// value.
fn fill(template: &str, values: &BTreeMap<&'static str, String>, escaped: bool) -> (String, Vec<String>) {
    let (mut filled, mut unresolved) = (String::with_capacity(template.len()), Vec::new());
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, after)) = tail.split_once("}}").filter(|(name, _)| !name.contains(['{', '\n']))
        else {
            filled.push_str("{{");
            rest = tail;
            continue;
        };
        match values.get(name.trim()) {
            Some(value) if escaped => filled.push_str(&html::escape(value)),
            Some(value) => filled.push_str(value),
            None => filled.push_str(&format!("{{{{{name}}}}}")),
        }
        if values.get(name.trim()).is_none_or(String::is_empty) {
            unresolved.push(name.trim().to_owned());
        }
        rest = after;
    }
    filled.push_str(rest);
    (filled, unresolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once() {
        let values = BTreeMap::from([
            ("contact.name", "{{agent.name}} <Eva>".to_owned()),
            ("contact.company", String::new()),
            ("agent.name", "Ana".to_owned()),
        ]);
        let rows = [
            ("Hola {{contact.name}}.", false, "Hola {{agent.name}} <Eva>.", vec![]),
            ("Hola {{ contact.name }}.", true, "Hola {{agent.name}} &lt;Eva&gt;.", vec![]),
            ("{{contact.company}}{{x.y}}", false, "{{x.y}}", vec!["contact.company", "x.y"]),
            ("{{ a {{agent.name}} }}", false, "{{ a Ana }}", vec![]),
            ("{{agent.name", false, "{{agent.name", vec![]),
            ("{{}}", false, "{{}}", vec![""]),
        ];
        for (template, escaped, expected, unresolved) in rows {
            let (text, missing) = fill(template, &values, escaped);
            assert_eq!(
                (text.as_str(), missing),
                (expected, unresolved.iter().map(|s| s.to_string()).collect()),
                "{template}"
            );
        }
    }
}
