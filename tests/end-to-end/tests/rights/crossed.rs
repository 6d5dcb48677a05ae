//! One's own item with something of another's in the same request: answered as if that did not exist.

use hilo_end_to_end::Service;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::contact::v1 as contact;
use hilo_proto::history::v1 as history;
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::routing::v1 as routing;
use prost::Message as _;
use tonic::Code;

use crate::matrix::Matrix;
use crate::requests::attached;
use crate::world::{OURS, Seeds, THEIRS, fresh};

const DESK: &str = "hilo.attention.v1.AttentionService";

fn uploaded(id: &str) -> attention::AttachmentRef {
    attention::AttachmentRef { source: Some(Source::UploadId(id.to_owned())), content_id: String::new() }
}

fn letter(own: &Seeds) -> attention::SendMessageRequest {
    attention::SendMessageRequest {
        interaction_id: own.open.interaction.clone(),
        request_id: fresh(),
        text: "Hola".into(),
        ..Default::default()
    }
}

fn draft(own: &Seeds, content: attention::DraftContent) -> Vec<u8> {
    attention::SaveDraftRequest {
        interaction_id: own.open.interaction.clone(),
        base_version: 1_000,
        text: "Hola".into(),
        content: Some(content),
    }
    .encode_to_vec()
}

/// What is crossed, the method, the request.
fn rows(own: &Seeds, of: &Seeds) -> Vec<(&'static str, String, Vec<u8>)> {
    let mut rows = composed(own, of);
    let desk = |name: &str| format!("{DESK}/{name}");
    let interaction_id = own.open.interaction.clone();
    rows.extend([
        (
            "a foreign quick reply",
            desk("RenderQuickReply"),
            attention::RenderQuickReplyRequest { interaction_id, quick_reply_key: of.key.clone() }
                .encode_to_vec(),
        ),
        (
            "a foreign tag",
            desk("TagAttention"),
            attention::TagAttentionRequest {
                attention_id: own.open.attention.clone(),
                tag_key: of.key.clone(),
                request_id: fresh(),
            }
            .encode_to_vec(),
        ),
        (
            "messages of a foreign interaction",
            desk("ListMessages"),
            attention::ListMessagesRequest {
                attention_id: own.open.attention.clone(),
                interaction_id: of.open.interaction.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "an offer to somebody else",
            desk("DeclineOffer"),
            attention::DeclineOfferRequest {
                interaction_id: own.queued.interaction.clone(),
                offer_id: of.offer.clone(),
                request_id: fresh(),
            }
            .encode_to_vec(),
        ),
        (
            "a transfer to a foreign agent",
            desk("TransferInteraction"),
            attention::TransferInteractionRequest {
                interaction_id: own.open.interaction.clone(),
                request_id: fresh(),
                agent_key: of.agent.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "why not a foreign agent",
            "hilo.routing.v1.RoutingService/ExplainInteraction".to_owned(),
            routing::ExplainInteractionRequest {
                interaction_id: own.queued.interaction.clone(),
                agent_key: of.agent.clone(),
            }
            .encode_to_vec(),
        ),
        (
            "a merge with a foreign contact",
            "hilo.contact.v1.ContactService/MergeContacts".to_owned(),
            contact::MergeContactsRequest {
                contact_id: own.contact.clone(),
                version: 1_000,
                merged_contact_id: of.contact.clone(),
                merged_version: 1,
                request_id: fresh(),
            }
            .encode_to_vec(),
        ),
        (
            "a thread with a message of another",
            "hilo.history.v1.HistoryService/GetDownloadUrl".to_owned(),
            history::GetDownloadUrlRequest {
                interaction_id: own.ended.interaction.clone(),
                message_id: of.ended.message.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
    ]);
    rows
}

fn composed(own: &Seeds, of: &Seeds) -> Vec<(&'static str, String, Vec<u8>)> {
    let send = || format!("{DESK}/SendMessage");
    let to = vec![EmailAddress { address: "otra@cliente.example".into(), name: String::new() }];
    let forward = attention::SendMessageRequest {
        mode: attention::ComposeMode::Forward.into(),
        message_id: of.open.message.clone(),
        include_attachments: true,
        to,
        ..letter(own)
    };
    vec![
        (
            "a foreign upload attached",
            send(),
            attention::SendMessageRequest { attachments: vec![uploaded(&of.upload)], ..letter(own) }
                .encode_to_vec(),
        ),
        (
            "a foreign attachment attached",
            send(),
            attention::SendMessageRequest { attachments: vec![attached(&of.open.message)], ..letter(own) }
                .encode_to_vec(),
        ),
        (
            "an answer to a foreign message",
            send(),
            attention::SendMessageRequest { message_id: of.open.message.clone(), quote: true, ..letter(own) }
                .encode_to_vec(),
        ),
        ("a foreign message forwarded", send(), forward.encode_to_vec()),
        (
            "a foreign upload in a draft",
            format!("{DESK}/SaveDraft"),
            draft(
                own,
                attention::DraftContent { attachments: vec![uploaded(&of.upload)], ..Default::default() },
            ),
        ),
        (
            "a foreign attachment in a draft",
            format!("{DESK}/SaveDraft"),
            draft(
                own,
                attention::DraftContent {
                    attachments: vec![attached(&of.open.message)],
                    ..Default::default()
                },
            ),
        ),
        (
            "a link to a foreign upload",
            format!("{DESK}/GetDownloadUrl"),
            attention::GetDownloadUrlRequest { attachment: Some(uploaded(&of.upload)), inline: true }
                .encode_to_vec(),
        ),
    ]
}

/// Every row, with what is foreign and with what does not exist.
pub async fn answered_alike(matrix: &mut Matrix<'_>) {
    let (world, nothing) = (matrix.world, Seeds::made_up());
    let user = format!("agente-{}", OURS[0]);
    let rows = rows(&world.ours, &world.theirs).into_iter().zip(self::rows(&world.ours, &nothing));
    for ((what, method, foreign), (_, _, made_up)) in rows {
        let host = crate::requests::hosts(&method).first().copied().unwrap_or(Service::AttentionState);
        let token = world.token(&user);
        let answer = matrix.ask(host, &method, Some(&token), foreign).await;
        let absent = matrix.ask(host, &method, Some(&token), made_up).await;
        matrix.expect(!answer.says(&THEIRS), || format!("{what}: shows it: {}", answer.brief()));
        matrix.expect(answer.refusal() == absent.refusal() && answer.messages == absent.messages, || {
            format!("{what}: {} but of what does not exist: {}", answer.brief(), absent.brief())
        });
        // An empty page is an answer; everything else is refused.
        let empty = answer.messages.iter().all(Vec::is_empty);
        matrix.expect(answer.code != Code::Ok || empty, || format!("{what} passes: {}", answer.brief()));
    }
}
