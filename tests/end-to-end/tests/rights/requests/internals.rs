//! A row per method that only services may call.

use hilo_proto::internal::v1 as internal;
use prost::Message as _;

use crate::world::{Seeds, fresh};

/// The request of a method; `None` for a method without a row.
pub(super) fn body(service: &str, name: &str, of: &Seeds) -> Option<Vec<u8>> {
    let interaction_id = of.ended.interaction.clone();
    Some(match (service.strip_prefix("hilo.internal.v1.")?, name) {
        ("AssignmentService", "HoldPartitions") => {
            internal::HoldPartitionsRequest { replica_id: "matriz".into(), release: true, term_millis: 1_000 }
                .encode_to_vec()
        }
        ("AssignmentService", "GetRoutingConfig") => {
            internal::GetRoutingConfigRequest::default().encode_to_vec()
        }
        ("AssignmentService", "ListLiveInteractions") => internal::ListLiveInteractionsRequest {
            attention_ids: vec![of.open.attention.clone()],
            ..Default::default()
        }
        .encode_to_vec(),
        // Of an epoch that never was.
        ("AssignmentService", "ApplyOffers") => internal::ApplyOffersRequest::default().encode_to_vec(),
        ("AssignmentService", "ReportPresence") => internal::ReportPresenceRequest::default().encode_to_vec(),
        ("AssignmentService", "SetAgentStatus") => {
            internal::SetAgentStatusRequest { agent_key: of.agent.clone(), paused: false }.encode_to_vec()
        }
        ("AssignmentService", "ListDecisions") => internal::ListDecisionsRequest {
            interaction_id: of.open.interaction.clone(),
            ..Default::default()
        }
        .encode_to_vec(),
        ("HandoverService", "ListKnown") => {
            internal::ListKnownRequest { consumer: "attention-intake".into(), ids: vec![fresh()] }
                .encode_to_vec()
        }
        ("EndedThreadService", "ListEndedUnconfirmed") => {
            internal::ListEndedUnconfirmedRequest::default().encode_to_vec()
        }
        ("EndedThreadService", "GetEndedThread") => {
            internal::GetEndedThreadRequest { interaction_id, page_token: String::new() }.encode_to_vec()
        }
        ("EndedThreadService", "ConfirmStored") => internal::ConfirmStoredRequest::default().encode_to_vec(),
        ("TemplateService", "ReportTemplates") => internal::ReportTemplatesRequest {
            account_key: of.key.clone(),
            read_at: Some(hilo_kit::clock::to_proto(hilo_kit::clock::wall())),
            templates: Vec::new(),
        }
        .encode_to_vec(),
        ("DirectoryFeedService", "GetDirectory") => internal::GetDirectoryRequest::default().encode_to_vec(),
        ("QueueService", "ReadQueues") => {
            internal::ReadQueuesRequest { window_seconds: 3_600 }.encode_to_vec()
        }
        ("StoredThreadService", "GetStoredThread") => {
            internal::GetStoredThreadRequest { interaction_id, page_token: String::new() }.encode_to_vec()
        }
        ("DeadLetterService", name) => dead_letters(name, of.dead_letter.clone())?,
        _ => return None,
    })
}

fn dead_letters(name: &str, dead_letter_id: String) -> Option<Vec<u8>> {
    Some(match name {
        "ListDeadLetters" => {
            internal::ListDeadLettersRequest { include_settled: true, ..Default::default() }.encode_to_vec()
        }
        "GetDeadLetter" => internal::GetDeadLetterRequest { dead_letter_id }.encode_to_vec(),
        "ReplayDeadLetter" => internal::ReplayDeadLetterRequest { dead_letter_id }.encode_to_vec(),
        "DropDeadLetter" => internal::DropDeadLetterRequest { dead_letter_id }.encode_to_vec(),
        _ => return None,
    })
}
