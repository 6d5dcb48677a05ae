//! What a new directory may not change of the one in force: things that stored history and subjects depend on. Also
//! what it leaves out, which becomes inactive instead of vanishing.

use std::collections::{HashMap, HashSet};

use super::model::{Account, Campaign, Directory, User};
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
    let forms: HashMap<_, _> = current.forms.iter().map(|one| (&one.key, one)).collect();
    for (at, form) in next.forms.iter().enumerate() {
        let Some(before) = forms.get(&form.key) else { continue };
        for (position, field) in form.fields.iter().enumerate() {
            let changed = before.fields.iter().any(|one| one.key == field.key && one.kind != field.kind);
            if changed {
                let message = "the type of a field cannot change: stored answers would lose their meaning; take a new key";
                problems.add(&format!("forms[{at}].fields[{position}].type"), "IMMUTABLE_CHANGED", message);
            }
        }
    }
}

const CHANNEL: &str = "the channel cannot change; take a new key";

/// The directory as it will be: the given one, what it leaves out made inactive, forms with their versions, everything by key.
#[must_use]
pub fn merge(current: &Directory, mut next: Directory) -> Directory {
    let known: HashMap<_, _> = current.accounts.iter().map(|one| (&one.key, one)).collect();
    for account in next.accounts.iter_mut().filter(|one| one.campaign.is_none()) {
        // Mail still on its way to a switched-off account must find a campaign.
        account.campaign = known.get(&account.key).and_then(|before| before.campaign.clone());
    }
    let known: HashSet<_> = next.accounts.iter().map(|one| one.key.clone()).collect();
    for before in current.accounts.iter().filter(|one| !known.contains(&one.key)) {
        next.accounts.push(Account { active: false, ..before.clone() });
    }
    let known: HashSet<_> = next.campaigns.iter().map(|one| one.key.clone()).collect();
    for before in current.campaigns.iter().filter(|one| !known.contains(&one.key)) {
        next.campaigns.push(Campaign { active: false, ..before.clone() });
    }
    let known: HashSet<_> = next.users.iter().map(|one| one.key.clone()).collect();
    for before in current.users.iter().filter(|one| !known.contains(&one.key)) {
        next.users.push(User { active: false, ..before.clone() });
    }
    let known: HashMap<_, _> = current.forms.iter().map(|one| (&one.key, one)).collect();
    for form in &mut next.forms {
        match known.get(&form.key) {
            Some(before) if before.title == form.title && before.fields == form.fields => {
                *form = (*before).clone()
            }
            Some(before) => form.version = before.version + 1,
            None => form.version = 1,
        }
    }
    let known: HashSet<_> = next.forms.iter().map(|one| one.key.clone()).collect();
    next.forms.extend(current.forms.iter().filter(|one| !known.contains(&one.key)).cloned());
    next.accounts.sort_by(|a, b| a.key.cmp(&b.key));
    next.campaigns.sort_by(|a, b| a.key.cmp(&b.key));
    next.users.sort_by(|a, b| a.key.cmp(&b.key));
    next.forms.sort_by(|a, b| a.key.cmp(&b.key));
    next
}
