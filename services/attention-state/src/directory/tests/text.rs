//! What is wrong with a text is said by line, path and reason, all at once.

use super::{line_of, shown};
use crate::directory::domain::model::{Directory, Given};
use crate::directory::domain::parse::draft;
use crate::directory::domain::problems::Problem;
use crate::directory::testing::example;

/// The text by itself, with nothing kept beside it.
fn parse(text: &str) -> Result<Given, Vec<Problem>> {
    let (given, problems) = draft(text)?.checked(&Directory::default());
    if problems.is_empty() { Ok(given) } else { Err(problems.into_sorted()) }
}

/// Errors of the example after one edit, as `line path REASON`.
fn errors(edit: impl Fn(&str) -> String) -> Vec<String> {
    match parse(&edit(&example())) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(shown).collect(),
    }
}

#[test]
fn the_documented_example_is_right() {
    assert_eq!(errors(str::to_owned), Vec::<String>::new());
}

/// The directory that an empty installation begins with.
#[test]
fn the_demo_directory_is_right() {
    let demo = include_str!("../../../../hilo/demo/directory.yaml");
    let text = demo.replace("MAILBOX_PORT", "2525").replace("PASSWORD_OF_", "una-frase-larga-");
    let found: Vec<String> = match parse(&text) {
        Ok(given) => {
            assert!(!given.directory.tags.is_empty() && !given.directory.quick_replies.is_empty());
            Vec::new()
        }
        Err(problems) => problems.iter().map(shown).collect(),
    };
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_error_has_its_line_path_and_reason() {
    // What to replace, by what, and the expected path and reason on the line where it stands.
    let rows: &[(&str, &str, &str, &str)] = &[
        ("time_zone: America/Lima", "time_zone: [x]", "time_zone", "WRONG_TYPE"),
        ("time_zone: America/Lima", "time_zone: America/Lma", "time_zone", "UNKNOWN_TIME_ZONE"),
        ("time_zone: America/Lima", "timezone: America/Lima", "timezone", "UNKNOWN_KEY"),
        ("- key: soporte\n", "- key: Soporte\n", "accounts[0].key", "BAD_KEY"),
        ("display_name: Soporte Ejemplo", "channel: email", "accounts[0].channel", "DUPLICATE_KEY"),
        ("address: soporte@ejemplo.pe", "address: soporte", "accounts[0].address", "BAD_VALUE"),
        (
            "address: soporte@ejemplo.pe",
            "address: \"so\\nBcc@ejemplo.pe\"",
            "accounts[0].address",
            "BAD_VALUE",
        ),
        ("port: 465", "port: 70000", "accounts[0].smtp.port", "OUT_OF_BOUNDS"),
        (
            "host: smtp.ejemplo.pe, port: 465, security: tls",
            "host: smtp.ejemplo.pe, port: 465, security: plain",
            "accounts[0].smtp.security",
            "PLAIN_NOT_LOOPBACK",
        ),
        (
            "host: imap.ejemplo.pe, port: 993, security: tls",
            "host: imap.ejemplo.pe, port: 993, security: starttls",
            "accounts[0].imap.security",
            "BAD_VALUE",
        ),
        (
            "password_secret: SOPORTE_SMTP",
            "password_secret: hunter2!",
            "accounts[0].smtp.password_secret",
            "BAD_VALUE",
        ),
        ("accounts: [soporte]", "accounts: [soporta]", "campaigns[0].accounts[0]", "UNKNOWN_ACCOUNT"),
        ("accounts: []", "accounts: [soporte]", "campaigns[1].accounts[0]", "ACCOUNT_SHARED"),
        ("members: [ana, luis]", "members: [ana, luisa]", "campaigns[0].members[1]", "UNKNOWN_USER"),
        ("members: [ana, luis]", "members: [ana, ana]", "campaigns[0].members[1]", "DUPLICATE"),
        (
            "assignment_mode: round_robin",
            "assignment_mode: alphabetical",
            "campaigns[0].assignment_mode",
            "BAD_VALUE",
        ),
        (
            "accept_timeout_seconds: 30",
            "accept_timeout_seconds: -1",
            "campaigns[0].accept_timeout_seconds",
            "OUT_OF_BOUNDS",
        ),
        (
            "accept_timeout_seconds: 30",
            "accept_timeout_seconds: soon",
            "campaigns[0].accept_timeout_seconds",
            "BAD_VALUE",
        ),
        (
            "accept_timeout_seconds: 30",
            "accept_timeout_seconds: '30'",
            "campaigns[0].accept_timeout_seconds",
            "BAD_VALUE",
        ),
        (
            "overflow_seconds: 120 ",
            "overflow_seconds: 99999999 ",
            "campaigns[0].overflow_seconds",
            "OUT_OF_BOUNDS",
        ),
        (
            "overflow_mode: assign_to_all",
            "overflow_mode: send_to_campaign",
            "campaigns[0].overflow_mode",
            "OVERFLOW_TARGET",
        ),
        (
            "description: Consultas de clientes",
            "overflow_campaign: ventas",
            "campaigns[0].overflow_campaign",
            "OVERFLOW_TARGET",
        ),
        ("inbound_form: consulta", "inbound_form: consultas", "campaigns[0].inbound_form", "UNKNOWN_FORM"),
        (
            "active: true                   # optional; false takes",
            "active: si # optional; false takes",
            "campaigns[0].active",
            "BAD_VALUE",
        ),
        ("- key: ventas\n", "- key: soporte-tecnico\n", "campaigns[1].key", "DUPLICATE"),
        ("name: Ventas", "name: ''", "campaigns[1].name", "MISSING"),
        ("name: Ana Quispe", "name: \"Ana\\nQuispe\"", "users[0].name", "BAD_VALUE"),
        ("password: una-frase-larga", "password: corta", "users[0].password", "WEAK_PASSWORD"),
        ("email_capacity: 5", "email_capacity: 0", "users[0].email_capacity", "OUT_OF_BOUNDS"),
        ("whatsapp_capacity: 5", "campaigns: [ventas]", "users[0].campaigns", "BAD_VALUE"),
        ("roles: [agent, supervisor]", "roles: [agent, jefe]", "users[1].roles[1]", "BAD_VALUE"),
        ("campaigns: [soporte-tecnico]", "campaigns: [otra]", "users[1].campaigns", "UNKNOWN_CAMPAIGN"),
        ("m=19456,t=2", "m=1024,t=2", "users[1].password_hash", "BAD_PASSWORD_HASH"),
        (
            "type: single_choice, required: true, choices: [Consulta, Reclamo, Pedido]",
            "type: single_choice",
            "forms[0].fields[0].choices",
            "CHOICES",
        ),
        (
            "choices: [Entrega, Pago, Producto], maximum: 2",
            "choices: [Pago, Pago]",
            "forms[0].fields[1].choices[1]",
            "DUPLICATE",
        ),
        ("type: list", "type: menu", "forms[0].fields[2].type", "BAD_VALUE"),
        (
            "minimum: 8, maximum: 12",
            "minimum: 12, maximum: 8",
            "forms[0].fields[3].maximum",
            "MINIMUM_ABOVE_MAXIMUM",
        ),
        ("minimum: 8, maximum: 12", "minimum: -1", "forms[0].fields[3].minimum", "OUT_OF_BOUNDS"),
        (
            "type: number, minimum: 0",
            "type: number, minimum: poco",
            "forms[0].fields[4].minimum",
            "BAD_VALUE",
        ),
        ("type: date", "type: date, maximum: 3", "forms[0].fields[5].maximum", "BAD_VALUE"),
        ("key: resumen", "key: fecha", "forms[0].fields[6].key", "DUPLICATE"),
        (
            "orphan_timeout_seconds: 300 ",
            "orphan_timeout_seconds: 90000 ",
            "campaigns[0].orphan_timeout_seconds",
            "OUT_OF_BOUNDS",
        ),
        (
            "service_level_seconds: 1800",
            "service_level_seconds: a lot",
            "campaigns[0].service_level_seconds",
            "BAD_VALUE",
        ),
        (
            "time_zone: America/Lima      #",
            "time_zone: America/Lma      #",
            "campaigns[0].hours.time_zone",
            "UNKNOWN_TIME_ZONE",
        ),
        ("        saturday: [", "        samstag: [", "campaigns[0].hours.weekly.samstag", "UNKNOWN_KEY"),
        (
            "saturday: [\"09:00-13:00\"]",
            "saturday: [\"13:00-09:00\"]",
            "campaigns[0].hours.weekly.saturday[0]",
            "BAD_VALUE",
        ),
        (
            "\"09:00-13:00\", \"14:00-18:00\"",
            "\"09:00-13:00\", \"12:59-18:00\"",
            "campaigns[0].hours.weekly.monday[1]",
            "OVERLAP",
        ),
        ("date: 2026-12-25", "date: 2026-02-30", "campaigns[0].hours.holidays[1].date", "BAD_VALUE"),
        ("date: 2026-12-25", "date: 2026-12-24", "campaigns[0].hours.holidays[1].date", "DUPLICATE"),
        ("name: Urgente, color: \"#c0392b\"", "name: Urgente, color: red", "tags[0].color", "BAD_VALUE"),
        (
            "name: Garantía, campaigns: [soporte-tecnico]",
            "name: Garantía, campaigns: []",
            "tags[1].campaigns",
            "BAD_VALUE",
        ),
        (
            "name: Garantía, campaigns: [soporte-tecnico]",
            "name: Garantía, campaigns: [nadie]",
            "tags[1].campaigns",
            "UNKNOWN_CAMPAIGN",
        ),
        ("- key: pasos-garantia", "- key: saludo", "quick_replies[1].key", "DUPLICATE"),
        ("text: Buenos días, gracias por escribirnos.", "text: ' '", "quick_replies[0].text", "MISSING"),
        ("key: segmento", "key: documento", "contact_fields[1].key", "DUPLICATE"),
        ("type: list, choices: [Hogar, Empresa]", "type: list", "contact_fields[1].choices", "CHOICES"),
        (
            "type: list, choices: [Hogar, Empresa]",
            "type: date, required: true",
            "contact_fields[1].required",
            "UNKNOWN_KEY",
        ),
    ];
    for (old, new, path, reason) in rows {
        assert!(example().contains(old), "the row no longer fits the example: {old}");
        let line = line_of(old.trim_end().lines().next().unwrap());
        let found = errors(|text| text.replacen(old, new, 1));
        assert!(
            found.contains(&format!("{line} {path} {reason}")),
            "{old} -> {new}\nwanted {line} {path} {reason}\n{found:#?}"
        );
    }
}

#[test]
fn all_errors_come_at_once_in_line_order_and_references_to_a_broken_thing_are_no_noise() {
    let found = errors(|text| {
        text.replacen("- key: soporte\n", "- key: So porte\n", 1)
            .replacen("accounts: [soporte]", "accounts: [So porte]", 1)
            .replacen("port: 465", "port: 0", 1)
            .replacen("name: Ana Quispe", "nombre: Ana", 1)
            .replacen("type: date", "type: fecha", 1)
    });
    let reasons: Vec<&str> = found.iter().map(|one| one.rsplit(' ').next().unwrap()).collect();
    assert_eq!(
        reasons,
        ["BAD_KEY", "OUT_OF_BOUNDS", "BAD_KEY", "MISSING", "UNKNOWN_KEY", "BAD_VALUE"],
        "{found:#?}"
    );
}

#[test]
fn roles_channels_and_addresses_are_checked_between_parts() {
    let found = errors(|text| text.replacen("roles: [agent] ", "roles: [reporter] ", 1));
    assert_eq!(found, [format!("{} campaigns[0].members[0] NOT_AN_AGENT", line_of("members: [ana, luis]"))]);
    let twice = "accounts:\n  - {key: a, channel: email, address: X@ejemplo.pe}\n  - {key: b, channel: email, address: x@Ejemplo.pe}\n  - {key: c, channel: whatsapp, address: x@y.pe}\n\
                 campaigns:\n  - {key: k, name: K, channel: email, accounts: [a, b, c], members: [], assignment_mode: random}\n";
    let found: Vec<String> = parse(twice).unwrap_err().iter().map(shown).collect();
    assert_eq!(
        found,
        [
            "3 accounts[1].address DUPLICATE_ADDRESS",
            "4 accounts[2].address WRONG_CHANNEL",
            "4 accounts[2].whatsapp MISSING",
            "6 campaigns[0].accounts[2] WRONG_CHANNEL"
        ]
    );
    let orphan = "accounts:\n  - {key: a, channel: email, address: x@ejemplo.pe}\n";
    let found: Vec<String> = parse(orphan).unwrap_err().iter().map(shown).collect();
    assert_eq!(found, ["2 accounts[0] ACCOUNT_WITHOUT_CAMPAIGN"]);
}

#[test]
fn an_overflow_into_another_campaign_needs_an_active_one() {
    let overflow = |text: &str| {
        text.replace(
            "overflow_mode: assign_to_all",
            "overflow_campaign: ventas\n    overflow_mode: send_to_campaign",
        )
    };
    assert_eq!(errors(overflow), Vec::<String>::new());
    let inactive =
        |text: &str| overflow(text).replace("    name: Ventas\n", "    name: Ventas\n    active: false\n");
    let found = errors(inactive);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("campaigns[0].overflow_campaign OVERFLOW_TARGET"), "{found:?}");
}

