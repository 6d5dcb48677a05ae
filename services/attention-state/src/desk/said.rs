//! What of a request to send WhatsApp takes, checked whole before anything is locked.

use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::attention::v1::chat_content::Kind;
use hilo_proto::attention::v1::{
    ChatContent, ChatStart, ComposeMode, SendMessageRequest, StartAttentionRequest,
};
use hilo_proto::inbound::v1::{MediaKind, WhatsAppContactCard, WhatsAppContactCards, WhatsAppLocation};
use hilo_proto::outbound::v1::SendTemplate;
use hilo_proto::outbound::v1::template_parameter::Value;

use sqlx::PgConnection;
use uuid::Uuid;

use super::act::id_of;
use super::compose::storable;
use crate::attention::chat::start::Whom;
use crate::attention::chat::{self, Reaction, Said, Written, media};
use crate::attention::domain::{ContactId, UserKey};
use crate::contact::{self, Number};
use crate::conversation::attach::{self, Wanted};
use crate::directory::Access;

/// Most contact cards of one message; more cannot be looked through on a telephone.
const MAX_CARDS: usize = 50;
/// Most numbers and addresses of a card.
const MAX_ENTRIES: usize = 20;
/// Longest line of a place or card, in characters.
const MAX_LINE: usize = 1_000;

/// Longest emoji, in bytes: families and flags are joined of many.
const MAX_EMOJI: usize = 60;

/// What is wrong with a request, by field.
type Wrong = Vec<(String, String)>;

/// The refusal of a malformed request.
pub(super) fn refused(wrong: Wrong) -> Error {
    let bad = Error::invalid("INVALID_REQUEST", "the message is malformed");
    wrong.into_iter().fold(bad, |bad, (field, why)| bad.field(field, why))
}

/// The refusal of what only WhatsApp has.
pub(super) fn only_of_whatsapp() -> Error {
    refused(vec![("whatsapp".to_owned(), "only of WhatsApp".to_owned())])
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A message.
    Message(Box<Said>),
    /// A reaction, which is none.
    Reaction(Reaction),
}

/// The request as WhatsApp takes it.
///
/// # Errors
/// `INVALID_REQUEST` with a violation per field.
pub(super) fn said(access: &Access, request: &SendMessageRequest) -> Result<Asked, Error> {
    let mut wrong = of_a_mail(request);
    let content = request.whatsapp.clone().unwrap_or_default();
    let reply_to = Some(request.message_id.as_str()).filter(|id| !id.is_empty());
    let reply_to = reply_to.map(|id| ids::parse(id, "message_id")).transpose()?;
    wrong.extend(spare(request, &content));
    let written = match content.kind {
        None => text(&request.text, content.preview_url, &mut wrong),
        Some(Kind::Template(template)) => {
            wrong.extend(names_files(&template, "whatsapp.template"));
            Written::Template(template)
        }
        Some(Kind::Media(kind)) => file(kind, &request.text, &mut wrong),
        Some(Kind::Location(place)) => {
            wrong.extend(place_wrong(&place));
            Written::Location(place)
        }
        Some(Kind::ContactCards(cards)) => {
            wrong.extend(cards_wrong(&cards));
            Written::ContactCards(cards)
        }
        Some(Kind::Reaction(reaction)) => {
            wrong.extend(emoji_wrong(&reaction.emoji));
            let interaction = id_of(&request.interaction_id)?;
            let agent = UserKey::new(&access.user_key);
            let emoji = reaction.emoji;
            return match reply_to {
                Some(target) if wrong.is_empty() => {
                    Ok(Asked::Reaction(Reaction { interaction, agent, target, emoji }))
                }
                Some(_) => Err(refused(wrong)),
                None => {
                    wrong.push(("message_id".to_owned(), "required: what is reacted to".to_owned()));
                    Err(refused(wrong))
                }
            };
        }
    };
    let interaction = id_of(&request.interaction_id)?;
    let files = attach::wanted(&request.attachments, "attachments")?;
    if !wrong.is_empty() {
        return Err(refused(wrong));
    }
    let agent = UserKey::new(&access.user_key);
    Ok(Asked::Message(Box::new(Said { interaction, agent, written, files, reply_to })))
}

/// What an agent begins a conversation with.
#[derive(Clone, Debug)]
pub(super) struct First {
    phone: String,
    contact: Option<Uuid>,
    pub(super) written: Written,
    pub(super) files: Vec<Wanted>,
}

