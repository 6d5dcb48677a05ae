//! Errors of other layers become ours, ours become gRPC statuses, and statuses become ours again.

use std::borrow::Cow;

use prost::Message as _;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use super::{Class, DOMAIN, Error, Violation};

/// PostgreSQL's SQLSTATE codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn from_database(error: &dyn sqlx::error::DatabaseError) -> Error {
    let code = error.code().unwrap_or_default().into_owned();
    let mut mapped = match code.as_str() {
        "23505" => Error::duplicate("UNIQUE_VIOLATION", "it exists already"),
        "40001" | "40P01" => Error::conflict("SERIALIZATION_FAILURE", "a concurrent transaction won"),
        "55P03" => Error::conflict("LOCK_TIMEOUT", "a lock was not granted in time"),
        "57014" => Error::unavailable("STATEMENT_TIMEOUT", "a statement took too long"),
        "25P03" => Error::unavailable("TRANSACTION_TIMEOUT", "a transaction was idle for too long"),
        // PostgreSQL stores no NUL, which every string of protobuf may hold.
        "22021" | "22P05" => Error::invalid("INVALID_TEXT", "a text holds a character that cannot be stored"),
        _ if code.starts_with("23") => {
            Error::internal("CONSTRAINT_VIOLATED", "a database constraint refused it")
        }
        _ if code.starts_with("08") || code.starts_with("53") || code.starts_with("57") => {
            Error::unavailable("DATABASE_UNAVAILABLE", "the database is not available")
        }
        _ => Error::internal("DATABASE_ERROR", "a database statement failed"),
    };
    mapped.0.constraint = error.constraint().map(str::to_owned);
    mapped
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let mapped = match &error {
            sqlx::Error::Database(inner) => from_database(inner.as_ref()),
            sqlx::Error::RowNotFound => Error::missing("ROW_NOT_FOUND", "no such row"),
            sqlx::Error::PoolTimedOut => {
                Error::unavailable("DATABASE_BUSY", "no database connection was free")
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => {
                Error::unavailable("DATABASE_UNAVAILABLE", "the database is not available")
            }
            // A message cut off by a dying server arrives as a protocol error.
            sqlx::Error::Protocol(_) => {
                Error::unavailable("DATABASE_UNAVAILABLE", "the database connection broke")
            }
            _ => Error::internal("DATABASE_ERROR", "a database call failed"),
        };
        mapped.with_source(error)
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Error::corrupt("UNDECODABLE", "a message could not be decoded").with_source(error)
    }
}

impl From<tonic::transport::Error> for Error {
    fn from(error: tonic::transport::Error) -> Self {
        Error::unavailable("TRANSPORT", "the gRPC transport failed").with_source(error)
    }
}

/// The only place that makes a gRPC status. Internal failures keep their source out of the answer.
pub fn to_status(error: &Error) -> tonic::Status {
    let metadata = error.0.metadata.iter().map(|(key, value)| ((*key).to_owned(), cut(value)));
    let mut metadata: std::collections::HashMap<String, String> = metadata.collect();
    let (told, untold) = bounded(error.violations());
    if untold > 0 {
        metadata.insert("violations_left_out".to_owned(), untold.to_string());
    }
    let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, metadata);
    for (field, description) in told {
        details.add_bad_request_violation(field, description);
    }
    let code = match error.reason() {
        "UNAUTHENTICATED" => Code::Unauthenticated,
        "UNIMPLEMENTED" => Code::Unimplemented,
        _ => error.class().code(),
    };
    let status = tonic::Status::with_error_details(code, error.message(), details);
    if error.0.details.is_empty() { status } else { with_messages(status, &error.0.details) }
}

/// Most bytes of violations: details travel in headers, which some clients bound at 8 KiB and which a field's path, for instance a
/// key of the caller's own choosing, must not exceed.
const MAX_VIOLATIONS: usize = 2_500;
/// Most characters of a single text in the details.
const MAX_DETAIL_TEXT: usize = 200;

fn cut(text: &str) -> String {
    text.chars().take(MAX_DETAIL_TEXT).collect()
}

/// The first violations that fit, and how many do not.
fn bounded(violations: &[Violation]) -> (Vec<(String, String)>, usize) {
    let (mut told, mut length) = (Vec::new(), 0);
    for violation in violations {
        let (field, description) = (cut(&violation.field), cut(&violation.description));
        length += field.len() + description.len();
        if length > MAX_VIOLATIONS {
            break;
        }
        told.push((field, description));
    }
    let untold = violations.len() - told.len();
    (told, untold)
}

/// The same status with messages of ours behind the standard details (`google.rpc.Status.details`).
fn with_messages(status: tonic::Status, messages: &[(&'static str, Vec<u8>)]) -> tonic::Status {
    let Ok(mut whole) = tonic_types::pb::Status::decode(status.details()) else { return status };
    whole.details.extend(messages.iter().map(|(name, encoded)| prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: encoded.clone(),
    }));
    tonic::Status::with_details(status.code(), status.message(), whole.encode_to_vec().into())
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        if matches!(error.class(), Class::Internal | Class::Corrupt | Class::Unavailable) {
            error.log("request");
        }
        to_status(&error)
    }
}

/// The stable reason a status carries, when it was made by Hilo.
pub fn reason_of(status: &tonic::Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let mut error = Error::new(Class::of(status.code()), "REMOTE", status.message().to_owned());
        error.0.reason = match reason_of(&status) {
            Some(reason) => Cow::Owned(reason),
            None if status.code() == Code::Unauthenticated => Cow::Borrowed("UNAUTHENTICATED"),
            None if status.code() == Code::DeadlineExceeded => Cow::Borrowed("DEADLINE_EXCEEDED"),
            None => Cow::Borrowed("REMOTE"),
        };
        if let Some(bad) = status.get_details_bad_request() {
            error.0.violations = bad
                .field_violations
                .into_iter()
                .map(|one| Violation { field: one.field, description: one.description })
                .collect();
        }
        error
    }
}
