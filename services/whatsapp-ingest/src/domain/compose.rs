//! The request for a send, with Meta's limits checked before anything leaves.
//!
//! Source: Meta, "Messages API" reference of the Cloud API (2026): `to` takes a number, `recipient` a business-scoped user id.

use hilo_proto::inbound::v1::{WhatsAppContactCards, WhatsAppIdentity};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{OutboundWhatsApp, SendReadMark};
use serde_json::{Map, Value, json};

use super::filled;
use super::outgoing::{self, FileNeeded};
use super::unfit::{Unfit, Unsendable};

/// Longest text, in characters.
const TEXT_CHARS: usize = 4_096;
/// Most contact cards of one message.
const CARDS: usize = 257;

const NOT_CARRIED: Unsendable =
    Unsendable { why: Unfit::KindNotCarried, text: "this kind of message is not sent yet" };

pub(super) fn invalid(text: &'static str) -> Unsendable {
    Unsendable { why: Unfit::ContentInvalid, text }
}

/// True for what may go out after the window has closed.
pub fn outlives_window(item: &OutboundWhatsApp) -> bool {
    matches!(item.kind, Some(Kind::Template(_) | Kind::ReadMark(_)))
}

/// True for what is no message: it is neither paced towards the customer nor followed by statuses.
pub fn is_mark(item: &OutboundWhatsApp) -> bool {
    matches!(item.kind, Some(Kind::ReadMark(_)))
}

/// True for a read mark that also shows that an answer is being written.
pub fn is_typing(item: &OutboundWhatsApp) -> bool {
    matches!(&item.kind, Some(Kind::ReadMark(mark)) if mark.typing)
}

/// The customer as the pace knows him.
pub fn recipient(item: &OutboundWhatsApp) -> String {
    let to = item.to.clone().unwrap_or_default();
    [to.wa_id, to.phone, to.user_id].into_iter().find(|one| !one.is_empty()).unwrap_or_default()
}

/// A request, and the files whose ids are missing in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// The body.
    pub body: Value,
    /// What must be at Meta first.
    pub files: Vec<FileNeeded>,
}

/// The body of the request; `send_id` comes back with every status.
///
/// # Errors
/// [`Unsendable`]: it fails with that reason and nothing leaves.
pub fn request(item: &OutboundWhatsApp, send_id: &str) -> Result<Composed, Unsendable> {
    let Some(kind) = &item.kind else { return Err(NOT_CARRIED) };
    let mut files = Vec::new();
    if let Kind::ReadMark(mark) = kind {
        return Ok(Composed { body: read_mark(mark)?, files });
    }
    let (name, content) = content(kind, &mut files)?;
    let mut body = addressed(item.to.as_ref())?;
    body.insert("type".to_owned(), json!(name));
    body.insert(name.to_owned(), content);
    body.insert("biz_opaque_callback_data".to_owned(), json!(send_id));
    if !item.reply_to_wamid.is_empty() {
        body.insert("context".to_owned(), json!({ "message_id": item.reply_to_wamid }));
    }
    Ok(Composed { body: Value::Object(body), files })
}

/// True when files must be at Meta before it can go out.
pub fn needs_files(item: &OutboundWhatsApp) -> bool {
    request(item, "").is_ok_and(|composed| !composed.files.is_empty())
}

fn addressed(to: Option<&WhatsAppIdentity>) -> Result<Map<String, Value>, Unsendable> {
    let text = "the customer has neither number nor user id";
    let none = Unsendable { why: Unfit::RecipientMissing, text };
    let Some(to) = to else { return Err(none) };
    let number = if to.wa_id.is_empty() { &to.phone } else { &to.wa_id };
    let mut body = Map::new();
    body.insert("messaging_product".to_owned(), json!("whatsapp"));
    body.insert("recipient_type".to_owned(), json!("individual"));
    match (number.is_empty(), to.user_id.is_empty()) {
        (false, _) => body.insert("to".to_owned(), json!(number)),
        (true, false) => body.insert("recipient".to_owned(), json!(to.user_id)),
        (true, true) => return Err(none),
    };
    Ok(body)
}

fn content(kind: &Kind, files: &mut Vec<FileNeeded>) -> Result<(&'static str, Value), Unsendable> {
    match kind {
        Kind::Text(text) => {
            let fits = (1..=TEXT_CHARS).contains(&text.body.chars().count()) && !text.body.trim().is_empty();
            if !fits {
                return Err(invalid("a text has 1 to 4096 characters"));
            }
            Ok(("text", json!({ "body": text.body, "preview_url": text.preview_url })))
        }
        Kind::Location(place) => {
            let fits =
                (-90.0..=90.0).contains(&place.latitude) && (-180.0..=180.0).contains(&place.longitude);
            if !fits {
                return Err(invalid("a place lies between -90 and 90, -180 and 180 degrees"));
            }
            Ok((
                "location",
                json!({ "latitude": place.latitude, "longitude": place.longitude,
                "name": place.name, "address": place.address }),
            ))
        }
        Kind::ContactCards(cards) => contact_cards(cards),
        Kind::Reaction(reaction) => {
            if reaction.target_wamid.is_empty() {
                return Err(invalid("a reaction names the message it is about"));
            }
            Ok(("reaction", json!({ "message_id": reaction.target_wamid, "emoji": reaction.emoji })))
        }
        Kind::Template(template) => filled::template(template, files),
        Kind::Media(media) => {
            let (name, content, needed) = outgoing::media(media, "")?;
            files.push(needed);
            Ok((name, content))
        }
        Kind::ReadMark(_) => Err(NOT_CARRIED),
    }
}

