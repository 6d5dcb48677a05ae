//! What a conversation shows of an item: text that can be read by itself, files, and the rest as `WhatsAppItem`.

use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::history::v1::whats_app_item::Detail;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::whats_app_content::Result as Outcome;
use hilo_proto::inbound::v1::{
    InboundWhatsApp, MediaKind, SystemKind, WhatsAppContactCard, WhatsAppIdentity, WhatsAppLocation,
    WhatsAppOrder, WhatsAppPlaceholder, WhatsAppSystem,
};

use crate::attention::store::message::StoredAttachment;
use crate::intake::preview;

/// Longest words of Meta's that are kept of an error.
const MAX_ERROR: usize = 500;

/// An item as it is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub text: String,
    pub files: Vec<StoredAttachment>,
    pub item: WhatsAppItem,
}

impl Shown {
    /// What a list shows: the text, else what kind it is.
    pub(super) fn preview(&self) -> String {
        line(&self.text, &self.item.kind)
    }
}

/// What a list shows of a text of this kind.
pub(crate) fn line(text: &str, kind: &str) -> String {
    let words = preview(text);
    if words.is_empty() { format!("[{kind}]") } else { words }
}

/// Makes of an item what a conversation shows.
pub(super) fn shown(from: &InboundWhatsApp) -> Shown {
    let item = WhatsAppItem {
        wamid: from.wamid.clone(),
        customer: from.customer.clone(),
        context: from.context.clone(),
        referral: from.referral.clone(),
        sent_at: from.sent_at,
        ..WhatsAppItem::default()
    };
    let plain = |kind: &str, text: String, detail| Shown {
        text,
        files: Vec::new(),
        item: WhatsAppItem { kind: kind.to_owned(), detail, ..item.clone() },
    };
    match &from.kind {
        Some(Kind::Text(text)) => plain("text", text.body.clone(), None),
        Some(Kind::Media(media)) => Shown {
            files: media.attachment.clone().map(StoredAttachment::from).into_iter().collect(),
            ..plain(media_word(media.kind()), media.caption.clone(), Some(Detail::Media(media.clone())))
        },
        Some(Kind::Location(place)) => {
            plain("location", place_line(place), Some(Detail::Location(place.clone())))
        }
        Some(Kind::ContactCards(cards)) => {
            let lines: Vec<String> = cards.cards.iter().map(card_line).collect();
            plain("contact_cards", lines.join("\n"), Some(Detail::ContactCards(cards.clone())))
        }
        Some(Kind::Choice(choice)) => {
            plain("choice", choice.title.clone(), Some(Detail::Choice(choice.clone())))
        }
        Some(Kind::Order(order)) => plain("order", order_lines(order), Some(Detail::Order(order.clone()))),
        Some(Kind::System(system)) => {
            let mut shown = plain("system", system.text.clone(), Some(Detail::System(system.clone())));
            // Answers go to whom he is from now on; his old number may be somebody else's.
            shown.item.customer = from.customer.clone().map(|customer| now(customer, system));
            shown
        }
        Some(Kind::Placeholder(one)) => {
            plain("placeholder", placeholder_line(one), Some(Detail::Placeholder(one.clone())))
        }
        // They are no messages of their own.
        Some(
            Kind::Reaction(_) | Kind::Edit(_) | Kind::Revoke(_) | Kind::Content(_) | Kind::Preference(_),
        )
        | None => plain("", String::new(), None),
    }
}

/// Who a customer is after a notice of the system.
fn now(before: WhatsAppIdentity, notice: &WhatsAppSystem) -> WhatsAppIdentity {
    let Some(after) = notice.new_identity.clone() else { return before };
    let or = |new: String, old: String| if new.is_empty() { old } else { new };
    let parent_user_id = or(after.parent_user_id, before.parent_user_id.clone());
    match notice.kind() {
        // A new number comes with a new user id: the old one leads nowhere.
        SystemKind::NumberChanged => WhatsAppIdentity { parent_user_id, ..after },
        SystemKind::UserIdChanged => WhatsAppIdentity {
            wa_id: or(after.wa_id, before.wa_id),
            phone: or(after.phone, before.phone),
            user_id: or(after.user_id, before.user_id),
            parent_user_id,
            username: or(after.username, before.username),
            profile_name: or(after.profile_name, before.profile_name),
        },
        SystemKind::IdentityChanged | SystemKind::Unspecified => before,
    }
}

/// The word of a kind of file.
pub(crate) fn media_word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image",
        MediaKind::Audio => "audio",
        MediaKind::Voice => "voice",
        MediaKind::Video => "video",
        MediaKind::Document | MediaKind::Unspecified => "document",
        MediaKind::Sticker => "sticker",
    }
}

fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")
}

/// A place in words.
pub(crate) fn place_line(place: &WhatsAppLocation) -> String {
    let at = format!("{}, {}", place.latitude, place.longitude);
    joined(&[&place.name, &place.address, &at])
}

/// A contact card in words.
pub(crate) fn card_line(card: &WhatsAppContactCard) -> String {
    let numbers: Vec<&str> = card.phones.iter().map(|one| one.phone.as_str()).collect();
    let emails: Vec<&str> = card.emails.iter().map(String::as_str).collect();
    joined(&[&card.formatted_name, &card.company, &numbers.join(", "), &emails.join(", ")])
}

fn order_lines(order: &WhatsAppOrder) -> String {
    let line = |one: &hilo_proto::inbound::v1::WhatsAppOrderItem| {
        format!("{} × {} {} {}", one.quantity, one.product_retailer_id, one.item_price, one.currency)
    };
    let lines = order.items.iter().map(|one| line(one).trim_end().to_owned());
    let all: Vec<String> =
        Some(order.text.clone()).filter(|text| !text.is_empty()).into_iter().chain(lines).collect();
    all.join("\n")
}

