//! Typed identifiers, so that an attention's id can never be passed where a contact's is wanted.

use sha2::{Digest as _, Sha256};

/// Defines a newtype over a UUID (version 7 when new: roughly ordered by creation, good for indexes).
///
/// ```
/// hilo_kit::id_type!(
///     /// Identifies an attention.
///     AttentionId
/// );
/// let id = AttentionId::new();
/// assert_eq!(id.to_string().parse::<AttentionId>().ok(), Some(id));
/// ```
#[macro_export]
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $crate::ids::Uuid);

        impl $name {
            /// A new time-ordered id. Domain code takes ids as arguments instead of calling this.
            #[allow(clippy::new_without_default, reason = "an id that appears by default would hide a mistake")]
            pub fn new() -> Self {
                Self($crate::ids::Uuid::now_v7())
            }

            /// The plain UUID.
            pub fn uuid(self) -> $crate::ids::Uuid {
                self.0
            }
        }

        impl From<$crate::ids::Uuid> for $name {
            fn from(id: $crate::ids::Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for $crate::ids::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::ids::parse(text, stringify!($name)).map(Self)
            }
        }
    };
}

pub use uuid::Uuid;

/// The id that follows from a name and other ids: the same ones give the same id on every replica and in every release, others another.
pub fn derived<'a>(name: &str, of: impl IntoIterator<Item = &'a [u8]>) -> Uuid {
    let digest = of.into_iter().fold(Sha256::new_with_prefix(name), Sha256::chain_update).finalize();
    let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Parses the canonical form of a UUID (RFC 9562); `field` names the offending field in the violation.
pub fn parse(text: &str, field: &str) -> Result<Uuid, crate::error::Error> {
    Uuid::try_parse(text).map_err(|_| {
        crate::error::Error::invalid("INVALID_ID", "an id is not a UUID").field(field, "must be a UUID")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_stays_the_same_for_ever() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let of = |name: &str, ids: &[Uuid]| derived(name, ids.iter().map(|id| id.as_bytes().as_slice()));
        // Kept in tables: a release that derived another id would begin second conversations.
        assert_eq!(
            of("hilo.conversation", &[one, other]).to_string(),
            "9e862e12-5c0e-8fc3-a187-eddc221ce265"
        );
        assert_ne!(of("hilo.conversation", &[one, other]), of("hilo.conversation", &[other, one]));
        assert_ne!(of("hilo.conversation", &[one]), of("hilo.dialled", &[one]));
    }
}
