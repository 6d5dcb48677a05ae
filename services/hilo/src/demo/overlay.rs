//! The demo's campaign, accounts, agents and form, on top of the directory in force.
//!
//! `ApplyDirectory` replaces everything, so what is there is read first and written back with it; afterwards it is applied once more
//! without the demo's part, which becomes inactive. Passwords that are not named stay as they are.

use hilo_proto::directory::v1::{
    Account, ApplyDirectoryRequest, Campaign, Directory, FormDefinition, FormField, GetDirectoryRequest,
    ImapSettings, Role, SkillLevel, SkillRelaxation, SmtpSettings, User, WhatsAppSettings,
};
use serde_json::{Map, Value, json};

use super::catalogue;
use crate::cli::session::Session;
use crate::cli::{Exit, Failure};
use crate::stack::meta;

/// Every key of the demo begins with it.
pub const MARK: &str = "demo-";
/// Campaign of all three customers.
pub const CAMPAIGN: &str = "demo-atencion";
/// Account that is fetched by IMAP.
pub const BY_IMAP: &str = "demo-imap";
/// Account that takes mail by SMTP.
pub const BY_SMTP: &str = "demo-smtp";
/// Campaign of the customer of WhatsApp.
pub const CHAT_CAMPAIGN: &str = "demo-mensajes";
/// Account of the number that the demo adds to the simulator.
pub const BY_WHATSAPP: &str = "demo-whatsapp";
/// Meta's id of that number.
pub const NUMBER: &str = "106540352242923";
/// Its digits, as customers see it.
pub const DISPLAY_NUMBER: &str = "15550783882";
/// The agents, in their fixed order.
pub const AGENTS: [&str; 2] = ["demo-ana", "demo-luis"];
/// Name of the secret with the IMAP password.
pub const IMAP_SECRET: &str = "DEMO_IMAP";
/// Required field of the form.
pub const REQUIRED_FIELD: &str = "motivo";

/// Address of an account.
pub fn address(account: &str) -> String {
    format!("{}@prueba.hilo.example", account.trim_start_matches(MARK))
}

/// Where the mail servers of the demo are.
#[derive(Clone, Copy, Debug)]
pub struct Servers<'a> {
    /// Dovecot's port.
    pub imap: u16,
    /// Dovecot's user.
    pub imap_user: &'a str,
    /// aiosmtpd's port.
    pub smtp: u16,
}

/// Applies the demo's part; answers the version in force.
///
/// # Errors
/// When the directory is refused; every error is named.
pub async fn put_on(coordinator: &Session, servers: Servers<'_>, password: &str) -> Result<i64, Failure> {
    let mut directory = document(&present(coordinator).await?);
    let parts = [
        ("accounts", accounts(servers)),
        ("campaigns", campaigns()),
        ("users", users(password)),
        ("forms", forms()),
    ];
    for (name, added) in parts {
        if let Some(Value::Array(list)) = directory.get_mut(name) {
            list.extend(added);
        }
    }
    apply(coordinator, directory).await
}

/// Applies the directory without the demo's part.
///
/// # Errors
/// When the directory is refused.
pub async fn take_off(coordinator: &Session) -> Result<i64, Failure> {
    apply(coordinator, document(&present(coordinator).await?)).await
}

/// The directory in force, as the coordinator sees it.
///
/// # Errors
/// When it cannot be read.
pub async fn present(coordinator: &Session) -> Result<Directory, Failure> {
    let request = coordinator.request(GetDirectoryRequest {});
    let answer = coordinator.directory().get_directory(request).await?.into_inner();
    answer
        .directory
        .ok_or_else(|| Failure::new(Exit::Failed, "INCOMPLETE_ANSWER", "the answer holds no directory"))
}

async fn apply(coordinator: &Session, directory: Map<String, Value>) -> Result<i64, Failure> {
    let yaml = serde_yaml_ng::to_string(&directory);
    let yaml = yaml.map_err(|error| Failure::new(Exit::Failed, "YAML", error.to_string()))?;
    let request = coordinator.request(ApplyDirectoryRequest { yaml, dry_run: false, prune: true });
    let answer = coordinator.directory().apply_directory(request).await?.into_inner();
    if answer.errors.is_empty() {
        return Ok(answer.version);
    }
    let failure =
        Failure::new(Exit::Failed, "DIRECTORY_INVALID", "the directory with the demo's part was refused");
    Err(answer.errors.iter().fold(failure, |failure, error| {
        failure.detail(format!("line {}: {} {}: {}", error.line, error.reason, error.path, error.message))
    }))
}

