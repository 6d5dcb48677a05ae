//! The payloads as Meta documents them, one JSON file per kind, each naming its public page and where it was read.
//!
//! What the simulator posts is built from these files, so a receiver tested with it is tested with them.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

/// One documented payload.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Its name, also the file's.
    pub kind: String,
    /// The official public page it follows.
    pub page: String,
    /// Where that page was read, or that it was not.
    pub read_in: String,
    /// What else a reader should know.
    #[serde(default)]
    pub remarks: String,
    /// A whole webhook body.
    pub payload: Value,
}

impl Fixture {
    /// The webhook field.
    pub fn field(&self) -> &str {
        self.payload.pointer("/entry/0/changes/0/field").and_then(Value::as_str).unwrap_or_default()
    }

    /// The value of its only change.
    pub fn value(&self) -> &Value {
        self.payload.pointer("/entry/0/changes/0/value").unwrap_or(&Value::Null)
    }

    /// Its message, for the kinds a customer sends.
    pub fn message(&self) -> Option<&Value> {
        self.value().pointer("/messages/0")
    }
}

/// Where a kind belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// What a customer sends.
    Message,
    /// What becomes of a message that was sent.
    Status,
    /// Everything else Meta tells.
    Notice,
}

/// The fixture `kind` of `family`.
pub fn find(family: Family, kind: &str) -> Option<&'static Fixture> {
    static PARSED: LazyLock<Vec<(Family, Fixture)>> = LazyLock::new(|| {
        let parse = |(family, _, text): &(Family, _, &str)| Some((*family, serde_json::from_str(text).ok()?));
        FILES.iter().filter_map(parse).collect()
    });
    PARSED.iter().find(|(of, fixture)| *of == family && fixture.kind == kind).map(|(_, fixture)| fixture)
}

/// Every kind of `family`, in the order of the alphabet.
pub fn kinds(family: Family) -> impl Iterator<Item = &'static str> {
    FILES.iter().filter(move |(of, _, _)| *of == family).map(|(_, name, _)| *name)
}

macro_rules! file {
    ($family:ident, $folder:literal, $name:literal) => {
        (Family::$family, $name, include_str!(concat!("../fixtures/", $folder, "/", $name, ".json")))
    };
}

const FILES: &[(Family, &str, &str)] = &[
    file!(Message, "messages", "audio"),
    file!(Message, "messages", "button"),
    file!(Message, "messages", "contact_requested"),
    file!(Message, "messages", "contacts"),
    file!(Message, "messages", "document"),
    file!(Message, "messages", "edit"),
    file!(Message, "messages", "edit_caption"),
    file!(Message, "messages", "future_kind"),
    file!(Message, "messages", "group_text"),
    file!(Message, "messages", "image"),
    file!(Message, "messages", "interactive_button_reply"),
    file!(Message, "messages", "interactive_flow_reply"),
    file!(Message, "messages", "interactive_list_reply"),
    file!(Message, "messages", "location"),
    file!(Message, "messages", "order"),
    file!(Message, "messages", "reaction"),
    file!(Message, "messages", "reaction_removed"),
    file!(Message, "messages", "request_welcome"),
    file!(Message, "messages", "revoke"),
    file!(Message, "messages", "sticker"),
    file!(Message, "messages", "system_identity_changed"),
    file!(Message, "messages", "system_number_changed"),
    file!(Message, "messages", "system_user_id_changed"),
    file!(Message, "messages", "text"),
    file!(Message, "messages", "text_forwarded"),
    file!(Message, "messages", "text_frequently_forwarded"),
    file!(Message, "messages", "text_from_ad"),
    file!(Message, "messages", "text_product_question"),
    file!(Message, "messages", "text_reply"),
    file!(Message, "messages", "unknown"),
    file!(Message, "messages", "unsupported"),
    file!(Message, "messages", "unsupported_edit"),
    file!(Message, "messages", "unsupported_unavailable"),
    file!(Message, "messages", "video"),
    file!(Message, "messages", "voice"),
    file!(Notice, "notices", "account_alerts"),
    file!(Notice, "notices", "account_disabled"),
    file!(Notice, "notices", "account_review_update"),
    file!(Notice, "notices", "account_update"),
    file!(Notice, "notices", "account_violation"),
    file!(Notice, "notices", "business_capability_update"),
    file!(Notice, "notices", "business_username_updates"),
    file!(Notice, "notices", "call_connect"),
    file!(Notice, "notices", "call_terminate"),
    file!(Notice, "notices", "future_field"),
    file!(Notice, "notices", "group_lifecycle"),
    file!(Notice, "notices", "group_participants"),
    file!(Notice, "notices", "group_settings"),
    file!(Notice, "notices", "group_status"),
    file!(Notice, "notices", "message_template_paused"),
    file!(Notice, "notices", "message_template_quality_update"),
    file!(Notice, "notices", "message_template_status_update"),
    file!(Notice, "notices", "phone_number_name_update"),
    file!(Notice, "notices", "phone_number_quality_update"),
    file!(Notice, "notices", "security"),
    file!(Notice, "notices", "smb_message_echoes"),
    file!(Notice, "notices", "template_category_update"),
    file!(Notice, "notices", "user_id_update"),
    file!(Notice, "notices", "user_preferences"),
    file!(Notice, "notices", "value_errors"),
    file!(Status, "statuses", "delivered"),
    file!(Status, "statuses", "delivered_without_phone"),
    file!(Status, "statuses", "failed"),
    file!(Status, "statuses", "group_delivered"),
    file!(Status, "statuses", "played"),
    file!(Status, "statuses", "read"),
    file!(Status, "statuses", "sent"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_parses_and_names_its_page() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        for (family, folder) in
            [(Family::Message, "messages"), (Family::Status, "statuses"), (Family::Notice, "notices")]
        {
            for file in std::fs::read_dir(root.join(folder)).expect("folder") {
                let path = file.expect("entry").path();
                let name = path.file_stem().and_then(|stem| stem.to_str()).expect("name").to_owned();
                let fixture =
                    find(family, &name).unwrap_or_else(|| panic!("{name} is not listed or does not parse"));
                assert_eq!(fixture.kind, name);
                assert!(
                    fixture.page.starts_with("https://developers.facebook.com/"),
                    "{name}: {}",
                    fixture.page
                );
                assert!(!fixture.read_in.is_empty() && !fixture.field().is_empty(), "{name}");
                assert_eq!(
                    fixture.payload.get("object").and_then(Value::as_str),
                    Some("whatsapp_business_account")
                );
            }
            assert_eq!(kinds(family).count(), std::fs::read_dir(root.join(folder)).expect("folder").count());
        }
    }

    #[test]
    fn every_message_kind_has_one_message_whose_body_is_named_like_its_type() {
        for kind in kinds(Family::Message) {
            let fixture = find(Family::Message, kind).expect("listed");
            let message = fixture.message().unwrap_or_else(|| panic!("{kind} has no message"));
            let of = message.get("type").and_then(Value::as_str).expect("type");
            let bodiless = ["unknown", "request_welcome"].contains(&of);
            assert!(bodiless || message.get(of).is_some(), "{kind}: nothing called {of}");
        }
    }
}
