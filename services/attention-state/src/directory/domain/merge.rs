//! The directory as it will be: the given one, and what it leaves out, which becomes inactive instead of vanishing.

use std::collections::{HashMap, HashSet};

use super::model::Directory;

/// The given directory, what it leaves out made inactive, forms with their versions, everything by key.
#[must_use]
pub fn merge(current: &Directory, mut next: Directory) -> Directory {
    let known: HashMap<_, _> = current.accounts.iter().map(|one| (&one.key, one)).collect();
    for account in next.accounts.iter_mut().filter(|one| one.campaign.is_none()) {
        // Mail still on its way to a switched-off account must find a campaign.
        account.campaign = known.get(&account.key).and_then(|before| before.campaign.clone());
    }
    forms(current, &mut next);
    omitted(&current.accounts, &mut next.accounts, |one| one.key.as_str(), |one| one.active = false);
    omitted(&current.campaigns, &mut next.campaigns, |one| one.key.as_str(), |one| one.active = false);
    omitted(&current.users, &mut next.users, |one| one.key.as_str(), |one| one.active = false);
    omitted(&current.tags, &mut next.tags, |one| one.key.as_str(), |one| one.active = false);
    omitted(
        &current.quick_replies,
        &mut next.quick_replies,
        |one| one.key.as_str(),
        |one| one.active = false,
    );
    omitted(&current.forms, &mut next.forms, |one| one.key.as_str(), |_| ());
    next.accounts.sort_by(|a, b| a.key.cmp(&b.key));
    next.campaigns.sort_by(|a, b| a.key.cmp(&b.key));
    next.users.sort_by(|a, b| a.key.cmp(&b.key));
    next.forms.sort_by(|a, b| a.key.cmp(&b.key));
    next.tags.sort_by(|a, b| a.key.cmp(&b.key));
    next.quick_replies.sort_by(|a, b| a.key.cmp(&b.key));
    // Contacts' fields keep the order they are given in.
    omitted(&current.contact_fields, &mut next.contact_fields, |one| one.key(), |one| one.active = false);
    next
}

/// Adds what the text leaves out, switched off.
fn omitted<T: Clone>(
    current: &[T],
    next: &mut Vec<T>,
    key: impl Fn(&T) -> &str,
    switch_off: impl Fn(&mut T),
) {
    let known: HashSet<String> = next.iter().map(|one| key(one).to_owned()).collect();
    for before in current.iter().filter(|one| !known.contains(key(one))) {
        let mut kept = before.clone();
        switch_off(&mut kept);
        next.push(kept);
    }
}

/// Gives forms their versions: a new one only when something changed.
fn forms(current: &Directory, next: &mut Directory) {
    let known: HashMap<_, _> = current.forms.iter().map(|one| (&one.key, one)).collect();
    for form in &mut next.forms {
        match known.get(&form.key) {
            Some(before) if before.title == form.title && before.fields == form.fields => {
                *form = (*before).clone();
            }
            Some(before) => form.version = before.version + 1,
            None => form.version = 1,
        }
    }
}
