//! What kind of item it is, and its content.
//!
//! Source: Meta, "messages webhook reference" with one page per type (May to August 2026).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{
    MediaKind, SystemKind, WhatsAppContactCard, WhatsAppContactCards, WhatsAppContactPhone, WhatsAppEdit,
    WhatsAppIdentity, WhatsAppLocation, WhatsAppMedia, WhatsAppOrder, WhatsAppOrderItem, WhatsAppReaction,
    WhatsAppRevoke, WhatsAppSystem, WhatsAppText,
};
use serde_json::Value;

use super::item::placeholder;
use super::json::{array, flag, number, object, short, text, whole};
use super::{choice, identity};

/// Old and new identities of a change.
type Change = (WhatsAppIdentity, WhatsAppIdentity);

/// The kind of an item; with the identities before and after when it tells of a change.
pub fn read(message: &Value) -> (Kind, Option<Change>) {
    let named = short(message, "type", 80);
    if named == "system" {
        return system(message);
    }
    let kind = match named.as_str() {
        "text" => words(message),
        "image" => media(message, "image", MediaKind::Image),
        "audio" => media(message, "audio", MediaKind::Audio),
        "video" => media(message, "video", MediaKind::Video),
        "document" => media(message, "document", MediaKind::Document),
        "sticker" => media(message, "sticker", MediaKind::Sticker),
        "location" => location(message),
        "contacts" => contacts(message),
        "reaction" => reaction(message),
        "button" => choice::of_button(message).map(Kind::Choice),
        "interactive" => choice::of_interactive(message).map(Kind::Choice),
        "order" => order(message),
        "edit" => edit(message),
        "revoke" => revoke(message),
        "unsupported" => Some(unsupported(message)),
        _ => None,
    };
    (kind.unwrap_or_else(|| placeholder(&named, message)), None)
}

fn words(message: &Value) -> Option<Kind> {
    let body = text(object(message, "text"), "body");
    (!body.is_empty()).then_some(Kind::Text(WhatsAppText { body }))
}

fn media(message: &Value, name: &str, kind: MediaKind) -> Option<Kind> {
    let file = message.get(name).filter(|file| file.is_object())?;
    let kind = if flag(file, "voice") { MediaKind::Voice } else { kind };
    Some(Kind::Media(WhatsAppMedia {
        kind: kind.into(),
        caption: text(file, "caption"),
        file_name: text(file, "filename"),
        attachment: None,
        media_id: text(file, "id"),
        media_type: text(file, "mime_type"),
        sha256: digest(&text(file, "sha256")),
        // Without an id there is nothing to ask for.
        failure: if text(file, "id").is_empty() { "MEDIA_UNAVAILABLE".to_owned() } else { String::new() },
    }))
}

/// Meta writes the digest in base 64; hexadecimal is taken as well.
fn digest(told: &str) -> String {
    if told.len() == 64 && told.bytes().all(|b| b.is_ascii_hexdigit()) {
        return told.to_ascii_lowercase();
    }
    match STANDARD.decode(told) {
        Ok(bytes) if bytes.len() == 32 => hex::encode(bytes),
        Ok(_) | Err(_) => String::new(),
    }
}

fn location(message: &Value) -> Option<Kind> {
    let place = message.get("location").filter(|place| place.is_object())?;
    Some(Kind::Location(WhatsAppLocation {
        latitude: number(place, "latitude").clamp(-90.0, 90.0),
        longitude: number(place, "longitude").clamp(-180.0, 180.0),
        name: text(place, "name"),
        address: text(place, "address"),
        url: text(place, "url"),
    }))
}

fn contacts(message: &Value) -> Option<Kind> {
    let cards: Vec<WhatsAppContactCard> = array(message, "contacts").iter().map(card).collect();
    (!cards.is_empty()).then_some(Kind::ContactCards(WhatsAppContactCards { cards }))
}

fn card(card: &Value) -> WhatsAppContactCard {
    let name = object(card, "name");
    let phone = |phone: &Value| WhatsAppContactPhone {
        phone: text(phone, "phone"),
        wa_id: identity::digits(&text(phone, "wa_id")),
        r#type: text(phone, "type"),
    };
    WhatsAppContactCard {
        formatted_name: text(name, "formatted_name"),
        first_name: text(name, "first_name"),
        last_name: text(name, "last_name"),
        company: text(object(card, "org"), "company"),
        phones: array(card, "phones").iter().map(phone).collect(),
        emails: array(card, "emails")
            .iter()
            .map(|one| text(one, "email"))
            .filter(|one| !one.is_empty())
            .collect(),
    }
}

fn reaction(message: &Value) -> Option<Kind> {
    let reaction = object(message, "reaction");
    let target_wamid = text(reaction, "message_id");
    // A reaction that was taken away comes without its emoji.
    (!target_wamid.is_empty())
        .then(|| Kind::Reaction(WhatsAppReaction { target_wamid, emoji: short(reaction, "emoji", 32) }))
}

fn order(message: &Value) -> Option<Kind> {
    let order = message.get("order").filter(|order| order.is_object())?;
    let line = |line: &Value| WhatsAppOrderItem {
        product_retailer_id: text(line, "product_retailer_id"),
        quantity: whole(line, "quantity").unwrap_or(0),
        item_price: text(line, "item_price"),
        currency: text(line, "currency"),
    };
    Some(Kind::Order(WhatsAppOrder {
        catalog_id: text(order, "catalog_id"),
        text: text(order, "text"),
        items: array(order, "product_items").iter().map(line).collect(),
    }))
}

