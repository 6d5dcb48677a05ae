//! One failure type for all commands: an exit code out of a closed set, a stable reason, one line for a person.

use std::process::ExitCode;

use hilo_kit::error::{Class, Error};

/// Exit codes of every command; part of the command line's contract, so numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: the reader of our output went away (`| head`), which is no failure.
    Quiet,
    /// 1: something went wrong that the user could not have avoided.
    Failed,
    /// 2: the input is wrong (clap uses 2 for wrong arguments too).
    Invalid,
    /// 3: the state forbids it, or somebody else was faster.
    Rejected,
    /// 4: it does not exist, or the caller may not see it.
    Missing,
    /// 5: not signed in, or not allowed.
    Denied,
    /// 6: nothing answers, or not in time.
    Unavailable,
}

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Quiet => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Rejected => 3,
            Self::Missing => 4,
            Self::Denied => 5,
            Self::Unavailable => 6,
        }
    }
}

/// Why a command ended without doing what was asked.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// Stable, UPPER_SNAKE case.
    pub reason: String,
    /// One line for a person.
    pub message: String,
    /// Further lines, for instance the fields that were refused.
    pub details: Vec<String>,
}

impl Failure {
    /// A failure with its reason and a line for a person.
    pub fn new(exit: Exit, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { exit, reason: reason.into(), message: message.into(), details: Vec::new() }
    }

    /// Wrong input.
    pub fn invalid(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Exit::Invalid, reason, message)
    }

    /// Nothing answers.
    pub fn unavailable(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, reason, message)
    }

    /// Adds a line.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// True when the same request may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        self.exit == Exit::Unavailable
    }

    /// Prints it to standard error (nothing when the reader went away) and gives the process exit code.
    pub fn report(&self) -> ExitCode {
        if self.exit != Exit::Quiet {
            eprintln!("hilo: {self}");
            for line in &self.details {
                eprintln!("  {line}");
            }
        }
        ExitCode::from(self.exit.code())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.class() {
            Class::Invalid => Exit::Invalid,
            Class::Rejected | Class::Conflict | Class::Duplicate | Class::Exhausted => Exit::Rejected,
            Class::Missing => Exit::Missing,
            Class::Denied => Exit::Denied,
            Class::Unavailable => Exit::Unavailable,
            Class::Corrupt | Class::Internal => Exit::Failed,
        };
        let mut failure = Self::new(exit, error.reason(), super::terminal::clean(error.message()));
        for violation in error.violations() {
            let line = format!("{}: {}", violation.field, violation.description);
            failure.details.push(super::terminal::clean(&line));
        }
        failure
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Error::from(status).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Quiet, "BROKEN_PIPE", "the reader went away"),
            _ => Self::new(Exit::Failed, "IO", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_its_reason_and_fields() {
        let status = hilo_kit::error::to_status(
            &Error::invalid("BAD_REQUEST", "a field is wrong").field("text", "is empty"),
        );
        let failure = Failure::from(status);
        assert_eq!((failure.exit.code(), failure.reason.as_str()), (2, "BAD_REQUEST"));
        assert_eq!(failure.details, vec!["text: is empty"]);
        assert_eq!(
            Failure::from(hilo_kit::error::to_status(&Error::rejected("ALREADY_TAKEN", "taken"))).exit.code(),
            3
        );
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).exit, Exit::Quiet);
    }
}
