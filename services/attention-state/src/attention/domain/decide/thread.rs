//! What changes nothing of who serves the customer: links, tags, his contact, the form.

use super::{Course, Decision, MAX_TAGS, existing, opened_by};
use crate::attention::domain::event::Event;
use crate::attention::domain::keys::{AttentionId, ContactId, TagKey, UserKey};
use crate::attention::domain::rejection::Rejection;

/// The form was saved by who has the interaction open.
pub(super) fn save_form(course: Course, agent: &UserKey) -> Result<Decision, Rejection> {
    opened_by(&course, agent)?;
    course.then(Event::FormSaved).decided()
}

/// The attention follows another, once.
pub(super) fn link(course: Course, to: AttentionId) -> Result<Decision, Rejection> {
    let attention = existing(&course)?;
    if attention.linked.is_some() || attention.id == to {
        return Err(Rejection::AlreadyLinked);
    }
    course.then(Event::AttentionLinked { to }).decided()
}

/// Puts a tag on.
pub(super) fn tag(course: Course, tag: TagKey) -> Result<Decision, Rejection> {
    let tags = &existing(&course)?.tags;
    if tags.contains(&tag) {
        return course.decided();
    }
    if tags.len() >= MAX_TAGS {
        return Err(Rejection::TooManyTags);
    }
    course.then(Event::AttentionTagged { tag, on: true }).decided()
}

/// Takes a tag off.
pub(super) fn untag(course: Course, tag: TagKey) -> Result<Decision, Rejection> {
    if !existing(&course)?.tags.contains(&tag) {
        return course.decided();
    }
    course.then(Event::AttentionTagged { tag, on: false }).decided()
}

/// The customer's data changed, or he is another contact now.
pub(super) fn change_contact(course: Course, contact: ContactId) -> Result<Decision, Rejection> {
    existing(&course)?;
    course.then(Event::ContactChanged { contact }).decided()
}
