//! The directory in the words of the contracts, and what of it a caller may see.

use std::collections::{BTreeSet, HashSet};

use hilo_kit::clock;
use hilo_proto::directory::v1 as proto;

use super::domain::key::{CampaignKey, UserKey};
use super::domain::model::{Account, Campaign, Directory, Form, FormField, MailServer, Role, User};
use super::domain::selection::{Relaxation, SkillLevel};
use super::domain::whatsapp::WhatsAppNumber;
use super::proto_catalogue as catalogue;
use super::store::lookup::Access;

impl From<Role> for proto::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Agent => Self::Agent,
            Role::Supervisor => Self::Supervisor,
            Role::Coordinator => Self::Coordinator,
            Role::Reporter => Self::Reporter,
            Role::Monitor => Self::Monitor,
        }
    }
}

/// The whole directory.
pub fn directory(directory: &Directory) -> proto::Directory {
    proto::Directory {
        campaigns: directory.campaigns.iter().map(|one| campaign(one, directory)).collect(),
        users: directory.users.iter().map(user).collect(),
        accounts: directory.accounts.iter().map(account).collect(),
        forms: directory.forms.iter().map(form).collect(),
        time_zone: directory.time_zone.clone(),
        tags: directory.tags.iter().map(catalogue::tag).collect(),
        quick_replies: directory.quick_replies.iter().map(catalogue::quick_reply).collect(),
        contact_fields: directory.contact_fields.iter().map(catalogue::contact_field).collect(),
    }
}

/// What the caller may see: everything for a coordinator; for others the campaigns they see, with the accounts, forms
/// and members of these, and without the settings of mail servers.
pub fn visible(all: &Directory, caller: &Access) -> proto::Directory {
    if caller.has(Role::Coordinator) {
        return directory(all);
    }
    let campaigns: Vec<Campaign> =
        all.campaigns.iter().filter(|one| caller.may_see(one.key.as_str())).cloned().collect();
    let forms: HashSet<_> =
        campaigns.iter().flat_map(|one| [&one.inbound_form, &one.outbound_form]).flatten().cloned().collect();
    let members: BTreeSet<_> =
        campaigns.iter().flat_map(|one| one.members.iter()).map(UserKey::as_str).collect();
    let accounts = all.accounts.iter().filter(|one| {
        one.campaign.as_ref().is_some_and(|key| campaigns.iter().any(|campaign| campaign.key == *key))
    });
    let seen = Directory {
        time_zone: all.time_zone.clone(),
        accounts: accounts
            .map(|one| Account { imap: None, smtp: None, whatsapp: None, ..one.clone() })
            .collect(),
        users: all.users.iter().filter(|one| members.contains(one.key.as_str())).map(colleague).collect(),
        forms: all.forms.iter().filter(|one| forms.contains(&one.key)).cloned().collect(),
        tags: catalogue::tags_of(all, &campaigns),
        quick_replies: catalogue::quick_replies_of(all, &campaigns),
        contact_fields: all.contact_fields.clone(),
        campaigns,
    };
    let mut seen = directory(&seen);
    if let Some(own) = all.users.iter().find(|one| one.key.as_str() == caller.user_key) {
        seen.users.retain(|one| one.key != caller.user_key);
        seen.users.push(user(own));
    }
    seen
}

/// Of a colleague only who he is and whether he works here.
fn colleague(user: &User) -> User {
    User { campaigns: BTreeSet::new(), skills: Vec::new(), ..user.clone() }
}

fn campaign(campaign: &Campaign, directory: &Directory) -> proto::Campaign {
    let accounts = directory.accounts.iter().filter(|one| one.campaign.as_ref() == Some(&campaign.key));
    proto::Campaign {
        key: campaign.key.to_string(),
        name: campaign.name.clone(),
        description: campaign.description.clone(),
        channel: campaign.channel.as_str().to_owned(),
        account_keys: accounts.map(|one| one.key.to_string()).collect(),
        member_keys: campaign.members.iter().map(ToString::to_string).collect(),
        assignment_mode: campaign.assignment_mode.as_str().to_owned(),
        accept_timeout_seconds: campaign.accept_timeout_seconds,
        overflow_seconds: campaign.overflow_seconds,
        overflow_mode: campaign.overflow_mode.as_str().to_owned(),
        overflow_campaign_key: text(campaign.overflow_campaign.as_ref()),
        inbound_form_key: text(campaign.inbound_form.as_ref()),
        outbound_form_key: text(campaign.outbound_form.as_ref()),
        signature: campaign.signature.clone(),
        orphan_timeout_seconds: campaign.orphan_timeout_seconds,
        service_level_seconds: campaign.service_level_seconds,
        hours: campaign.hours.as_ref().map(|hours| catalogue::hours(hours, &directory.time_zone)),
        active: campaign.active,
        required_skills: skills(&campaign.selection.required_skills),
        relaxation: relaxation(&campaign.selection.relaxation),
        ageing_seconds: campaign.selection.ageing_seconds,
        vip_bonus: campaign.selection.vip_bonus,
        item_weight: campaign.selection.item_weight,
        preferred_agent_seconds: campaign.selection.preferred_agent_seconds,
    }
}

