//! `StartAttention`: an agent writes to somebody first.

use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_proto::attention::v1::{StartAttentionRequest, StartAttentionResponse};
use hilo_proto::inbound::v1::EmailAddress;
use sqlx::PgConnection;

use super::act::{Actions, snapshot};
use super::compose::{MAX_SUBJECT, MAX_TEXT, is_address, shown, storable, written_html};
use super::once::Once;
use super::said;
use crate::attention::chat::start as chat;
use crate::attention::domain::{AccountKey, Attention, CampaignKey, MessageId, UserKey};
use crate::attention::envelope::Post;
use crate::attention::start::{self, First};
use crate::attention::store::message::StoredAddress;
use crate::conversation::attach::{self, Wanted};
use crate::directory::domain::model::{Campaign, Channel};
use crate::directory::{self, Access, SendsFrom};

/// Most recipients of one mail.
const MAX_RECIPIENTS: usize = 100;
/// Longest name of a recipient, in characters.
const MAX_NAME: usize = 200;

impl Actions {
    /// Begins an outbound attention of the caller by a message.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `CAMPAIGN_NOT_FOUND`, `AGENT_REQUIRED`, `CAMPAIGN_INACTIVE`, `NO_ACCOUNT`,
    /// those of [`start::start`] and [`chat::start`]; database errors.
    pub(crate) async fn start(
        &self,
        access: Access,
        mut request: StartAttentionRequest,
    ) -> Result<StartAttentionResponse, Error> {
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "StartAttention", &request_id, &request)?;
        // What no channel takes is refused before anything is looked up.
        let begins = match &request.whatsapp {
            None => Begins::Mail(check(&request)?),
            Some(whatsapp) => Begins::Chat(said::first(&request, whatsapp)?),
        };
        let post = self.post();
        let answer = once
            .answered(&self.db, move |tx| {
                let post = post.clone();
                let (access, request, begins) = (access.clone(), request.clone(), begins.clone());
                Box::pin(async move {
                    let answer = started(tx, &post, &access, request, begins).await?;
                    fault::point("attention.start.before_commit").await;
                    Ok(answer)
                })
            })
            .await?;
        fault::point("attention.start.after_commit").await;
        Ok(answer)
    }
}

async fn started(
    tx: &mut PgConnection,
    post: &Post,
    access: &Access,
    request: StartAttentionRequest,
    begins: Begins,
) -> Result<StartAttentionResponse, Error> {
    let campaign = campaign(tx, access, &request.campaign_key).await?;
    match (campaign.channel, &begins) {
        (Channel::Email, Begins::Chat(_)) => return Err(said::only_of_whatsapp()),
        (Channel::Whatsapp, Begins::Mail(_)) => {
            return Err(malformed().field("whatsapp", "required: the campaign serves WhatsApp"));
        }
        (Channel::Email, Begins::Mail(_)) | (Channel::Whatsapp, Begins::Chat(_)) => {}
    }
    let (key, channel) = (campaign.key.as_str(), campaign.channel);
    let account = directory::account_of(tx, key, channel, &request.account_key, malformed()).await?;
    let (after, message) = match begins {
        Begins::Mail(written) => by_mail(tx, post, access, &campaign, account, request, written).await?,
        Begins::Chat(first) => {
            let (agent, account) = (UserKey::new(&access.user_key), AccountKey::new(account.key));
            let whom = first.whom(tx, access).await?;
            let campaign = CampaignKey::new(campaign.key.as_str());
            let (written, files) = (first.written, first.files);
            chat::start(tx, post, &chat::First { agent, campaign, account, whom, written, files }).await?
        }
    };
    Ok(StartAttentionResponse {
        attention_id: after.id.to_string(),
        attention_number: after.number,
        interaction: snapshot(&after),
        message: shown(tx, message).await?,
    })
}

async fn by_mail(
    tx: &mut PgConnection,
    post: &Post,
    access: &Access,
    campaign: &Campaign,
    account: SendsFrom,
    request: StartAttentionRequest,
    written: Written,
) -> Result<(Attention, MessageId), Error> {
    let addresses = |list: Vec<EmailAddress>| list.into_iter().map(StoredAddress::from).collect();
    let first = First {
        agent: UserKey::new(&access.user_key),
        account: AccountKey::new(account.key),
        from: StoredAddress { address: account.address, name: account.name },
        to: addresses(request.to),
        cc: addresses(request.cc),
        bcc: addresses(request.bcc),
        subject: request.subject.trim().to_owned(),
        text: storable(&request.text),
        html: written.html,
        files: written.files,
    };
    start::start(tx, post, campaign, &first).await
}

/// An active campaign that the caller serves.
async fn campaign(tx: &mut PgConnection, access: &Access, key: &str) -> Result<Campaign, Error> {
    let missing = || Error::missing("CAMPAIGN_NOT_FOUND", "there is no such campaign");
    if !access.may_see(key) {
        return Err(missing());
    }
    let campaign = directory::campaign(tx, key).await?.ok_or_else(missing)?;
    if !access.may_serve(key) {
        return Err(Error::denied("AGENT_REQUIRED", "only an agent of the campaign may do this"));
    }
    if !campaign.active {
        return Err(Error::rejected("CAMPAIGN_INACTIVE", "the campaign is switched off"));
    }
    Ok(campaign)
}

fn malformed() -> Error {
    Error::invalid("INVALID_REQUEST", "the message is malformed")
}

/// What the caller begins with, read once.
#[derive(Clone, Debug)]
enum Begins {
    Mail(Written),
    Chat(said::First),
}

/// What was read of a mail while it was checked.
#[derive(Clone, Debug)]
struct Written {
    /// Sanitised.
    html: String,
    files: Vec<Wanted>,
}

fn check(request: &StartAttentionRequest) -> Result<Written, Error> {
    let mut bad = malformed();
    if request.campaign_key.is_empty() {
        bad = bad.field("campaign_key", "required");
    }
    let lists = [("to", &request.to), ("cc", &request.cc), ("bcc", &request.bcc)];
    if request.to.is_empty() || lists.iter().map(|(_, list)| list.len()).sum::<usize>() > MAX_RECIPIENTS {
        bad = bad.field("to", format!("1 to {MAX_RECIPIENTS} recipients in all"));
    }
    for (field, list) in lists {
        for (at, one) in list.iter().enumerate().take(MAX_RECIPIENTS) {
            let name_fits = one.name.chars().count() <= MAX_NAME && !one.name.contains(char::is_control);
            if !is_address(&one.address) || !name_fits {
                bad = bad.field(format!("{field}[{at}]"), "must be one address with a plain name");
            }
        }
    }
    let subject = request.subject.trim();
    if subject.is_empty() || subject.chars().count() > MAX_SUBJECT || subject.contains(char::is_control) {
        bad = bad.field("subject", format!("1 to {MAX_SUBJECT} characters in one line"));
    }
    if request.text.trim().is_empty() || request.text.chars().count() > MAX_TEXT {
        bad = bad.field("text", format!("1 to {MAX_TEXT} characters"));
    }
    let html = match written_html(&request.html) {
        Ok(html) => html,
        Err(why) => {
            bad = bad.field("html", why);
            String::new()
        }
    };
    if !bad.violations().is_empty() {
        return Err(bad);
    }
    Ok(Written { html, files: attach::wanted(&request.attachments, "attachments")? })
}
