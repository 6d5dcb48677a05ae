//! Files: what customers attach and businesses upload, with Meta's types, sizes and lifetimes.
//!
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media>: ids of
//! uploads live 30 days, ids in webhooks 7 days, addresses 5 minutes; a download needs the bearer token.

use base64::Engine as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::world::World;

/// Files, and addresses, that are kept before those past their time are thrown away.
const MANY: usize = 10_000;
/// How long an address is good.
pub(crate) const URL_MS: i64 = 5 * 60_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// Kind, types and most bytes of what may be sent.
const SUPPORTED: &[(&str, &[&str], usize)] = &[
    ("audio", &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"], 16 << 20),
    ("image", &["image/jpeg", "image/png"], 5 << 20),
    ("video", &["video/mp4", "video/3gpp", "video/3gp"], 16 << 20),
    ("sticker", &["image/webp"], 500 << 10),
    (
        "document",
        &[
            "text/plain",
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ],
        100 << 20,
    ),
];

/// What is wrong with a file when it is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaFault {
    /// The hash that is told is another file's.
    WrongHash,
    /// A page of HTML comes instead of the file.
    Html,
    /// 404 at the address.
    Gone,
    /// The address is past its time when it is given.
    Expired,
    /// The address names this host (`https://evil.example`), where the token must never go.
    ForeignHost(String),
    /// The address answers with a redirect to this URL.
    Redirect(String),
    /// The connection breaks in the middle of the file.
    Cut,
}

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    pub id: String,
    pub number: String,
    pub mime: String,
    pub bytes: Bytes,
    pub ends_at_ms: i64,
    pub fault: Option<MediaFault>,
}

impl Media {
    pub fn digest(&self) -> Vec<u8> {
        match self.fault {
            Some(MediaFault::WrongHash) => Sha256::digest(b"another file").to_vec(),
            _ => Sha256::digest(&self.bytes).to_vec(),
        }
    }

    /// The hash as `GET /{media-id}` writes it.
    pub fn hex(&self) -> String {
        hex::encode(self.digest())
    }

    /// The hash as webhooks write it.
    pub fn base64(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(self.digest())
    }
}

/// A type without its parameters: `audio/ogg; codecs=opus` is `audio/ogg`.
fn essence(mime: &str) -> &str {
    mime.split(';').next().unwrap_or(mime).trim()
}

/// Why a file cannot be uploaded; `None` if it can.
pub(crate) fn refusal(mime: &str, size: usize) -> Option<String> {
    let mime = essence(mime);
    let most = SUPPORTED.iter().filter(|(_, types, _)| types.contains(&mime)).map(|(_, _, most)| *most).max();
    match most {
        None => Some(format!(
            "Param file must be a file with one of the supported types. Received file of type '{mime}'."
        )),
        Some(most) if size > most => Some(format!("File size must be less than {most} bytes.")),
        Some(_) if size == 0 => Some("File is empty.".to_owned()),
        Some(_) => None,
    }
}

/// Whether a file of this type may be sent as `kind`. As a document anything may.
pub(crate) fn fits(kind: &str, mime: &str) -> bool {
    kind == "document" || SUPPORTED.iter().any(|(of, types, _)| *of == kind && types.contains(&essence(mime)))
}

impl World {
    /// Stores a file. `uploaded`: by a business; otherwise a customer attached it.
    pub fn store(
        &mut self,
        number: &str,
        mime: &str,
        bytes: Bytes,
        fault: Option<MediaFault>,
        uploaded: bool,
    ) -> Media {
        let id = format!("{}", 1_000_000_000_000_000 + self.fresh());
        let life = if uploaded { 30 * DAY_MS } else { 7 * DAY_MS };
        let now = self.now_ms();
        let ends_at_ms = now + life;
        if self.media.len() >= MANY {
            self.media.retain(|_, media| media.ends_at_ms > now);
        }
        let media = Media { id, number: number.to_owned(), mime: mime.to_owned(), bytes, ends_at_ms, fault };
        self.media.insert(media.id.clone(), media.clone());
        media
    }

    /// An address of the file, good for five minutes.
    pub fn address(&mut self, base: &str, media: &Media, source: &str) -> String {
        let now = self.now_ms();
        if self.urls.len() >= MANY {
            self.urls.retain(|_, (_, ends)| *ends > now);
        }
        let mut ends = now + URL_MS;
        if media.fault == Some(MediaFault::Expired) {
            ends = now - 1_000;
        }
        let hash = hex::encode(rand::random::<[u8; 16]>());
        self.urls.insert(hash.clone(), (media.id.clone(), ends));
        let base = match &media.fault {
            Some(MediaFault::ForeignHost(host)) => host.trim_end_matches('/'),
            _ => base,
        };
        let (id, ext) = (&media.id, ends / 1_000);
        format!("{base}/whatsapp_business/attachments/?mid={id}&source={source}&ext={ext}&hash={hash}")
    }
}

/// A file to play with: the first bytes are those of its type, enough for a look at the magic number, no more.
pub(crate) fn sample(mime: &str) -> Bytes {
    let magic: &[u8] = match essence(mime) {
        "image/jpeg" => b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9",
        "image/png" => b"\x89PNG\r\n\x1a\n",
        "image/webp" => b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00",
        "audio/ogg" => b"OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00OpusHead",
        "audio/mpeg" => b"ID3\x03\x00\x00\x00\x00\x00\x00",
        "audio/mp4" | "video/mp4" => b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        "application/pdf" => b"%PDF-1.4\n%%EOF\n",
        _ => b"simulated file\n",
    };
    Bytes::from_static(magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_sizes_are_metas() {
        assert_eq!(refusal("image/jpeg", 5 << 20), None);
        assert!(refusal("image/jpeg", (5 << 20) + 1).is_some());
        assert_eq!(refusal("audio/ogg; codecs=opus", 10), None);
        assert_eq!(refusal("application/pdf", 100 << 20), None);
        assert!(refusal("image/gif", 10).is_some());
        assert!(fits("image", "image/png") && !fits("image", "video/mp4") && fits("document", "image/png"));
    }
}
