//! Typed ids and keys: an attention's id can never be passed where an interaction's is wanted.

use std::fmt;
use std::sync::Arc;

hilo_kit::id_type!(
    /// Identifies an attention.
    AttentionId
);
hilo_kit::id_type!(
    /// Identifies an interaction.
    InteractionId
);
hilo_kit::id_type!(
    /// Identifies a message; of an outbound one also the send.
    MessageId
);
hilo_kit::id_type!(
    /// Identifies an offer.
    OfferId
);
hilo_kit::id_type!(
    /// Identifies a contact.
    ContactId
);

/// A newtype over an immutable key of the directory, `[a-z0-9-]{1,40}`; cheap to clone.
macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a key that the directory has validated.
            pub fn new(key: impl AsRef<str>) -> Self {
                Self(Arc::from(key.as_ref()))
            }

            /// The key as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

key_type!(
    /// Key of a user.
    UserKey
);
key_type!(
    /// Key of a campaign.
    CampaignKey
);
key_type!(
    /// Key of an account.
    AccountKey
);
key_type!(
    /// Key of a tag.
    TagKey
);
