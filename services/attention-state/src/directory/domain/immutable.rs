//! What a new directory may not change of the one in force: things that stored history and subjects depend on.

use std::collections::HashMap;

use super::model::Directory;
use super::problems::Problems;

/// Reports changed channels and field types.
pub fn check(current: &Directory, next: &Directory, problems: &mut Problems) {
    let accounts: HashMap<_, _> = current.accounts.iter().map(|one| (&one.key, one.channel)).collect();
    for (at, account) in next.accounts.iter().enumerate() {
        if accounts.get(&account.key).is_some_and(|channel| *channel != account.channel) {
            problems.add(&format!("accounts[{at}].channel"), "IMMUTABLE_CHANGED", CHANNEL);
        }
    }
    let campaigns: HashMap<_, _> = current.campaigns.iter().map(|one| (&one.key, one.channel)).collect();
    for (at, campaign) in next.campaigns.iter().enumerate() {
        if campaigns.get(&campaign.key).is_some_and(|channel| *channel != campaign.channel) {
            problems.add(&format!("campaigns[{at}].channel"), "IMMUTABLE_CHANGED", CHANNEL);
        }
    }
    let fields: HashMap<_, _> =
        current.contact_fields.iter().map(|one| (one.key(), &one.field.kind)).collect();
    for (at, given) in next.contact_fields.iter().enumerate() {
        if fields.get(given.key()).is_some_and(|kind| **kind != given.field.kind) {
            problems.add(&format!("contact_fields[{at}].type"), "IMMUTABLE_CHANGED", FIELD_TYPE);
        }
    }
    let forms: HashMap<_, _> = current.forms.iter().map(|one| (&one.key, one)).collect();
    for (at, form) in next.forms.iter().enumerate() {
        let Some(before) = forms.get(&form.key) else { continue };
        for (position, field) in form.fields.iter().enumerate() {
            let changed = before.fields.iter().any(|one| one.key == field.key && one.kind != field.kind);
            if changed {
                let path = format!("forms[{at}].fields[{position}].type");
                problems.add(&path, "IMMUTABLE_CHANGED", FIELD_TYPE);
            }
        }
    }
}

const FIELD_TYPE: &str =
    "the type of a field cannot change: stored answers would lose their meaning; take a new key";
const CHANNEL: &str = "the channel cannot change; take a new key";
