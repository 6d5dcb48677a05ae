//! Notices about accounts, numbers, templates, groups and flows: what happened in one word, and whether an operator should look.
//!
//! Source: Meta, the webhook reference of each field, "Groups webhooks" and "Flows webhooks" (March to August 2026).

use serde_json::Value;

use super::identity;
use super::json::{array, object, short};

/// Longest word kept, in characters.
const WORD_CHARS: usize = 80;

/// What a notice tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// In Meta's word; may be empty.
    pub event: String,
    /// True when an operator should look.
    pub alarming: bool,
}

/// Fields whose elements each are a notice, with the name of their array.
pub fn elements(field: &str) -> Option<&'static str> {
    match field {
        "group_lifecycle_update"
        | "group_participants_update"
        | "group_settings_update"
        | "group_status_update" => Some("groups"),
        "user_preferences" => Some("user_preferences"),
        "user_id_update" => Some("user_id_update"),
        _ => None,
    }
}

/// Reads the value of a change, or an element of it. What is not known to be harmless wants eyes, above all a field of next year.
pub fn read(field: &str, value: &Value) -> Told {
    let of = |key: &str| short(value, key, WORD_CHARS);
    let but = |event: String, harmless: &[&str]| {
        let alarming = !harmless.contains(&event.as_str());
        Told { event, alarming }
    };
    match field {
        // The business's own doings, and what other apps or the phone of the number do.
        "history"
        | "smb_message_echoes"
        | "smb_app_state_sync"
        | "message_echoes"
        | "messaging_handovers"
        | "standby"
        | "automatic_events"
        | "tracking_events"
        | "message_template_components_update" => Told { event: of("event"), alarming: false },
        // What a customer asks for; a failed send (131050) says it again.
        "user_preferences" => Told { event: of("value"), alarming: false },
        // Without both ids nobody can be found by it.
        "user_id_update" => {
            Told { event: String::new(), alarming: identity::of_user_id_update(value).is_none() }
        }
        "business_username_updates" => but(of("status"), &["approved", "reserved"]),
        "account_alerts" => {
            let alert = object(value, "alert_info");
            let severity = short(alert, "alert_severity", WORD_CHARS);
            Told { event: short(alert, "alert_type", WORD_CHARS), alarming: severity != "INFORMATIONAL" }
        }
        "account_review_update" | "phone_number_name_update" => but(of("decision"), &["APPROVED"]),
        "account_update" => but(of("event"), &HARMLESS_TO_ACCOUNT),
        "phone_number_quality_update" => but(of("event"), &RISES_OF_A_NUMBER),
        "message_template_status_update" => but(of("event"), &["APPROVED", "PENDING", "UNARCHIVED"]),
        "message_template_quality_update" => but(of("new_quality_score"), &["GREEN", "UNKNOWN"]),
        // A category decides what a message costs.
        "template_category_update" => Told { event: of("new_category"), alarming: true },
        "payment_configuration_update" => but(of("status"), &["Active"]),
        "flows" => flow(value),
        "group_lifecycle_update"
        | "group_participants_update"
        | "group_settings_update"
        | "group_status_update" => Told {
            event: of("type"),
            alarming: of("type") == "group_suspend" || !array(value, "errors").is_empty(),
        },
        _ => Told { event: of("event"), alarming: true },
    }
}

/// Events of `account_update` that take nothing away and let nobody in.
const HARMLESS_TO_ACCOUNT: [&str; 8] = [
    "VERIFIED_ACCOUNT",
    "ACCOUNT_RECONNECTED",
    "AD_ACCOUNT_LINKED",
    "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE",
    "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE",
    "MM_LITE_TERMS_SIGNED",
    "PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE",
    "VOLUME_BASED_PRICING_TIER_UPDATE",
];

/// Events of `phone_number_quality_update` after which a number may send as much as before, or more.
const RISES_OF_A_NUMBER: [&str; 4] = ["ONBOARDING", "UPGRADE", "UNFLAGGED", "THROUGHPUT_UPGRADE"];

