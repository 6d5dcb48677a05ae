//! Files that go out: Meta's limits by kind, and what stands in the request until the file has an id there.
//!
//! Source: Meta, "Media" and the pages of image, audio, video, document and sticker messages of the Cloud API (2026).

use hilo_proto::inbound::v1::{Attachment, MediaKind};
use hilo_proto::outbound::v1::SendMedia;
use serde_json::{Map, Value, json};

use super::compose::invalid;
use super::media::essence;
use super::unfit::{Unfit, Unsendable};

const KB: i64 = 1024;
const MB: i64 = 1024 * KB;
/// Longest words below a file, in characters.
const CAPTION_CHARS: usize = 1_024;
/// Longest name of a document, in characters.
const NAME_CHARS: usize = 240;
/// Most bytes of a sticker that does not move.
const STILL_STICKER: usize = 100 * 1024;

const TOO_LARGE: Unsendable =
    Unsendable { why: Unfit::FileTooLarge, text: "WhatsApp takes no file of this kind and size" };
const WRONG_TYPE: Unsendable =
    Unsendable { why: Unfit::TypeRefused, text: "WhatsApp takes no file of this type as this kind" };

/// A file that must be at Meta before the request leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNeeded {
    /// Where its id goes in the request (RFC 6901).
    pub pointer: String,
    /// Its key in the object store, lower-case hex.
    pub sha256: String,
    /// Its type.
    pub media_type: String,
    /// Its name.
    pub file_name: String,
    /// Its size in bytes.
    pub size: u64,
    /// True for a sticker: whether it moves decides how large it may be.
    pub sticker: bool,
}