/// The example of a WhatsApp account in README.md, after one edit.
fn whatsapp_errors(from: &str, to: &str) -> Vec<String> {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("A WhatsApp account has").unwrap();
    let (_, rest) = rest.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    assert!(yaml.contains(from), "{from}");
    match parse(&yaml.replacen(from, to, 1)) {
        Ok(_) => Vec::new(),
        // The line is judged by the tests above.
        Err(problems) => problems.iter().map(|one| format!("{} {}", one.path, one.reason)).collect(),
    }
}

#[test]
fn a_whatsapp_account_needs_its_number_whole() {
    assert_eq!(whatsapp_errors("", ""), Vec::<String>::new());
    let hours = "assignment_mode: least_busy\n    hours: {automatic_reply: Hola, weekly: {monday: [\"09:00-13:00\"]}}";
    assert_eq!(whatsapp_errors("assignment_mode: least_busy", hours), Vec::<String>::new());
    let second = "accounts:\n  - {key: b, channel: whatsapp, whatsapp: {phone_number_id: \"106540352242922\", \
                  business_account_id: \"1\", display_number: +51987654322, access_token_secret: A, \
                  app_secret_secret: B, verify_token_secret: C}}\n";
    for (from, to, expected) in [
        ("\"106540352242922\" ", "\"10654x\" ", "accounts[0].whatsapp.phone_number_id BAD_VALUE"),
        ("\"102290129340398\"", "\"\"", "accounts[0].whatsapp.business_account_id MISSING"),
        ("+51 987 654 321", "987654321", "accounts[0].whatsapp.display_number BAD_VALUE"),
        ("      app_secret_secret: SOPORTE_WA_APP\n", "", "accounts[0].whatsapp.app_secret_secret MISSING"),
        ("SOPORTE_WA_TOKEN", "EAAGm0PX4ZCps", "accounts[0].whatsapp.access_token_secret BAD_VALUE"),
        (
            "messages_per_second: 80 ",
            "messages_per_second: 1001 ",
            "accounts[0].whatsapp.messages_per_second OUT_OF_BOUNDS",
        ),
        (
            "    channel: whatsapp\n    whatsapp:",
            "    channel: email\n    address: a@b.pe\n    whatsapp:",
            "accounts[0].whatsapp WRONG_CHANNEL",
        ),
        ("accounts:\n", second, "accounts[1].whatsapp.phone_number_id DUPLICATE_NUMBER"),
    ] {
        let found = whatsapp_errors(from, to);
        assert!(found.iter().any(|one| one == expected), "{expected} not in {found:?}");
    }
    let bare = parse("accounts:\n  - {key: a, channel: whatsapp, active: false}\n").unwrap_err();
    assert_eq!(bare.iter().map(shown).collect::<Vec<_>>(), ["2 accounts[0].whatsapp MISSING"]);
}

#[test]
fn no_error_quotes_a_password() {
    for text in [
        "users:\n  - {key: a, name: A, roles: [agent], password: s3cr3t}",
        "users:\n  - {key: a, name: A, roles: [agent], password_hash: s3cr3t-s3cr3t}",
    ] {
        let problems = parse(text).unwrap_err();
        assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
    }
}

proptest::proptest! {
    #[test]
    fn a_damaged_directory_never_panics(from in 0usize..3_000, length in 0usize..40, junk in "[\\[\\]{}:,\\-a0 \n\"']{0,6}") {
        let text = example();
        let from = text.floor_char_boundary(from.min(text.len()));
        let to = text.floor_char_boundary((from + length).min(text.len()));
        let _ = parse(&format!("{}{junk}{}", &text[..from], &text[to..]));
    }
}
