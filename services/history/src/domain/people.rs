//! Who is found by the customer criterion: the customer and everyone who wrote to us in the thread.

use super::thread::{Direction, Mailbox, Message};
use super::words;

/// Characters that a search looks at.
pub const MAX_FOLDED: usize = 2_000;

/// Gathers people while the messages of a thread pass by.
#[derive(Clone, Debug)]
pub struct People {
    known: Vec<Mailbox>,
    folded: String,
    chars: usize,
}

impl People {
    /// Begins with the customer.
    pub fn new(customer: &Mailbox) -> Self {
        let mut people = Self { known: Vec::new(), folded: String::new(), chars: 0 };
        people.include(customer);
        people
    }

    /// Adds the author of a customer's message.
    pub fn add(&mut self, message: &Message) {
        if message.direction == Direction::Inbound && !message.from.address.is_empty() {
            self.include(&message.from);
        }
    }

    fn include(&mut self, one: &Mailbox) {
        // Whatever comes beyond the bound would be cut off, so it need not be remembered either.
        if self.chars >= MAX_FOLDED || self.known.contains(one) {
            return;
        }
        self.known.push(one.clone());
        for text in [words::fold(&one.name), words::fold(&one.address)] {
            if text.is_empty() {
                continue;
            }
            // One per line, so that no part of a search spans two of them.
            if !self.folded.is_empty() {
                self.folded.push('\n');
                self.chars += 1;
            }
            self.chars += text.chars().count();
            self.folded.push_str(&text);
        }
    }

    /// All of them, lower case, no accents, cut.
    pub fn folded(&self) -> String {
        self.folded.chars().take(MAX_FOLDED).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::thread::samples::message;
    use super::*;

    #[test]
    fn everybody_once_and_never_without_bound() {
        let mut people =
            People::new(&Mailbox { address: "Ana@Ejemplo.PE".into(), name: "Ana Núñez".into() });
        let mut other = message("hola");
        other.from = Mailbox { address: "luis@ejemplo.pe".into(), name: String::new() };
        for _ in 0..3 {
            people.add(&other);
        }
        other.direction = Direction::Outbound;
        other.from.address = "agente@hilo.example".into();
        people.add(&other);
        assert_eq!(people.folded(), "ana nunez\nana@ejemplo.pe\nluis@ejemplo.pe");
        for n in 0..5_000 {
            let mut next = message("hola");
            next.from.address = format!("c{n}@ejemplo.pe");
            people.add(&next);
        }
        assert_eq!(people.folded().chars().count(), MAX_FOLDED);
        assert!(people.known.len() < 200);
    }
}
