//! A row per method: the request that asks for what [`Seeds`] names. Whoever adds an RPC adds its request here and its line
//! to `services/RIGHTS.md`.

use hilo_end_to_end::Service;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::contact::v1 as contact;
use hilo_proto::directory::v1 as directory;
use hilo_proto::history::v1 as history;
use hilo_proto::identity::v1 as identity;
use hilo_proto::report::v1 as report;
use hilo_proto::routing::v1 as routing;
use prost::Message as _;

use crate::world::{Seeds, fresh};

mod dialers;
mod internals;

/// Streams that never end by themselves.
pub const ENDLESS: [&str; 2] =
    ["hilo.attention.v1.AttentionService/WatchDesk", "hilo.routing.v1.RoutingService/WatchQueues"];

/// Processes that serve a service of the contracts.
pub fn hosts(method: &str) -> &'static [Service] {
    let service = method.split('/').next().unwrap_or_default();
    match service {
        "hilo.routing.v1.RoutingService" => &[Service::Routing],
        "hilo.history.v1.HistoryService"
        | "hilo.report.v1.ReportService"
        | "hilo.internal.v1.StoredThreadService" => &[Service::History],
        "hilo.internal.v1.HandoverService" => &[Service::AttentionState, Service::EmailIngest],
        "hilo.internal.v1.DeadLetterService" => {
            &[Service::AttentionState, Service::History, Service::EmailIngest, Service::WhatsappIngest]
        }
        _ => &[Service::AttentionState],
    }
}

/// The request of a method; `None` for a method without a row.
pub fn body(method: &str, of: &Seeds) -> Option<Vec<u8>> {
    let (service, name) = method.split_once('/')?;
    match service {
        "hilo.attention.v1.AttentionService" => {
            list(name, of).or_else(|| act(name, of)).or_else(|| files(name, of))
        }
        "hilo.contact.v1.ContactService" => contacts(name, of),
        "hilo.dialer.v1.DialerService" => dialers::body(name, of),
        "hilo.directory.v1.DirectoryService" | "hilo.identity.v1.IdentityService" => administration(name, of),
        "hilo.history.v1.HistoryService" => threads(name, of),
        "hilo.report.v1.ReportService" => reports(name, of),
        "hilo.routing.v1.RoutingService" => queues(name, of),
        _ => internals::body(service, name, of),
    }
}

fn list(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let (attention_id, interaction_id) = (of.open.attention.clone(), of.open.interaction.clone());
    Some(match name {
        "WatchDesk" => attention::WatchDeskRequest { channel: "email".into() }.encode_to_vec(),
        "ListInteractions" => {
            attention::ListInteractionsRequest { channel: "email".into(), ..Default::default() }
                .encode_to_vec()
        }
        "GetAttention" => attention::GetAttentionRequest { attention_id }.encode_to_vec(),
        "ListMessages" => {
            attention::ListMessagesRequest { attention_id, ..Default::default() }.encode_to_vec()
        }
        "ListEvents" => attention::ListEventsRequest { attention_id, ..Default::default() }.encode_to_vec(),
        "OpenInteraction" => {
            attention::OpenInteractionRequest { interaction_id, request_id: fresh() }.encode_to_vec()
        }
        "DeclineOffer" => attention::DeclineOfferRequest {
            interaction_id: of.queued.interaction.clone(),
            offer_id: of.offer.clone(),
            request_id: fresh(),
        }
        .encode_to_vec(),
        "ListQuickReplies" => {
            attention::ListQuickRepliesRequest { campaign_key: of.key.clone() }.encode_to_vec()
        }
        "ListTemplates" => {
            attention::ListTemplatesRequest { campaign_key: of.key.clone(), ..Default::default() }
                .encode_to_vec()
        }
        "RenderQuickReply" => {
            attention::RenderQuickReplyRequest { interaction_id, quick_reply_key: of.key.clone() }
                .encode_to_vec()
        }
        _ => return None,
    })
}

