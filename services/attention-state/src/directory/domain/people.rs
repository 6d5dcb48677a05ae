//! Users of the YAML, with their passwords kept apart.

use std::collections::BTreeSet;

use secrecy::SecretString;

use super::key::{CampaignKey, UserKey};
use super::model::{Credential, DEFAULT_CAPACITY, Role, User};
use super::problems::Problems;
use super::section::{Section, spell};
use super::selection::skills;
use super::tree::Node;
use crate::identity::password;

/// Most items at once that make sense for a person.
const MAX_CAPACITY: i32 = 500;

/// Reads one user.
pub(super) fn user(node: &Node, path: &str, problems: &mut Problems) -> (User, Option<Credential>) {
    let known = [
        "key",
        "name",
        "roles",
        "campaigns",
        "active",
        "email_capacity",
        "whatsapp_capacity",
        "skills",
        "password",
        "password_hash",
    ];
    let section = Section::open(node, path, &known, problems);
    let user = User {
        key: UserKey::unchecked(section.own_key(problems)),
        name: section.required_line("name", 100, problems),
        roles: roles(&section, problems),
        campaigns: section
            .list("campaigns", 1_000, true, problems)
            .into_iter()
            .map(CampaignKey::unchecked)
            .collect(),
        active: section.boolean("active", true, problems),
        email_capacity: section.integer("email_capacity", 1..=MAX_CAPACITY, DEFAULT_CAPACITY, problems),
        whatsapp_capacity: section.integer("whatsapp_capacity", 1..=MAX_CAPACITY, DEFAULT_CAPACITY, problems),
        skills: skills(&section, problems),
    };
    let scoped =
        [Role::Supervisor, Role::Reporter, Role::Monitor].iter().any(|role| user.roles.contains(role));
    if !user.campaigns.is_empty() && !scoped {
        let message =
            "only a supervisor, reporter or monitor is given campaigns; agents see those they are members of";
        problems.add(&section.path("campaigns"), "BAD_VALUE", message);
    }
    let credential = credential(&section, problems);
    (user, credential)
}

fn roles(section: &Section<'_>, problems: &mut Problems) -> BTreeSet<Role> {
    if section.node("roles").is_none() {
        problems.add(&section.path("roles"), "MISSING", "`roles` is required");
    }
    let mut roles = BTreeSet::new();
    for (at, word) in section.list("roles", 10, false, problems).iter().enumerate() {
        match Role::parse(word) {
            Some(role) => {
                roles.insert(role);
            }
            None => {
                let path = format!("{}[{at}]", section.path("roles"));
                problems.add(&path, "BAD_VALUE", format!("must be one of {}", spell(Role::WORDS)));
            }
        }
    }
    roles
}

/// No message here may quote what was given.
fn credential(section: &Section<'_>, problems: &mut Problems) -> Option<Credential> {
    let both = section.node("password").is_some() && section.node("password_hash").is_some();
    if both {
        problems.add(
            &section.path("password_hash"),
            "DUPLICATE",
            "give `password` or `password_hash`, not both",
        );
    }
    if section.node("password").is_some() {
        let text = section.text("password", password::MAX_CHARS, problems);
        if text.chars().count() < password::MIN_CHARS {
            let message = format!("a password has at least {} characters", password::MIN_CHARS);
            problems.add(&section.path("password"), "WEAK_PASSWORD", message);
        }
        return Some(Credential::Password(SecretString::from(text)));
    }
    section.node("password_hash")?;
    let text = section.line("password_hash", 512, problems);
    if let Err(why) = password::check_hash(&text) {
        problems.add(&section.path("password_hash"), "BAD_PASSWORD_HASH", why);
    }
    Some(Credential::Hash(SecretString::from(text)))
}
