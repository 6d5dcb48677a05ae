//! The people on the other side: phone, WhatsApp id, business-scoped user id and username, each as far as it is known.

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A customer of WhatsApp.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Customer {
    /// Business-scoped user id (BSUID), such as `US.13491208655302741918`; the key here. Made up where it is empty.
    pub user_id: String,
    /// Parent BSUID, where the business has that feature.
    pub parent_user_id: Option<String>,
    /// Digits of the phone number. Everybody has one; it may be hidden.
    pub phone: String,
    /// The WhatsApp id, where it differs from the phone number (it does in Brazil and Mexico).
    pub wa_id: Option<String>,
    /// The username, for those who took one.
    pub username: Option<String>,
    /// Profile name.
    pub name: String,
    /// Whether webhooks leave the phone number out (a username was taken, and no recent contact by number).
    pub hides_phone: bool,
    /// Whether the phone is off: nothing is delivered until it is on again.
    pub offline: bool,
    /// Whether the business is blocked: a message stays `sent` for ever.
    pub blocks: bool,
    /// Whether `read` is never told.
    pub hides_reading: bool,
    /// Whether marketing messages were declined: 131050.
    pub declines_marketing: bool,
    /// Hash of the identity key, where the check is used.
    pub identity: Option<String>,
}

impl Customer {
    /// Somebody with this phone number.
    pub fn new(phone: &str) -> Self {
        Self {
            phone: crate::faults::digits_or_id(phone),
            name: "Sheena Nelson".to_owned(),
            ..Self::default()
        }
    }

    /// With this profile name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// With a username, and the phone number hidden.
    #[must_use]
    pub fn with_username(mut self, username: &str) -> Self {
        self.username = Some(username.to_owned());
        self.hides_phone = true;
        self
    }

    /// The WhatsApp id.
    pub fn wa_id(&self) -> &str {
        self.wa_id.as_deref().unwrap_or(&self.phone)
    }

    /// Makes up what a new customer needs.
    pub(crate) fn completed(mut self) -> Self {
        self.phone = crate::faults::digits_or_id(&self.phone);
        if self.user_id.is_empty() {
            self.user_id = fresh_user_id(&self.phone);
        }
        if self.name.is_empty() {
            "Sheena Nelson".clone_into(&mut self.name);
        }
        self
    }

    /// The object in `contacts`. `reveal` overrides hiding: a message was sent to the phone number itself.
    pub(crate) fn contact(&self, username: bool, reveal: bool) -> Value {
        let mut contact = json!({ "profile": { "name": self.name }, "user_id": self.user_id });
        if let (true, Some(name), Some(profile)) =
            (username, &self.username, contact.get_mut("profile").and_then(Value::as_object_mut))
        {
            profile.insert("username".to_owned(), json!(name));
        }
        if let Some(map) = contact.as_object_mut() {
            if reveal || !self.hides_phone {
                map.insert("wa_id".to_owned(), json!(self.wa_id()));
            }
            if let Some(parent) = &self.parent_user_id {
                map.insert("parent_user_id".to_owned(), json!(parent));
            }
            if let Some(identity) = &self.identity {
                map.insert("identity_key_hash".to_owned(), json!(identity));
            }
        }
        contact
    }
}

/// Calling codes and the country a user id begins with; the first of several countries that share a code.
const COUNTRIES: &[(&str, &str)] = &[
    ("1", "US"),
    ("31", "NL"),
    ("33", "FR"),
    ("34", "ES"),
    ("39", "IT"),
    ("44", "GB"),
    ("49", "DE"),
    ("51", "PE"),
    ("52", "MX"),
    ("54", "AR"),
    ("55", "BR"),
    ("56", "CL"),
    ("57", "CO"),
    ("593", "EC"),
    ("62", "ID"),
    ("91", "IN"),
];

/// A BSUID nobody has: the country of the phone number (`US` where it is not known here), a dot, 20 digits.
fn fresh_user_id(phone: &str) -> String {
    let country =
        COUNTRIES.iter().find(|(code, _)| phone.starts_with(code)).map_or("US", |(_, country)| country);
    let mut rng = rand::rng();
    let number: String = (0..20).map(|_| char::from(rng.random_range(b'0'..=b'9'))).collect();
    format!("{country}.{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_begins_with_the_country_of_the_phone() {
        for (phone, country) in
            [("+1 650 555 1234", "US."), ("51999111222", "PE."), ("491701", "DE."), ("99", "US.")]
        {
            let id = Customer::new(phone).completed().user_id;
            assert!(id.starts_with(country) && id.len() == 23, "{phone}: {id}");
        }
        assert_eq!(Customer { user_id: "XX.1".to_owned(), ..Customer::new("1") }.completed().user_id, "XX.1");
    }
}
