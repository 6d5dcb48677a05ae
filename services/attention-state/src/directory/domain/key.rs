//! Immutable keys of accounts, campaigns, users and forms. They are tokens of NATS subjects, so their alphabet is small.

/// Most characters of a key.
pub const MAX_KEY: usize = 40;

/// True when `text` is `[a-z0-9-]{1,40}`.
pub fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_KEY
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Defines a newtype over a key, so that an account's key can never be passed where a campaign's is wanted.
macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that is known to be a key (from the database) or is only compared, never stored.
            pub fn unchecked(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The key, when `text` is one.
            pub fn parse(text: &str) -> Option<Self> {
                is_key(text).then(|| Self(text.to_owned()))
            }

            /// The text of the key.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> Self {
                key.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

key_type!(
    /// Key of an account.
    AccountKey
);
key_type!(
    /// Key of a campaign.
    CampaignKey
);
key_type!(
    /// Key of a user; also the login name.
    UserKey
);
key_type!(
    /// Key of a form.
    FormKey
);
key_type!(
    /// Key of a tag.
    TagKey
);
key_type!(
    /// Key of a quick reply.
    QuickReplyKey
);
key_type!(
    /// Key of an extra field of contacts.
    ContactFieldKey
);
key_type!(
    /// Key of a skill; there is no catalogue, a skill is what campaigns and agents name.
    SkillKey
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_small_alphabet_is_a_key() {
        for good in ["a", "soporte-1", &"x".repeat(40)] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "Soporte", "a.b", "a b", "ñ", "a*", ">", &"x".repeat(41)] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
