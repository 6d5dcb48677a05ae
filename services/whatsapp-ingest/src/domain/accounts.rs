//! The business numbers as this service needs them: whose webhooks are believed, and how each one sends.

use std::collections::BTreeSet;

use hilo_proto::directory::v1::Account;

/// Messages per second of a number that the directory gives none (Meta's usual throughput).
const USUAL_RATE: u32 = 80;
/// The most that Meta grants.
const MOST_RATE: u32 = 1_000;

/// A business number of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Immutable key of the account.
    pub key: String,
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// Meta's id of its WhatsApp Business Account.
    pub business_account_id: String,
    /// Name of the secret by which its webhooks are signed.
    pub app_secret: String,
    /// Name of the secret of the handshake.
    pub verify_token: String,
    /// Name of the secret that the Graph API asks for.
    pub access_token: String,
    /// Most messages per second.
    pub rate: u32,
    /// False neither receives nor sends.
    pub active: bool,
}

/// The numbers of one version of the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    version: i64,
    numbers: Vec<Number>,
}

impl Numbers {
    /// Takes the WhatsApp accounts of this version; 0 is a copy from before the start.
    pub fn new(version: i64, directory: &[Account]) -> Self {
        let whatsapp = directory.iter().filter(|account| account.channel == "whatsapp");
        let numbers = whatsapp.filter_map(|account| {
            let settings = account.whatsapp.as_ref()?;
            let rate = u32::try_from(settings.messages_per_second).unwrap_or(0);
            Some(Number {
                key: account.key.clone(),
                phone_number_id: settings.phone_number_id.clone(),
                business_account_id: settings.business_account_id.clone(),
                app_secret: settings.app_secret_secret.clone(),
                verify_token: settings.verify_token_secret.clone(),
                access_token: settings.access_token_secret.clone(),
                rate: if rate == 0 { USUAL_RATE } else { rate.min(MOST_RATE) },
                active: account.active,
            })
        });
        Self { version, numbers: whatsapp_numbers(numbers) }
    }

    /// Version of the directory.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Every one.
    pub fn iter(&self) -> impl Iterator<Item = &Number> {
        self.numbers.iter()
    }

    /// By key of the account.
    pub fn get(&self, key: &str) -> Option<&Number> {
        self.numbers.iter().find(|number| number.key == key)
    }

    /// By Meta's id; an active one before one that is switched off.
    pub fn by_phone_number_id(&self, id: &str) -> Option<&Number> {
        let named = || self.numbers.iter().filter(|number| number.phone_number_id == id);
        named().find(|number| number.active).or_else(|| named().next())
    }

    /// True for an account that is in the directory and switched off.
    pub fn is_switched_off(&self, key: &str) -> bool {
        self.get(key).is_some_and(|number| !number.active)
    }

    /// Names of all app secrets, each once.
    pub fn app_secrets(&self) -> BTreeSet<String> {
        self.numbers.iter().map(|number| number.app_secret.clone()).collect()
    }

    /// Names of all verify tokens, each once.
    pub fn verify_tokens(&self) -> BTreeSet<String> {
        self.numbers.iter().map(|number| number.verify_token.clone()).collect()
    }
}

fn whatsapp_numbers(numbers: impl Iterator<Item = Number>) -> Vec<Number> {
    numbers.filter(|number| !number.phone_number_id.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use hilo_proto::directory::v1::WhatsAppSettings;

    use super::*;

    fn account(key: &str, id: &str, active: bool, rate: i32) -> Account {
        Account {
            key: key.into(),
            channel: "whatsapp".into(),
            active,
            whatsapp: Some(WhatsAppSettings {
                phone_number_id: id.into(),
                app_secret_secret: format!("{key}-app"),
                messages_per_second: rate,
                ..WhatsAppSettings::default()
            }),
            ..Account::default()
        }
    }

    #[test]
    fn numbers_are_found_and_other_channels_are_none() {
        let mail = Account { key: "mail".into(), channel: "email".into(), ..Account::default() };
        let bare = Account { whatsapp: None, ..account("bare", "3", true, 0) };
        let numbers =
            Numbers::new(3, &[account("old", "1", false, 0), account("new", "1", true, 5000), mail, bare]);
        assert_eq!(numbers.iter().count(), 2);
        assert_eq!(
            numbers.by_phone_number_id("1").map(|one| (one.key.as_str(), one.rate)),
            Some(("new", 1000))
        );
        assert_eq!(numbers.get("old").map(|one| one.rate), Some(80));
        assert_eq!(numbers.by_phone_number_id("2"), None);
        assert!(
            numbers.is_switched_off("old")
                && !numbers.is_switched_off("new")
                && !numbers.is_switched_off("x")
        );
    }
}