fn edit(message: &Value) -> Option<Kind> {
    let edit = object(message, "edit");
    let target_wamid = text(edit, "original_message_id");
    let new = object(edit, "message");
    let kind = text(new, "type");
    let body = text(object(new, "text"), "body");
    let text = if body.is_empty() { text(object(new, &kind), "caption") } else { body };
    (!target_wamid.is_empty()).then_some(Kind::Edit(WhatsAppEdit { target_wamid, text }))
}

fn revoke(message: &Value) -> Option<Kind> {
    let target_wamid = text(object(message, "revoke"), "original_message_id");
    (!target_wamid.is_empty()).then_some(Kind::Revoke(WhatsAppRevoke { target_wamid }))
}

/// What Meta's own apps know and the Cloud API does not, with what it would have been: a poll, for instance.
fn unsupported(message: &Value) -> Kind {
    match short(object(message, "unsupported"), "type", 60).as_str() {
        "" => placeholder("unsupported", message),
        named => placeholder(&format!("unsupported/{named}"), message),
    }
}

fn system(message: &Value) -> (Kind, Option<Change>) {
    let system = object(message, "system");
    let words = short(system, "body", 1_000);
    let notice = |kind: SystemKind, new_identity| {
        Kind::System(WhatsAppSystem { kind: kind.into(), text: words.clone(), new_identity })
    };
    let moved = |kind: SystemKind| {
        let (old, new) = identity::of_change(message, system);
        (notice(kind, Some(new.clone())), Some((old, new)))
    };
    match text(system, "type").as_str() {
        "user_changed_number" => moved(SystemKind::NumberChanged),
        "user_changed_user_id" => moved(SystemKind::UserIdChanged),
        "customer_identity_changed" | "user_identity_changed" => {
            (notice(SystemKind::IdentityChanged, None), None)
        }
        other => (placeholder(&format!("system/{other}"), message), None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_the_pages_is_read() {
        let table = [
            (json!({"type": "text", "text": {"body": "hola"}}), "Text(WhatsAppText { body: \"hola\" })"),
            (json!({"type": "audio", "audio": {"id": "7", "voice": true}}), "kind: Voice"),
            (
                json!({"type": "image", "image": {"id": "7", "caption": "c",
                "sha256": "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI="}}),
                "49f22763480629",
            ),
            (json!({"type": "sticker", "sticker": {"id": "7"}}), "kind: Sticker"),
            (
                json!({"type": "location", "location": {"latitude": -12.1, "longitude": "-77.0"}}),
                "longitude: -77.0",
            ),
            (
                json!({"type": "contacts", "contacts": [{"name": {"formatted_name": "Ana"}, "emails": [{"email": "a@b.example"}]}]}),
                "emails: [\"a@b.example\"]",
            ),
            (json!({"type": "reaction", "reaction": {"message_id": "wamid.1"}}), "emoji: \"\""),
            (json!({"type": "button", "button": {"payload": "p", "text": "Sí"}}), "payload: \"p\""),
            (
                json!({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "r1", "title": "T"}}}),
                "payload: \"r1\"",
            ),
            (
                json!({"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"response_json": "{}"}}}),
                "payload: \"{}\"",
            ),
            (json!({"type": "interactive", "interactive": {"type": "new"}}), "Placeholder"),
            (
                json!({"type": "order", "order": {"catalog_id": "c", "product_items": [{"quantity": "2"}]}}),
                "quantity: 2",
            ),
            (
                json!({"type": "edit", "edit": {"original_message_id": "wamid.1", "message": {"type": "image", "image": {"caption": "new"}}}}),
                "text: \"new\"",
            ),
            (json!({"type": "revoke", "revoke": {"original_message_id": "wamid.1"}}), "Revoke"),
            (
                json!({"type": "unsupported", "errors": [{"code": 131051, "title": "t", "error_data": {"details": "d"}}]}),
                "error_code: 131051, error_text: \"d\"",
            ),
            (
                json!({"type": "unsupported", "unsupported": {"type": "poll_creation"}}),
                "\"unsupported/poll_creation\"",
            ),
            (json!({"type": "unsupported", "unsupported": 7}), "type: \"unsupported\""),
            (json!({"type": "text", "text": {}}), "type: \"text\""),
            (json!({"type": "image"}), "type: \"image\""),
            (json!({}), "type: \"unknown\""),
        ];
        for (message, expected) in table {
            let (kind, change) = read(&message);
            assert!(format!("{kind:?}").contains(expected), "{message}: {kind:?}");
            assert_eq!(change, None);
        }
    }

    #[test]
    fn only_a_change_that_meta_tells_of_moves_a_customer() {
        let of = |kind: &str| json!({"from": "51911111111", "type": "system", "system": {"type": kind, "wa_id": "51922222222"}});
        let (kind, change) = read(&of("user_changed_number"));
        assert!(format!("{kind:?}").contains("NumberChanged"));
        let (old, new) = change.unwrap();
        assert_eq!((old.wa_id.as_str(), new.wa_id.as_str()), ("51911111111", "51922222222"));
        assert_eq!(read(&of("customer_identity_changed")).1, None);
        assert!(matches!(read(&of("anything")).0, Kind::Placeholder(_)));
    }
}
