//! Header fields as they stand in the mail, unfolded and in order: what the rules about machines and threads read.

/// The fields of one header block.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a header block; a line that is no field is skipped.
    pub fn read(raw: &[u8]) -> Self {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in raw.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            if line.is_empty() {
                break;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Self(fields)
    }

    /// Value of the first field of that name (lower case).
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Values of every field of that name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True when a field's name begins like that.
    pub fn any_with_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(prefix))
    }

    /// First word of the first field of that name, lower-cased: parameters and comments cut off.
    pub fn word(&self, name: &str) -> Option<String> {
        let value = self.first(name)?;
        let word = value.split([';', '(', ' ']).find(|word| !word.is_empty())?;
        Some(word.to_ascii_lowercase())
    }

    /// Message-IDs (`<...>`) of the first field of that name, without brackets; a bare word counts as one.
    pub fn message_ids(&self, name: &str) -> Vec<String> {
        let Some(value) = self.first(name) else { return Vec::new() };
        let mut ids: Vec<String> = value
            .split('<')
            .skip(1)
            .filter_map(|rest| rest.split_once('>'))
            .map(|(id, _)| clean(id))
            .collect();
        if ids.is_empty() {
            ids = value.split_whitespace().filter(|word| word.contains('@')).map(clean).collect();
        }
        ids.retain(|id| !id.is_empty() && id.len() <= super::limits::MESSAGE_ID_BYTES);
        ids
    }
}

fn clean(id: &str) -> String {
    id.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_fields_are_one_value() {
        let fields = Fields::read(
            b"X-A: one\r\n two\r\nx-a: three\r\nbroken\r\nReferences: <a@b>\r\n\t<c@ d>\r\n\r\nX-B: no",
        );
        assert_eq!(fields.all("x-a").collect::<Vec<_>>(), vec!["one two", "three"]);
        assert_eq!(fields.message_ids("references"), vec!["a@b", "c@d"]);
        assert_eq!(fields.first("x-b"), None);
    }

    #[test]
    fn a_message_id_without_brackets_counts() {
        assert_eq!(Fields::read(b"In-Reply-To: a@b (comment)\n").message_ids("in-reply-to"), vec!["a@b"]);
    }
}
