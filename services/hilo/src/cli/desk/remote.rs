//! The calls an agent's desk makes. Each command carries a request id and is repeated with the same one while nothing
//! answers, so that a lost answer never makes a second reply.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hilo_kit::objects::Digest256;
use hilo_proto::attention::v1::RetryMessageRequest;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::attention::v1::{
    AddNoteRequest, AttachmentRef, BeginUploadRequest, ChatStart, FinishUploadRequest, GetDownloadUrlRequest,
    ListTemplatesRequest, MessageAttachmentRef, PutChunkRequest, ReopenInteractionRequest,
    StartAttentionRequest, StartAttentionResponse, Template, TransferInteractionRequest, Upload,
};
use hilo_proto::attention::v1::{
    DeclineOfferRequest, EndInteractionRequest, EndInteractionResponse, FormState, ListMessagesRequest,
    OpenInteractionRequest, OpenInteractionResponse, ReleaseInteractionRequest, SaveFormRequest,
    SendMessageRequest,
};
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::internal::v1::StoredDecision;
use hilo_proto::outbound::v1::SendTemplate;
use hilo_proto::routing::v1::{
    ExplainInteractionRequest, HeartbeatRequest, HeartbeatResponse, SetStatusRequest,
};
use parking_lot::RwLock;
use uuid::Uuid;

use super::command::{First, FirstChat, To};
use super::file;
use crate::cli::Failure;
use crate::cli::mail::compose::media_type;
use crate::cli::session::Session;

/// How often a command is tried while nothing answers.
const TRIES: u32 = 4;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What a desk can do; the driver's tests have another one.
#[async_trait]
pub trait DeskCalls: Send + Sync {
    /// Claims a queued item, or loads one the agent has open.
    async fn open(&self, interaction_id: &str) -> Result<OpenInteractionResponse, Failure>;
    /// The newest messages of an attention, in thread order.
    async fn messages(&self, attention_id: &str) -> Result<Vec<ThreadMessage>, Failure>;
    /// Sends a mail; the request id is made here.
    async fn send(&self, letter: SendMessageRequest) -> Result<ThreadMessage, Failure>;
    /// Answers the customer with a text.
    async fn reply(&self, interaction_id: &str, text: &str, all: bool) -> Result<ThreadMessage, Failure> {
        self.send(SendMessageRequest {
            interaction_id: interaction_id.to_owned(),
            text: text.to_owned(),
            reply_all: all,
            ..Default::default()
        })
        .await
    }
    /// Uploads a file to attach.
    async fn upload(&self, name: &str, content: Vec<u8>) -> Result<Upload, Failure>;
    /// Fetches a file of a message.
    async fn download(&self, message_id: &str, index: i32) -> Result<Vec<u8>, Failure>;
    /// Saves the form on the version it was read at.
    async fn save_form(
        &self,
        interaction_id: &str,
        base: i64,
        values: BTreeMap<String, String>,
    ) -> Result<FormState, Failure>;
    /// Ends the item, and its attention when asked.
    async fn end(&self, interaction_id: &str, close: bool) -> Result<EndInteractionResponse, Failure>;
    /// Gives the item back.
    async fn release(&self, interaction_id: &str) -> Result<(), Failure>;
    /// Gives the item to a campaign or an agent.
    async fn transfer(&self, interaction_id: &str, to: &To, note: &str) -> Result<(), Failure>;
    /// Writes an internal note.
    async fn note(&self, interaction_id: &str, text: &str) -> Result<(), Failure>;
    /// Writes to somebody first.
    async fn start(&self, first: &First) -> Result<StartAttentionResponse, Failure>;
    /// Writes to somebody first in WhatsApp.
    async fn start_chat(
        &self,
        first: &FirstChat,
        template: SendTemplate,
    ) -> Result<StartAttentionResponse, Failure>;
    /// The templates that may be sent in a campaign.
    async fn templates(&self, campaign: &str) -> Result<Vec<Template>, Failure>;
    /// Sends a message again that failed or may not have been sent.
    async fn retry(&self, message_id: &str) -> Result<ThreadMessage, Failure>;
    /// Opens an ended interaction again.
    async fn reopen(&self, interaction_id: &str) -> Result<(), Failure>;
    /// Lets an offer pass.
    async fn decline(&self, interaction_id: &str, offer_id: &str) -> Result<(), Failure>;
    /// Pauses or resumes; answers the state after it.
    async fn pause(&self, paused: bool) -> Result<bool, Failure>;
    /// Why an item was offered as it was, newest first.
    async fn explain(&self, interaction_id: &str) -> Result<Vec<StoredDecision>, Failure>;
}

