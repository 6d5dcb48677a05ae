//! What the simulator saw, for evidence: every Graph call, every excess of pace, every try of every webhook.
//!
//! Bounded: beyond [`KEPT`] rows of a kind the oldest go, and are counted.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

use crate::faults::Endpoint;
use crate::pace::Excess;

/// Rows kept of each kind: a load run of a minute at 3,000 per second.
pub const KEPT: usize = 200_000;

/// A call of the Graph API.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Counts the calls.
    pub seq: u64,
    /// When it came, in milliseconds of the simulator's Unix time.
    pub at_ms: i64,
    /// Method and path.
    pub line: String,
    /// What it asked for.
    pub endpoint: Endpoint,
    /// The id in the path.
    pub object: String,
    /// The recipient, as the request named it.
    pub to: Option<String>,
    /// Type of the message.
    pub kind: Option<String>,
    /// `biz_opaque_callback_data` of the message.
    pub opaque: Option<String>,
    /// The JSON body.
    pub body: Value,
    /// HTTP status of the answer; `None` where there was none.
    pub status: Option<u16>,
    /// Meta's code, if it was refused.
    pub code: Option<u32>,
    /// Id of the message that was taken.
    pub wamid: Option<String>,
    /// The fault it met, by name.
    pub fault: Option<String>,
}

/// A message that came too fast.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// When, in milliseconds of the simulator's Unix time.
    pub at_ms: i64,
    /// Which limit.
    pub limit: Excess,
    /// The number it was sent from.
    pub number: String,
    /// The customer it was for.
    pub customer: String,
}

/// One try of one webhook.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Counts the tries.
    pub seq: u64,
    /// The POST it belongs to; retries and copies share it.
    pub post: u64,
    /// 1 for the first try.
    pub attempt: u32,
    /// 0, or which copy of it.
    pub copy: usize,
    /// When it began, in milliseconds of the simulator's Unix time.
    pub at_ms: i64,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
    /// HTTP status; `None` for a timeout or a broken connection.
    pub status: Option<u16>,
    /// The beginning of the answer's body.
    pub answer: String,
    /// Why there was no status.
    pub error: Option<String>,
    /// Bytes of the body.
    pub bytes: usize,
    /// What it carried: ids of messages, `wamid:status` of statuses, names of fields.
    pub events: Vec<String>,
}

/// Counters that are not bounded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Graph calls.
    pub requests: u64,
    /// Messages taken.
    pub accepted: u64,
    /// Graph calls refused with a code.
    pub refused: u64,
    /// Messages that came too fast.
    pub violations: u64,
    /// Tries of webhooks.
    pub attempts: u64,
    /// Tries answered with 200.
    pub acknowledged: u64,
    /// POSTs given up after the last retry.
    pub given_up: u64,
    /// Events of apps without a callback: told to nobody.
    pub unsubscribed: u64,
    /// Rows that were dropped from the record.
    pub forgotten: u64,
}

/// The record.
#[derive(Debug, Default)]
pub struct Record {
    /// Calls, oldest first.
    pub requests: VecDeque<Request>,
    /// Excesses, oldest first.
    pub violations: VecDeque<Violation>,
    /// Tries, in the order they ended.
    pub attempts: VecDeque<Attempt>,
    /// The counters.
    pub totals: Totals,
}

impl Record {
    /// Notes a call and numbers it.
    pub fn request(&mut self, mut request: Request) {
        self.totals.requests += 1;
        request.seq = self.totals.requests;
        self.totals.accepted += u64::from(request.wamid.is_some());
        self.totals.refused += u64::from(request.code.is_some());
        self.totals.forgotten += push(&mut self.requests, request);
    }

    /// Notes an excess.
    pub fn violation(&mut self, violation: Violation) {
        self.totals.violations += 1;
        self.totals.forgotten += push(&mut self.violations, violation);
    }

    /// Notes a try and numbers it.
    pub fn attempt(&mut self, mut attempt: Attempt) {
        self.totals.attempts += 1;
        attempt.seq = self.totals.attempts;
        self.totals.acknowledged += u64::from(attempt.status == Some(200));
        self.totals.forgotten += push(&mut self.attempts, attempt);
    }
}

fn push<T>(rows: &mut VecDeque<T>, row: T) -> u64 {
    rows.push_back(row);
    if rows.len() > KEPT {
        rows.pop_front();
        return 1;
    }
    0
}