fn placeholder_line(one: &WhatsAppPlaceholder) -> String {
    let code = if one.error_code == 0 { String::new() } else { one.error_code.to_string() };
    let words: String = one.error_text.chars().take(MAX_ERROR).collect();
    let parts = [format!("[{}]", one.r#type), code, words];
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// PostgreSQL cannot store the NUL character in text; everything else is kept as it came.
pub(super) fn clean(item: &mut InboundWhatsApp) {
    let strip = |text: &mut String| {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    };
    strip(&mut item.wamid);
    if let Some(customer) = &mut item.customer {
        let WhatsAppIdentity { wa_id, phone, user_id, parent_user_id, username, profile_name } = customer;
        [wa_id, phone, user_id, parent_user_id, username, profile_name].into_iter().for_each(strip);
    }
    match &mut item.kind {
        Some(Kind::Text(text)) => strip(&mut text.body),
        Some(Kind::Media(media)) => {
            strip(&mut media.caption);
            if let Some(file) = &mut media.attachment {
                [&mut file.file_name, &mut file.media_type, &mut file.content_id].into_iter().for_each(strip);
            }
        }
        Some(Kind::Location(place)) => [&mut place.name, &mut place.address].into_iter().for_each(strip),
        Some(Kind::ContactCards(cards)) => {
            for card in &mut cards.cards {
                strip(&mut card.formatted_name);
                strip(&mut card.company);
                card.phones.iter_mut().for_each(|one| strip(&mut one.phone));
                card.emails.iter_mut().for_each(strip);
            }
        }
        Some(Kind::Choice(choice)) => strip(&mut choice.title),
        Some(Kind::Order(order)) => {
            strip(&mut order.text);
            for one in &mut order.items {
                [&mut one.product_retailer_id, &mut one.item_price, &mut one.currency]
                    .into_iter()
                    .for_each(strip);
            }
        }
        Some(Kind::System(system)) => strip(&mut system.text),
        Some(Kind::Edit(edit)) => strip(&mut edit.text),
        Some(Kind::Placeholder(one)) => [&mut one.r#type, &mut one.error_text].into_iter().for_each(strip),
        Some(Kind::Content(content)) => match &mut content.result {
            Some(Outcome::Attachment(file)) => {
                [&mut file.file_name, &mut file.media_type, &mut file.content_id].into_iter().for_each(strip);
            }
            Some(Outcome::Failure(why)) => strip(why),
            None => {}
        },
        Some(Kind::Preference(preference)) => strip(&mut preference.category),
        Some(Kind::Reaction(_) | Kind::Revoke(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilo_proto::inbound::v1::{
        WhatsAppChoice, WhatsAppContactCards, WhatsAppContactPhone, WhatsAppMedia, WhatsAppOrderItem,
        WhatsAppText,
    };

    #[test]
    fn every_kind_can_be_read_without_knowing_it() {
        let card = WhatsAppContactCard {
            formatted_name: "Otto Ruiz".into(),
            phones: vec![WhatsAppContactPhone { phone: "+51 911".into(), ..WhatsAppContactPhone::default() }],
            ..WhatsAppContactCard::default()
        };
        let order = WhatsAppOrder {
            text: "Por favor".into(),
            items: vec![WhatsAppOrderItem {
                product_retailer_id: "A-1".into(),
                quantity: 2,
                item_price: "9.90".into(),
                currency: "PEN".into(),
            }],
            ..WhatsAppOrder::default()
        };
        let media = |kind: MediaKind, caption: &str| {
            Kind::Media(WhatsAppMedia {
                kind: kind.into(),
                caption: caption.into(),
                ..WhatsAppMedia::default()
            })
        };
        let place = WhatsAppLocation {
            latitude: -12.05,
            longitude: -77.04,
            name: "Lima".into(),
            ..Default::default()
        };
        let odd = WhatsAppPlaceholder {
            r#type: "unsupported".into(),
            error_code: 131_051,
            error_text: "Message type unknown".into(),
        };
        for (kind, word, text, line) in [
            (Kind::Text(WhatsAppText { body: "Hola\n\nEva".into() }), "text", "Hola\n\nEva", "Hola Eva"),
            (media(MediaKind::Image, "mire"), "image", "mire", "mire"),
            (media(MediaKind::Voice, ""), "voice", "", "[voice]"),
            (Kind::Location(place), "location", "Lima, -12.05, -77.04", "Lima, -12.05, -77.04"),
            (
                Kind::ContactCards(WhatsAppContactCards { cards: vec![card] }),
                "contact_cards",
                "Otto Ruiz, +51 911",
                "Otto Ruiz, +51 911",
            ),
            (
                Kind::Choice(WhatsAppChoice { title: "Sí".into(), ..WhatsAppChoice::default() }),
                "choice",
                "Sí",
                "Sí",
            ),
            (Kind::Order(order), "order", "Por favor\n2 × A-1 9.90 PEN", "Por favor 2 × A-1 9.90 PEN"),
            (
                Kind::Placeholder(odd),
                "placeholder",
                "[unsupported] 131051 Message type unknown",
                "[unsupported] 131051 Message type unknown",
            ),
        ] {
            let item = InboundWhatsApp { kind: Some(kind), ..InboundWhatsApp::default() };
            let shown = shown(&item);
            assert_eq!((shown.item.kind.as_str(), shown.text.as_str()), (word, text));
            assert_eq!(shown.preview(), line);
        }
    }
}