/// The calls on the public endpoint. Clones share the session, which a new sign-in replaces.
#[derive(Clone, Debug)]
pub struct RemoteDesk {
    session: Arc<RwLock<Session>>,
    session_id: String,
}

impl RemoteDesk {
    /// A desk with a presence session of its own.
    pub fn new(session: Session) -> Self {
        Self {
            session: Arc::new(RwLock::new(session)),
            session_id: format!("desk-{}", Uuid::now_v7().simple()),
        }
    }

    /// Uses another sign-in from now on.
    pub fn replace_session(&self, session: Session) {
        *self.session.write() = session;
    }

    /// The sign-in in use.
    pub fn session(&self) -> Session {
        self.session.read().clone()
    }

    /// Says that the session lives.
    ///
    /// # Errors
    /// When routing cannot be reached or refuses.
    pub async fn heartbeat(&self) -> Result<HeartbeatResponse, Failure> {
        self.beat(false).await
    }

    /// Ends the presence session; failures do not matter, it ends by itself after 60 s.
    pub async fn leave(&self) {
        let _ = self.beat(true).await;
    }

    async fn beat(&self, leave: bool) -> Result<HeartbeatResponse, Failure> {
        let session = self.session();
        let request = session.request(HeartbeatRequest { session_id: self.session_id.clone(), leave });
        Ok(session.routing().heartbeat(request).await?.into_inner())
    }
}

async fn persist<T, F, Fut>(mut call: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let mut left = TRIES;
    loop {
        left -= 1;
        match call().await.map_err(Failure::from) {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(failure) if failure.is_passing() && left > 0 => tokio::time::sleep(PAUSE).await,
            Err(failure) => return Err(failure),
        }
    }
}

/// `call!(self, attention.open_interaction, request)`: the call with the session in use at each try.
macro_rules! call {
    ($this:ident, $service:ident.$method:ident, $request:expr) => {{
        let message = $request;
        persist(|| {
            let session = $this.session();
            let request = session.request(message.clone());
            async move { session.$service().$method(request).await }
        })
        .await
    }};
}

fn request_id() -> String {
    Uuid::now_v7().to_string()
}

#[async_trait]
impl DeskCalls for RemoteDesk {
    async fn open(&self, interaction_id: &str) -> Result<OpenInteractionResponse, Failure> {
        let interaction_id = interaction_id.to_owned();
        call!(
            self,
            attention.open_interaction,
            OpenInteractionRequest { interaction_id, request_id: request_id() }
        )
    }

    async fn messages(&self, attention_id: &str) -> Result<Vec<ThreadMessage>, Failure> {
        let request = ListMessagesRequest {
            attention_id: attention_id.to_owned(),
            page_size: 50,
            ..Default::default()
        };
        Ok(call!(self, attention.list_messages, request)?.messages)
    }

    async fn send(&self, letter: SendMessageRequest) -> Result<ThreadMessage, Failure> {
        let request = SendMessageRequest { request_id: request_id(), ..letter };
        let answer = call!(self, attention.send_message, request)?;
        answer.message.ok_or_else(|| incomplete("SendMessage"))
    }

    async fn upload(&self, name: &str, content: Vec<u8>) -> Result<Upload, Failure> {
        let request = BeginUploadRequest {
            file_name: name.to_owned(),
            media_type: media_type(name).to_owned(),
            size_bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            sha256: Digest256::of(&content).to_string(),
            request_id: request_id(),
        };
        let begun = call!(self, attention.begin_upload, request)?;
        let upload_id = begun.upload.ok_or_else(|| incomplete("BeginUpload"))?.upload_id;
        let mut offset = 0;
        for piece in content.chunks(file::PIECE) {
            let request = PutChunkRequest { upload_id: upload_id.clone(), offset, content: piece.to_vec() };
            let put = call!(self, attention.put_chunk, request)?;
            offset = put.upload.ok_or_else(|| incomplete("PutChunk"))?.received_bytes;
        }
        let finished = call!(self, attention.finish_upload, FinishUploadRequest { upload_id })?;
        finished.upload.ok_or_else(|| incomplete("FinishUpload"))
    }

    async fn download(&self, message_id: &str, index: i32) -> Result<Vec<u8>, Failure> {
        let source = Source::Message(MessageAttachmentRef { message_id: message_id.to_owned(), index });
        let attachment = Some(AttachmentRef { source: Some(source), content_id: String::new() });
        let request = GetDownloadUrlRequest { attachment, inline: false };
        let link = call!(self, attention.get_download_url, request)?;
        file::fetch(self.session().endpoint(), &link.url).await
    }

