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

/// The mail accounts of one version of the directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    active: Vec<Account>,
    inactive: Vec<String>,
}

impl Accounts {
    /// Takes the mail accounts.
    pub fn new(directory: &[DirectoryAccount]) -> Self {
        let mut accounts = Self::default();
        for account in directory.iter().filter(|account| account.channel == "email") {
            if !account.active {
                accounts.inactive.push(account.key.clone());
                continue;
            }
            accounts.active.push(Account {
                key: account.key.clone(),
                address: account.address.to_lowercase(),
                accept_unauthenticated_replies: account.accept_unauthenticated_replies,
                imap: account.imap.clone(),
                smtp: account.smtp.clone(),
            });
        }
        accounts
    }

    /// Every active one.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.active.iter()
    }

    /// True for an account that is in the directory and switched off.
    pub fn is_switched_off(&self, key: &str) -> bool {
        self.inactive.iter().any(|inactive| inactive == key)
    }

    /// An active one by key.
    pub fn get(&self, key: &str) -> Option<&Account> {
        self.active.iter().find(|account| account.key == key)
    }

    /// Whom an envelope recipient belongs to: the address itself or a plus-address of it.
    pub fn receiving(&self, address: &str) -> Option<&Account> {
        let exact = self.active.iter().find(|account| account.address == address.to_lowercase());
        exact.or_else(|| self.active.iter().find(|account| belongs_to(address, &account.address)))
    }

    /// Every address of ours.
    pub fn addresses(&self) -> Vec<String> {
        self.active.iter().map(|account| account.address.clone()).collect()
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
        assert!(accounts.is_switched_off("old") && !accounts.is_switched_off("ventas"));
        assert!(!accounts.is_switched_off("gone"), "one that left the directory is not switched off");
        assert_eq!(key("ventas@other.example"), None);
    }
}
