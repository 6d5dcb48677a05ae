//! Links to files that work without a token: path, name, type and expiry are bound by a MAC, so nothing can be altered,
//! guessed or used later. Rights are checked where a link is made; whoever has it may read the file until it expires.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::AuthConfig;
use crate::objects::Digest256;

/// Path under which links live. No service sets a cookie there.
pub const PREFIX: &str = "/files/v1/";
/// Keeps this MAC apart from every other use of the same key.
const CONTEXT: &[u8] = b"hilo download link v1";
/// Longest name in a link, in characters.
const MAX_NAME: usize = 150;

/// What a link gives access to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The object.
    pub sha256: Digest256,
    /// Name it is saved under, as [`file_name`] leaves it.
    pub file_name: String,
    /// Media type as declared.
    pub media_type: String,
    /// True to show it in the page, when it is an image.
    pub inline: bool,
    /// End of its life, seconds since 1970.
    pub until: i64,
}

/// Why a link gives access to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not one of ours, or was altered.
    Altered,
    /// Its time is over.
    Expired,
}

/// Makes and checks links.
#[derive(Clone)]
pub struct Links {
    key: Vec<u8>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links")
    }
}

/// Images that browsers decode without running anything; only they may be shown in a page. SVG is not among them.
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

impl Links {
    /// With the key that all services of an installation share: whichever signs a link, any may serve it. A purpose of its
    /// own under their common secret, so that an installation has one key fewer to keep.
    pub fn of_installation(auth: &AuthConfig) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(auth.service_secret.expose().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(b"hilo download key v1");
        Self::new(&mac.finalize().into_bytes())
    }

    /// Signs with `key`; replicas that serve each other's links have the same one.
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec() }
    }

    /// Path and query of a link.
    pub fn path(&self, link: &Link) -> String {
        let tag = URL_SAFE_NO_PAD.encode(self.keyed(link).finalize().into_bytes());
        format!(
            "{PREFIX}{}/{}?type={}&show={}&until={}&sig={tag}",
            link.sha256,
            encode(&link.file_name),
            encode(&link.media_type),
            show(link.inline),
            link.until
        )
    }

    /// The link behind a path and query, if it is one of ours and its time is not over at `now` (seconds since 1970).
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, path: &str, query: &str, now: i64) -> Result<Link, Refused> {
        let (link, tag) = parse(path, query).ok_or(Refused::Altered)?;
        // Compared in constant time.
        self.keyed(&link).verify_slice(&tag).map_err(|_| Refused::Altered)?;
        if now < link.until { Ok(link) } else { Err(Refused::Expired) }
    }

    fn keyed(&self, link: &Link) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        let until = link.until.to_string();
        let parts: [&[u8]; 6] = [
            CONTEXT,
            &link.sha256.0,
            link.file_name.as_bytes(),
            link.media_type.as_bytes(),
            show(link.inline).as_bytes(),
            until.as_bytes(),
        ];
        for part in parts {
            // Lengths first: no two links have the same bytes.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

fn show(inline: bool) -> &'static str {
    if inline { "inline" } else { "attachment" }
}

fn parse(path: &str, query: &str) -> Option<(Link, Vec<u8>)> {
    let (digest, name) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let (mut media_type, mut inline, mut until, mut tag) = (None, None, None, None);
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=')?;
        match key {
            "type" => media_type = Some(decode(value)?),
            "show" => inline = Some(value == "inline"),
            "until" => until = Some(value.parse::<i64>().ok()?),
            "sig" => tag = Some(URL_SAFE_NO_PAD.decode(value).ok()?),
            _ => return None,
        }
    }
    let link = Link {
        sha256: digest.parse().ok()?,
        file_name: decode(name)?,
        media_type: media_type?,
        inline: inline?,
        until: until?,
    };
    Some((link, tag?))
}

/// Percent-encoded but for the unreserved characters (RFC 3986 section 2.3), which `attr-char` of RFC 8187 allows too.
pub fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
            continue;
        }
        encoded.push('%');
        for digit in [byte >> 4, byte & 15] {
            encoded.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (pair, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A name that is only a name: no path, no control or direction characters (a name that reads backwards hides its extension),
/// not hidden, short, never empty.
pub fn file_name(written: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let plain: String = written.chars().map(|c| if hostile(c) { '_' } else { c }).collect();
    let plain = plain.trim().trim_start_matches('.').trim_end_matches(['.', ' ']);
    let count = plain.chars().count();
    let kept: String = match plain.rsplit_once('.') {
        // The extension says how it opens: it stays.
        Some((stem, extension)) if count > MAX_NAME && extension.chars().count() <= 16 => {
            let room = MAX_NAME.saturating_sub(1 + extension.chars().count());
            format!("{}.{extension}", stem.chars().take(room).collect::<String>())
        }
        _ => plain.chars().take(MAX_NAME).collect(),
    };
    if kept.is_empty() { "file".to_owned() } else { kept }
}

/// `Content-Disposition` (RFC 6266): a plain ASCII name for old readers, the whole one in RFC 8187's form.
pub fn disposition(link: &Link) -> String {
    let ascii: String = link
        .file_name
        .chars()
        .map(|c| if (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    format!("{}; filename=\"{ascii}\"; filename*=UTF-8''{}", show(link.inline), encode(&link.file_name))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