fn contact_cards(cards: &WhatsAppContactCards) -> Result<(&'static str, Value), Unsendable> {
    if cards.cards.is_empty() || cards.cards.len() > CARDS {
        return Err(invalid("there are 1 to 257 contact cards"));
    }
    let mut written = Vec::with_capacity(cards.cards.len());
    for card in &cards.cards {
        if card.formatted_name.is_empty() {
            return Err(invalid("a contact card has a name"));
        }
        // Meta asks for one more part of the name beside the whole.
        let first = if card.first_name.is_empty() { &card.formatted_name } else { &card.first_name };
        let phones: Vec<Value> = card
            .phones
            .iter()
            .map(|phone| {
                let mut one = Map::new();
                one.insert("phone".to_owned(), json!(phone.phone));
                for (name, value) in [("wa_id", &phone.wa_id), ("type", &phone.r#type)] {
                    if !value.is_empty() {
                        one.insert(name.to_owned(), json!(value));
                    }
                }
                Value::Object(one)
            })
            .collect();
        let mut one = json!({
            "name": { "formatted_name": card.formatted_name, "first_name": first, "last_name": card.last_name },
            "phones": phones,
            "emails": card.emails.iter().map(|email| json!({ "email": email })).collect::<Vec<_>>(),
        });
        if !card.company.is_empty()
            && let Some(one) = one.as_object_mut()
        {
            one.insert("org".to_owned(), json!({ "company": card.company }));
        }
        written.push(one);
    }
    Ok(("contacts", Value::Array(written)))
}

fn read_mark(mark: &SendReadMark) -> Result<Value, Unsendable> {
    if mark.wamid.is_empty() {
        return Err(invalid("a read mark names the message"));
    }
    let mut body = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": mark.wamid });
    if mark.typing
        && let Some(body) = body.as_object_mut()
    {
        body.insert("typing_indicator".to_owned(), json!({ "type": "text" }));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use hilo_proto::inbound::v1::{Attachment, MediaKind};
    use hilo_proto::inbound::v1::{WhatsAppLocation, WhatsAppReaction};
    use hilo_proto::outbound::v1::SendText;
    use hilo_proto::outbound::v1::template_parameter::Value as Filled;
    use hilo_proto::outbound::v1::{SendMedia, SendTemplate, TemplateComponent, TemplateParameter};

    use super::*;

    fn to(wa_id: &str, user_id: &str) -> Option<WhatsAppIdentity> {
        Some(WhatsAppIdentity { wa_id: wa_id.into(), user_id: user_id.into(), ..WhatsAppIdentity::default() })
    }

    fn of(kind: Kind) -> OutboundWhatsApp {
        OutboundWhatsApp { to: to("51987654321", ""), kind: Some(kind), ..OutboundWhatsApp::default() }
    }

    fn text(body: &str) -> Kind {
        Kind::Text(SendText { body: body.into(), preview_url: false })
    }

    #[test]
    fn a_text_carries_our_id_and_what_it_answers() {
        let item = OutboundWhatsApp { reply_to_wamid: "wamid.1".into(), ..of(text("hola")) };
        let expected = json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "to": "51987654321",
            "type": "text", "text": { "body": "hola", "preview_url": false }, "biz_opaque_callback_data": "s1",
            "context": { "message_id": "wamid.1" } });
        assert_eq!(request(&item, "s1").unwrap(), Composed { body: expected, files: vec![] });
        let nameless = OutboundWhatsApp { to: to("", "PE.1"), ..of(text("hola")) };
        let body = request(&nameless, "s1").unwrap().body;
        assert_eq!((body.get("to"), body["recipient"].as_str()), (None, Some("PE.1")));
        assert_eq!(recipient(&nameless), "PE.1");
    }

    #[test]
    fn what_meta_would_refuse_never_leaves() {
        let reason = |item: &OutboundWhatsApp| request(item, "s").unwrap_err().why.as_str();
        assert_eq!(reason(&of(text(&"ñ".repeat(4097)))), "CONTENT_INVALID");
        assert!(request(&of(text(&"ñ".repeat(4096))), "s").is_ok());
        assert_eq!(reason(&of(text(" \n"))), "CONTENT_INVALID");
        assert_eq!(reason(&OutboundWhatsApp { to: None, ..of(text("x")) }), "RECIPIENT_MISSING");
        assert_eq!(reason(&OutboundWhatsApp { to: to("", ""), ..of(text("x")) }), "RECIPIENT_MISSING");
        assert_eq!(reason(&of(Kind::Media(SendMedia::default()))), "CONTENT_INVALID");
        assert_eq!(reason(&OutboundWhatsApp { kind: None, ..of(text("x")) }), "KIND_NOT_CARRIED");
        assert_eq!(reason(&of(Kind::ContactCards(WhatsAppContactCards::default()))), "CONTENT_INVALID");
        let place = WhatsAppLocation { latitude: 91.0, ..WhatsAppLocation::default() };
        assert_eq!(reason(&of(Kind::Location(place))), "CONTENT_INVALID");
    }

    #[test]
    fn templates_reactions_and_read_marks_have_meta_s_form() {
        let parameter = TemplateParameter { name: String::new(), value: Some(Filled::Text("Ana".into())) };
        let button = TemplateComponent {
            r#type: "button".into(),
            sub_type: "quick_reply".into(),
            index: 1,
            parameters: vec![TemplateParameter {
                name: String::new(),
                value: Some(Filled::Payload("p".into())),
            }],
        };
        let body = TemplateComponent {
            r#type: "body".into(),
            parameters: vec![parameter],
            ..TemplateComponent::default()
        };
        let template =
            SendTemplate { name: "hola".into(), language: "es".into(), components: vec![body, button] };
        let written = request(&of(Kind::Template(template)), "s").unwrap().body;
        assert_eq!(
            written["template"],
            json!({ "name": "hola", "language": { "code": "es" }, "components": [
            { "type": "body", "parameters": [{ "type": "text", "text": "Ana" }] },
            { "type": "button", "sub_type": "quick_reply", "index": "1",
              "parameters": [{ "type": "payload", "payload": "p" }] }] })
        );
        let reaction = WhatsAppReaction { target_wamid: "wamid.1".into(), emoji: String::new() };
        let written = request(&of(Kind::Reaction(reaction)), "s").unwrap().body;
        assert_eq!(written["reaction"], json!({ "message_id": "wamid.1", "emoji": "" }));
        let mark = of(Kind::ReadMark(SendReadMark { wamid: "wamid.1".into(), typing: true }));
        assert_eq!(
            request(&mark, "s").unwrap().body,
            json!({ "messaging_product": "whatsapp", "status": "read",
            "message_id": "wamid.1", "typing_indicator": { "type": "text" } })
        );
        assert!(is_mark(&mark) && outlives_window(&mark) && !outlives_window(&of(text("x"))));
    }

    #[test]
    fn files_stand_where_their_ids_will() {
        let file = |kind: MediaKind, media_type: &str| SendMedia {
            kind: kind.into(),
            attachment: Some(Attachment {
                sha256: "ab".repeat(32),
                media_type: media_type.into(),
                size_bytes: 9,
                ..Attachment::default()
            }),
            caption: String::new(),
        };
        let Composed { mut body, files } =
            request(&of(Kind::Media(file(MediaKind::Image, "image/png"))), "s").unwrap();
        assert_eq!((body["type"].as_str(), &body["image"]), (Some("image"), &json!({ "id": "" })));
        *body.pointer_mut(&files[0].pointer).unwrap() = json!("7");
        assert_eq!(body["image"], json!({ "id": "7" }));

        let header = |media| TemplateComponent {
            r#type: "header".into(),
            parameters: vec![TemplateParameter { name: String::new(), value: Some(Filled::Media(media)) }],
            ..TemplateComponent::default()
        };
        let template = |media| {
            let components = vec![
                TemplateComponent { r#type: "body".into(), ..TemplateComponent::default() },
                header(media),
            ];
            of(Kind::Template(SendTemplate { name: "hola".into(), language: "es".into(), components }))
        };
        let Composed { mut body, files } =
            request(&template(file(MediaKind::Document, "application/pdf")), "s").unwrap();
        *body.pointer_mut(&files[0].pointer).unwrap() = json!("7");
        let expected = json!([{ "type": "document", "document": { "id": "7" } }]);
        assert_eq!(body["template"]["components"][1]["parameters"], expected);
        let code = TemplateComponent {
            r#type: "button".into(),
            sub_type: "copy_code".into(),
            index: 0,
            parameters: vec![TemplateParameter {
                name: String::new(),
                value: Some(Filled::Text("A1".into())),
            }],
        };
        let coupon = SendTemplate { name: "hola".into(), language: "es".into(), components: vec![code] };
        let body = request(&of(Kind::Template(coupon)), "s").unwrap().body;
        let expected = json!([{ "type": "coupon_code", "coupon_code": "A1" }]);
        assert_eq!(body["template"]["components"][0]["parameters"], expected);
        for bad in [file(MediaKind::Sticker, "image/webp"), file(MediaKind::Voice, "audio/ogg")] {
            assert_eq!(request(&template(bad), "s").unwrap_err().why.as_str(), "CONTENT_INVALID");
        }
    }
}
