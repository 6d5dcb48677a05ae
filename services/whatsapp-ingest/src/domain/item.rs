//! One customer's item: who, when, and what kind, with a placeholder for whatever is not carried.

use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{
    InboundWhatsApp, SystemKind, WhatsAppContext, WhatsAppIdentity, WhatsAppPlaceholder, WhatsAppPreference,
    WhatsAppReferral, WhatsAppSystem,
};
use prost::Message as _;
use serde_json::Value;
use time::OffsetDateTime;

use super::identity::Contacts;
use super::json::{first_error, flag, object, short, text, whole};
use super::webhook::What;
use super::{identity, kinds};

/// Longest id of Meta's that is one.
const ID_CHARS: usize = 512;
/// An envelope has at most 960 KiB; what surrounds the item has room.
const ITEM_BYTES: usize = 900 * 1024;
/// Longest text of a referral's fields, in characters.
const REFERRAL_CHARS: usize = 2_000;
/// Longest name of a type, in characters.
const TYPE_CHARS: usize = 80;
/// Longest words of a notice, in characters.
const WORDS: usize = 1_000;

/// A customer's item as it is handed over, and who he is from now on when Meta says that this changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What is handed over.
    pub content: InboundWhatsApp,
    /// Its kind in one word, for the ledger.
    pub kind: &'static str,
    /// The identities of the same customer after a change that Meta tells of.
    pub moves_to: Option<WhatsAppIdentity>,
}

/// Reads an element of `messages`.
pub fn read(message: &Value, contacts: &Contacts<'_>, received_at: OffsetDateTime) -> What {
    let wamid = text(message, "id");
    if !message.is_object() || wamid.is_empty() || wamid.len() > ID_CHARS {
        return What::Stray("ITEM_UNREADABLE");
    }
    let (kind, change) = kinds::read(message);
    let (customer, moves_to) = match change {
        Some((old, new)) => (old, Some(new)),
        None => (identity::of_message(message, contacts), None),
    };
    if identity::is_nobody(&customer) {
        return What::Stray("ITEM_WITHOUT_SENDER");
    }
    let group = !text(message, "group_id").is_empty();
    // What was said in a group must not be answered as if it were said to us alone.
    let kind = if group { placeholder("group", message) } else { kind };
    let content = InboundWhatsApp {
        wamid,
        customer: Some(customer),
        sent_at: Some(instant(message, received_at)),
        context: context(object(message, "context")),
        referral: referral(object(message, "referral")),
        kind: Some(kind),
    };
    What::Item(Box::new(fit(Item { kind: word(&content), content, moves_to }, message)))
}

/// A customer's call, which nobody can take here: shown as a placeholder when it comes in. `None` for every other event.
pub fn read_call(call: &Value, contacts: &Contacts<'_>, received_at: OffsetDateTime) -> Option<What> {
    if text(call, "event") != "connect" || text(call, "direction") == "BUSINESS_INITIATED" {
        return None;
    }
    let wamid = text(call, "id");
    let customer = identity::of_message(call, contacts);
    if wamid.is_empty() || wamid.len() > ID_CHARS || identity::is_nobody(&customer) {
        return Some(What::Stray("ITEM_UNREADABLE"));
    }
    let content = InboundWhatsApp {
        wamid,
        customer: Some(customer),
        sent_at: Some(instant(call, received_at)),
        kind: Some(placeholder("call", call)),
        ..InboundWhatsApp::default()
    };
    Some(What::Item(Box::new(Item { kind: word(&content), content, moves_to: None })))
}

/// What a customer set in WhatsApp's own menu, of an element of `user_preferences`
/// (<https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences>). `None` for what is
/// not about marketing messages, neither stops nor resumes them, or names nobody: it stays a notice.
pub fn read_preference(told: &Value, contacts: &Contacts<'_>, received_at: OffsetDateTime) -> Option<What> {
    const MARKETING: &str = "marketing_messages";
    let stop = match text(told, "value").as_str() {
        "stop" => true,
        "resume" => false,
        _ => return None,
    };
    let customer = identity::of_preference(told, contacts);
    if short(told, "category", TYPE_CHARS) != MARKETING || identity::is_nobody(&customer) {
        return None;
    }
    let sent_at = instant(told, received_at);
    // It has no id of Meta's: of one customer, second and wish there is one, however often it is told.
    let who = [&customer.wa_id, &customer.user_id].into_iter().find(|one| !one.is_empty())?;
    let wamid = format!("preference.{MARKETING}.{who}.{}.{stop}", sent_at.seconds);
    let content = InboundWhatsApp {
        wamid,
        customer: Some(customer),
        sent_at: Some(sent_at),
        kind: Some(Kind::Preference(WhatsAppPreference { category: MARKETING.to_owned(), stop })),
        ..InboundWhatsApp::default()
    };
    Some(What::Item(Box::new(Item { kind: word(&content), content, moves_to: None })))
}

