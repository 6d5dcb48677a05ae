//! What is true at this Meta: numbers, customers, what was said and sent, files, faults, the clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{App, Behaviour, Config, Number, Template};
use crate::customer::Customer;
use crate::faults::{Faults, digits_or_id};
use crate::media::Media;
use crate::pace::Pacer;
use crate::record::{KEPT, Record};
use crate::webhook::Outbox;

/// The customer service window.
pub(crate) const WINDOW_MS: i64 = 24 * 3_600_000;

/// A message that a customer sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    /// Its id.
    pub wamid: String,
    /// The number it went to.
    pub number: String,
    /// BSUID of who sent it.
    pub customer: String,
    /// Type, as in the webhook.
    pub kind: String,
    /// The beginning of what it says, for who looks at the chat.
    pub text: String,
    /// The customer's own time, in milliseconds of Unix time.
    pub at_ms: i64,
    /// When the business marked it as read.
    pub read_at_ms: Option<i64>,
    /// Until when the customer sees that the business writes.
    pub typing_until_ms: Option<i64>,
}

/// A message that a business sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Its id.
    pub wamid: String,
    /// The number it came from.
    pub number: String,
    /// BSUID of whom it is for; empty where nobody is known.
    pub customer: String,
    /// The phone digits it was sent to, where it was sent to a phone number.
    pub to_phone: Option<String>,
    /// Type.
    pub kind: String,
    /// The request body.
    pub body: Value,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// Price category: `service` or that of the template.
    pub category: String,
    /// When it was taken, in milliseconds of Unix time.
    pub at_ms: i64,
    /// Statuses so far, with their time in milliseconds.
    pub statuses: Vec<(String, i64)>,
    /// Whether `delivered` waits for the phone to be on again.
    pub awaits_phone: bool,
}

/// Everything behind one lock.
pub(crate) struct World {
    pub apps: Vec<App>,
    pub numbers: Vec<Number>,
    pub templates: Vec<Template>,
    pub behaviour: Behaviour,
    pub customers: BTreeMap<String, Customer>,
    by_phone: HashMap<String, String>,
    pub said: HashMap<String, Said>,
    pub said_order: VecDeque<String>,
    pub sent: HashMap<String, Sent>,
    pub sent_order: VecDeque<String>,
    /// Last message of a customer to a number, by the customer's own time.
    pub last_said: HashMap<(String, String), i64>,
    pub media: HashMap<String, Media>,
    /// Addresses of files that were given out: hash to media id and end of life.
    pub urls: HashMap<String, (String, i64)>,
    pub pacer: Pacer,
    pub faults: Faults,
    pub record: Record,
    pub shift_ms: i64,
    /// Counts what a restart must not forget; see `keep`.
    pub changes: u64,
    started: Instant,
    last_id: u64,
}

impl World {
    pub fn new(config: Config) -> Self {
        Self {
            apps: config.apps,
            numbers: config.numbers,
            templates: config.templates,
            behaviour: config.behaviour,
            customers: BTreeMap::new(),
            by_phone: HashMap::new(),
            said: HashMap::new(),
            said_order: VecDeque::new(),
            sent: HashMap::new(),
            sent_order: VecDeque::new(),
            last_said: HashMap::new(),
            media: HashMap::new(),
            urls: HashMap::new(),
            pacer: Pacer::default(),
            faults: Faults::default(),
            record: Record::default(),
            shift_ms: 0,
            changes: 0,
            started: Instant::now(),
            last_id: 0,
        }
    }

