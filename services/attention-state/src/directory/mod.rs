//! Who works here and how work is spread: accounts, campaigns, users, forms, applied as one YAML text (see README.md).
//!
//! Owns the schema `directory`. It never signs anybody in (`identity`) and holds no state of agents (`assignment`); an
//! apply hands both what concerns them within its transaction.
//!
//! Other modules ask inside their own transactions: [`campaign_for_account`], [`campaign`], [`form`], [`access`], [`tag`],
//! [`tags`], [`quick_reply`], [`quick_replies`], [`contact_fields`].

pub mod announce;
pub mod apply;
pub mod audit;
pub mod domain;
pub mod feed;
pub mod passwords;
pub mod proto;
pub(crate) mod proto_catalogue;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use domain::catalogue::{ContactField, QuickReply, Tag, in_scope};
pub use domain::hours::{Hours, open_at};
pub use domain::key::{CampaignKey, ContactFieldKey, QuickReplyKey, TagKey};
pub use domain::model::{
    Account, AssignmentMode, Campaign, Channel, Directory, FieldType, Form, FormField, OverflowMode, Role,
    User,
};
pub use store::catalogue::{
    Closing, closings, contact_fields, quick_replies, quick_reply, tag, tags, time_zone,
};
pub use store::lookup::{
    Access, SendsFrom, access, account_of, accounts_of, campaign, campaign_for_account, campaigns,
    campaigns_of_accounts, form, sender, whatsapp_sender,
};
