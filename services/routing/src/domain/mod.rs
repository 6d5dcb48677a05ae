//! The pure heart of routing: who gets which item, decided in virtual time.
//!
//! Plain synchronous Rust: no clock, no I/O, no randomness of its own. `Engine::apply(input, now)` is used alike by the
//! service, the table and property tests and the benchmark. The engine is optimistic: it decides from its own view, the
//! one writer (attention-state) accepts or refuses, and the answer corrects the view.
//!
//! Matching is indexed by eligibility. Every campaign keeps the set of its members who could take an item right now and
//! the ordered set of its items that wait without an offer. One of the two is always empty between calls: an item waits
//! only while nobody is eligible, so nothing is ever scanned and no item stands in the way of another.

mod agent;
mod answers;
mod campaign;
mod decision;
mod directory;
mod engine;
mod explain;
mod ids;
mod index;
mod input;
mod item;
mod items;
mod matching;
mod pool;
mod random;
mod ring;
mod sessions;
mod time;
mod timers;
mod view;

pub use agent::{LANES, Presence, Standing, Traits};
pub use campaign::{CampaignConfig, Mode, Overflow, OverflowAction};
pub use decision::{Decision, DecisionRecord, ExpireReason, Offer, RULES, Rule};
pub use engine::{Engine, MAX_DECISIONS};
pub use explain::{Candidate, Sifted, sift};
pub use ids::{AgentId, CampaignId, Channel, InteractionId, OfferId};
pub use input::{AgentView, Answer, Input, ItemState, ItemView, Outcome, Queued, Ringing, Target};
pub use sessions::{Changed, Sessions};
pub use time::{Instant, Span};
pub use view::{EngineView, ItemLine};
