//! The promised lines, read from `targets.toml`.

use anyhow::{Context, Result};
use serde::Deserialize;

macro_rules! target {
    ($name:ident { $($field:ident : $type:ty),* }) => {
        #[doc = concat!("Target of the row `", stringify!($name), "`; its text is the promise as worded.")]
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            pub text: String,
            $(pub $field: $type),*
        }
    };
}

target!(Seconds { at_most_seconds: u64 });
target!(Demo { times: u32 });
target!(Race { rounds: u32 });
target!(Chaos { mails: usize, kills: u32 });
target!(Wipe { mails: usize });
target!(Latency { rate: f64, mails: usize, p99_at_most_milliseconds: u64 });
target!(Desks {
    streams: usize,
    cuts_per_second: usize,
    events_per_second: f64,
    seconds: u64,
    kibibytes_per_stream_at_most: f64
});
target!(Change { agents: usize, offers_per_second: f64, mails: usize, effective_within_milliseconds: u64 });
target!(Act {
    agents: usize,
    teams: usize,
    seconds: u64,
    open_p99_at_most_milliseconds: u64,
    send_p99_at_most_milliseconds: u64,
    commit_p99_at_most_milliseconds: u64
});
target!(Search {
    threads: u64,
    arrivals: u32,
    selective_p99_at_most_milliseconds: u64,
    common_p99_at_most_milliseconds: u64,
    searchable_at_most_milliseconds: u64
});
target!(Cases {
    cancelled_requests: usize,
    idle_within_seconds: u64,
    writers: usize,
    conversations: usize,
    transactions: usize,
    relay_kills: u32,
    large_bytes: usize,
    buried_within_seconds: u64,
    poison_p99_at_most_times: f64,
    flaps_per_agent: usize,
    converged_within_seconds: u64
});
target!(Memory { at_most_mebibytes: u64, idle_seconds: u64 });

target!(Batch { copies: usize, batches: usize, messages: usize, repeats: usize });
target!(ChatCases {
    copies: usize,
    outage_customers: usize,
    outage_messages: usize,
    outage_seconds: u64,
    burst_per_second: f64,
    burst_seconds: u64,
    burst_median_at_most_milliseconds: u64,
    burst_p99_at_most_milliseconds: u64
});
target!(Down { customers: usize, messages: usize, seconds: u64 });
target!(Load { events_per_second: f64, seconds: u64, p99_below_milliseconds: u64 });
target!(Pace { to_one: usize, per_second: f64, to_others: usize, others: usize, settle_seconds: u64 });
target!(Altered {});
target!(Kinds {});

target!(Engine { decisions_per_second_at_least: f64, cost_at_most_times: f64 });
target!(Assign { per_second: f64, seconds: u64, of_the_floor_at_least: f64 });
target!(Mixed { per_second: f64, seconds: u64 });
target!(Cycles { per_second: f64, seconds: u64 });
target!(RoutingPace {
    per_second: f64,
    seconds: u64,
    agents: usize,
    waiting: usize,
    p99_at_most_milliseconds: u64,
    commit_p99_at_most_milliseconds: u64
});
target!(Burst { per_second: f64, drained_within_seconds: u64 });
target!(Backlog { waiting: Vec<usize> });
target!(Soak { per_second: f64, seconds: u64, mebibytes_per_minute_at_most: f64 });
target!(Failover { per_second: f64, seconds: u64, again_within_seconds: u64 });
target!(Reconfigure { per_second: f64, seconds: u64, effective_within_milliseconds: u64 });
target!(Rebuild { waiting: i64, within_milliseconds: u64 });
target!(RoutingMemory {
    waiting: i64,
    bytes_per_item_at_most: f64,
    agents: usize,
    bytes_per_agent_at_most: f64
});
target!(Explain { items: usize });
target!(PlansOf { ended: i64, live: i64 });

/// All rows of the area "path", and the other areas.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    pub fresh_run: Seconds,
    pub second_run: Seconds,
    pub fresh_test: Seconds,
    pub demo: Demo,
    pub race: Race,
    pub chaos: Chaos,
    pub wipe: Wipe,
    pub latency: Latency,
    pub memory: Memory,
    pub main: Main,
    pub whatsapp: Whatsapp,
    pub routing: Routing,
}

/// All rows of the area "main".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Main {
    pub desks: Desks,
    pub change: Change,
    pub act: Act,
    pub search: Search,
    pub cases: Cases,
}

/// All rows of the area "whatsapp".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whatsapp {
    pub batch: Batch,
    pub cases: ChatCases,
    pub nats_down: Down,
    pub postgres_down: Down,
    pub load: Load,
    pub pace: Pace,
    pub altered: Altered,
    pub kinds: Kinds,
}

/// All rows of the area "routing".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    pub engine: Engine,
    pub assign: Assign,
    pub mixed: Mixed,
    pub cycles: Cycles,
    pub pace: RoutingPace,
    pub burst: Burst,
    pub backlog: Backlog,
    pub soak: Soak,
    pub failover: Failover,
    pub reconfigure: Reconfigure,
    pub rebuild: Rebuild,
    pub memory: RoutingMemory,
    pub explain: Explain,
    pub plans: PlansOf,
}

/// Other targets than the committed ones, for a look at rows on a machine that is busy or small.
pub const OTHER: &str = "HILO_ACCEPTANCE_TARGETS";

impl Targets {
    /// The targets as committed with this source, or those of the file that `HILO_ACCEPTANCE_TARGETS` names.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit.
    pub fn load() -> Result<Self> {
        let text = match std::env::var_os(OTHER) {
            Some(path) => std::fs::read_to_string(&path).with_context(|| path.display().to_string())?,
            None => include_str!("../targets.toml").to_owned(),
        };
        toml::from_str(&text).context("targets.toml")
    }

    /// Whether these are the promises; by others nothing passes.
    pub fn are_the_promises() -> bool {
        std::env::var_os(OTHER).is_none()
    }
}
