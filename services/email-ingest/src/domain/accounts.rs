//! The accounts as this service needs them: who is written to, who writes, and how.

use hilo_proto::directory::v1::{Account as DirectoryAccount, ImapSettings, SmtpSettings};

use super::parse::belongs_to;

/// An active mail account.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Immutable key.
    pub key: String,
    /// Address, lower-case.
    pub address: String,
    /// Whether unauthenticated answers may join (the named policy switch).
    pub accept_unauthenticated_replies: bool,
    /// Where mail is fetched.
    pub imap: Option<ImapSettings>,
    /// Where mail is sent.
    pub smtp: Option<SmtpSettings>,
}

/// All active mail accounts of one version of the directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts(Vec<Account>);

impl Accounts {
    /// Takes the active mail accounts.
    pub fn new(directory: &[DirectoryAccount]) -> Self {
        let wanted = directory.iter().filter(|account| account.active && account.channel == "email");
        Self(
            wanted
                .map(|account| Account {
                    key: account.key.clone(),
                    address: account.address.to_lowercase(),
                    accept_unauthenticated_replies: account.accept_unauthenticated_replies,
                    imap: account.imap.clone(),
                    smtp: account.smtp.clone(),
                })
                .collect(),
        )
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.iter()
    }

    /// By key.
    pub fn get(&self, key: &str) -> Option<&Account> {
        self.0.iter().find(|account| account.key == key)
    }

    /// Whom an envelope recipient belongs to: the address itself or a plus-address of it.
    pub fn receiving(&self, address: &str) -> Option<&Account> {
        let exact = self.0.iter().find(|account| account.address == address.to_lowercase());
        exact.or_else(|| self.0.iter().find(|account| belongs_to(address, &account.address)))
    }

    /// Every address of ours.
    pub fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|account| account.address.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(key: &str, address: &str, active: bool) -> DirectoryAccount {
        DirectoryAccount {
            key: key.into(),
            channel: "email".into(),
            address: address.into(),
            active,
            ..DirectoryAccount::default()
        }
    }

    #[test]
    fn recipients_are_found_with_and_without_plus_and_never_inactive() {
        let accounts = Accounts::new(&[
            account("ventas", "Ventas@hilo.example", true),
            account("plus", "ventas+norte@hilo.example", true),
            account("old", "old@hilo.example", false),
        ]);
        let key = |address: &str| accounts.receiving(address).map(|account| account.key.as_str());
        assert_eq!(key("VENTAS@Hilo.Example"), Some("ventas"));
        assert_eq!(key("ventas+abc@hilo.example"), Some("ventas"));
        assert_eq!(key("ventas+norte@hilo.example"), Some("plus"));
        assert_eq!(key("ventasx@hilo.example"), None);
        assert_eq!(key("old@hilo.example"), None);
        assert_eq!(key("ventas@other.example"), None);
    }
}