fn text<T: ToString>(key: Option<&T>) -> String {
    key.map(ToString::to_string).unwrap_or_default()
}

fn user(user: &User) -> proto::User {
    proto::User {
        key: user.key.to_string(),
        name: user.name.clone(),
        roles: user.roles.iter().map(|role| proto::Role::from(*role).into()).collect(),
        campaign_keys: user.campaigns.iter().map(CampaignKey::to_string).collect(),
        active: user.active,
        email_capacity: user.email_capacity,
        whatsapp_capacity: user.whatsapp_capacity,
        skills: skills(&user.skills),
    }
}

/// Skills as sent.
pub fn skills(levels: &[SkillLevel]) -> Vec<proto::SkillLevel> {
    let sent = |one: &SkillLevel| proto::SkillLevel { skill_key: one.skill.to_string(), level: one.level };
    levels.iter().map(sent).collect()
}

/// Steps of relaxation as sent.
pub fn relaxation(steps: &[Relaxation]) -> Vec<proto::SkillRelaxation> {
    let sent = |one: &Relaxation| proto::SkillRelaxation {
        after_seconds: one.after_seconds,
        skill_key: one.skill.to_string(),
        level: one.level,
    };
    steps.iter().map(sent).collect()
}

fn account(account: &Account) -> proto::Account {
    proto::Account {
        key: account.key.to_string(),
        channel: account.channel.as_str().to_owned(),
        address: account.address.clone(),
        display_name: account.display_name.clone(),
        accept_unauthenticated_replies: account.accept_unauthenticated_replies,
        imap: account.imap.as_ref().map(imap),
        smtp: account.smtp.as_ref().map(smtp),
        active: account.active,
        whatsapp: account.whatsapp.as_ref().map(whatsapp),
    }
}

fn whatsapp(number: &WhatsAppNumber) -> proto::WhatsAppSettings {
    proto::WhatsAppSettings {
        phone_number_id: number.phone_number_id.clone(),
        business_account_id: number.business_account_id.clone(),
        display_number: number.display_number.clone(),
        access_token_secret: number.access_token_secret.clone(),
        app_secret_secret: number.app_secret_secret.clone(),
        verify_token_secret: number.verify_token_secret.clone(),
        messages_per_second: number.messages_per_second,
    }
}

fn imap(server: &MailServer) -> proto::ImapSettings {
    proto::ImapSettings {
        host: server.host.clone(),
        port: i32::from(server.port),
        security: server.security.clone(),
        user: server.user.clone(),
        password_secret: server.password_secret.clone(),
        mailbox: server.mailbox.clone(),
    }
}

fn smtp(server: &MailServer) -> proto::SmtpSettings {
    proto::SmtpSettings {
        host: server.host.clone(),
        port: i32::from(server.port),
        security: server.security.clone(),
        user: server.user.clone(),
        password_secret: server.password_secret.clone(),
    }
}

/// A form.
pub fn form(form: &Form) -> proto::FormDefinition {
    proto::FormDefinition {
        key: form.key.to_string(),
        version: form.version,
        title: form.title.clone(),
        fields: form.fields.iter().map(field).collect(),
        created_at: Some(clock::to_proto(form.created_at)),
    }
}

/// A field of a form or of contacts.
pub fn field(field: &FormField) -> proto::FormField {
    proto::FormField {
        key: field.key.clone(),
        label: field.label.clone(),
        r#type: field.kind.clone(),
        required: field.required,
        choices: field.choices.clone(),
        minimum: field.minimum,
        maximum: field.maximum,
    }
}
