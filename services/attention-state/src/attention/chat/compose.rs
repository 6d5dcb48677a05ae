//! What an item of ours is: what a thread shows of it, and what the channel sends. Plain: no database, no clock.

use hilo_proto::attention::v1::Template;
use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::history::v1::whats_app_item::Detail;
use hilo_proto::inbound::v1::{Attachment, MediaKind, WhatsAppContactCards, WhatsAppLocation, WhatsAppMedia};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendMedia, SendTemplate, SendText};

use crate::attention::store::message::StoredAttachment;
use crate::{intake, templates};

/// An item of ours, composed.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    /// What can be read of it.
    pub text: String,
    /// Its files.
    pub files: Vec<StoredAttachment>,
    /// What it is beyond its text.
    pub item: WhatsAppItem,
    /// What the channel sends.
    pub kind: Kind,
}

impl Composed {
    fn of(kind_word: &str, text: String, detail: Option<Detail>, kind: Kind) -> Self {
        let item = WhatsAppItem { kind: kind_word.to_owned(), detail, ..WhatsAppItem::default() };
        Self { text, files: Vec::new(), item, kind }
    }

    /// True when it may leave after the 24-hour window.
    pub(crate) fn is_template(&self) -> bool {
        matches!(self.kind, Kind::Template(_))
    }

    /// What lists show of it.
    pub(crate) fn preview(&self) -> String {
        intake::line(&self.text, &self.item.kind)
    }
}

/// A text; `preview_url` shows a preview of its first link.
pub(crate) fn text(body: &str, preview_url: bool) -> Composed {
    let kind = Kind::Text(SendText { body: body.to_owned(), preview_url });
    let mut composed = Composed::of("text", body.to_owned(), None, kind);
    composed.item.preview_url = preview_url;
    composed
}

/// A template with its values, whose fit is the caller's to check ([`templates::check`]); `file` is that of its header.
pub(crate) fn template(template: &Template, sent: &SendTemplate, file: Option<StoredAttachment>) -> Composed {
    let mut sent = sent.clone();
    let parameters = sent.components.iter_mut().flat_map(|one| &mut one.parameters);
    for parameter in parameters {
        if let Some(Value::Media(media)) = &mut parameter.value {
            media.attachment = file.clone().map(Attachment::from);
        }
    }
    let text = templates::rendered(template, &sent);
    sent_template(text, sent, file.into_iter().collect())
}

/// A template with what the customer reads of it, as it was composed before.
pub(super) fn sent_template(text: String, sent: SendTemplate, files: Vec<StoredAttachment>) -> Composed {
    let detail = Some(Detail::Template(sent.clone()));
    Composed { files, ..Composed::of("template", text, detail, Kind::Template(sent)) }
}

/// A file with the words below it.
pub(crate) fn media(kind: MediaKind, caption: &str, file: StoredAttachment) -> Composed {
    let attachment = Some(Attachment::from(file.clone()));
    let sent = SendMedia { kind: kind.into(), attachment, caption: caption.to_owned() };
    let shown = WhatsAppMedia {
        kind: kind.into(),
        caption: caption.to_owned(),
        file_name: if kind == MediaKind::Document { file.file_name.clone() } else { String::new() },
        media_type: file.media_type.clone(),
        sha256: file.sha256.clone(),
        ..WhatsAppMedia::default()
    };
    let word = intake::media_word(kind);
    let mut composed = Composed::of(word, caption.to_owned(), Some(Detail::Media(shown)), Kind::Media(sent));
    composed.files.push(file);
    composed
}

/// A place.
pub(crate) fn location(place: &WhatsAppLocation) -> Composed {
    let detail = Some(Detail::Location(place.clone()));
    Composed::of("location", intake::place_line(place), detail, Kind::Location(place.clone()))
}

/// Contact cards.
pub(crate) fn contact_cards(cards: &WhatsAppContactCards) -> Composed {
    let lines: Vec<String> = cards.cards.iter().map(intake::card_line).collect();
    let detail = Some(Detail::ContactCards(cards.clone()));
    Composed::of("contact_cards", lines.join("\n"), detail, Kind::ContactCards(cards.clone()))
}
