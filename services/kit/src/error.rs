//! One error type with a closed set of classes. The class alone decides the gRPC code, what happens to a broker
//! message and the log level, so that no caller has to look at texts.

use std::borrow::Cow;
use std::fmt;

use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of every `google.rpc.ErrorInfo` that Hilo sends.
pub const DOMAIN: &str = "hilo";

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What kind of failure it is; nothing else decides how it is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request itself is malformed; the same request never succeeds.
    Invalid,
    /// Well-formed, but the current state forbids it (`ALREADY_TAKEN`).
    Rejected,
    /// The thing asked for does not exist.
    Missing,
    /// It exists already, or the message was handled before.
    Duplicate,
    /// Lost a race (serialisation failure, deadlock, lock timeout); trying again is right.
    Conflict,
    /// Who asks may not; reason `UNAUTHENTICATED` when nobody knows who asks.
    Denied,
    /// A limit is reached; later it may succeed.
    Exhausted,
    /// A part we depend on is not there or too slow; trying again is right.
    Unavailable,
    /// Stored or received data contradicts itself.
    Corrupt,
    /// A defect of ours.
    Internal,
}

/// What a consumer does with the broker message whose handling failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerAction {
    /// Done: acknowledge.
    Ack,
    /// Try again without counting it as an attempt: the message is not at fault.
    Wait,
    /// Try again, counted; a dead letter after the last attempt.
    Retry,
    /// Trying again cannot help: dead letter at once.
    DeadLetter,
}

impl Class {
    /// The gRPC code of the class.
    pub fn code(self) -> Code {
        match self {
            Class::Invalid => Code::InvalidArgument,
            Class::Rejected => Code::FailedPrecondition,
            Class::Missing => Code::NotFound,
            Class::Duplicate => Code::AlreadyExists,
            Class::Conflict => Code::Aborted,
            Class::Denied => Code::PermissionDenied,
            Class::Exhausted => Code::ResourceExhausted,
            Class::Unavailable => Code::Unavailable,
            Class::Corrupt => Code::DataLoss,
            Class::Internal => Code::Internal,
        }
    }

    /// What a consumer does with a message that ended in this class.
    pub fn broker_action(self) -> BrokerAction {
        match self {
            Class::Duplicate => BrokerAction::Ack,
            Class::Conflict | Class::Exhausted | Class::Unavailable => BrokerAction::Wait,
            Class::Internal => BrokerAction::Retry,
            Class::Invalid | Class::Rejected | Class::Missing | Class::Denied | Class::Corrupt => {
                BrokerAction::DeadLetter
            }
        }
    }

    /// The level at which the failure is logged where it is handled.
    pub fn level(self) -> tracing::Level {
        match self {
            Class::Invalid | Class::Rejected | Class::Missing | Class::Duplicate | Class::Conflict => {
                tracing::Level::DEBUG
            }
            Class::Denied | Class::Exhausted => tracing::Level::INFO,
            Class::Unavailable => tracing::Level::WARN,
            Class::Corrupt | Class::Internal => tracing::Level::ERROR,
        }
    }

    fn of(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Class::Invalid,
            Code::FailedPrecondition => Class::Rejected,
            Code::NotFound => Class::Missing,
            Code::AlreadyExists => Class::Duplicate,
            Code::Aborted => Class::Conflict,
            Code::PermissionDenied | Code::Unauthenticated => Class::Denied,
            Code::ResourceExhausted => Class::Exhausted,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Class::Unavailable,
            Code::DataLoss => Class::Corrupt,
            Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal => Class::Internal,
        }
    }
}

/// One malformed field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, for instance `recipients[2].address`.
    pub field: String,
    /// What is wrong with it, for the caller's developer.
    pub description: String,
}

/// A failure: class, stable reason, message without secrets, bodies or addresses, field violations, source.
pub struct Error(Box<Inner>);

struct Inner {
    class: Class,
    reason: Cow<'static, str>,
    message: Cow<'static, str>,
    violations: Vec<Violation>,
    constraint: Option<String>,
    source: Option<Source>,
}

/// Constructors, one per class; `reason` is stable and in UPPER_SNAKE case, `message` is for people.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $class:ident),+ $(,)?) => {
        $($(#[$doc])* pub fn $name(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
            Self::new(Class::$class, reason, message)
        })+
    };
}

