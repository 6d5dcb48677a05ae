//! `hilo.attention.v1.AttentionService`: the agent's desk. Every RPC begins with the caller's access from the directory.

use std::sync::Arc;

use hilo_kit::auth::{Principal, principal};
use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::attention_service_server::AttentionService;
use hilo_proto::attention::v1::{
    AddNoteRequest, AddNoteResponse, ReassignInteractionRequest, ReassignInteractionResponse,
};
use hilo_proto::attention::v1::{
    BeginUploadRequest, BeginUploadResponse, DeclineOfferRequest, DeclineOfferResponse,
    EndInteractionRequest, EndInteractionResponse, FinishUploadRequest, FinishUploadResponse,
    GetAttentionRequest, GetAttentionResponse, GetDownloadUrlRequest, GetDownloadUrlResponse,
    GetUploadRequest, GetUploadResponse, ListEventsRequest, ListEventsResponse, ListInteractionsRequest,
    ListInteractionsResponse, ListMessagesRequest, ListMessagesResponse, ListQuickRepliesRequest,
    ListQuickRepliesResponse, ListTemplatesRequest, ListTemplatesResponse, MarkReadRequest, MarkReadResponse,
    OpenInteractionRequest, OpenInteractionResponse, PutChunkRequest, PutChunkResponse,
    ReleaseInteractionRequest, ReleaseInteractionResponse, RenderQuickReplyRequest, RenderQuickReplyResponse,
    ReopenInteractionRequest, ReopenInteractionResponse, RetryMessageRequest, RetryMessageResponse,
    SaveDraftRequest, SaveDraftResponse, SaveFormRequest, SaveFormResponse, SendMessageRequest,
    SendMessageResponse, StartAttentionRequest, StartAttentionResponse, TagAttentionRequest,
    TagAttentionResponse, TransferInteractionRequest, TransferInteractionResponse, UntagAttentionRequest,
    UntagAttentionResponse, WatchDeskRequest,
};
use tonic::{Request, Response, Status};

use crate::conversation::{Files, quick};
use crate::desk::act::Actions;
use crate::desk::answers::Answers;
use crate::desk::watch::{self, Watcher, Watching};
use crate::desk::{self, list, read};
use crate::directory::Access;
use crate::identity::caller;
use crate::templates;

/// The service.
pub(crate) struct AttentionRpc {
    actions: Actions,
    watching: Watching,
    subjects: Arc<Subjects>,
    files: Files,
}

impl AttentionRpc {
    /// Acts by `actions`, watches by `watching`, takes and links files by `files`.
    pub(crate) fn new(actions: Actions, watching: Watching, subjects: Subjects, files: Files) -> Self {
        Self { actions, watching, subjects: Arc::new(subjects), files }
    }

    async fn caller<T>(&self, request: &Request<T>) -> Result<Access, Error> {
        caller::user(&self.watching.db, request).await
    }
}

#[tonic::async_trait]
impl AttentionService for AttentionRpc {
    type WatchDeskStream = Answers;

    async fn watch_desk(&self, request: Request<WatchDeskRequest>) -> Result<Response<Answers>, Status> {
        self.caller(&request).await?;
        let Some(Principal::User { key, token_id, expires_at }) = principal(&request).cloned() else {
            return Err(Error::unauthenticated("a token is required").into());
        };
        let channel = request.into_inner().channel;
        let watcher = Watcher { user: key, token_id, expires_at, channel };
        Ok(Response::new(watch::start(&self.watching, watcher)?))
    }

    async fn list_interactions(
        &self,
        request: Request<ListInteractionsRequest>,
    ) -> Result<Response<ListInteractionsResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(list::page(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn get_attention(
        &self,
        request: Request<GetAttentionRequest>,
    ) -> Result<Response<GetAttentionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(read::attention(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(read::messages(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        // Services heal their gaps by it too, without a user's rights.
        let access = match principal(&request) {
            Some(Principal::Service { .. }) => None,
            Some(Principal::User { .. }) | None => Some(self.caller(&request).await?),
        };
        Ok(Response::new(desk::events::list(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn open_interaction(
        &self,
        request: Request<OpenInteractionRequest>,
    ) -> Result<Response<OpenInteractionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.open(access, request.into_inner()).await?))
    }

    async fn decline_offer(
        &self,
        request: Request<DeclineOfferRequest>,
    ) -> Result<Response<DeclineOfferResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.decline(access, request.into_inner()).await?))
    }

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.send(access, request.into_inner()).await?))
    }

