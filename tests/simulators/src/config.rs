//! What the simulator is told: apps, numbers, templates, and how it behaves. Behaviour may change while it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Everything a simulator starts with. Written as JSON for the binary.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where it listens; loopback only. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Apps at Meta: who signs, who may call, where webhooks go.
    pub apps: Vec<App>,
    /// Business phone numbers.
    pub numbers: Vec<Number>,
    /// Message templates of the accounts.
    pub templates: Vec<Template>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// A file that keeps customers and chats over a restart; without it everything is forgotten.
    pub keep: Option<PathBuf>,
}

impl Default for Config {
    /// One app, one number, three templates, everything as documented.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            apps: vec![App::default()],
            numbers: vec![Number::default()],
            templates: templates(),
            behaviour: Behaviour::default(),
            keep: None,
        }
    }
}

/// An app at Meta.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct App {
    /// Its id; numbers refer to it.
    pub id: String,
    /// The app secret: key of the signature of every webhook.
    pub secret: String,
    /// What the verify handshake carries.
    pub verify_token: String,
    /// The bearer token its calls must carry.
    pub access_token: String,
    /// Where webhooks go; nothing is sent without it. Loopback only.
    pub callback: Option<String>,
}

impl Default for App {
    fn default() -> Self {
        Self {
            id: "app-1".to_owned(),
            secret: "simulated-app-secret".to_owned(),
            verify_token: "simulated-verify-token".to_owned(),
            access_token: "simulated-access-token".to_owned(),
            callback: None,
        }
    }
}

/// A business phone number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Number {
    /// What the paths of the API name.
    pub phone_number_id: String,
    /// The WhatsApp Business Account it belongs to.
    pub business_account_id: String,
    /// Digits, as shown to customers and in webhooks.
    pub display_phone_number: String,
    /// The name customers see.
    pub verified_name: String,
    /// The app that may send for it and gets its webhooks.
    pub app: String,
}

impl Default for Number {
    fn default() -> Self {
        Self {
            phone_number_id: "106540352242922".to_owned(),
            business_account_id: "102290129340398".to_owned(),
            display_phone_number: "15550783881".to_owned(),
            verified_name: "Lucky Shrub".to_owned(),
            app: "app-1".to_owned(),
        }
    }
}

/// A message template.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Meta's id.
    pub id: String,
    /// The account it belongs to.
    pub business_account_id: String,
    /// Lower case letters, digits and underscores.
    pub name: String,
    /// Language and locale code, such as `en_US`.
    pub language: String,
    /// `APPROVED`, `PENDING`, `REJECTED`, `PAUSED` or `DISABLED`.
    pub status: String,
    /// `MARKETING`, `UTILITY` or `AUTHENTICATION`.
    pub category: String,
    /// `POSITIONAL` (`{{1}}`) or `NAMED` (`{{first_name}}`).
    #[serde(default = "positional")]
    pub parameter_format: String,
    /// Components as Meta lists them (`HEADER`, `BODY`, `FOOTER`, `BUTTONS`).
    pub components: Vec<Value>,
}

fn positional() -> String {
    "POSITIONAL".to_owned()
}

fn templates() -> Vec<Template> {
    let template = |id: &str, name: &str, status: &str, category: &str, body: &str| Template {
        id: id.to_owned(),
        business_account_id: Number::default().business_account_id,
        name: name.to_owned(),
        language: "en_US".to_owned(),
        status: status.to_owned(),
        category: category.to_owned(),
        parameter_format: positional(),
        components: vec![json!({ "type": "BODY", "text": body })],
    };
    vec![
        template("1001", "hello_world", "APPROVED", "UTILITY", "Hello World"),
        template(
            "1002",
            "order_update",
            "APPROVED",
            "UTILITY",
            "Hello {{1}}, your order {{2}} is on its way.",
        ),
        template("1003", "not_yet", "PENDING", "MARKETING", "Something new is coming."),
    ]
}

/// How the simulator behaves. Durations are milliseconds of real time unless said otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Limits of how fast may be sent.
    pub pace: Pace,
    /// How webhooks are posted.
    pub delivery: Delivery,
    /// How often a webhook is tried again.
    pub retry: Retry,
    /// What happens to a message that was taken.
    pub statuses: StatusPlan,
    /// How the closed window, an unreachable recipient and the like are told.
    pub refusals: Refusals,
    /// What happens to a message for a phone nobody registered.
    pub strangers: Strangers,
}