fn accounts(servers: Servers<'_>) -> Vec<Value> {
    let smtp = json!({"host": "127.0.0.1", "port": servers.smtp, "security": "plain"});
    let imap = json!({
        "host": "127.0.0.1", "port": servers.imap, "security": "plain",
        "user": servers.imap_user, "password_secret": IMAP_SECRET,
    });
    let account = |key: &str, name: &str| {
        json!({
            "key": key, "channel": "email", "address": address(key), "display_name": name,
            // Customers under .example have no DNS, so their mail carries no authentication data.
            "accept_unauthenticated_replies": true, "smtp": smtp,
        })
    };
    let mut fetched = account(BY_IMAP, "Correo de prueba");
    fetched["imap"] = imap;
    vec![fetched, account(BY_SMTP, "Tienda de prueba"), chat_account()]
}

/// A number of the app that the stack's simulator and whatsapp-ingest share the secrets of.
fn chat_account() -> Value {
    json!({
        "key": BY_WHATSAPP, "channel": "whatsapp",
        "whatsapp": {
            "phone_number_id": NUMBER, "business_account_id": meta::BUSINESS_ACCOUNT, "display_number": format!("+{DISPLAY_NUMBER}"),
            "access_token_secret": meta::ACCESS_TOKEN, "app_secret_secret": meta::APP_SECRET,
            "verify_token_secret": meta::VERIFY_TOKEN,
        },
    })
}

fn campaigns() -> Vec<Value> {
    let chat = json!({
        "key": CHAT_CAMPAIGN, "name": "Mensajes de prueba", "channel": "whatsapp", "accounts": [BY_WHATSAPP], "members": AGENTS,
        "assignment_mode": "round_robin", "accept_timeout_seconds": 40,
    });
    let mail = json!({
        "key": CAMPAIGN, "name": "Atención de prueba", "channel": "email", "accounts": [BY_IMAP, BY_SMTP], "members": AGENTS,
        "assignment_mode": "round_robin", "accept_timeout_seconds": 40, "overflow_seconds": 0, "overflow_mode": "none",
        "inbound_form": "demo-consulta", "signature": "Equipo de prueba\n",
    });
    vec![mail, chat]
}

fn users(password: &str) -> Vec<Value> {
    let user = |key: &str, name: &str| {
        // Left over items of an interrupted demo must not fill an agent up.
        json!({"key": key, "name": name, "roles": ["agent"], "password": password, "email_capacity": 100, "whatsapp_capacity": 100})
    };
    let [ana, luis] = AGENTS;
    vec![user(ana, "Ana de Prueba"), user(luis, "Luis de Prueba")]
}

fn forms() -> Vec<Value> {
    vec![json!({
        "key": "demo-consulta", "title": "Datos de la consulta",
        "fields": [
            {"key": REQUIRED_FIELD, "label": "Motivo", "type": "single_choice", "required": true, "choices": ["Consulta", "Reclamo"]},
            {"key": "resumen", "label": "Resumen", "type": "paragraph"},
        ],
    })]
}

/// The directory in the format of `hilo apply`, without the demo's part and without what is inactive (left out becomes inactive: it is applied with prune).
fn document(directory: &Directory) -> Map<String, Value> {
    let ours = |key: &str| key.starts_with(MARK);
    let list = |values: Vec<Value>| Value::Array(values);
    let mut document = Map::new();
    document.insert("time_zone".to_owned(), directory.time_zone.clone().into());
    let accounts = directory.accounts.iter().filter(|one| one.active && !ours(&one.key)).map(account);
    document.insert("accounts".to_owned(), list(accounts.collect()));
    let campaigns = directory.campaigns.iter().filter(|one| one.active && !ours(&one.key));
    let used = |key: &str| directory.accounts.iter().any(|account| account.active && account.key == key);
    document.insert(
        "campaigns".to_owned(),
        list(campaigns.map(|one| campaign(one, &directory.time_zone, used)).collect()),
    );
    let present =
        |key: &str| directory.campaigns.iter().any(|one| one.active && one.key == key && !ours(key));
    // Inactive people stay named: a campaign may still list them as members.
    let users = directory.users.iter().filter(|one| !ours(&one.key)).map(|one| user(one, present));
    document.insert("users".to_owned(), list(users.collect()));
    let forms = directory.forms.iter().filter(|one| !ours(&one.key)).map(form);
    document.insert("forms".to_owned(), list(forms.collect()));
    let tags = directory.tags.iter().filter(|one| one.active).map(|one| catalogue::tag(one, present));
    document.insert("tags".to_owned(), list(tags.collect()));
    let replies = directory.quick_replies.iter().filter(|one| one.active);
    let replies = replies.map(|one| catalogue::quick_reply(one, present));
    document.insert("quick_replies".to_owned(), list(replies.collect()));
    let fields = directory.contact_fields.iter().filter(|one| one.active).map(catalogue::contact_field);
    document.insert("contact_fields".to_owned(), list(fields.collect()));
    document
}

