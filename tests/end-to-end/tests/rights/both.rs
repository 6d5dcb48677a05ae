//! The directory of both campaigns: everything of one bears its word.

use crate::world::{OURS, THEIRS};

/// The directory of both, with the mail server of the directory before.
pub fn directory(before: &str) -> String {
    let smtp = before.lines().map(str::trim).find(|line| line.starts_with("smtp:")).unwrap_or_default();
    let each = |part: &dyn Fn(&str, &str) -> String| {
        [OURS, THEIRS].into_iter().map(|[key, word]| part(key, word)).collect::<String>()
    };
    let accounts = each(&|key, _| {
        format!(
            "  - key: {key}\n    channel: email\n    address: {key}@hilo.example\n    display_name: Cuenta {key}\n    accept_unauthenticated_replies: true\n    {smtp}\n"
        )
    });
    let campaigns = each(&|key, _| {
        format!(
            "  - key: {key}\n    name: Campaña {key}\n    description: Cartera {key}\n    channel: email\n    accounts: [{key}]\n    members: [agente-{key}, saliente-{key}, baja-{key}, mudada-{key}]\n    assignment_mode: everyone\n    inbound_form: {key}\n    outbound_form: {key}\n    signature: Firma {key}\n"
        )
    });
    let users = each(&|key, _| {
        let scoped = ["supervisor", "reporter", "monitor"].map(|role| {
            format!("  - {{key: {role}-{key}, name: {role} {key}, roles: [{role}], campaigns: [{key}]}}\n")
        });
        let others =
            [("saliente", "agent"), ("baja", "agent"), ("mudada", "agent"), ("degradada", "supervisor")];
        let others = others.map(|(who, role)| {
            let (mut letters, given) =
                (who.chars(), if role == "agent" { String::new() } else { format!(", campaigns: [{key}]") });
            let name = letters
                .next()
                .map(char::to_uppercase)
                .into_iter()
                .flatten()
                .chain(letters)
                .collect::<String>();
            format!("  - {{key: {who}-{key}, name: {name} {key}, roles: [{role}]{given}}}\n")
        });
        let agent =
            format!("  - {{key: agente-{key}, name: Agente {key}, roles: [agent], email_capacity: 50}}\n");
        format!("{agent}{}{}", scoped.concat(), others.concat())
    });
    let forms = each(&|key, _| {
        format!(
            "  - key: {key}\n    title: Datos {key}\n    fields:\n      - {{key: {key}-dato, label: Dato {key}, type: text}}\n"
        )
    });
    let tags = each(&|key, _| format!("  - {{key: {key}, name: Etiqueta {key}, campaigns: [{key}]}}\n"));
    let replies = each(&|key, word| {
        format!(
            "  - {{key: {key}, title: Título {key}, text: Plantilla {word}, html: <p>{word}</p>, campaigns: [{key}]}}\n"
        )
    });
    format!(
        "time_zone: America/Lima\naccounts:\n{accounts}campaigns:\n{campaigns}users:\n{users}forms:\n{forms}tags:\n{tags}quick_replies:\n{replies}contact_fields:\n  - {{key: documento, label: Documento, type: text}}\n"
    )
}