/// Limits of <https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput> and of pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// Messages a number may handle in any second, in and out together. Meta: 80, 1,000 after an upgrade.
    pub per_number_per_second: u32,
    /// How many messages may go to one customer at once. Meta: 45.
    pub pair_burst: u32,
    /// After a burst, one message to one customer per this long. Meta: 6 s.
    pub pair_every_ms: u64,
    /// Whether a message too many is refused; it is recorded either way.
    pub enforce: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { per_number_per_second: 80, pair_burst: 45, pair_every_ms: 6_000, enforce: true }
    }
}

/// How several events share one POST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One entry per account, one change per number and field, the messages and statuses in its arrays.
    #[default]
    Arrays,
    /// One entry per account, one change per event.
    Changes,
    /// One entry per event.
    Entries,
}

/// How webhooks are posted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Most events in one POST.
    pub batch: usize,
    /// How long events are collected before they are posted (for batches and shuffling).
    pub wait_ms: u64,
    /// How the events of a batch are laid out.
    pub shape: Shape,
    /// POSTs under way at once. 1 keeps the order.
    pub in_flight: usize,
    /// How often each POST is made, at the same time. 1 is once.
    pub copies: usize,
    /// Whether the events collected during `wait_ms` are shuffled.
    pub shuffle: bool,
    /// Seed of the shuffling.
    pub seed: u64,
    /// Whether characters beyond ASCII and slashes are escaped, as Meta does before signing.
    pub escape: bool,
    /// How long an answer is waited for.
    pub timeout_ms: u64,
    /// Whether webhooks are kept back (an outage at Meta); they go out in one burst afterwards.
    pub hold: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            batch: 1,
            wait_ms: 0,
            shape: Shape::Arrays,
            in_flight: 1,
            copies: 1,
            shuffle: false,
            seed: 1,
            escape: true,
            timeout_ms: 20_000,
            hold: false,
        }
    }
}

/// Retries of a webhook that was not answered with 200: at once, then less and less often, for up to seven days.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Pause before the second try, in Meta's time.
    pub first_ms: u64,
    /// Each later pause is this many times longer.
    pub factor: f64,
    /// No pause is longer, in Meta's time.
    pub ceiling_ms: u64,
    /// When it is given up, in Meta's time.
    pub give_up_ms: u64,
    /// How many milliseconds of Meta's time pass in one of ours; 1000 makes a day 86 seconds.
    pub time_scale: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first_ms: 1_000,
            factor: 2.0,
            ceiling_ms: 3_600_000,
            give_up_ms: 7 * 24 * 3_600_000,
            time_scale: 1.0,
        }
    }
}

/// When which status follows an accepted message; `None` is never.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusPlan {
    /// `sent` after this long.
    pub sent_ms: Option<u64>,
    /// `delivered` after this long, if the customer's phone is on.
    pub delivered_ms: Option<u64>,
    /// `read` after this long, if the customer lets it be known.
    pub read_ms: Option<u64>,
    /// `played` after this long, for voice messages.
    pub played_ms: Option<u64>,
    /// How often each status is told.
    pub copies: usize,
}

impl Default for StatusPlan {
    fn default() -> Self {
        Self { sent_ms: Some(20), delivered_ms: Some(40), read_ms: None, played_ms: None, copies: 1 }
    }
}

/// Where what Meta can only know later is told: closed window, unreachable recipient, opt-out, identity.
///
/// Meta's list gives all of them an HTTP status, and says that errors come by webhook as well; both are to be met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusals {
    /// In the answer to the request.
    #[default]
    Answer,
    /// The request is accepted, a status `failed` follows.
    Status,
}

/// What happens to a message for a phone nobody registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strangers {
    /// 131026.
    #[default]
    Refuse,
    /// A customer with that phone comes into being (for load).
    Adopt,
}

impl Behaviour {
    /// This behaviour with `patch` laid over it (RFC 7396).
    ///
    /// # Errors
    /// When the patch names a setting that does not exist or gives a value of the wrong kind.
    pub fn patched(&self, patch: &Value) -> Result<Self, serde_json::Error> {
        let mut whole = serde_json::to_value(self)?;
        merge(&mut whole, patch);
        serde_json::from_value(whole)
    }
}

/// RFC 7396: objects are merged, `null` removes, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_a_wrong_name_is_refused() {
        let before = Behaviour::default();
        let after =
            before.patched(&json!({"delivery": {"copies": 3}, "statuses": {"read_ms": 5}})).expect("patch");
        assert_eq!((after.delivery.copies, after.delivery.batch), (3, 1));
        assert_eq!(after.statuses.read_ms, Some(5));
        assert!(before.patched(&json!({"delivery": {"copys": 3}})).is_err());
    }
}
