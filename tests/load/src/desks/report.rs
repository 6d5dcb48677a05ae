//! What a run of the desks scenario found.

use std::fmt;
use std::time::Duration;

/// What a run found.
#[derive(Debug)]
pub struct DesksReport {
    /// Streams.
    pub streams: usize,
    /// Streams cut.
    pub cuts: usize,
    /// Events published meanwhile, per second.
    pub events_per_second: f64,
    /// Mails sent.
    pub mails: usize,
    /// Changes that came twice on one stream, or older than what the stream had shown.
    pub repeated: u64,
    /// Streams that did not begin with a snapshot.
    pub without_snapshot: u64,
    /// Desks that were not equal to the server's list in the end, and what of the first one differs.
    pub different: Vec<String>,
    /// Growth of attention-state's `VmRSS` per stream, in KiB, at the end.
    pub kibibytes_per_stream: f64,
    /// The same at its highest, seen once a second while streams were cut.
    pub kibibytes_per_stream_at_most: f64,
    /// Streams that began: one each, and one more after each cut.
    pub begun: u64,
    /// From the last event to the last desk being equal.
    pub settled_after: Duration,
}

impl DesksReport {
    /// True when every desk is as the server's list, and no stream repeated anything.
    pub fn is_exact(&self) -> bool {
        self.different.is_empty() && self.repeated == 0 && self.without_snapshot == 0
    }
}

impl fmt::Display for DesksReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "streams                       {:>10}", self.streams)?;
        writeln!(f, "cut                           {:>10}", self.cuts)?;
        writeln!(f, "mails                         {:>10}", self.mails)?;
        writeln!(f, "events                        {:>10.1}/s", self.events_per_second)?;
        writeln!(f, "repeated on a stream          {:>10}", self.repeated)?;
        writeln!(f, "streams without a snapshot    {:>10}", self.without_snapshot)?;
        writeln!(f, "desks unlike the server's list{:>10}", self.different.len())?;
        writeln!(f, "equal after                   {:>10.1} s", self.settled_after.as_secs_f64())?;
        writeln!(f, "streams begun                 {:>10}", self.begun)?;
        writeln!(f, "memory per stream, at most    {:>10.1} KiB", self.kibibytes_per_stream_at_most)?;
        write!(f, "memory per stream             {:>10.1} KiB", self.kibibytes_per_stream)?;
        self.different.first().map_or(Ok(()), |first| write!(f, "\nfirst difference: {first}"))
    }
}
