//! The pure heart of routing: who gets which item, decided in virtual time.
//!
//! Plain synchronous Rust: no clock, no I/O, no randomness of its own. `Engine::apply(input, now)` is used alike by the
//! service, the table and property tests and the benchmark. The engine is optimistic: it decides from its own view, the
//! one writer (attention-state) accepts or refuses, and the answer corrects the view.
//!
//! Matching is indexed by eligibility. The items of a campaign that ask for the same make a class, which keeps the set of
//! the members who could take one of them right now and the ordered set of those that wait without an offer. One of the
//! two is always empty between calls: an item waits only while nobody is eligible, so nothing is ever scanned and no item
//! stands in the way of another.

mod agent;
mod answers;
mod campaign;
mod class;
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
mod need;
mod pool;
mod queue;
mod random;
mod ring;
mod seats;
mod sessions;
mod time;
mod timers;
mod view;

pub use agent::{LANES, Presence, Standing, Traits};
pub use campaign::{CampaignConfig, Mode, Overflow, OverflowAction};
pub use decision::{Decision, DecisionRecord, ExpireReason, Offer, RULES, Rule};
pub use engine::{Engine, MAX_DECISIONS};
pub use explain::{Candidate, Sifted, sift};
pub use ids::{AgentId, CampaignId, Channel, InteractionId, OfferId, SkillId};
pub use input::{AgentView, Answer, Input, ItemState, ItemView, Outcome, Queued, Ringing, Target};
pub use need::{Demand, Level, Preferred, Relaxation, Selection, SharedDemand, Skill, suffices};
pub use sessions::{Changed, Sessions};
pub use time::{Instant, Span};
pub use view::{EngineView, ItemLine};
