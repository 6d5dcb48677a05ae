//! One error type with a closed set of classes. The class alone decides the gRPC code, what happens to a broker
//! message and the log level, so that no caller has to look at texts.

mod convert;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use tonic::Code;

pub use convert::{reason_of, to_status};

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
    metadata: Vec<(&'static str, String)>,
    details: Vec<(&'static str, Vec<u8>)>,
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
            metadata: Vec::new(),
            details: Vec::new(),
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

    /// Adds a value for programs to the reason (`google.rpc.ErrorInfo.metadata`).
    #[must_use]
    pub fn metadata(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.metadata.push((key, value.into()));
        self
    }

    /// Adds a message of ours, encoded, to the status. Details travel in headers: keep it below 3 KiB.
    #[must_use]
    pub fn detail(mut self, type_name: &'static str, encoded: Vec<u8>) -> Self {
        self.0.details.push((type_name, encoded));
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