impl First {
    /// Whom he writes to.
    ///
    /// # Errors
    /// `CONTACT_NOT_FOUND` also for one he may not see; database errors.
    pub(super) async fn whom(&self, tx: &mut PgConnection, access: &Access) -> Result<Whom, Error> {
        let Some(id) = self.contact else { return Ok(Whom::Phone(self.phone.clone())) };
        let contact = contact::rights::visible(tx, access, id).await?;
        Ok(Whom::Contact(ContactId(ids::parse(&contact.contact_id, "contact_id")?)))
    }
}

/// A request to begin, as WhatsApp takes it.
///
/// # Errors
/// `INVALID_REQUEST` with a violation per field.
pub(super) fn first(request: &StartAttentionRequest, whatsapp: &ChatStart) -> Result<First, Error> {
    let mut wrong = Wrong::new();
    let given = [
        ("to", !request.to.is_empty()),
        ("cc", !request.cc.is_empty()),
        ("bcc", !request.bcc.is_empty()),
        ("subject", !request.subject.is_empty()),
        ("text", !request.text.is_empty()),
        ("html", !request.html.is_empty()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given);
    wrong.extend(given.map(|(field, _)| (field.to_owned(), "not carried by WhatsApp".to_owned())));
    if request.campaign_key.is_empty() {
        wrong.push(("campaign_key".to_owned(), "required".to_owned()));
    }
    if request.attachments.len() > 1 {
        wrong.push(("attachments".to_owned(), "at most the file of the template's header".to_owned()));
    }
    let contact = Some(whatsapp.contact_id.as_str()).filter(|id| !id.is_empty());
    let contact = contact.map(|id| ids::parse(id, "whatsapp.contact_id")).transpose()?;
    if contact.is_some() != whatsapp.phone.is_empty() {
        wrong.push(("whatsapp.phone".to_owned(), "exactly one of phone and contact_id".to_owned()));
    }
    let phone = Number::parse(&whatsapp.phone);
    if contact.is_none() && !whatsapp.phone.is_empty() && phone.is_none() {
        wrong.push(("whatsapp.phone".to_owned(), "`+` and 8 to 15 digits".to_owned()));
    }
    let template = whatsapp.template.clone().unwrap_or_default();
    if template.name.is_empty() || template.language.is_empty() {
        wrong.push(("whatsapp.template".to_owned(), "name and language are required".to_owned()));
    }
    wrong.extend(names_files(&template, "whatsapp.template"));
    let files = attach::wanted(&request.attachments, "attachments")?;
    if !wrong.is_empty() {
        return Err(refused(wrong));
    }
    let phone = phone.map(|number| number.to_string()).unwrap_or_default();
    Ok(First { phone, contact, written: Written::Template(template), files })
}

/// Fields that only a mail has.
fn of_a_mail(request: &SendMessageRequest) -> Wrong {
    let given = [
        ("html", !request.html.is_empty()),
        ("reply_all", request.reply_all),
        ("cc", !request.cc.is_empty()),
        ("to", !request.to.is_empty()),
        ("bcc", !request.bcc.is_empty()),
        ("mode", request.mode() != ComposeMode::Unspecified),
        ("subject", !request.subject.is_empty()),
        ("quote", request.quote),
        ("include_attachments", request.include_attachments),
    ];
    let given = given.into_iter().filter(|(_, given)| *given);
    given.map(|(field, _)| (field.to_owned(), "not carried by WhatsApp".to_owned())).collect()
}

/// Fields that do not go with what is sent.
fn spare(request: &SendMessageRequest, content: &ChatContent) -> Wrong {
    let mut wrong = Wrong::new();
    let files = request.attachments.len();
    let (fits, takes) = match &content.kind {
        None | Some(Kind::Location(_) | Kind::ContactCards(_) | Kind::Reaction(_)) => {
            (files == 0, "no file goes with it; `whatsapp.media` sends one")
        }
        Some(Kind::Media(_)) => (files == 1, "exactly one file"),
        Some(Kind::Template(_)) => (files <= 1, "at most the file of its header"),
    };
    if !fits {
        wrong.push(("attachments".to_owned(), takes.to_owned()));
    }
    let texts = match &content.kind {
        None | Some(Kind::Media(_)) => true,
        Some(Kind::Template(_) | Kind::Location(_) | Kind::ContactCards(_) | Kind::Reaction(_)) => false,
    };
    if !texts && !request.text.is_empty() {
        wrong.push(("text".to_owned(), "no text goes with it".to_owned()));
    }
    if content.preview_url && content.kind.is_some() {
        wrong.push(("whatsapp.preview_url".to_owned(), "only of a text".to_owned()));
    }
    wrong
}

fn text(body: &str, preview_url: bool, wrong: &mut Wrong) -> Written {
    if body.chars().count() > chat::MAX_TEXT || body.trim().is_empty() {
        wrong.push(("text".to_owned(), format!("1 to {} characters", chat::MAX_TEXT)));
    }
    Written::Text { body: storable(body), preview_url }
}

fn file(kind: i32, caption: &str, wrong: &mut Wrong) -> Written {
    let kind = MediaKind::try_from(kind).unwrap_or(MediaKind::Unspecified);
    if kind == MediaKind::Unspecified {
        wrong.push(("whatsapp.media".to_owned(), "how the file is sent is required".to_owned()));
    } else if !media::has_caption(kind) && !caption.is_empty() {
        wrong.push(("text".to_owned(), "no words stand below a file of this kind".to_owned()));
    }
    if caption.chars().count() > media::MAX_CAPTION {
        wrong.push(("text".to_owned(), format!("at most {} characters below a file", media::MAX_CAPTION)));
    }
    Written::Media { kind, caption: storable(caption) }
}

/// A file is named by `attachments`, where rights are checked, never by its content's name.
fn names_files(template: &SendTemplate, field: &str) -> Wrong {
    let mut wrong = Wrong::new();
    for (at, component) in template.components.iter().enumerate() {
        for (place, parameter) in component.parameters.iter().enumerate() {
            if let Some(Value::Media(media)) = &parameter.value
                && media.attachment.is_some()
            {
                let path = format!("{field}.components[{at}].parameters[{place}].media.attachment");
                wrong.push((path, "the file goes into `attachments`".to_owned()));
            }
        }
    }
    wrong
}

/// At most as long as any emoji is, and no words.
fn emoji_wrong(emoji: &str) -> Wrong {
    let odd = |one: char| one.is_alphabetic() || one.is_whitespace() || one.is_control();
    let fits = emoji.len() <= MAX_EMOJI && !emoji.contains(odd);
    if fits { Wrong::new() } else { vec![("whatsapp.reaction.emoji".to_owned(), "one emoji".to_owned())] }
}

fn line(text: &str) -> bool {
    text.chars().count() <= MAX_LINE && !text.contains(char::is_control)
}

fn place_wrong(place: &WhatsAppLocation) -> Wrong {
    let mut wrong = Wrong::new();
    let mut say = |field: &str, why: &str| wrong.push((format!("whatsapp.location.{field}"), why.to_owned()));
    if !(-90.0..=90.0).contains(&place.latitude) {
        say("latitude", "-90 to 90");
    }
    if !(-180.0..=180.0).contains(&place.longitude) {
        say("longitude", "-180 to 180");
    }
    if !line(&place.name) {
        say("name", "at most 1,000 characters in one line");
    }
    if !line(&place.address) {
        say("address", "at most 1,000 characters in one line");
    }
    if !place.url.is_empty() {
        say("url", "cannot be sent with a place");
    }
    wrong
}

fn cards_wrong(cards: &WhatsAppContactCards) -> Wrong {
    let field = "whatsapp.contact_cards.cards";
    if !(1..=MAX_CARDS).contains(&cards.cards.len()) {
        return vec![(field.to_owned(), format!("1 to {MAX_CARDS} cards"))];
    }
    let fits = |card: &WhatsAppContactCard| {
        let lines = [&card.formatted_name, &card.first_name, &card.last_name, &card.company];
        let phones = card.phones.iter().flat_map(|one| [&one.phone, &one.wa_id, &one.r#type]);
        !card.formatted_name.trim().is_empty()
            && card.phones.len() <= MAX_ENTRIES
            && card.emails.len() <= MAX_ENTRIES
            && lines.into_iter().chain(phones).chain(&card.emails).all(|one| line(one))
    };
    let odd = cards.cards.iter().enumerate().filter(|(_, card)| !fits(card));
    let why = "a name, and lines of at most 1,000 characters";
    odd.map(|(at, _)| (format!("{field}[{at}]"), why.to_owned())).collect()
}
