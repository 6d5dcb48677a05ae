//! Meta's limits of files by kind, checked before anything is committed
//! (<https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media>).

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::MediaKind;

use crate::attention::store::message::StoredAttachment;

/// Bytes of a megabyte, as Meta counts.
const MB: i64 = 1024 * 1024;
/// Longest words below a file, in characters.
pub(crate) const MAX_CAPTION: usize = 1_024;
/// Longest file name of a document, in characters.
const MAX_FILE_NAME: usize = 240;

/// Whether words may stand below a file of this kind.
pub(crate) fn has_caption(kind: MediaKind) -> bool {
    match kind {
        MediaKind::Image | MediaKind::Video | MediaKind::Document => true,
        MediaKind::Audio | MediaKind::Voice | MediaKind::Sticker | MediaKind::Unspecified => false,
    }
}

/// Most bytes, and the types that are taken; of documents any.
fn limits(kind: MediaKind) -> (i64, &'static [&'static str]) {
    match kind {
        MediaKind::Image => (5 * MB, &["image/jpeg", "image/png"]),
        MediaKind::Audio => (16 * MB, &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"]),
        MediaKind::Voice => (16 * MB, &["audio/ogg"]),
        MediaKind::Video => (16 * MB, &["video/mp4", "video/3gpp"]),
        MediaKind::Document => (100 * MB, &[]),
        // An animated one; of one that does not move Meta takes 100 KB.
        MediaKind::Sticker => (500 * 1024, &["image/webp"]),
        MediaKind::Unspecified => (0, &[]),
    }
}

/// Whether Meta takes this file as this kind; `field` is its path in the request.
///
/// # Errors
/// `MEDIA_TOO_LARGE`, `MEDIA_TYPE_REFUSED`.
pub(crate) fn check(kind: MediaKind, file: &StoredAttachment, field: &str) -> Result<(), Error> {
    let (most, types) = limits(kind);
    let named = file.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !types.is_empty() && !types.contains(&named.as_str()) {
        let text = format!("of this kind WhatsApp takes {}", types.join(", "));
        return Err(Error::invalid("MEDIA_TYPE_REFUSED", "WhatsApp does not take this type of file")
            .field(field, text));
    }
    if file.size_bytes > most || file.size_bytes <= 0 {
        let text = format!("1 to {most} bytes, this one has {}", file.size_bytes);
        return Err(Error::invalid("MEDIA_TOO_LARGE", "WhatsApp does not take a file of this size")
            .field(field, text));
    }
    if file.file_name.chars().count() > MAX_FILE_NAME {
        let text = format!("a file name has at most {MAX_FILE_NAME} characters");
        return Err(Error::invalid("INVALID_REQUEST", "the file name is too long").field(field, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_type_by_kind() {
        for (kind, media_type, size, reason) in [
            (MediaKind::Image, "image/jpeg", 5 * MB, ""),
            (MediaKind::Image, "image/jpeg", 5 * MB + 1, "MEDIA_TOO_LARGE"),
            (MediaKind::Image, "image/gif", 10, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Image, "", 10, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Voice, "audio/ogg; codecs=opus", 10, ""),
            (MediaKind::Voice, "audio/mpeg", 10, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Audio, "AUDIO/MPEG", 16 * MB, ""),
            (MediaKind::Video, "video/mp4", 16 * MB + 1, "MEDIA_TOO_LARGE"),
            (MediaKind::Sticker, "image/webp", 500 * 1024, ""),
            (MediaKind::Sticker, "image/png", 10, "MEDIA_TYPE_REFUSED"),
            (MediaKind::Document, "application/x-odd", 100 * MB, ""),
            (MediaKind::Document, "text/plain", 0, "MEDIA_TOO_LARGE"),
            (MediaKind::Unspecified, "text/plain", 1, "MEDIA_TOO_LARGE"),
        ] {
            let file = StoredAttachment {
                sha256: String::new(),
                file_name: "a".into(),
                media_type: media_type.into(),
                size_bytes: size,
                content_id: String::new(),
                inline: false,
            };
            let found = check(kind, &file, "attachments[0]").err().map(|error| error.reason().to_owned());
            assert_eq!(found.unwrap_or_default(), reason, "{kind:?} {media_type} {size}");
        }
    }
}