/// Name of the kind in a request, most bytes, and the types that are taken; of documents any, Meta looks at them at the upload.
fn limits(kind: MediaKind) -> Option<(&'static str, i64, &'static [&'static str])> {
    match kind {
        MediaKind::Image => Some(("image", 5 * MB, &["image/jpeg", "image/png"])),
        MediaKind::Audio => {
            Some(("audio", 16 * MB, &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"]))
        }
        MediaKind::Voice => Some(("audio", 16 * MB, &["audio/ogg"])),
        MediaKind::Video => Some(("video", 16 * MB, &["video/mp4", "video/3gpp"])),
        MediaKind::Document => Some(("document", 100 * MB, &[])),
        MediaKind::Sticker => Some(("sticker", 500 * KB, &["image/webp"])),
        MediaKind::Unspecified => None,
    }
}

/// Name of the kind, its content and the file it needs; the content stands at `at` in the request.
///
/// # Errors
/// [`Unsendable`].
pub(super) fn media(media: &SendMedia, at: &str) -> Result<(&'static str, Value, FileNeeded), Unsendable> {
    let file = media.attachment.as_ref().ok_or_else(|| invalid("a file has its content"))?;
    let (name, most, types) = limits(media.kind()).ok_or_else(|| invalid("a file has a kind"))?;
    if !types.is_empty() && !types.contains(&essence(&file.media_type).as_str()) {
        return Err(WRONG_TYPE);
    }
    if file.size_bytes > most {
        return Err(TOO_LARGE);
    }
    let needed = needed(file, format!("{at}/{name}/id"), media.kind() == MediaKind::Sticker)?;
    let mut content = Map::new();
    content.insert("id".to_owned(), json!(""));
    if !media.caption.is_empty() {
        let may = matches!(media.kind(), MediaKind::Image | MediaKind::Video | MediaKind::Document);
        if !may || media.caption.chars().count() > CAPTION_CHARS {
            return Err(invalid(
                "words below a file have 1 to 1024 characters, and stand below no sound or sticker",
            ));
        }
        content.insert("caption".to_owned(), json!(media.caption));
    }
    if media.kind() == MediaKind::Document && !file.file_name.is_empty() {
        let cut: String = file.file_name.chars().take(NAME_CHARS).collect();
        content.insert("filename".to_owned(), json!(cut));
    }
    if media.kind() == MediaKind::Voice {
        content.insert("voice".to_owned(), json!(true));
    }
    Ok((name, Value::Object(content), needed))
}

fn needed(file: &Attachment, pointer: String, sticker: bool) -> Result<FileNeeded, Unsendable> {
    let named = file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit());
    let size = u64::try_from(file.size_bytes).unwrap_or(0);
    if !named || size == 0 || file.media_type.is_empty() {
        return Err(invalid("a file has a key, a type and a size"));
    }
    Ok(FileNeeded {
        pointer,
        sha256: file.sha256.to_ascii_lowercase(),
        media_type: file.media_type.clone(),
        file_name: if file.file_name.is_empty() { "file".to_owned() } else { file.file_name.clone() },
        size,
        sticker,
    })
}

/// What only the bytes tell: a sticker that does not move is smaller.
///
/// # Errors
/// [`Unsendable`].
pub fn look(file: &FileNeeded, bytes: &[u8]) -> Result<(), Unsendable> {
    if file.sticker && bytes.len() > STILL_STICKER && !moves(bytes) { Err(TOO_LARGE) } else { Ok(()) }
}

/// True for an animated WebP: an extended one (RFC 9649, 2.7) with the flag of an animation.
fn moves(webp: &[u8]) -> bool {
    webp.get(12..16) == Some(b"VP8X".as_slice()) && webp.get(20).is_some_and(|flags| flags & 0b10 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(media_type: &str, size: i64) -> Attachment {
        Attachment {
            sha256: "ab".repeat(32),
            file_name: "informe.pdf".into(),
            media_type: media_type.into(),
            size_bytes: size,
            ..Attachment::default()
        }
    }

    fn of(kind: MediaKind, media_type: &str, size: i64) -> SendMedia {
        SendMedia { kind: kind.into(), attachment: Some(file(media_type, size)), caption: String::new() }
    }

    #[test]
    fn kinds_types_and_sizes_are_metas() {
        let table = [
            (MediaKind::Image, "image/jpeg", 5 * MB, "image"),
            (MediaKind::Image, "image/png", 5 * MB + 1, "MEDIA_TOO_LARGE"),
            (MediaKind::Image, "image/webp", 1, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Voice, "audio/ogg; codecs=opus", 16 * MB, "audio"),
            (MediaKind::Voice, "audio/mpeg", 1, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Audio, "AUDIO/MPEG", 16 * MB, "audio"),
            (MediaKind::Video, "video/mp4", 16 * MB + 1, "MEDIA_TOO_LARGE"),
            (MediaKind::Video, "video/quicktime", 1, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Document, "application/x-odd", 100 * MB, "document"),
            (MediaKind::Document, "application/pdf", 100 * MB + 1, "MEDIA_TOO_LARGE"),
            (MediaKind::Document, "application/pdf", 0, "CONTENT_INVALID"),
            (MediaKind::Sticker, "image/webp", 500 * KB, "sticker"),
            (MediaKind::Sticker, "image/png", 1, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Unspecified, "image/png", 1, "CONTENT_INVALID"),
        ];
        for (kind, media_type, size, expected) in table {
            let found = media(&of(kind, media_type, size), "").map(|(name, _, _)| name);
            assert_eq!(
                found.unwrap_or_else(|why| why.why.as_str()),
                expected,
                "{kind:?} {media_type} {size}"
            );
        }
        assert!(media(&SendMedia { kind: MediaKind::Image.into(), ..SendMedia::default() }, "").is_err());
    }

    #[test]
    fn a_file_stands_in_the_request_with_what_belongs_to_its_kind() {
        let caption = |kind, media_type| SendMedia { caption: "mira".into(), ..of(kind, media_type, 9) };
        let (_, content, needed) = media(&caption(MediaKind::Document, "application/pdf"), "").unwrap();
        assert_eq!(content, json!({ "id": "", "caption": "mira", "filename": "informe.pdf" }));
        assert_eq!((needed.pointer.as_str(), needed.size), ("/document/id", 9));
        let (_, content, _) = media(&of(MediaKind::Voice, "audio/ogg", 9), "").unwrap();
        assert_eq!(content, json!({ "id": "", "voice": true }));
        assert!(media(&caption(MediaKind::Voice, "audio/ogg"), "").is_err());
        assert!(media(&caption(MediaKind::Sticker, "image/webp"), "").is_err());
        let long = SendMedia { caption: "ñ".repeat(1_025), ..of(MediaKind::Image, "image/png", 9) };
        assert!(media(&long, "").is_err());
    }

    #[test]
    fn a_large_sticker_must_move() {
        let (_, _, sticker) = media(&of(MediaKind::Sticker, "image/webp", 9), "").unwrap();
        let webp = |flags: u8, size: usize| {
            let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0".to_vec();
            bytes.push(flags);
            bytes.resize(size, 0);
            bytes
        };
        assert!(look(&sticker, &webp(0, STILL_STICKER)).is_ok());
        assert!(look(&sticker, &webp(0b10, STILL_STICKER + 1)).is_ok());
        assert_eq!(look(&sticker, &webp(0b1000, STILL_STICKER + 1)), Err(TOO_LARGE));
        assert!(look(&FileNeeded { sticker: false, ..sticker }, &webp(0, STILL_STICKER + 1)).is_ok());
    }
}