/// A flow that stands still, and every alert that is not over.
fn flow(value: &Value) -> Told {
    let event = short(value, "event", WORD_CHARS);
    let harmless = match event.as_str() {
        "FLOW_STATUS_CHANGE" => {
            ["DRAFT", "PUBLISHED", "DEPRECATED"].contains(&short(value, "new_status", WORD_CHARS).as_str())
        }
        _ => short(value, "alert_state", WORD_CHARS) == "DEACTIVATED",
    };
    Told { event, alarming: !harmless }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_its_word_and_alarms_for_what_takes_something_away() {
        let alert = |severity: &str| json!({"alert_info": {"alert_severity": severity, "alert_type": "OBA_APPROVED"}});
        let table = [
            ("account_alerts", alert("INFORMATIONAL"), "OBA_APPROVED", false),
            ("account_alerts", alert("CRITICAL"), "OBA_APPROVED", true),
            ("account_alerts", json!({}), "", true),
            ("account_review_update", json!({"decision": "APPROVED"}), "APPROVED", false),
            ("account_review_update", json!({"decision": "REJECTED"}), "REJECTED", true),
            ("account_update", json!({"event": "DISABLED_UPDATE"}), "DISABLED_UPDATE", true),
            ("account_update", json!({"event": "PARTNER_ADDED"}), "PARTNER_ADDED", true),
            ("account_update", json!({"event": "VERIFIED_ACCOUNT"}), "VERIFIED_ACCOUNT", false),
            ("business_capability_update", json!({"max_phone_numbers_per_waba": 2}), "", true),
            ("phone_number_name_update", json!({"decision": "REJECTED"}), "REJECTED", true),
            ("phone_number_quality_update", json!({"event": "FLAGGED"}), "FLAGGED", true),
            ("phone_number_quality_update", json!({"event": "DOWNGRADE"}), "DOWNGRADE", true),
            (
                "phone_number_quality_update",
                json!({"event": "THROUGHPUT_UPGRADE"}),
                "THROUGHPUT_UPGRADE",
                false,
            ),
            ("message_template_status_update", json!({"event": "APPROVED"}), "APPROVED", false),
            ("message_template_status_update", json!({"event": "PAUSED"}), "PAUSED", true),
            ("message_template_quality_update", json!({"new_quality_score": "GREEN"}), "GREEN", false),
            ("message_template_quality_update", json!({"new_quality_score": "RED"}), "RED", true),
            ("message_template_components_update", json!({}), "", false),
            ("template_category_update", json!({"new_category": "MARKETING"}), "MARKETING", true),
            ("security", json!({"event": "PIN_RESET_REQUEST"}), "PIN_RESET_REQUEST", true),
            ("payment_configuration_update", json!({"status": "Active"}), "Active", false),
            ("payment_configuration_update", json!({"status": "Needs Testing"}), "Needs Testing", true),
            ("partner_solutions", json!({"event": "SOLUTION_UPDATED"}), "SOLUTION_UPDATED", true),
            (
                "flows",
                json!({"event": "FLOW_STATUS_CHANGE", "new_status": "PUBLISHED"}),
                "FLOW_STATUS_CHANGE",
                false,
            ),
            (
                "flows",
                json!({"event": "FLOW_STATUS_CHANGE", "new_status": "BLOCKED"}),
                "FLOW_STATUS_CHANGE",
                true,
            ),
            (
                "flows",
                json!({"event": "ENDPOINT_ERROR_RATE", "alert_state": "ACTIVATED"}),
                "ENDPOINT_ERROR_RATE",
                true,
            ),
            (
                "flows",
                json!({"event": "ENDPOINT_ERROR_RATE", "alert_state": "DEACTIVATED"}),
                "ENDPOINT_ERROR_RATE",
                false,
            ),
            ("group_lifecycle_update", json!({"type": "group_create"}), "group_create", false),
            (
                "group_lifecycle_update",
                json!({"type": "group_create", "errors": [{"code": 1}]}),
                "group_create",
                true,
            ),
            (
                "group_participants_update",
                json!({"type": "group_participants_add"}),
                "group_participants_add",
                false,
            ),
            (
                "group_settings_update",
                json!({"type": "group_settings_update"}),
                "group_settings_update",
                false,
            ),
            ("group_status_update", json!({"type": "group_suspend"}), "group_suspend", true),
            ("group_status_update", json!({"type": "group_suspend_cleared"}), "group_suspend_cleared", false),
            ("user_preferences", json!({"value": "stop"}), "stop", false),
            ("user_id_update", json!({"user_id": {"previous": "PE.1", "current": "PE.2"}}), "", false),
            ("user_id_update", json!({"user_id": {"current": "PE.2"}}), "", true),
            ("business_username_updates", json!({"status": "approved"}), "approved", false),
            ("business_username_updates", json!({"status": "deleted"}), "deleted", true),
            ("history", json!({}), "", false),
            ("smb_app_state_sync", json!({}), "", false),
            ("smb_message_echoes", json!({"message_echoes": []}), "", false),
            ("a_field_of_next_year", json!({"event": "X"}), "X", true),
        ];
        for (field, value, event, alarming) in table {
            assert_eq!(read(field, &value), Told { event: event.into(), alarming }, "{field} {value}");
        }
    }
}