    /// The simulator's Unix time in milliseconds.
    pub fn now_ms(&self) -> i64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(real.as_millis()).unwrap_or(i64::MAX) + self.shift_ms
    }

    /// Milliseconds since the start, by the clock that never jumps; what pace is measured in.
    pub fn ticks(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// An id of Meta's form: `wamid.` and base64 of the customer's number and something unique.
    pub fn wamid(&mut self, who: &str) -> String {
        let unique = format!("{:010X}{:010X}", self.fresh(), rand::random::<u64>() & 0xff_ffff_ffff);
        let mut bytes = vec![0x1c, 0x18, u8::try_from(who.len()).unwrap_or(0)];
        bytes.extend_from_slice(who.as_bytes());
        bytes.extend_from_slice(&[0x15, 0x02, 0x00, 0x12, 0x18, 0x14]);
        bytes.extend_from_slice(unique.as_bytes());
        bytes.push(0);
        format!("wamid.{}", base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    /// Adds a customer or replaces the one with this BSUID; gives the BSUID. Whoever has a phone number last is who
    /// is reached by it: numbers are recycled.
    pub fn put_customer(&mut self, customer: Customer) -> String {
        let customer = customer.completed();
        let id = customer.user_id.clone();
        self.changes += 1;
        self.by_phone.insert(customer.phone.clone(), id.clone());
        self.by_phone.insert(customer.wa_id().to_owned(), id.clone());
        self.customers.insert(id.clone(), customer);
        id
    }

    /// Changes a customer; under a WhatsApp id that is new he is reached from now on.
    pub fn change_customer(&mut self, id: &str, change: impl FnOnce(&mut Customer)) {
        let Some(customer) = self.customers.get_mut(id) else { return };
        let before = customer.wa_id().to_owned();
        change(customer);
        let now = customer.wa_id().to_owned();
        if now != before {
            self.by_phone.insert(now, id.to_owned());
        }
    }

    /// Nobody is reached by this number any more.
    pub fn forget_phone(&mut self, phone: &str) {
        self.by_phone.remove(phone);
    }

    pub fn by_phone(&self, phone: &str) -> Option<&Customer> {
        self.customers.get(self.by_phone.get(&digits_or_id(phone))?)
    }

    pub fn by_user_id(&self, id: &str) -> Option<&Customer> {
        self.customers.get(id).or_else(|| {
            self.customers.values().find(|customer| customer.parent_user_id.as_deref() == Some(id))
        })
    }

    /// A customer by BSUID, phone digits or username; for the one who plays them.
    pub fn any_customer(&self, name: &str) -> Option<&Customer> {
        self.by_user_id(name)
            .or_else(|| self.by_phone(name))
            .or_else(|| self.customers.values().find(|customer| customer.username.as_deref() == Some(name)))
    }

    /// Keeps a message of a customer; of more than [`KEPT`] the oldest go.
    pub fn keep_said(&mut self, said: Said) {
        self.changes += 1;
        let wamid = said.wamid.clone();
        if self.said.insert(wamid.clone(), said).is_none() {
            self.said_order.push_back(wamid);
        }
        if self.said_order.len() > KEPT {
            self.said_order.pop_front().map(|oldest| self.said.remove(&oldest));
        }
    }

    /// Keeps a message of a business; of more than [`KEPT`] the oldest go.
    pub fn keep_sent(&mut self, sent: Sent) {
        self.changes += 1;
        self.sent_order.push_back(sent.wamid.clone());
        self.sent.insert(sent.wamid.clone(), sent);
        if self.sent_order.len() > KEPT {
            self.sent_order.pop_front().map(|oldest| self.sent.remove(&oldest));
        }
    }

    /// Adds a business number or replaces the one with its id.
    pub fn put_number(&mut self, number: Number) {
        self.numbers.retain(|known| known.phone_number_id != number.phone_number_id);
        self.numbers.push(number);
    }

    pub fn number(&self, id: &str) -> Option<&Number> {
        self.numbers.iter().find(|number| number.phone_number_id == id)
    }

    pub fn app(&self, id: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.id == id)
    }

    /// Whether free text may be sent.
    pub fn window_open(&self, number: &str, customer: &str) -> bool {
        let last = self.last_said.get(&(number.to_owned(), customer.to_owned()));
        last.is_some_and(|last| self.now_ms() < last + WINDOW_MS)
    }
}

/// The world and what runs beside it.
pub(crate) struct Core {
    pub world: Mutex<World>,
    pub outbox: Outbox,
    /// The file that outlives a restart, if there is one.
    pub keep: Option<PathBuf>,
    pub base: String,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Core {
    /// Runs `work` until it ends or the simulator does.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
}
