//! The customers and what they write: three by mail, each in a charset or with a form of content of his own, one by WhatsApp.

use lettre::address::Envelope;

use super::overlay::{BY_IMAP, BY_SMTP, address};
use crate::cli::Failure;
use crate::cli::mail::compose::{Composed, File, Letter, compose};
use crate::cli::mail::mailbox::Received;

/// What María attaches a script to, to see that it does not reach the agent.
pub const SCRIPT: &str = "alert('demo')";

/// A customer of this run.
#[derive(Clone, Debug)]
pub struct Customer {
    /// Name.
    pub name: &'static str,
    /// Address, unique to the run.
    pub address: String,
    /// Subject of the first mail, unique to the run.
    pub subject: String,
    /// Words of the first mail that the agent must read exactly so.
    pub words: &'static str,
}

/// All four, and the word that only mails of this run hold.
#[derive(Clone, Debug)]
pub struct Customers {
    /// Of this run only; letters and digits.
    pub run: String,
    /// By IMAP.
    pub maria: Customer,
    /// By SMTP, in ISO 8859-1.
    pub jorge: Customer,
    /// By SMTP, with an attachment.
    pub lucia: Customer,
    /// By WhatsApp; her address is her number, unique to the run.
    pub rosa: Customer,
}

impl Customers {
    /// Customers of the run with this word.
    pub fn new(run: &str) -> Self {
        let customer = |key: &str, name: &'static str, subject: &str, words: &'static str| Customer {
            name,
            address: format!("{key}.{run}@cliente.example"),
            subject: format!("{subject} {run}"),
            words,
        };
        Self {
            run: run.to_owned(),
            maria: customer(
                "maria",
                "María Quiñones",
                "¿Dónde está mi pedido?",
                "todavía no llegó el colchón",
            ),
            jorge: customer("jorge", "Jorge Ibáñez", "Devolución del señuelo", "mañana devolveré el señuelo"),
            rosa: Customer {
                name: "Rosa Ñahui",
                address: format!("+519{:08}", number_of(run)),
                subject: String::new(),
                words: "¿ya salió mi pedido? 📦",
            },
            lucia: customer("lucia", "Lucía Peña", "Cotización adjunta", "adjunto la cotización"),
        }
    }

    /// María's mail: text and HTML in UTF-8, with a script in the HTML.
    ///
    /// # Errors
    /// Never with these parts; lettre's checks are passed on.
    pub fn mail_of_maria(&self) -> Result<Composed, Failure> {
        let Self { run, maria, .. } = self;
        let html = format!("<p>Señores: <b>{}</b> ({run}).</p><script>{SCRIPT}</script>", maria.words);
        compose(&Letter {
            from: format!("{} <{}>", maria.name, maria.address),
            to: vec![address(BY_IMAP)],
            subject: maria.subject.clone(),
            text: format!("Señores: {} ({run}).\nGracias.", maria.words),
            html: Some(html),
            ..Letter::default()
        })
    }

    /// Jorge's mail, written by hand in ISO 8859-1: Message-ID and the raw bytes.
    ///
    /// # Errors
    /// Never with these addresses.
    pub fn mail_of_jorge(&self) -> Result<Composed, Failure> {
        let Self { run, jorge, .. } = self;
        let message_id = format!("{}@cliente.example", uuid::Uuid::now_v7().simple());
        let to = address(BY_SMTP);
        let raw = format!(
            "From: =?iso-8859-1?Q?Jorge_Ib=E1=F1ez?= <{from}>\r\nTo: {to}\r\nSubject: =?iso-8859-1?Q?Devoluci=F3n_del_se=F1uelo_{run}?=\r\n\
             Message-ID: <{message_id}>\r\nDate: Thu, 19 Nov 2026 10:00:00 -0500\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             Buenas: ma=F1ana devolver=E9 el se=F1uelo ({run}).\r\n",
            from = jorge.address,
        );
        Ok(Composed { envelope: envelope(&jorge.address, &to)?, raw: raw.into_bytes(), message_id })
    }

    /// Lucía's mail with a file whose name has an accent.
    ///
    /// # Errors
    /// Never with these parts.
    pub fn mail_of_lucia(&self) -> Result<Composed, Failure> {
        let Self { run, lucia, .. } = self;
        compose(&Letter {
            from: format!("{} <{}>", lucia.name, lucia.address),
            to: vec![address(BY_SMTP)],
            subject: lucia.subject.clone(),
            text: format!("Estimados: {} ({run}).", lucia.words),
            files: vec![self.file_of_lucia()],
            ..Letter::default()
        })
    }

    /// What Lucía attaches.
    pub fn file_of_lucia(&self) -> File {
        let content = format!("%PDF-1.4\n% cotización {}\n%%EOF\n", self.run).into_bytes();
        File { name: "cotización.pdf".to_owned(), media_type: "application/pdf", content }
    }
}

/// Eight digits made of the run's word.
fn number_of(run: &str) -> u32 {
    run.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100_000_000
}

/// A customer's answer to a mail of ours, as received.
///
/// # Errors
/// When the mail names no address to answer.
pub fn answer(customer: &Customer, mail: &Received, text: &str) -> Result<Composed, Failure> {
    compose(&Letter {
        from: format!("{} <{}>", customer.name, customer.address),
        to: vec![mail.answer_to().to_owned()],
        subject: mail.subject_of_answer(),
        text: text.to_owned(),
        references: mail.references_of_answer(),
        ..Letter::default()
    })
}

fn envelope(from: &str, to: &str) -> Result<Envelope, Failure> {
    let parse = |text: &str| text.parse().map_err(|_| Failure::invalid("BAD_ADDRESS", text.to_owned()));
    Envelope::new(Some(parse(from)?), vec![parse(to)?])
        .map_err(|error| Failure::invalid("BAD_ADDRESS", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mail_says_its_words_in_its_own_charset() {
        let customers = Customers::new("r0");
        let mails = [
            (customers.mail_of_maria(), &customers.maria),
            (customers.mail_of_jorge(), &customers.jorge),
            (customers.mail_of_lucia(), &customers.lucia),
        ];
        for (mail, customer) in mails {
            let mail = mail.expect("a mail");
            let read = Received::parse(&mail.raw).expect("a mail");
            assert_eq!(
                (read.subject.as_str(), read.from.as_str()),
                (customer.subject.as_str(), customer.address.as_str())
            );
            assert!(read.text.contains(customer.words), "{}", read.text);
            assert_eq!(read.message_id, mail.message_id);
        }
    }
}