impl Error {
    /// An error of the given class.
    pub fn new(class: Class, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            class,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            violations: Vec::new(),
            constraint: None,
            source: None,
        }))
    }

    constructors! {
        /// Malformed request.
        invalid => Invalid,
        /// The state forbids it.
        rejected => Rejected,
        /// Not found.
        missing => Missing,
        /// Exists already.
        duplicate => Duplicate,
        /// Lost a race.
        conflict => Conflict,
        /// Not allowed.
        denied => Denied,
        /// A limit is reached.
        exhausted => Exhausted,
        /// A dependency is not there.
        unavailable => Unavailable,
        /// Data contradicts itself.
        corrupt => Corrupt,
        /// A defect of ours.
        internal => Internal,
    }

    /// The caller is unknown (gRPC `UNAUTHENTICATED`).
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Class::Denied, "UNAUTHENTICATED", message)
    }

    /// Adds a field violation (`google.rpc.BadRequest`).
    #[must_use]
    pub fn field(mut self, path: impl Into<String>, why: impl Into<String>) -> Self {
        self.0.violations.push(Violation { field: path.into(), description: why.into() });
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The class.
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// The stable reason in UPPER_SNAKE case.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The text for people, without the source's text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Malformed fields.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Name of the violated database constraint, when that is what failed.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }

    /// True when a new transaction may well succeed (serialisation failure, deadlock, lost race).
    pub fn is_transient_conflict(&self) -> bool {
        self.0.class == Class::Conflict
    }

    /// The whole chain in one line, for the one place that logs it.
    pub fn chain(&self) -> String {
        let mut text = format!("{}: {}", self.reason(), self.message());
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }

    /// Logs the chain once, at the level of the class. `what` says what was being done.
    pub fn log(&self, what: &str) {
        let chain = self.chain();
        match self.0.class.level() {
            tracing::Level::ERROR => tracing::error!(what, error = %chain),
            tracing::Level::WARN => tracing::warn!(what, error = %chain),
            tracing::Level::INFO => tracing::info!(what, error = %chain),
            _ => tracing::debug!(what, error = %chain),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.reason)?;
        for violation in &self.0.violations {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0.class, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// PostgreSQL's SQLSTATE codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn from_database(error: &dyn sqlx::error::DatabaseError) -> Error {
    let code = error.code().unwrap_or_default().into_owned();
    let mut mapped = match code.as_str() {
        "23505" => Error::duplicate("UNIQUE_VIOLATION", "it exists already"),
        "40001" | "40P01" => Error::conflict("SERIALIZATION_FAILURE", "a concurrent transaction won"),
        "55P03" => Error::conflict("LOCK_TIMEOUT", "a lock was not granted in time"),
        "57014" => Error::unavailable("STATEMENT_TIMEOUT", "a statement took too long"),
        "25P03" => Error::unavailable("TRANSACTION_TIMEOUT", "a transaction was idle for too long"),
        _ if code.starts_with("23") => Error::internal("CONSTRAINT_VIOLATED", "a database constraint refused it"),
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
            sqlx::Error::PoolTimedOut => Error::unavailable("DATABASE_BUSY", "no database connection was free"),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Error::unavailable("DATABASE_UNAVAILABLE", "the database is not available")
            }
            // A message cut off by a dying server arrives as a protocol error.
            sqlx::Error::Protocol(_) => Error::unavailable("DATABASE_UNAVAILABLE", "the database connection broke"),
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
    let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, std::collections::HashMap::new());
    for violation in error.violations() {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    let code = match error.reason() {
        "UNAUTHENTICATED" => Code::Unauthenticated,
        "UNIMPLEMENTED" => Code::Unimplemented,
        _ => error.class().code(),
    };
    tonic::Status::with_error_details(code, error.message(), details)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_carries_reason_and_violations_both_ways() {
        let error = Error::invalid("BAD_REQUEST", "two fields are wrong").field("a", "empty").field("b[1]", "long");
        let status = to_status(&error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&status).as_deref(), Some("BAD_REQUEST"));
        let back = Error::from(status);
        assert_eq!(back.class(), Class::Invalid);
        assert_eq!(back.reason(), "BAD_REQUEST");
        assert_eq!(back.violations(), error.violations());
    }

    #[test]
    fn every_class_survives_the_wire() {
        let classes = [
            Class::Invalid,
            Class::Rejected,
            Class::Missing,
            Class::Duplicate,
            Class::Conflict,
            Class::Denied,
            Class::Exhausted,
            Class::Unavailable,
            Class::Corrupt,
            Class::Internal,
        ];
        for class in classes {
            let status = to_status(&Error::new(class, "REASON", "message"));
            assert_eq!(Error::from(status).class(), class);
        }
    }

    #[test]
    fn unauthenticated_has_its_own_code_and_display_hides_the_source() {
        assert_eq!(to_status(&Error::unauthenticated("who?")).code(), Code::Unauthenticated);
        let error = Error::internal("X", "outer").with_source(std::io::Error::other("secret inner"));
        assert!(!error.to_string().contains("inner"));
        assert!(error.chain().contains("secret inner"));
        assert!(!to_status(&error).message().contains("inner"));
    }
}
