//! Identities inside the engine.
//!
//! Agents and campaigns are small dense numbers that the adapter assigns to their keys, so that the hot path indexes
//! instead of hashing text. Interactions keep their UUID, because they come and go.

/// An agent, numbered by the adapter from 0 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub u32);

/// A campaign, numbered by the adapter from 0 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CampaignId(pub u32);

/// A skill, numbered by the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SkillId(pub u32);

/// UUID of an interaction. Packed because the alignment of `u128` would make every index entry a third larger.
#[repr(Rust, packed(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InteractionId(pub u128);

/// UUID of an offer, made by attention-state when it commits one; packed as [`InteractionId`].
#[repr(Rust, packed(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub u128);

/// The channel an item belongs to; load and capacity are counted per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Email.
    Email,
    /// WhatsApp.
    Whatsapp,
}

impl InteractionId {
    /// Mixes the id into 32 well spread bits. No keyed hash is needed: the ids are random (RFC 9562, version 7) and come
    /// from attention-state, so nobody can aim for collisions.
    pub(super) fn mixed(self) -> u32 {
        let folded = (self.0 as u64) ^ ((self.0 >> 64) as u64).rotate_left(32);
        let mixed = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
    }
}
