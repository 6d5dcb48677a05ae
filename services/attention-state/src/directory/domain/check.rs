//! What must hold between the parts of one YAML text: references, channels, uniqueness. A part may refer to what the text
//! leaves out and what therefore stays; what a text names counts as the text says it.

use std::collections::{HashMap, HashSet};

use super::key::{AccountKey, CampaignKey, UserKey};
use super::model::{Account, Campaign, Channel, Credential, Directory, Form, OverflowMode, Role, User};
use super::parse::Draft;
use super::problems::Problems;

/// Most passwords in clear per apply: each costs about 20 ms of a core.
pub const MAX_PASSWORDS: usize = 200;

/// Checks the draft, whose references may be to what is `kept` too, and moves the accounts named by campaigns into place.
pub(super) fn check(draft: &mut Draft, kept: &Directory) {
    let problems = &mut draft.problems;
    let directory = &mut draft.given.directory;
    unique(directory.accounts.iter().map(|one| one.key.as_str()), "accounts", problems);
    unique(directory.campaigns.iter().map(|one| one.key.as_str()), "campaigns", problems);
    unique(directory.users.iter().map(|one| one.key.as_str()), "users", problems);
    unique(directory.forms.iter().map(|one| one.key.as_str()), "forms", problems);
    unique(directory.tags.iter().map(|one| one.key.as_str()), "tags", problems);
    unique(directory.quick_replies.iter().map(|one| one.key.as_str()), "quick_replies", problems);
    unique(directory.contact_fields.iter().map(|one| one.key()), "contact_fields", problems);
    addresses(&directory.accounts, problems);
    super::whatsapp::numbers(&directory.accounts, problems);
    draft.given.claimed = claims(&draft.claims.accounts, directory, kept, problems);
    accounts_have_campaigns(directory, kept, problems);
    campaigns(directory, kept, problems);
    let known: HashSet<&CampaignKey> =
        kept.campaigns.iter().chain(&directory.campaigns).map(|one| &one.key).collect();
    users(directory, &known, problems);
    scopes(directory, &known, problems);
    let clear =
        draft.given.credentials.iter().filter(|(_, one)| matches!(one, Credential::Password(_))).count();
    if clear > MAX_PASSWORDS {
        let message = format!("at most {MAX_PASSWORDS} passwords in clear per apply; give `password_hash`");
        problems.add("users", "TOO_MANY", message);
    }
}

fn unique<'a>(keys: impl Iterator<Item = &'a str>, section: &str, problems: &mut Problems) {
    let mut seen = HashMap::new();
    for (at, key) in keys.enumerate() {
        let path = format!("{section}[{at}].key");
        let first = *seen.entry(key).or_insert(at);
        if first != at && !key.is_empty() {
            let line = problems.line(&format!("{section}[{first}].key"));
            problems.add(&path, "DUPLICATE", format!("`{key}` stands already on line {line}"));
        }
    }
}

fn addresses(accounts: &[Account], problems: &mut Problems) {
    let mut seen = HashMap::new();
    for (at, account) in accounts.iter().enumerate().filter(|(_, account)| !account.address.is_empty()) {
        let first = *seen.entry(account.address.to_lowercase()).or_insert(at);
        if first != at {
            let line = problems.line(&format!("accounts[{first}].address"));
            let message = format!("the account on line {line} has this address too");
            problems.add(&format!("accounts[{at}].address"), "DUPLICATE_ADDRESS", message);
        }
    }
}

type Claim = (String, AccountKey, CampaignKey);

/// Gives the text's accounts their campaigns; answers the kept ones that its campaigns name.
fn claims(
    claims: &[Claim],
    directory: &mut Directory,
    kept: &Directory,
    problems: &mut Problems,
) -> Vec<(AccountKey, CampaignKey)> {
    let channels: HashMap<&CampaignKey, Channel> =
        directory.campaigns.iter().map(|one| (&one.key, one.channel)).collect();
    let positions: HashMap<_, usize> =
        directory.accounts.iter().enumerate().rev().map(|(at, one)| (one.key.clone(), at)).collect();
    let stored: HashMap<_, &Account> = kept.accounts.iter().map(|one| (&one.key, one)).collect();
    let staying: HashSet<&CampaignKey> =
        staying(directory, kept).filter(|one| one.active).map(|one| &one.key).collect();
    let mut owners: HashMap<&AccountKey, &CampaignKey> = HashMap::new();
    for (path, account, campaign) in claims {
        let given = positions.get(account).and_then(|at| directory.accounts.get(*at));
        let Some(found) = given.or_else(|| stored.get(account).copied()) else {
            problems.add(path, "UNKNOWN_ACCOUNT", format!("no account has the key `{account}`"));
            continue;
        };
        if channels.get(campaign) != Some(&found.channel) {
            problems.add(path, "WRONG_CHANNEL", format!("`{account}` is an account of another channel"));
        }
        // A text that names neither the account nor the campaign it belongs to does not take it away by accident.
        let before = if given.is_some() { None } else { stored.get(account).copied() };
        let before = before.and_then(|one| one.campaign.as_ref()).filter(|one| staying.contains(one));
        let owner = *owners.entry(account).or_insert(before.unwrap_or(campaign));
        if owner != campaign {
            problems.add(
                path,
                "ACCOUNT_SHARED",
                format!("`{account}` belongs to the campaign `{owner}` already"),
            );
        }
    }
    let mut claimed = Vec::new();
    for (account, owner) in owners {
        match positions.get(account).and_then(|at| directory.accounts.get_mut(*at)) {
            Some(account) => account.campaign = Some(owner.clone()),
            None => claimed.push((account.clone(), owner.clone())),
        }
    }
    claimed
}

