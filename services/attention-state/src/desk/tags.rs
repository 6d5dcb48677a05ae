//! `TagAttention` and `UntagAttention`.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{
    TagAttentionRequest, TagAttentionResponse, UntagAttentionRequest, UntagAttentionResponse,
};
use prost::Message;
use sqlx::PgConnection;
use uuid::Uuid;

use super::once::Once;
use super::read;
use crate::attention::domain::{AttentionId, Command, TagKey, UserKey};
use crate::attention::tags;
use crate::attention::work::Actor;
use crate::directory::{self, Access, Role};

/// Longest key; the directory allows no longer one.
const MAX_KEY: usize = 40;

/// Puts a tag on an attention.
///
/// # Errors
/// `ATTENTION_NOT_FOUND`, `TAG_NOT_FOUND`, `TOO_MANY_TAGS`, `AGENT_REQUIRED`, `REQUEST_ID_REUSED`; database errors.
pub(crate) async fn tag(
    db: &Db,
    subjects: &Subjects,
    access: Access,
    mut request: TagAttentionRequest,
) -> Result<TagAttentionResponse, Error> {
    let request_id = std::mem::take(&mut request.request_id);
    let once = Once::new(&access.user_key, "TagAttention", &request_id, &request)?;
    let wish = Wish::of(&request.attention_id, request.tag_key, true)?;
    let answer = |tags| TagAttentionResponse { tags };
    wish.fulfil(db, subjects, access, once, answer).await
}

/// Takes a tag off an attention; also one that the directory does not know any more.
///
/// # Errors
/// `ATTENTION_NOT_FOUND`, `AGENT_REQUIRED`, `REQUEST_ID_REUSED`; database errors.
pub(crate) async fn untag(
    db: &Db,
    subjects: &Subjects,
    access: Access,
    mut request: UntagAttentionRequest,
) -> Result<UntagAttentionResponse, Error> {
    let request_id = std::mem::take(&mut request.request_id);
    let once = Once::new(&access.user_key, "UntagAttention", &request_id, &request)?;
    let wish = Wish::of(&request.attention_id, request.tag_key, false)?;
    let answer = |tags| UntagAttentionResponse { tags };
    wish.fulfil(db, subjects, access, once, answer).await
}

#[derive(Clone, Debug)]
struct Wish {
    attention: Uuid,
    tag: String,
    on: bool,
}

impl Wish {
    fn of(attention: &str, tag: String, on: bool) -> Result<Self, Error> {
        let attention = ids::parse(attention, "attention_id")?;
        if !(1..=MAX_KEY).contains(&tag.len()) {
            let bad = Error::invalid("INVALID_REQUEST", "the tag is malformed");
            return Err(bad.field("tag_key", format!("1 to {MAX_KEY} characters")));
        }
        Ok(Self { attention, tag, on })
    }

    async fn fulfil<A: Message + Default + 'static>(
        self,
        db: &Db,
        subjects: &Subjects,
        access: Access,
        once: Once,
        answer: fn(Vec<String>) -> A,
    ) -> Result<A, Error> {
        let subjects = subjects.clone();
        once.answered(db, move |tx| {
            let (wish, subjects, access) = (self.clone(), subjects.clone(), access.clone());
            Box::pin(async move { Ok(answer(wish.apply(tx, &subjects, &access).await?)) })
        })
        .await
    }

    async fn apply(
        &self,
        tx: &mut PgConnection,
        subjects: &Subjects,
        access: &Access,
    ) -> Result<Vec<String>, Error> {
        read::check(tx, access, self.attention).await?;
        let may = [Role::Agent, Role::Supervisor, Role::Coordinator].into_iter().any(|role| access.has(role));
        if !may {
            return Err(Error::denied("AGENT_REQUIRED", "only who serves or supervises may tag"));
        }
        if self.on {
            self.check_usable(tx).await?;
        }
        let tag = TagKey::new(&self.tag);
        let command = if self.on { Command::Tag { tag } } else { Command::Untag { tag } };
        let actor = Actor::User(UserKey::new(&access.user_key));
        tags::change(tx, subjects, AttentionId(self.attention), command, &actor).await
    }

    /// The tag is one of the directory's, active, and may be used in the campaign where the attention is.
    async fn check_usable(&self, tx: &mut PgConnection) -> Result<(), Error> {
        let campaign = sqlx::query_scalar!(
            "SELECT campaign_key FROM attention.attention WHERE attention_id = $1",
            self.attention
        )
        .fetch_one(&mut *tx)
        .await?;
        let campaign = directory::CampaignKey::unchecked(campaign);
        let tag = directory::tag(tx, &self.tag).await?;
        let usable = tag.is_some_and(|tag| tag.active && directory::in_scope(&tag.campaigns, &campaign));
        if usable { Ok(()) } else { Err(Error::missing("TAG_NOT_FOUND", "there is no such tag here")) }
    }
}
