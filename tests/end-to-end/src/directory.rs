//! The directory of a test installation: one account reached by SMTP, one fetched by IMAP, when asked for one of WhatsApp, and as many
//! agents as asked for.

use std::fmt::Write as _;

use crate::installation::Options;

/// Address of the account that receives by SMTP.
pub const SUPPORT: &str = "soporte@hilo.example";
/// Address of the account whose mail is fetched by IMAP.
pub const MAILBOX: &str = "buzon@hilo.example";

/// Key of the WhatsApp account and of its campaign.
pub const WHATSAPP: &str = "soporte-wa";

/// User key of an agent, from 0.
pub fn agent_key(index: usize) -> String {
    format!("agente-{index}")
}

/// Agents with a password; more are signed in by [`crate::Installation::signed_in`], as each password takes a while to hash
/// and an apply takes at most 200.
const WITH_PASSWORD: usize = 100;

/// Password of a user of a test installation.
pub fn password(user: &str) -> String {
    format!("una-frase-larga-{user}")
}

fn overflow(options: &Options, campaign: &str) -> &'static str {
    let lines = options.overflow.iter().find(|(key, _)| *key == campaign);
    lines.map_or("overflow_seconds: 0", |(_, lines)| lines)
}

/// The simulator's number; the secrets are in the environment.
fn whatsapp_account() -> String {
    let number = hilo_simulators::Number::default();
    format!(
        "  - key: {WHATSAPP}\n    channel: whatsapp\n    whatsapp:\n      phone_number_id: \"{}\"\n      business_account_id: \"{}\"\n      display_number: +{}\n      access_token_secret: META_TOKEN\n      app_secret_secret: META_APP\n      verify_token_secret: META_VERIFY\n",
        number.phone_number_id, number.business_account_id, number.display_phone_number
    )
}

/// The directory as `hilo apply` takes it. `imap_port` is the mailbox server's, when there is one.
pub fn yaml(options: &Options, smtp_port: u16, imap_port: Option<u16>) -> String {
    let smtp = format!("smtp: {{host: 127.0.0.1, port: {smtp_port}, security: plain}}");
    let imap = imap_port.map_or_else(String::new, |port| {
        format!("    imap: {{host: 127.0.0.1, port: {port}, security: plain, user: buzon, password_secret: BUZON_IMAP}}\n")
    });
    let members = (0..options.agents).map(agent_key).collect::<Vec<_>>().join(", ");
    let mut text = "time_zone: America/Lima\n\naccounts:\n".to_owned();
    for (key, address, imap) in [("soporte", SUPPORT, ""), ("buzon", MAILBOX, imap.as_str())] {
        let _ = write!(
            text,
            "  - key: {key}\n    channel: email\n    address: {address}\n    display_name: Soporte\n    accept_unauthenticated_replies: true\n    {smtp}\n{imap}"
        );
    }
    if options.whatsapp {
        text.push_str(&whatsapp_account());
    }
    text.push_str("\ncampaigns:\n");
    if options.whatsapp {
        let _ = write!(
            text,
            "  - key: {WHATSAPP}\n    name: Campaña {WHATSAPP}\n    channel: whatsapp\n    accounts: [{WHATSAPP}]\n    members: [{members}]\n    assignment_mode: {}\n",
            options.mode
        );
    }
    for key in ["soporte", "buzon"] {
        let _ = write!(
            text,
            "  - key: {key}\n    name: Campaña {key}\n    channel: email\n    accounts: [{key}]\n    members: [{members}]\n    assignment_mode: {}\n    accept_timeout_seconds: {}\n    {}\n    orphan_timeout_seconds: {}\n    inbound_form: consulta\n",
            options.mode,
            options.accept_timeout_seconds,
            overflow(options, key),
            options.orphan_timeout_seconds
        );
    }
    // Of an agent who is a stranger to everybody else's customers.
    text.push_str(
        "  - key: ajena\n    name: Campaña ajena\n    channel: email\n    accounts: []\n    members: [ajena]\n    assignment_mode: everyone\n",
    );
    text.push_str("\nusers:\n");
    let _ = write!(
        text,
        "  - key: ajena\n    name: Ajena\n    roles: [agent]\n    password: {}\n",
        password("ajena")
    );
    for (index, key) in (0..options.agents).map(|index| (index, agent_key(index))) {
        let _ = write!(
            text,
            "  - key: {key}\n    name: {key}\n    roles: [agent]\n    email_capacity: {capacity}\n    whatsapp_capacity: {capacity}\n",
            capacity = options.capacity
        );
        if index < WITH_PASSWORD {
            let _ = writeln!(text, "    password: {}", password(&key));
        }
    }
    let _ = write!(
        text,
        "  - key: coordinadora\n    name: Carmen\n    roles: [coordinator]\n    password: {}\n",
        password("coordinadora")
    );
    text.push_str("\nforms:\n  - key: consulta\n    title: Datos de la consulta\n    fields:\n      - {key: motivo, label: Motivo, type: text}\n");
    text
}