fn act(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let (interaction_id, request_id) = (of.open.interaction.clone(), fresh());
    let spare = of.spare.interaction.clone();
    Some(match name {
        "SendMessage" => attention::SendMessageRequest {
            interaction_id,
            request_id,
            text: "Una línea más.".into(),
            ..Default::default()
        }
        .encode_to_vec(),
        "MarkRead" => attention::MarkReadRequest { interaction_id, typing: true }.encode_to_vec(),
        "RetryMessage" => {
            attention::RetryMessageRequest { message_id: of.open.answer.clone(), request_id }.encode_to_vec()
        }
        "SaveDraft" => attention::SaveDraftRequest {
            interaction_id,
            base_version: 1,
            text: format!("Borrador {}", of.word),
            content: None,
        }
        .encode_to_vec(),
        "SaveForm" => attention::SaveFormRequest {
            interaction_id,
            base_version: 1,
            values: [(format!("{}-dato", of.key), of.word.clone())].into(),
        }
        .encode_to_vec(),
        "EndInteraction" => {
            attention::EndInteractionRequest { interaction_id: spare, close_attention: false, request_id }
                .encode_to_vec()
        }
        "ReopenInteraction" => {
            attention::ReopenInteractionRequest { interaction_id: of.ended.interaction.clone(), request_id }
                .encode_to_vec()
        }
        "StartAttention" => attention::StartAttentionRequest {
            campaign_key: of.key.clone(),
            request_id,
            to: vec![hilo_proto::inbound::v1::EmailAddress {
                address: format!("nueva-{}@cliente.example", of.word),
                name: String::new(),
            }],
            subject: format!("Saliente {}", of.word),
            text: "Buenos días".into(),
            ..Default::default()
        }
        .encode_to_vec(),
        "TransferInteraction" => attention::TransferInteractionRequest {
            interaction_id: spare,
            request_id,
            agent_key: of.agent.clone(),
            ..Default::default()
        }
        .encode_to_vec(),
        "ReassignInteraction" => attention::ReassignInteractionRequest {
            interaction_id: spare,
            request_id,
            agent_key: of.agent.clone(),
            ..Default::default()
        }
        .encode_to_vec(),
        "ReleaseInteraction" => {
            attention::ReleaseInteractionRequest { interaction_id: spare, request_id }.encode_to_vec()
        }
        "AddNote" => {
            attention::AddNoteRequest { interaction_id, request_id, text: format!("Nota {}", of.word) }
                .encode_to_vec()
        }
        "TagAttention" => attention::TagAttentionRequest {
            attention_id: of.open.attention.clone(),
            tag_key: of.key.clone(),
            request_id,
        }
        .encode_to_vec(),
        "UntagAttention" => attention::UntagAttentionRequest {
            attention_id: of.open.attention.clone(),
            tag_key: "otra".into(),
            request_id,
        }
        .encode_to_vec(),
        _ => return None,
    })
}

/// The attachment of a message.
pub fn attached(message: &str) -> attention::AttachmentRef {
    let source = attention::MessageAttachmentRef { message_id: message.to_owned(), index: 0 };
    attention::AttachmentRef { source: Some(Source::Message(source)), content_id: String::new() }
}

fn files(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let upload_id = of.upload.clone();
    Some(match name {
        "BeginUpload" => attention::BeginUploadRequest {
            file_name: "archivo.txt".into(),
            media_type: "text/plain".into(),
            size_bytes: 5,
            sha256: hilo_kit::objects::Digest256::of(b"12345").to_string(),
            request_id: fresh(),
        }
        .encode_to_vec(),
        "PutChunk" => {
            attention::PutChunkRequest { upload_id, offset: 0, content: b"12345".to_vec() }.encode_to_vec()
        }
        "GetUpload" => attention::GetUploadRequest { upload_id }.encode_to_vec(),
        "FinishUpload" => attention::FinishUploadRequest { upload_id }.encode_to_vec(),
        "GetDownloadUrl" => {
            attention::GetDownloadUrlRequest { attachment: Some(attached(&of.open.message)), inline: false }
                .encode_to_vec()
        }
        _ => return None,
    })
}

