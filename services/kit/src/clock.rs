//! Instants: which clock may be asked for what, and the conversions that protobuf and CloudEvents need.
//!
//! What is stored or compared with a stored deadline comes from [`crate::db::now`] inside the transaction. The
//! monotonic clock measures durations. The wall clock of this machine is only for display and tokens.

use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Wall clock of this machine. Never for deadlines that are stored.
pub fn wall() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// RFC 3339 in UTC ending in `Z`, as CloudEvents' `time` attribute wants it.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_else(|_| at.unix_timestamp().to_string())
}

/// To the protobuf form.
pub fn to_proto(at: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.unix_timestamp(), nanos: at.nanosecond().try_into().unwrap_or(0) }
}

/// From the protobuf form; `None` when out of range.
pub fn from_proto(at: &prost_types::Timestamp) -> Option<OffsetDateTime> {
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

/// `base * 2^attempt`, at most `cap`, with up to 25 % added at random so that waiters do not march in step.
pub fn backoff(attempt: u32, base: Duration, cap: Duration) -> Duration {
    let full = base.saturating_mul(2u32.saturating_pow(attempt.min(20))).min(cap);
    full.mul_f64(1.0 + rand::random::<f64>() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_proto_form_and_end_in_z() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_789).unwrap();
        assert_eq!(from_proto(&to_proto(at)), Some(at));
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.123456789Z");
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let base = Duration::from_millis(5);
        let cap = Duration::from_millis(200);
        assert!(backoff(0, base, cap) >= base);
        assert!(backoff(3, base, cap) >= Duration::from_millis(40));
        assert!(backoff(30, base, cap) <= cap.mul_f64(1.25));
    }
}
