//! What of a handed-over thread does not fit its contract, gathered, so that a refusal names every field.

use hilo_kit::clock;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use time::OffsetDateTime;

use super::direction;
use crate::domain::thread::Direction;

/// Gathers what is wrong with a thread.
#[derive(Default)]
pub(super) struct Check(Vec<(String, &'static str)>);

impl Check {
    pub(super) fn that(&mut self, holds: bool, field: &str, why: &'static str) {
        if !holds {
            self.0.push((field.to_owned(), why));
        }
    }

    pub(super) fn required<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        self.that(value.is_some(), field, "is missing");
        value
    }

    pub(super) fn id(&mut self, field: &str, text: &str) -> Uuid {
        let parsed = Uuid::try_parse(text).ok();
        self.that(parsed.is_some(), field, "must be a UUID");
        parsed.unwrap_or_default()
    }

    pub(super) fn optional_id(&mut self, field: &str, text: &str) -> Option<Uuid> {
        (!text.is_empty()).then(|| self.id(field, text))
    }

    pub(super) fn instant(
        &mut self,
        field: &str,
        at: Option<prost_types::Timestamp>,
    ) -> Option<OffsetDateTime> {
        let at = at?;
        let parsed = clock::from_proto(&at);
        self.that(parsed.is_some(), field, "is out of range");
        parsed
    }

    pub(super) fn direction(&mut self, field: &str, number: i32) -> Direction {
        let parsed = direction(number);
        self.that(parsed.is_some(), field, "must be inbound or outbound");
        parsed.unwrap_or(Direction::Inbound)
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, Error> {
        if self.0.is_empty() {
            return Ok(value);
        }
        let error = Error::corrupt("THREAD_MALFORMED", "a handed-over thread does not fit its contract");
        Err(self.0.into_iter().fold(error, |error, (field, why)| error.field(field, why)))
    }
}