/// A customer's new business-scoped user id, of an element of `user_id_update`: the same as the system's item `user_changed_user_id`, for
/// those who subscribe to that field (<https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids>).
/// `None` for one without both ids: it stays a notice. Which of his numbers it names Meta does not say, so the ids alone count.
pub fn read_user_id(told: &Value, received_at: OffsetDateTime) -> Option<What> {
    let (old, new) = identity::of_user_id_update(told)?;
    let text = short(told, "detail", WORDS);
    let kind = SystemKind::UserIdChanged.into();
    let content = InboundWhatsApp {
        // It has no id of Meta's: there is one of both ids, however often it is told.
        wamid: format!("user_id.{}.{}", old.user_id, new.user_id),
        customer: Some(old),
        sent_at: Some(instant(told, received_at)),
        kind: Some(Kind::System(WhatsAppSystem { kind, text, new_identity: Some(new.clone()) })),
        ..InboundWhatsApp::default()
    };
    Some(What::Item(Box::new(Item { kind: word(&content), content, moves_to: Some(new) })))
}

/// A placeholder with Meta's error, if there is one.
pub fn placeholder(kind: &str, message: &Value) -> Kind {
    let (error_code, error_text) = first_error(message);
    let kind = if kind.is_empty() { "unknown" } else { kind };
    Kind::Placeholder(WhatsAppPlaceholder { r#type: kind.to_owned(), error_code, error_text })
}

/// What is too large to be handed over stays in the ledger and is shown as such.
fn fit(mut item: Item, message: &Value) -> Item {
    if item.content.encoded_len() > ITEM_BYTES {
        let named = short(message, "type", TYPE_CHARS);
        item.content.kind = Some(Kind::Placeholder(WhatsAppPlaceholder {
            r#type: named,
            error_code: 0,
            error_text: "too large to be shown".to_owned(),
        }));
        item.kind = word(&item.content);
    }
    item
}

/// The customer's own instant; the ledger's when he has none.
fn instant(message: &Value, received_at: OffsetDateTime) -> prost_types::Timestamp {
    let told = whole(message, "timestamp").filter(|seconds| *seconds > 0);
    let told = told.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    hilo_kit::clock::to_proto(told.unwrap_or(received_at))
}

fn context(context: &Value) -> Option<WhatsAppContext> {
    context.is_object().then(|| WhatsAppContext {
        wamid: short(context, "id", ID_CHARS),
        from: identity::digits(&text(context, "from")),
        forwarded: flag(context, "forwarded"),
        frequently_forwarded: flag(context, "frequently_forwarded"),
    })
}

fn referral(referral: &Value) -> Option<WhatsAppReferral> {
    let read = |key: &str| short(referral, key, REFERRAL_CHARS);
    referral.is_object().then(|| WhatsAppReferral {
        source_url: read("source_url"),
        source_type: read("source_type"),
        source_id: read("source_id"),
        headline: read("headline"),
        body: read("body"),
        ctwa_clid: read("ctwa_clid"),
    })
}

fn word(content: &InboundWhatsApp) -> &'static str {
    match &content.kind {
        Some(Kind::Text(_)) => "text",
        Some(Kind::Media(_)) => "media",
        Some(Kind::Location(_)) => "location",
        Some(Kind::ContactCards(_)) => "contact_cards",
        Some(Kind::Reaction(_)) => "reaction",
        Some(Kind::Choice(_)) => "choice",
        Some(Kind::Order(_)) => "order",
        Some(Kind::System(_)) => "system",
        Some(Kind::Edit(_)) => "edit",
        Some(Kind::Revoke(_)) => "revoke",
        Some(Kind::Content(_)) => "content",
        Some(Kind::Preference(_)) => "preference",
        Some(Kind::Placeholder(_)) | None => "placeholder",
    }
}
