//! Faults on demand: refusals with any code, broken answers, hangs before and after a message was taken.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which calls a fault meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Every Graph call.
    #[default]
    Any,
    /// Sending a message.
    Messages,
    /// Marking as read, with or without the typing indicator.
    MarkRead,
    /// Uploading a file.
    MediaUpload,
    /// Asking for the address of a file, or deleting it.
    MediaInfo,
    /// Downloading a file.
    MediaDownload,
    /// Listing templates.
    Templates,
    /// Listing or reading phone numbers.
    Numbers,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// A Graph error with this code.
    Refuse {
        /// Meta's code.
        code: u32,
        /// Another HTTP status than the list's.
        #[serde(default)]
        http: Option<u16>,
        /// Other details than the list's.
        #[serde(default)]
        details: Option<String>,
    },
    /// Any answer at all, such as a 502 with HTML in it. Nothing is taken.
    Answer {
        /// HTTP status.
        http: u16,
        /// The body, sent as it is.
        #[serde(default)]
        body: String,
    },
    /// No answer, and nothing is taken: after `ms` the connection is closed.
    HangBefore {
        /// Milliseconds.
        ms: u64,
    },
    /// The message is taken, the caller never learns: after `ms` the connection is closed.
    HangAfter {
        /// Milliseconds.
        ms: u64,
        /// Whether its statuses follow by webhook.
        #[serde(default = "yes")]
        statuses: bool,
    },
    /// The answer comes, but late.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Taken and answered, then a status `failed` with this code.
    FailLater {
        /// Meta's code.
        code: u32,
        /// Milliseconds until the status.
        #[serde(default)]
        ms: u64,
    },
    /// Taken and answered, then silence: no status ever.
    Silent,
}

fn yes() -> bool {
    true
}

/// A fault waiting for its calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Given by the simulator.
    #[serde(default)]
    pub id: u64,
    /// Which calls.
    #[serde(default)]
    pub on: Endpoint,
    /// Only calls that name this id in the path (phone number, media, account).
    #[serde(default)]
    pub object: Option<String>,
    /// Only messages to this recipient (digits or BSUID, as the request names it).
    #[serde(default)]
    pub to: Option<String>,
    /// How many calls it meets; `None` until it is removed.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// What it does.
    #[serde(flatten)]
    pub effect: Effect,
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the type of the field")]
fn once() -> Option<u32> {
    Some(1)
}

impl Fault {
    /// A fault that meets the next `times` calls of `on`.
    pub fn new(on: Endpoint, times: u32, effect: Effect) -> Self {
        Self { id: 0, on, object: None, to: None, times: Some(times), effect }
    }

    /// Meets every call until it is removed.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.times = None;
        self
    }

    /// Meets only messages to `to`.
    #[must_use]
    pub fn to(mut self, to: &str) -> Self {
        self.to = Some(digits_or_id(to));
        self
    }

    fn meets(&self, on: Endpoint, object: &str, to: Option<&str>) -> bool {
        (self.on == Endpoint::Any || self.on == on)
            && self.object.as_deref().is_none_or(|wanted| wanted == object)
            && self
                .to
                .as_deref()
                .is_none_or(|wanted| to.is_some_and(|to| digits_or_id(to) == digits_or_id(wanted)))
    }
}

/// A phone number without its decoration; anything with a letter as it is.
pub(crate) fn digits_or_id(text: &str) -> String {
    if text.chars().any(char::is_alphabetic) {
        return text.to_owned();
    }
    text.chars().filter(char::is_ascii_digit).collect()
}

/// The faults that wait, oldest first.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Vec<Fault>,
    last: u64,
}

impl Faults {
    /// Adds a fault and gives its id.
    pub fn add(&mut self, mut fault: Fault) -> u64 {
        self.last += 1;
        fault.id = self.last;
        self.waiting.push(fault);
        self.last
    }

    /// Removes one, or all of them.
    pub fn remove(&mut self, id: Option<u64>) {
        self.waiting.retain(|fault| id.is_some_and(|id| fault.id != id));
    }

    /// What still waits.
    pub fn waiting(&self) -> &[Fault] {
        &self.waiting
    }

    /// The effect on this call, which is thereby used up once.
    pub fn take(&mut self, on: Endpoint, object: &str, to: Option<&str>) -> Option<Effect> {
        let at = self.waiting.iter().position(|fault| fault.meets(on, object, to))?;
        let fault = self.waiting.get_mut(at)?;
        let effect = fault.effect.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.waiting.remove(at);
            }
        }
        Some(effect)
    }
}

/// The recipient a request names: `to` before `recipient`, as Meta does.
pub(crate) fn recipient_of(body: &Value) -> Option<&str> {
    let field = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    field("to").or_else(|| field("recipient"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_what_it_names_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.add(Fault::new(
            Endpoint::Messages,
            2,
            Effect::Refuse { code: 131_016, http: None, details: None },
        ));
        faults.add(Fault::new(Endpoint::Any, 1, Effect::Silent).to("+49 170 1").lasting());
        assert_eq!(faults.take(Endpoint::Templates, "waba", None), None);
        assert!(matches!(faults.take(Endpoint::Messages, "n", Some("1")), Some(Effect::Refuse { .. })));
        assert!(matches!(faults.take(Endpoint::Messages, "n", Some("1")), Some(Effect::Refuse { .. })));
        assert_eq!(faults.take(Endpoint::Messages, "n", Some("1")), None);
        assert_eq!(faults.take(Endpoint::Messages, "n", Some("491701")), Some(Effect::Silent));
        assert_eq!(faults.take(Endpoint::Messages, "n", Some("491701")), Some(Effect::Silent));
        faults.remove(None);
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn a_fault_reads_as_flat_json() {
        let fault: Fault =
            serde_json::from_str(r#"{"on":"messages","effect":"hang_after","ms":50,"times":null}"#)
                .expect("fault");
        assert_eq!(fault.effect, Effect::HangAfter { ms: 50, statuses: true });
        assert_eq!(fault.times, None);
    }
}