    async fn save_form(
        &self,
        interaction_id: &str,
        base: i64,
        values: BTreeMap<String, String>,
    ) -> Result<FormState, Failure> {
        let request = SaveFormRequest {
            interaction_id: interaction_id.to_owned(),
            base_version: base,
            values: values.into_iter().collect(),
        };
        let answer = call!(self, attention.save_form, request)?;
        answer.form_state.ok_or_else(|| incomplete("SaveForm"))
    }

    async fn end(&self, interaction_id: &str, close: bool) -> Result<EndInteractionResponse, Failure> {
        let interaction_id = interaction_id.to_owned();
        let request =
            EndInteractionRequest { interaction_id, close_attention: close, request_id: request_id() };
        call!(self, attention.end_interaction, request)
    }

    async fn release(&self, interaction_id: &str) -> Result<(), Failure> {
        let request =
            ReleaseInteractionRequest { interaction_id: interaction_id.to_owned(), request_id: request_id() };
        call!(self, attention.release_interaction, request).map(|_| ())
    }

    async fn transfer(&self, interaction_id: &str, to: &To, note: &str) -> Result<(), Failure> {
        let (campaign_key, agent_key) = match to {
            To::Campaign(key) => (key.clone(), String::new()),
            To::Agent(key) => (String::new(), key.clone()),
        };
        let request = TransferInteractionRequest {
            interaction_id: interaction_id.to_owned(),
            request_id: request_id(),
            campaign_key,
            agent_key,
            note: note.to_owned(),
        };
        call!(self, attention.transfer_interaction, request).map(|_| ())
    }

    async fn note(&self, interaction_id: &str, text: &str) -> Result<(), Failure> {
        let (interaction_id, text) = (interaction_id.to_owned(), text.to_owned());
        let request = AddNoteRequest { interaction_id, request_id: request_id(), text };
        call!(self, attention.add_note, request).map(|_| ())
    }

    async fn start(&self, first: &First) -> Result<StartAttentionResponse, Failure> {
        let request = StartAttentionRequest {
            campaign_key: first.campaign.clone(),
            request_id: request_id(),
            to: vec![EmailAddress { address: first.to.clone(), name: String::new() }],
            subject: first.subject.clone(),
            text: first.text.clone(),
            ..Default::default()
        };
        call!(self, attention.start_attention, request)
    }

    async fn start_chat(
        &self,
        first: &FirstChat,
        template: SendTemplate,
    ) -> Result<StartAttentionResponse, Failure> {
        let start = ChatStart { phone: first.phone.clone(), template: Some(template), ..Default::default() };
        let request = StartAttentionRequest {
            campaign_key: first.campaign.clone(),
            request_id: request_id(),
            whatsapp: Some(start),
            ..Default::default()
        };
        call!(self, attention.start_attention, request)
    }

    async fn templates(&self, campaign: &str) -> Result<Vec<Template>, Failure> {
        let campaign_key = campaign.to_owned();
        let request = ListTemplatesRequest { campaign_key, page_size: 200, ..Default::default() };
        Ok(call!(self, attention.list_templates, request)?.templates)
    }

    async fn retry(&self, message_id: &str) -> Result<ThreadMessage, Failure> {
        let message_id = message_id.to_owned();
        let request = RetryMessageRequest { message_id, request_id: request_id() };
        let answer = call!(self, attention.retry_message, request)?;
        answer.message.ok_or_else(|| incomplete("RetryMessage"))
    }

    async fn reopen(&self, interaction_id: &str) -> Result<(), Failure> {
        let request =
            ReopenInteractionRequest { interaction_id: interaction_id.to_owned(), request_id: request_id() };
        call!(self, attention.reopen_interaction, request).map(|_| ())
    }

    async fn decline(&self, interaction_id: &str, offer_id: &str) -> Result<(), Failure> {
        let (interaction_id, offer_id) = (interaction_id.to_owned(), offer_id.to_owned());
        let request = DeclineOfferRequest { interaction_id, offer_id, request_id: request_id() };
        call!(self, attention.decline_offer, request).map(|_| ())
    }

    async fn pause(&self, paused: bool) -> Result<bool, Failure> {
        Ok(call!(self, routing.set_status, SetStatusRequest { paused })?.paused)
    }

    async fn explain(&self, interaction_id: &str) -> Result<Vec<StoredDecision>, Failure> {
        let request = ExplainInteractionRequest {
            interaction_id: interaction_id.to_owned(),
            ..ExplainInteractionRequest::default()
        };
        Ok(call!(self, routing.explain_interaction, request)?.decisions)
    }
}

fn incomplete(call: &str) -> Failure {
    Failure::new(crate::cli::Exit::Failed, "INCOMPLETE_ANSWER", format!("the answer to {call} is incomplete"))
}