    async fn retry_message(
        &self,
        request: Request<RetryMessageRequest>,
    ) -> Result<Response<RetryMessageResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.retry(access, request.into_inner()).await?))
    }

    async fn list_quick_replies(
        &self,
        request: Request<ListQuickRepliesRequest>,
    ) -> Result<Response<ListQuickRepliesResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(quick::list(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn render_quick_reply(
        &self,
        request: Request<RenderQuickReplyRequest>,
    ) -> Result<Response<RenderQuickReplyResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(quick::render(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn list_templates(
        &self,
        request: Request<ListTemplatesRequest>,
    ) -> Result<Response<ListTemplatesResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(templates::list(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn mark_read(
        &self,
        request: Request<MarkReadRequest>,
    ) -> Result<Response<MarkReadResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.mark_read(access, request.into_inner()).await?))
    }

    async fn begin_upload(
        &self,
        request: Request<BeginUploadRequest>,
    ) -> Result<Response<BeginUploadResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.files.begin(access, request.into_inner()).await?))
    }

    async fn put_chunk(
        &self,
        request: Request<PutChunkRequest>,
    ) -> Result<Response<PutChunkResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.files.put(access, request.into_inner()).await?))
    }

    async fn get_upload(
        &self,
        request: Request<GetUploadRequest>,
    ) -> Result<Response<GetUploadResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.files.get(access, request.into_inner()).await?))
    }

    async fn finish_upload(
        &self,
        request: Request<FinishUploadRequest>,
    ) -> Result<Response<FinishUploadResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.files.finish(access, request.into_inner()).await?))
    }

    async fn get_download_url(
        &self,
        request: Request<GetDownloadUrlRequest>,
    ) -> Result<Response<GetDownloadUrlResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.files.link(access, request.into_inner()).await?))
    }

    async fn save_draft(
        &self,
        request: Request<SaveDraftRequest>,
    ) -> Result<Response<SaveDraftResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(desk::save_draft(&self.watching.db, access, request.into_inner()).await?))
    }

    async fn save_form(
        &self,
        request: Request<SaveFormRequest>,
    ) -> Result<Response<SaveFormResponse>, Status> {
        let access = self.caller(&request).await?;
        let saved = desk::save_form(&self.watching.db, &self.subjects, access, request.into_inner()).await?;
        Ok(Response::new(saved))
    }

    async fn end_interaction(
        &self,
        request: Request<EndInteractionRequest>,
    ) -> Result<Response<EndInteractionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.end(access, request.into_inner()).await?))
    }

    async fn release_interaction(
        &self,
        request: Request<ReleaseInteractionRequest>,
    ) -> Result<Response<ReleaseInteractionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.release(access, request.into_inner()).await?))
    }

    async fn tag_attention(
        &self,
        request: Request<TagAttentionRequest>,
    ) -> Result<Response<TagAttentionResponse>, Status> {
        let access = self.caller(&request).await?;
        let db = &self.watching.db;
        Ok(Response::new(desk::tags::tag(db, &self.subjects, access, request.into_inner()).await?))
    }

    async fn untag_attention(
        &self,
        request: Request<UntagAttentionRequest>,
    ) -> Result<Response<UntagAttentionResponse>, Status> {
        let access = self.caller(&request).await?;
        let db = &self.watching.db;
        Ok(Response::new(desk::tags::untag(db, &self.subjects, access, request.into_inner()).await?))
    }

    async fn reopen_interaction(
        &self,
        request: Request<ReopenInteractionRequest>,
    ) -> Result<Response<ReopenInteractionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.reopen(access, request.into_inner()).await?))
    }

    async fn start_attention(
        &self,
        request: Request<StartAttentionRequest>,
    ) -> Result<Response<StartAttentionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.start(access, request.into_inner()).await?))
    }

    async fn transfer_interaction(
        &self,
        request: Request<TransferInteractionRequest>,
    ) -> Result<Response<TransferInteractionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.transfer(access, request.into_inner()).await?))
    }

    async fn reassign_interaction(
        &self,
        request: Request<ReassignInteractionRequest>,
    ) -> Result<Response<ReassignInteractionResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.reassign(access, request.into_inner()).await?))
    }

    async fn add_note(&self, request: Request<AddNoteRequest>) -> Result<Response<AddNoteResponse>, Status> {
        let access = self.caller(&request).await?;
        Ok(Response::new(self.actions.add_note(access, request.into_inner()).await?))
    }
}
