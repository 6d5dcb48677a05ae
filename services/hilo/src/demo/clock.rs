//! Prints one line per step with its time, and waits for conditions with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::cli::terminal::{Output, clean};
use crate::cli::{Exit, Failure};

/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(30);

/// Tells the steps.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    output: Output,
    number: usize,
    current: String,
}

impl Clock {
    /// Starts now.
    pub fn start(output: Output) -> Self {
        Self { started: Instant::now(), output, number: 0, current: "0 (start)".to_owned() }
    }

    /// Runs a step; its evidence is printed when, and only when, it happened.
    ///
    /// # Errors
    /// What the step failed with; the name of the step stays in [`Clock::current`].
    pub async fn step<T, F>(&mut self, name: &str, work: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<(T, String), Failure>>,
    {
        self.number += 1;
        self.current = format!("{} ({name})", self.number);
        let (value, evidence) = work.await?;
        let seconds = self.started.elapsed().as_secs_f64();
        self.output.line(format!("{seconds:>6.2} s  {:>2}  {name}: {}", self.number, clean(&evidence)))?;
        Ok(value)
    }

    /// A line that is no step.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.output.line(clean(line))
    }

    /// The step begun last.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// The last line.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn end(&mut self) -> Result<(), Failure> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.output.line(format!("demo: all {} steps happened, {seconds:.1} s", self.number))
    }
}

/// Looks until `look` answers `Some`, at most `limit`. Failures that pass (nothing answers yet) count as "not yet".
///
/// # Errors
/// `NOT_IN_TIME`, or what `look` failed with for good.
pub async fn until<T, F, Fut>(limit: Duration, what: &str, mut look: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>, Failure>>,
{
    let deadline = tokio::time::Instant::now() + limit;
    let mut last = None;
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(failure)) if failure.is_passing() => last = Some(failure),
            Ok(Err(failure)) => return Err(failure),
        }
        if tokio::time::Instant::now() >= deadline {
            let mut failure = Failure::new(
                Exit::Failed,
                "NOT_IN_TIME",
                format!("not within {} s: {what}", limit.as_secs()),
            );
            failure.details.extend(last.map(|last| format!("last answer: {last}")));
            return Err(failure);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The step did not happen as it must.
pub fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Exit::Failed, "NOT_AS_PROMISED", what)
}

/// Demands that something holds.
///
/// # Errors
/// `NOT_AS_PROMISED` with `what` when it does not.
pub fn demand(holds: bool, what: impl Into<String>) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(wrong(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_that_did_not_happen_prints_nothing_and_is_named() {
        let mut clock = Clock::start(Output::kept());
        clock.step("uno", async { Ok(((), "visto".to_owned())) }).await.expect("happened");
        let failed: Result<(), Failure> = clock.step("dos", async { Err(wrong("no")) }).await;
        assert!(failed.is_err());
        assert_eq!(clock.current(), "2 (dos)");
        let lines = clock.output.take();
        assert_eq!(lines.len(), 1);
        assert!(lines.concat().ends_with("1  uno: visto"), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_has_a_deadline_and_passing_failures_are_named_at_its_end() {
        let look = || async { Err::<Option<()>, _>(Failure::unavailable("NOBODY_ANSWERS", "nothing")) };
        let failure = until(Duration::from_secs(2), "something", look).await.expect_err("never");
        assert_eq!(failure.reason, "NOT_IN_TIME");
        assert_eq!(failure.details, vec!["last answer: NOBODY_ANSWERS: nothing"]);
        let failure =
            until(Duration::from_secs(2), "something", || async { Err::<Option<()>, _>(wrong("for good")) })
                .await;
        assert_eq!(failure.expect_err("at once").reason, "NOT_AS_PROMISED");
    }
}