/// Campaigns in force that the text leaves out.
fn staying<'a>(given: &'a Directory, kept: &'a Directory) -> impl Iterator<Item = &'a Campaign> {
    let named: HashSet<&CampaignKey> = given.campaigns.iter().map(|one| &one.key).collect();
    kept.campaigns.iter().filter(move |one| !named.contains(&one.key))
}

fn accounts_have_campaigns(directory: &Directory, kept: &Directory, problems: &mut Problems) {
    let staying: HashSet<&CampaignKey> = staying(directory, kept).map(|one| &one.key).collect();
    let stays =
        kept.accounts.iter().filter(|one| one.campaign.as_ref().is_some_and(|one| staying.contains(one)));
    let stays: HashSet<&AccountKey> = stays.map(|one| &one.key).collect();
    for (at, account) in directory.accounts.iter().enumerate() {
        if account.active && account.campaign.is_none() && !stays.contains(&account.key) {
            let message = "an active account belongs to a campaign; name it in that campaign's `accounts`";
            problems.add(&format!("accounts[{at}]"), "ACCOUNT_WITHOUT_CAMPAIGN", message);
        }
    }
}

fn campaigns(directory: &Directory, kept: &Directory, problems: &mut Problems) {
    // The text's own come last and count.
    let users: HashMap<&UserKey, &User> =
        kept.users.iter().chain(&directory.users).map(|one| (&one.key, one)).collect();
    let campaigns: HashMap<&CampaignKey, &Campaign> =
        kept.campaigns.iter().chain(&directory.campaigns).map(|one| (&one.key, one)).collect();
    let forms: HashSet<&str> =
        kept.forms.iter().chain(&directory.forms).map(|one: &Form| one.key.as_str()).collect();
    for (at, campaign) in directory.campaigns.iter().enumerate() {
        let path = format!("campaigns[{at}]");
        for (position, member) in campaign.members.iter().enumerate() {
            let inner = format!("{path}.members[{position}]");
            match users.get(member) {
                None => problems.add(&inner, "UNKNOWN_USER", format!("no user has the key `{member}`")),
                Some(user) if !user.roles.contains(&Role::Agent) => {
                    problems.add(&inner, "NOT_AN_AGENT", format!("`{member}` has not the role agent"));
                }
                Some(_) => {}
            }
        }
        for (field, form) in
            [("inbound_form", &campaign.inbound_form), ("outbound_form", &campaign.outbound_form)]
        {
            if let Some(form) = form.as_ref().filter(|form| !forms.contains(form.as_str())) {
                problems.add(
                    &format!("{path}.{field}"),
                    "UNKNOWN_FORM",
                    format!("no form has the key `{form}`"),
                );
            }
        }
        overflow(campaign, &path, &campaigns, problems);
    }
}

fn overflow(
    campaign: &Campaign,
    path: &str,
    campaigns: &HashMap<&CampaignKey, &Campaign>,
    problems: &mut Problems,
) {
    let inner = format!("{path}.overflow_campaign");
    match (campaign.overflow_mode, &campaign.overflow_campaign) {
        (OverflowMode::None | OverflowMode::AssignToAll, None) => {}
        (OverflowMode::None | OverflowMode::AssignToAll, Some(_)) => {
            problems.add(&inner, "OVERFLOW_TARGET", "only `overflow_mode: send_to_campaign` has a target");
        }
        (OverflowMode::SendToCampaign, None) => {
            let message = "`overflow_mode: send_to_campaign` needs an `overflow_campaign`";
            problems.add(&format!("{path}.overflow_mode"), "OVERFLOW_TARGET", message);
        }
        (OverflowMode::SendToCampaign, Some(target)) if *target == campaign.key => {
            problems.add(&inner, "OVERFLOW_TARGET", "a campaign cannot overflow into itself");
        }
        (OverflowMode::SendToCampaign, Some(target)) => match campaigns.get(target) {
            None => problems.add(&inner, "UNKNOWN_CAMPAIGN", format!("no campaign has the key `{target}`")),
            Some(other) if other.channel != campaign.channel => {
                problems.add(&inner, "WRONG_CHANNEL", format!("`{target}` is a campaign of another channel"));
            }
            // Whoever would wait there would wait for ever.
            Some(other) if campaign.active && !other.active => {
                problems.add(&inner, "OVERFLOW_TARGET", format!("the campaign `{target}` is not active"));
            }
            Some(_) => {}
        },
    }
}

/// Campaigns that tags and quick replies are limited to.
fn scopes(directory: &Directory, campaigns: &HashSet<&CampaignKey>, problems: &mut Problems) {
    let tags = directory.tags.iter().enumerate().map(|(at, one)| (format!("tags[{at}]"), &one.campaigns));
    let replies = directory.quick_replies.iter().enumerate();
    let replies = replies.map(|(at, one)| (format!("quick_replies[{at}]"), &one.campaigns));
    for (path, scope) in tags.chain(replies) {
        for campaign in scope.iter().filter(|one| !campaigns.contains(one)) {
            let message = format!("no campaign has the key `{campaign}`");
            problems.add(&format!("{path}.campaigns"), "UNKNOWN_CAMPAIGN", message);
        }
    }
}

fn users(directory: &Directory, campaigns: &HashSet<&CampaignKey>, problems: &mut Problems) {
    for (at, user) in directory.users.iter().enumerate() {
        for campaign in user.campaigns.iter().filter(|one| !campaigns.contains(one)) {
            let message = format!("no campaign has the key `{campaign}`");
            problems.add(&format!("users[{at}].campaigns"), "UNKNOWN_CAMPAIGN", message);
        }
    }
}