/// Leaves out what is empty, as a person would.
pub(super) fn compact(value: Value) -> Value {
    let Value::Object(entries) = value else { return value };
    let said =
        entries.into_iter().filter(|(_, value)| !matches!(value, Value::Null) && value.as_str() != Some(""));
    Value::Object(said.collect())
}

fn account(account: &Account) -> Value {
    compact(json!({
        "key": account.key, "channel": account.channel, "address": account.address, "display_name": account.display_name,
        "accept_unauthenticated_replies": account.accept_unauthenticated_replies,
        "imap": account.imap.as_ref().map(imap), "smtp": account.smtp.as_ref().map(smtp),
        "whatsapp": account.whatsapp.as_ref().map(whatsapp),
    }))
}

fn whatsapp(number: &WhatsAppSettings) -> Value {
    compact(json!({
        "phone_number_id": number.phone_number_id, "business_account_id": number.business_account_id,
        "display_number": number.display_number, "access_token_secret": number.access_token_secret,
        "app_secret_secret": number.app_secret_secret, "verify_token_secret": number.verify_token_secret,
        "messages_per_second": number.messages_per_second,
    }))
}

fn imap(imap: &ImapSettings) -> Value {
    compact(json!({
        "host": imap.host, "port": imap.port, "security": imap.security, "user": imap.user,
        "password_secret": imap.password_secret, "mailbox": imap.mailbox,
    }))
}

fn smtp(smtp: &SmtpSettings) -> Value {
    compact(json!({
        "host": smtp.host, "port": smtp.port, "security": smtp.security, "user": smtp.user,
        "password_secret": smtp.password_secret,
    }))
}

fn campaign(campaign: &Campaign, zone: &str, used: impl Fn(&str) -> bool) -> Value {
    let accounts: Vec<&String> = campaign.account_keys.iter().filter(|key| used(key)).collect();
    compact(json!({
        "key": campaign.key, "name": campaign.name, "description": campaign.description, "channel": campaign.channel,
        "accounts": accounts, "members": campaign.member_keys, "assignment_mode": campaign.assignment_mode,
        "accept_timeout_seconds": campaign.accept_timeout_seconds, "overflow_seconds": campaign.overflow_seconds,
        "overflow_mode": campaign.overflow_mode, "overflow_campaign": campaign.overflow_campaign_key,
        "inbound_form": campaign.inbound_form_key, "outbound_form": campaign.outbound_form_key, "signature": campaign.signature,
        "orphan_timeout_seconds": campaign.orphan_timeout_seconds, "service_level_seconds": campaign.service_level_seconds,
        "required_skills": skills(&campaign.required_skills), "relaxation": relaxation(&campaign.relaxation),
        "ageing_seconds": campaign.ageing_seconds, "vip_bonus": campaign.vip_bonus, "item_weight": campaign.item_weight.max(1),
        "preferred_agent_seconds": campaign.preferred_agent_seconds,
        "hours": campaign.hours.as_ref().map(|hours| catalogue::hours(hours, zone)),
    }))
}

fn user(user: &User, present: impl Fn(&str) -> bool) -> Value {
    let roles: Vec<&str> =
        user.roles.iter().filter_map(|role| Role::try_from(*role).ok().and_then(word)).collect();
    let capacity = |value: i32| (value > 0).then_some(value);
    let campaigns: Vec<&String> = user.campaign_keys.iter().filter(|key| present(key)).collect();
    let campaigns = (!campaigns.is_empty()).then_some(campaigns);
    compact(json!({
        "key": user.key, "name": user.name, "roles": roles, "campaigns": campaigns, "active": user.active,
        "email_capacity": capacity(user.email_capacity), "whatsapp_capacity": capacity(user.whatsapp_capacity),
        "skills": skills(&user.skills),
    }))
}

