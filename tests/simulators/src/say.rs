//! What a customer says: any documented kind, made from its fixture, with own content laid over it.

use base64::Engine as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::merge;
use crate::media::MediaFault;

/// A message of a customer before it is sent. As JSON: `{"kind": "image", "with": {"image": {"caption": "Look"}}}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Say {
    /// Name of the fixture; `text` where it is empty.
    pub kind: String,
    /// Short for `{"with": {"text": {"body": ...}}}`.
    pub text: Option<String>,
    /// Laid over the message of the fixture (RFC 7396: `null` removes a field).
    pub with: Value,
    /// The file, for kinds that have one; a small sample where it is absent.
    pub file: Option<File>,
    /// The customer's own time, in seconds of Unix time; now where it is absent.
    pub at: Option<i64>,
    /// Instead of `at`: so many seconds ago.
    pub seconds_ago: Option<i64>,
    /// Id of the message, to send one twice; made up where it is absent.
    pub id: Option<String>,
}

/// A file that a customer attaches.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Its bytes in base64.
    pub base64: String,
    /// Its type; that of the fixture where it is empty.
    pub mime_type: String,
    /// What is wrong with it when it is fetched.
    pub fault: Option<MediaFault>,
}

impl File {
    /// A file with these bytes.
    pub fn new(mime_type: &str, bytes: &[u8]) -> Self {
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        Self { base64, mime_type: mime_type.to_owned(), fault: None }
    }

    /// With this wrong.
    #[must_use]
    pub fn but(mut self, fault: MediaFault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub(crate) fn bytes(&self) -> Result<Option<Bytes>, String> {
        if self.base64.is_empty() {
            return Ok(None);
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.base64);
        bytes.map(|bytes| Some(Bytes::from(bytes))).map_err(|error| format!("file.base64: {error}"))
    }
}

impl Say {
    /// The documented message of this kind, as it stands in its fixture.
    pub fn kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    /// A text.
    pub fn text(body: &str) -> Self {
        Self::kind("text").with(json!({ "text": { "body": body } }))
    }

    /// A file: `image`, `audio`, `voice`, `video`, `document` or `sticker`.
    pub fn media(kind: &str, file: File) -> Self {
        Self { file: Some(file), ..Self::kind(kind) }
    }

    /// A reaction to a message of either side.
    pub fn react(wamid: &str, emoji: &str) -> Self {
        Self::kind("reaction").with(json!({ "reaction": { "message_id": wamid, "emoji": emoji } }))
    }

    /// Takes a reaction back.
    pub fn unreact(wamid: &str) -> Self {
        Self::kind("reaction_removed").with(json!({ "reaction": { "message_id": wamid } }))
    }

    /// Corrects an own text.
    pub fn edit(wamid: &str, body: &str) -> Self {
        Self::kind("edit").with(
            json!({ "edit": { "original_message_id": wamid, "message": { "text": { "body": body } } } }),
        )
    }

    /// Takes an own message back.
    pub fn revoke(wamid: &str) -> Self {
        Self::kind("revoke").with(json!({ "revoke": { "original_message_id": wamid } }))
    }

    /// Taps a reply button of an interactive message.
    pub fn tap(wamid: &str, id: &str, title: &str) -> Self {
        let reply = json!({ "type": "button_reply", "button_reply": { "id": id, "title": title } });
        Self::kind("interactive_button_reply").with(json!({ "interactive": reply })).replying_to(wamid)
    }

    /// Lays `content` over the message.
    #[must_use]
    pub fn with(mut self, content: Value) -> Self {
        if !self.with.is_object() {
            self.with = json!({});
        }
        lay(&mut self.with, &content);
        self
    }

    /// Quotes a message of the business.
    #[must_use]
    pub fn replying_to(self, wamid: &str) -> Self {
        self.with(json!({ "context": { "id": wamid } }))
    }

    /// Caption of a file.
    #[must_use]
    pub fn caption(self, caption: &str) -> Self {
        let of = match self.kind.as_str() {
            "voice" => "audio".to_owned(),
            kind => kind.to_owned(),
        };
        self.with(json!({ of: { "caption": caption } }))
    }

    /// So many seconds ago, by the customer's own clock.
    #[must_use]
    pub fn seconds_ago(mut self, seconds: i64) -> Self {
        self.seconds_ago = Some(seconds);
        self
    }

    /// At this second of Unix time, by the customer's own clock.
    #[must_use]
    pub fn at(mut self, unix: i64) -> Self {
        self.at = Some(unix);
        self
    }

    /// With an id of one's own, to send the same message twice.
    #[must_use]
    pub fn id(mut self, wamid: &str) -> Self {
        self.id = Some(wamid.to_owned());
        self
    }
}

/// Like [`merge`], but keeps `null` for the merge that follows.
fn lay(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                lay(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// The content of `say` over the message of its fixture.
pub(crate) fn over(message: &mut Value, say: &Say) {
    if let Some(text) = &say.text {
        merge(message, &json!({ "text": { "body": text } }));
    }
    if say.with.is_object() {
        merge(message, &say.with);
    }
}
