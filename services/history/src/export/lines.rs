//! A thread as one line of JSON, written page by page: the canonical proto3 JSON of a Thread, whose notes and messages come
//! last because they come in pages (the order of an object's members means nothing, RFC 8259 section 1).

use hilo_kit::error::Error;
use hilo_proto::history::v1::{Thread, ThreadMessage, ThreadNote};

const THREAD: &str = "hilo.history.v1.Thread";
const NOTE: &str = "hilo.history.v1.ThreadNote";
const MESSAGE: &str = "hilo.history.v1.ThreadMessage";

/// A line being written; the state says what its end must close.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing is written.
    #[default]
    Empty,
    /// The head is; its object is open.
    Head,
    /// The list of notes is open.
    Notes,
    /// The list of messages is open.
    Messages,
}

impl Line {
    /// The pieces that a page adds. Notes come before messages, over all pages.
    pub(super) fn page(&mut self, mut page: Thread) -> impl Iterator<Item = Result<Vec<u8>, Error>> {
        let (notes, messages) = (std::mem::take(&mut page.notes), std::mem::take(&mut page.messages));
        let head = (*self == Line::Empty).then(|| {
            *self = Line::Head;
            let mut head = json(THREAD, &page)?;
            // Left open for what follows.
            head.pop();
            Ok(head)
        });
        let notes =
            notes.into_iter().map(|note: ThreadNote| json(NOTE, &note).map(|json| (Line::Notes, json)));
        let messages = messages
            .into_iter()
            .map(|message: ThreadMessage| json(MESSAGE, &message).map(|json| (Line::Messages, json)));
        head.into_iter().chain(notes.chain(messages).map(move |entry| {
            let (list, json) = entry?;
            let mut piece = self.opening(list).as_bytes().to_vec();
            piece.extend(json);
            Ok(piece)
        }))
    }

    /// What goes before an entry of the list.
    fn opening(&mut self, list: Line) -> &'static str {
        let before = match (&self, &list) {
            (Line::Notes, Line::Notes) | (Line::Messages, Line::Messages) => ",",
            (Line::Notes, _) => "],\"messages\":[",
            (_, Line::Notes) => ",\"notes\":[",
            (_, _) => ",\"messages\":[",
        };
        *self = list;
        before
    }

    /// What ends the line.
    pub(super) fn end(self) -> &'static str {
        match self {
            Line::Empty => "",
            Line::Head => "}\n",
            Line::Notes | Line::Messages => "]}\n",
        }
    }
}

fn json<M: prost::Message>(name: &str, message: &M) -> Result<Vec<u8>, Error> {
    hilo_proto::json::to_json(name, message).map_err(|error| {
        Error::internal("UNENCODABLE", "a thread could not be written as JSON").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use hilo_proto::history::v1::ThreadSummary;

    use super::*;

    fn whole(notes: usize, messages: usize) -> Thread {
        Thread {
            summary: Some(ThreadSummary { attention_number: 7, ..ThreadSummary::default() }),
            version: 3,
            notes: (0..notes).map(|n| ThreadNote { text: format!("n{n}"), ..Default::default() }).collect(),
            messages: (0..messages)
                .map(|n| ThreadMessage { text: format!("m{n} ]}}"), ..Default::default() })
                .collect(),
            ..Thread::default()
        }
    }

    /// Notes and messages of each page; the line is the same thread, read by another reader.
    #[test]
    fn a_line_in_pages_is_the_whole_thread() {
        let rows: [&[(usize, usize)]; 7] = [
            &[(0, 0)],
            &[(2, 0)],
            &[(0, 3)],
            &[(2, 3)],
            &[(2, 0), (1, 2), (0, 2)],
            &[(0, 1), (0, 1)],
            &[(1, 0), (0, 0), (0, 1)],
        ];
        for pages in rows {
            let notes = pages.iter().map(|page| page.0).sum();
            let expected = whole(notes, pages.iter().map(|page| page.1).sum());
            let (mut line, mut text) = (Line::default(), Vec::new());
            let (mut all_notes, mut all_messages) =
                (expected.notes.iter().cloned(), expected.messages.iter().cloned());
            for (notes, messages) in pages {
                let page = Thread {
                    notes: all_notes.by_ref().take(*notes).collect(),
                    messages: all_messages.by_ref().take(*messages).collect(),
                    ..expected.clone()
                };
                text.extend(line.page(page).flat_map(|piece| piece.unwrap()));
            }
            text.extend(line.end().bytes());
            assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1, "{pages:?}");
            let read: Thread = hilo_proto::json::from_json(THREAD, &text).unwrap();
            assert_eq!(read, expected, "{pages:?}");
        }
    }
}
