//! The state of one mail between MAIL and the end of DATA; plain and synchronous.

use super::reply::Reply;
use crate::domain::accounts::Accounts;
use crate::domain::text;

/// Recipients of one mail (RFC 5321 section 4.5.3.1.8 asks for at least 100).
pub const MAX_RECIPIENTS: usize = 100;

/// What a client has said so far.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Name it gave; empty before EHLO.
    pub helo: String,
    sender: Option<String>,
    recipients: Vec<(String, Vec<String>)>,
    refused: bool,
}

/// Sender and recipients of a mail that may begin.
pub type Envelope = (String, Vec<(String, Vec<String>)>);

impl Transaction {
    /// EHLO and HELO begin anew.
    pub fn hello(&mut self, host: &str) {
        *self = Self { helo: text::line(host, 255), ..Self::default() };
    }

    /// RSET, and after every mail.
    pub fn reset(&mut self) {
        *self = Self { helo: std::mem::take(&mut self.helo), ..Self::default() };
    }

    /// MAIL FROM.
    pub fn mail(&mut self, address: &str, size: usize, max_size: usize) -> Reply {
        if self.helo.is_empty() || self.sender.is_some() {
            return Reply::BadSequence;
        }
        if size > max_size {
            return Reply::TooLarge;
        }
        let sender = if address.is_empty() { Some(String::new()) } else { text::address(address) };
        if sender.is_none() {
            return Reply::BadAddress;
        }
        self.sender = sender;
        Reply::Fine
    }

    /// RCPT TO.
    pub fn rcpt(&mut self, address: &str, accounts: Option<&Accounts>) -> Reply {
        if self.sender.is_none() {
            return Reply::BadSequence;
        }
        let Some(address) = text::address(address) else { return Reply::BadAddress };
        let Some(accounts) = accounts else { return Reply::TryLater };
        let Some(account) = accounts.receiving(&address) else {
            self.refused = true;
            return Reply::UnknownRecipient;
        };
        if self.recipients.iter().map(|(_, addresses)| addresses.len()).sum::<usize>() >= MAX_RECIPIENTS {
            return Reply::TooManyRecipients;
        }
        let address = address.to_lowercase();
        match self.recipients.iter_mut().find(|(key, _)| *key == account.key) {
            Some((_, addresses)) if addresses.contains(&address) => {}
            Some((_, addresses)) => addresses.push(address),
            None => self.recipients.push((account.key.clone(), vec![address])),
        }
        Reply::Fine
    }

    /// DATA: the envelope, or why not.
    ///
    /// # Errors
    /// The reply to give.
    pub fn data(&mut self) -> Result<Envelope, Reply> {
        match (self.sender.clone(), self.recipients.is_empty()) {
            (Some(sender), false) => Ok((sender, std::mem::take(&mut self.recipients))),
            (Some(_), true) if self.refused => Err(Reply::NoRecipients),
            _ => Err(Reply::BadSequence),
        }
    }
}
