//! What searches need of a thread's messages, gathered while they pass by, so that they need not be held.

use uuid::Uuid;

use crate::domain::people::People;
use crate::domain::thread::{InteractionId, Message, Thread};
use crate::domain::words::Parts;

/// Gathers.
#[derive(Clone, Debug)]
pub(super) struct Gathering {
    /// The fetch whose pages are passing.
    pub fetch: Uuid,
    interaction: InteractionId,
    messages: i32,
    has_content: bool,
    people: People,
    words: Parts,
}

/// What was gathered.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    /// The fetch whose pages lie in `arriving_message`.
    pub fetch: Uuid,
    /// How many messages it brought.
    pub messages: i32,
    /// Whether any of them had a body or a file.
    pub has_content: bool,
    /// Customer and authors as searches compare them.
    pub customer_folded: String,
    /// Words of subject, form and messages, in parts.
    pub words: Vec<String>,
}

impl Gathering {
    /// Begins with head and form.
    pub fn new(thread: &Thread) -> Self {
        let mut words = Parts::default();
        words.add(&thread.head.subject);
        let fields = thread.form.iter().flat_map(|form| form.fields.values());
        fields.filter_map(|field| field.value.as_deref()).for_each(|value| words.add(value));
        Self {
            fetch: Uuid::new_v4(),
            interaction: thread.head.interaction_id,
            messages: 0,
            has_content: false,
            people: People::new(&thread.head.customer),
            words,
        }
    }

    /// Adds messages.
    pub fn add(&mut self, messages: &[Message]) {
        for message in messages {
            self.messages = self.messages.saturating_add(1);
            self.has_content |= message.has_content();
            self.people.add(message);
            self.words.add(&message.subject);
            message.attachments.iter().for_each(|file| self.words.add(&file.file_name));
            self.words.add(&crate::html::text_for_search(message));
        }
    }

    /// Messages that have passed.
    pub fn count(&self) -> i32 {
        self.messages
    }

    /// Everything.
    pub fn done(self) -> Gathered {
        if self.words.is_full() {
            let interaction = self.interaction;
            tracing::warn!(%interaction, "a thread holds more different words than are searchable");
        }
        Gathered {
            fetch: self.fetch,
            messages: self.messages,
            has_content: self.has_content,
            customer_folded: self.people.folded(),
            words: self.words.into_parts(),
        }
    }
}
