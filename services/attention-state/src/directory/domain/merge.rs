//! The directory as it will be: the given one and what it leaves out, which stays as it is, or, when pruning, becomes
//! inactive instead of vanishing.

use std::collections::{HashMap, HashSet};

use super::model::{Account, Directory, Given, Role};
use super::problems::Problems;

/// The directory after an apply.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The given directory and what it leaves out, forms with their versions, everything by key.
    pub directory: Directory,
    /// What the text leaves out and is still active, as `campaign ventas`; empty when pruning.
    pub omitted: Vec<String>,
}

/// Merges. Forms are kept with every version and have no state, so nothing is said of omitted ones.
#[must_use]
pub fn merge(current: &Directory, given: Given, prune: bool) -> Merged {
    let mut next = given.directory;
    let known: HashMap<_, _> = current.accounts.iter().map(|one| (&one.key, one)).collect();
    for account in next.accounts.iter_mut().filter(|one| one.campaign.is_none()) {
        // Mail still on its way to a switched-off account must find a campaign.
        account.campaign = known.get(&account.key).and_then(|before| before.campaign.clone());
    }
    forms(current, &mut next);
    if next.time_zone.is_empty() {
        // Not even pruning could switch it off: there is always one.
        next.time_zone.clone_from(&current.time_zone);
    }
    let mut left = Left { prune, omitted: Vec::new() };
    left.out("account", &current.accounts, &mut next.accounts, |one| one.key.as_str(), |one| &mut one.active);
    left.out(
        "campaign",
        &current.campaigns,
        &mut next.campaigns,
        |one| one.key.as_str(),
        |one| &mut one.active,
    );
    left.out("user", &current.users, &mut next.users, |one| one.key.as_str(), |one| &mut one.active);
    left.out("tag", &current.tags, &mut next.tags, |one| one.key.as_str(), |one| &mut one.active);
    let replies = &mut next.quick_replies;
    left.out("quick reply", &current.quick_replies, replies, |one| one.key.as_str(), |one| &mut one.active);
    // Contacts' fields keep the order they are given in.
    let fields = &mut next.contact_fields;
    left.out("contact field", &current.contact_fields, fields, |one| one.key(), |one| &mut one.active);
    let claimed: HashMap<_, _> = given.claimed.into_iter().collect();
    for account in &mut next.accounts {
        if let Some(campaign) = claimed.get(&account.key) {
            account.campaign = Some(campaign.clone());
        }
    }
    next.accounts.sort_by(|a, b| a.key.cmp(&b.key));
    next.campaigns.sort_by(|a, b| a.key.cmp(&b.key));
    next.users.sort_by(|a, b| a.key.cmp(&b.key));
    next.forms.sort_by(|a, b| a.key.cmp(&b.key));
    next.tags.sort_by(|a, b| a.key.cmp(&b.key));
    next.quick_replies.sort_by(|a, b| a.key.cmp(&b.key));
    Merged { directory: next, omitted: left.omitted }
}

/// What becomes of the things a text leaves out.
struct Left {
    prune: bool,
    omitted: Vec<String>,
}

impl Left {
    fn out<T: Clone>(
        &mut self,
        what: &str,
        current: &[T],
        next: &mut Vec<T>,
        key: impl Fn(&T) -> &str,
        active: impl Fn(&mut T) -> &mut bool,
    ) {
        let known: HashSet<String> = next.iter().map(|one| key(one).to_owned()).collect();
        for before in current.iter().filter(|one| !known.contains(key(one))) {
            let mut kept = before.clone();
            if self.prune {
                *active(&mut kept) = false;
            } else if *active(&mut kept) {
                self.omitted.push(format!("{what} {}", key(before)));
            }
            next.push(kept);
        }
    }
}

/// Gives forms their versions, a new one only when something changed, and keeps those left out.
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
    let given: HashSet<_> = next.forms.iter().map(|one| one.key.clone()).collect();
    next.forms.extend(current.forms.iter().filter(|one| !given.contains(&one.key)).cloned());
}

/// Reports what of the text does not go with the active things it leaves out, when these stay.
pub fn check_kept(current: &Directory, given: &Directory, problems: &mut Problems) {
    let named: HashSet<_> = given.accounts.iter().map(|one| &one.key).collect();
    let kept = current.accounts.iter().filter(|one| one.active && !named.contains(&one.key));
    let kept: Vec<_> = kept.collect();
    let number = |one: &Account| one.whatsapp.as_ref().map(|number| number.phone_number_id.clone());
    let numbers: HashMap<String, _> =
        kept.iter().filter_map(|one| Some((number(one)?, one.key.clone()))).collect();
    for (at, account) in given.accounts.iter().enumerate().filter(|(_, one)| one.active) {
        if let Some(other) = number(account).and_then(|number| numbers.get(&number)) {
            let message =
                format!("the account `{other}`, which is left out and stays, has it too; {OR_PRUNE}");
            problems.add(&format!("accounts[{at}].whatsapp.phone_number_id"), "DUPLICATE_NUMBER", message);
        }
    }
    let addresses: HashMap<String, _> = kept
        .iter()
        .filter(|one| !one.address.is_empty())
        .map(|one| (one.address.to_lowercase(), &one.key))
        .collect();
    for (at, account) in given.accounts.iter().enumerate().filter(|(_, one)| one.active) {
        if let Some(other) = addresses.get(&account.address.to_lowercase()) {
            let message =
                format!("the account `{other}`, which is left out and stays, has it too; {OR_PRUNE}");
            problems.add(&format!("accounts[{at}].address"), "DUPLICATE_ADDRESS", message);
        }
    }
    let named: HashSet<_> = given.campaigns.iter().map(|one| &one.key).collect();
    let kept: Vec<_> =
        current.campaigns.iter().filter(|one| one.active && !named.contains(&one.key)).collect();
    for (at, user) in given.users.iter().enumerate().filter(|(_, one)| !one.roles.contains(&Role::Agent)) {
        if let Some(campaign) = kept.iter().find(|one| one.members.contains(&user.key)) {
            let campaign = &campaign.key;
            let message =
                format!("a member of `{campaign}`, which is left out and stays, is an agent; {OR_PRUNE}");
            problems.add(&format!("users[{at}].roles"), "NOT_AN_AGENT", message);
        }
    }
    for (at, target) in given.campaigns.iter().enumerate().filter(|(_, one)| !one.active) {
        if let Some(from) = kept.iter().find(|one| one.overflow_campaign.as_ref() == Some(&target.key)) {
            let from = &from.key;
            let message = format!("`{from}`, which is left out and stays, overflows into it; {OR_PRUNE}");
            problems.add(&format!("campaigns[{at}].active"), "OVERFLOW_TARGET", message);
        }
    }
}

const OR_PRUNE: &str = "name it in the text, or prune";