fn contacts(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let contact_id = of.contact.clone();
    Some(match name {
        "GetContact" => contact::GetContactRequest { contact_id }.encode_to_vec(),
        "SearchContacts" => {
            contact::SearchContactsRequest { query: of.word.clone(), ..Default::default() }.encode_to_vec()
        }
        // Refused as empty by whoever may create one: that an address is another's would be said to anybody.
        "CreateContact" => {
            contact::CreateContactRequest { contact: None, request_id: fresh() }.encode_to_vec()
        }
        "UpdateContact" => contact::UpdateContactRequest {
            contact: Some(contact::Contact {
                contact_id,
                version: 1_000,
                name: "Otra".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
        .encode_to_vec(),
        "MergeContacts" => contact::MergeContactsRequest {
            contact_id,
            version: 1_000,
            merged_contact_id: of.twin.clone(),
            merged_version: 1,
            request_id: fresh(),
        }
        .encode_to_vec(),
        "ListMatches" => {
            contact::ListMatchesRequest { attention_id: of.open.attention.clone(), contact_id: String::new() }
                .encode_to_vec()
        }
        _ => return None,
    })
}

fn administration(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    Some(match name {
        "ApplyDirectory" => directory::ApplyDirectoryRequest {
            yaml: "time_zone: America/Lima\n".into(),
            dry_run: true,
            prune: false,
        }
        .encode_to_vec(),
        "GetDirectory" => directory::GetDirectoryRequest {}.encode_to_vec(),
        "ListAudit" => directory::ListAuditRequest { page_size: 500, ..Default::default() }.encode_to_vec(),
        "Login" => {
            identity::LoginRequest { user: of.agent.clone(), password: "equivocada".into() }.encode_to_vec()
        }
        "Logout" => identity::LogoutRequest {}.encode_to_vec(),
        // Too short for anybody: only the right to change one's own is asked about.
        "ChangePassword" => {
            identity::ChangePasswordRequest { current_password: "corta".into(), new_password: "corta".into() }
                .encode_to_vec()
        }
        "WhoAmI" => identity::WhoAmIRequest {}.encode_to_vec(),
        _ => return None,
    })
}

fn threads(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let search = history::SearchThreadsRequest { words: of.word.clone(), ..Default::default() };
    Some(match name {
        "SearchThreads" => search.encode_to_vec(),
        "GetThread" => {
            history::GetThreadRequest { interaction_id: of.ended.interaction.clone(), ..Default::default() }
                .encode_to_vec()
        }
        "GetDownloadUrl" => history::GetDownloadUrlRequest {
            interaction_id: of.ended.interaction.clone(),
            message_id: of.ended.message.clone(),
            index: 0,
            inline: false,
        }
        .encode_to_vec(),
        "ExportThreads" => history::ExportThreadsRequest {
            search: Some(search),
            format: history::ExportFormat::JsonLines.into(),
        }
        .encode_to_vec(),
        _ => return None,
    })
}

/// What is asked of every report: this year, by campaign.
fn question(of: &Seeds) -> Option<report::ReportQuery> {
    let today = hilo_kit::clock::wall().date();
    let yesterday = today.previous_day()?;
    Some(report::ReportQuery {
        filter: Some(report::ReportFilter {
            from_date: yesterday.to_string(),
            to_date: today.to_string(),
            campaign_keys: vec![of.key.clone()],
            ..Default::default()
        }),
        group_by: vec![report::ReportGrouping::Campaign.into()],
        ..Default::default()
    })
}

fn reports(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let query = question(of);
    Some(match name {
        "GetVolumes" => report::GetVolumesRequest { query }.encode_to_vec(),
        "GetStates" => report::GetStatesRequest { query }.encode_to_vec(),
        "GetReassigned" => report::GetReassignedRequest { query }.encode_to_vec(),
        "GetOrphaned" => report::GetOrphanedRequest { query }.encode_to_vec(),
        "GetOutOfHours" => report::GetOutOfHoursRequest { query }.encode_to_vec(),
        "GetMessages" => report::GetMessagesRequest { query }.encode_to_vec(),
        "GetFirstResponse" => report::GetFirstResponseRequest { query }.encode_to_vec(),
        "GetTimeToAssign" => report::GetTimeToAssignRequest { query }.encode_to_vec(),
        "ExportReport" => {
            report::ExportReportRequest { kind: report::ReportKind::Volumes.into(), query }.encode_to_vec()
        }
        _ => return None,
    })
}

fn queues(name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let campaign_keys = vec![of.key.clone()];
    Some(match name {
        "Heartbeat" => {
            routing::HeartbeatRequest { session_id: "matriz".into(), leave: false }.encode_to_vec()
        }
        "SetStatus" => routing::SetStatusRequest { paused: false }.encode_to_vec(),
        "GetQueues" => routing::GetQueuesRequest { campaign_keys }.encode_to_vec(),
        "WatchQueues" => routing::WatchQueuesRequest { campaign_keys }.encode_to_vec(),
        "ExplainInteraction" => routing::ExplainInteractionRequest {
            interaction_id: of.queued.interaction.clone(),
            ..Default::default()
        }
        .encode_to_vec(),
        _ => return None,
    })
}