fn skills(levels: &[SkillLevel]) -> Option<Vec<Value>> {
    let entry = |one: &SkillLevel| json!({"skill": one.skill_key, "level": one.level});
    (!levels.is_empty()).then(|| levels.iter().map(entry).collect())
}

fn relaxation(steps: &[SkillRelaxation]) -> Option<Vec<Value>> {
    let entry = |one: &SkillRelaxation| json!({"after_seconds": one.after_seconds, "skill": one.skill_key, "level": one.level});
    (!steps.is_empty()).then(|| steps.iter().map(entry).collect())
}

fn word(role: Role) -> Option<&'static str> {
    match role {
        Role::Unspecified => None,
        Role::Agent => Some("agent"),
        Role::Supervisor => Some("supervisor"),
        Role::Coordinator => Some("coordinator"),
        Role::Reporter => Some("reporter"),
        Role::Monitor => Some("monitor"),
    }
}

fn form(form: &FormDefinition) -> Value {
    let fields: Vec<Value> = form.fields.iter().map(field).collect();
    json!({"key": form.key, "title": form.title, "fields": fields})
}

fn field(field: &FormField) -> Value {
    let choices = (!field.choices.is_empty()).then_some(&field.choices);
    compact(json!({
        "key": field.key, "label": field.label, "type": field.r#type, "required": field.required, "choices": choices,
        "minimum": field.minimum, "maximum": field.maximum,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn garantia(level: i32) -> SkillLevel {
        SkillLevel { skill_key: "garantia".to_owned(), level }
    }

    fn directory() -> Directory {
        let account = |key: &str, active| Account {
            key: key.to_owned(),
            channel: "email".to_owned(),
            active,
            ..Default::default()
        };
        let chat = || Account {
            channel: "whatsapp".to_owned(),
            whatsapp: Some(WhatsAppSettings {
                phone_number_id: "1".to_owned(),
                messages_per_second: 80,
                ..Default::default()
            }),
            ..account("mensajes", true)
        };
        Directory {
            accounts: vec![account("soporte", true), account("viejo", false), account(BY_SMTP, true), chat()],
            campaigns: vec![Campaign {
                key: "soporte".to_owned(),
                account_keys: vec!["soporte".to_owned(), "viejo".to_owned()],
                member_keys: vec!["ana".to_owned()],
                active: true,
                required_skills: vec![garantia(50)],
                relaxation: vec![SkillRelaxation {
                    after_seconds: 60,
                    skill_key: "garantia".to_owned(),
                    level: 0,
                }],
                item_weight: 3,
                ..Default::default()
            }],
            users: vec![User {
                key: "ana".to_owned(),
                name: "Ana".to_owned(),
                roles: vec![Role::Agent as i32, Role::Supervisor as i32],
                active: true,
                skills: vec![garantia(80)],
                ..Default::default()
            }],
            time_zone: "America/Lima".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_there_stays_without_the_inactive_and_the_demos_own() {
        let document = Value::Object(document(&directory()));
        assert_eq!(document["accounts"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            document["accounts"][1]["whatsapp"],
            json!({"phone_number_id": "1", "messages_per_second": 80})
        );
        assert_eq!(document["campaigns"][0]["accounts"], json!(["soporte"]));
        assert_eq!(
            document["users"][0],
            json!({"key": "ana", "name": "Ana", "roles": ["agent", "supervisor"], "active": true,
                "skills": [{"skill": "garantia", "level": 80}]})
        );
        let campaign = &document["campaigns"][0];
        assert_eq!(campaign["required_skills"], json!([{"skill": "garantia", "level": 50}]));
        assert_eq!(campaign["relaxation"], json!([{"after_seconds": 60, "skill": "garantia", "level": 0}]));
        assert_eq!((&campaign["item_weight"], &campaign["vip_bonus"]), (&json!(3), &json!(0)));
        assert_eq!(document["time_zone"], "America/Lima");
    }

    #[test]
    fn the_text_is_plain_yaml_and_holds_the_policy_switch() {
        let servers = Servers { imap: 1, imap_user: "correo", smtp: 2 };
        let text = serde_yaml_ng::to_string(&json!({"accounts": accounts(servers), "forms": forms()}))
            .expect("yaml");
        assert!(
            text.contains("accept_unauthenticated_replies: true")
                && text.contains("password_secret: DEMO_IMAP"),
            "{text}"
        );
        assert!(!text.contains('&') && !text.contains('*') && !text.contains('!'), "{text}");
    }
}
