//! Errors as the Graph API words them: code, HTTP status, title, details, in the shape of Meta's error body.
//!
//! Codes, statuses and titles follow
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>. Where the page
//! leaves the HTTP status open it is 400.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

/// One row of Meta's list: code, HTTP status, title, what the details say if nothing better is known.
struct Known(u32, u16, &'static str, &'static str);

const KNOWN: &[Known] = &[
    Known(0, 401, "AuthException", "We were unable to authenticate the app user."),
    Known(1, 400, "API Unknown", "Invalid request or possible server error."),
    Known(2, 503, "API Service", "Temporary due to downtime or due to being overloaded."),
    Known(3, 500, "API Method", "Capability or permissions issue."),
    Known(4, 400, "API Too Many Calls", "The app has reached its API call rate limit."),
    Known(10, 403, "Permission Denied", "Permission is either not granted or has been removed."),
    Known(33, 400, "Parameter value is not valid", "The business phone number has been deleted."),
    Known(
        100,
        400,
        "Invalid parameter",
        "The request included one or more unsupported or misspelled parameters.",
    ),
    Known(190, 401, "Invalid OAuth access token", "Cannot parse access token."),
    Known(200, 403, "API Permission", "Permission is either not granted or has been removed."),
    Known(
        368,
        403,
        "Temporarily blocked for policies violations",
        "The account has been restricted or disabled.",
    ),
    Known(2500, 400, "Unknown path components", "The path is not known."),
    Known(80007, 400, "Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
    Known(130_429, 400, "Rate limit hit", "Cloud API message throughput has been reached."),
    Known(
        130_472,
        400,
        "User's number is part of an experiment",
        "Message was not sent as part of an experiment.",
    ),
    Known(
        130_497,
        403,
        "Business account is restricted from messaging users in this country",
        "Restricted country.",
    ),
    Known(131_000, 500, "Something went wrong", "Message failed to send due to an unknown error."),
    Known(131_005, 403, "Access denied", "Permission is either not granted or has been removed."),
    Known(131_008, 400, "Required parameter is missing", "The request is missing a required parameter."),
    Known(131_009, 400, "Parameter value is not valid", "One or more parameter values are invalid."),
    Known(131_016, 500, "Service unavailable", "A service is temporarily unavailable."),
    Known(131_021, 400, "Recipient cannot be sender", "Sender and recipient phone number is the same."),
    Known(131_026, 400, "Message undeliverable", "Unable to deliver message."),
    Known(
        131_030,
        400,
        "Recipient phone number not in allowed list",
        "The recipient is not in the list of test numbers.",
    ),
    Known(131_031, 403, "Account has been locked", "The account has been restricted or disabled."),
    Known(
        131_037,
        400,
        "WhatsApp provided number needs display name approval",
        "The display name is not approved.",
    ),
    Known(
        131_042,
        400,
        "Business eligibility payment issue",
        "There was an error related to your payment method.",
    ),
    Known(
        131_045,
        500,
        "Incorrect certificate",
        "Message failed to send due to a phone number registration error.",
    ),
    Known(
        131_047,
        400,
        "Re-engagement message",
        "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    ),
    Known(
        131_048,
        400,
        "Spam rate limit hit",
        "Restrictions on how many messages can be sent from this number.",
    ),
    Known(
        131_049,
        400,
        "This message was not delivered to maintain healthy ecosystem engagement.",
        "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
    ),
    Known(
        131_050,
        400,
        "Unable to deliver the message",
        "The recipient stopped marketing messages from this business.",
    ),
    Known(131_051, 400, "Unsupported message type", "Unsupported message type."),
    Known(131_052, 400, "Media download error", "Unable to download the media sent by the user."),
    Known(131_053, 400, "Media upload error", "Unable to upload the media used in the message."),
    Known(
        131_056,
        400,
        "(Business Account, Consumer Account) pair rate limit hit",
        "Too many messages sent from this number to the same recipient in a short period of time.",
    ),
    Known(131_057, 500, "Account in maintenance mode", "Business Account is in maintenance mode."),
    Known(
        131_062,
        400,
        "Recipient not supported",
        "Business-scoped User ID (BSUID) recipients are not supported for this message.",
    ),
    Known(
        132_000,
        400,
        "Number of parameters does not match the expected number of params",
        "Wrong number of params.",
    ),
    Known(
        132_001,
        404,
        "Template name does not exist in the translation",
        "The template does not exist or is not approved.",
    ),
    Known(132_005, 400, "Translated text too long", "The translated text is too long."),
    Known(
        132_007,
        400,
        "Template format character policy violated",
        "The template content violates a policy.",
    ),
    Known(
        132_012,
        400,
        "Parameter format does not match format in the created template",
        "Wrong parameter format.",
    ),
    Known(132_015, 400, "Template is paused", "Template is paused due to low quality."),
    Known(
        132_016,
        400,
        "Template is disabled",
        "Template has been paused too many times and is now disabled.",
    ),
    Known(132_068, 400, "Flow is in blocked state", "Flow is in blocked state."),
    Known(132_069, 400, "Flow is in throttled state", "Flow is in throttled state."),
    Known(133_000, 500, "Incomplete deregistration", "A previous deregistration attempt failed."),
    Known(133_010, 400, "Phone number not registered", "The phone number is not registered."),
    Known(
        133_016,
        400,
        "Account register deregister rate limit exceeded",
        "Too many attempts for this number.",
    ),
    Known(
        135_000,
        400,
        "Generic user error",
        "Message failed to send because of an unknown error with the parameters.",
    ),
    Known(137_000, 400, "Identity key hash mismatch", "The identity of the recipient changed."),
];

/// A refusal in Meta's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// Meta's code, what a sender decides by.
    pub code: u32,
    /// Older sub-code; today only with code 100 for what does not exist (33).
    pub subcode: Option<u32>,
    /// HTTP status of the answer.
    pub http: u16,
    /// Title without the leading `(#code)`.
    pub title: String,
    /// What went wrong, in words.
    pub details: String,
}

impl GraphError {
    /// The error `code` with details of its own.
    pub fn new(code: u32, details: impl Into<String>) -> Self {
        let (http, title) = known(code).map_or((400, "Unknown error"), |row| (row.1, row.2));
        Self { code, subcode: None, http, title: title.to_owned(), details: details.into() }
    }

    /// The error `code` with the details of Meta's list.
    pub fn plain(code: u32) -> Self {
        let details = known(code).map_or("An unknown error occurred.", |row| row.3);
        Self::new(code, details)
    }

    /// What the Graph API says of an id that does not exist or is another app's.
    pub fn no_such_object(id: &str) -> Self {
        let details = format!(
            "Object with ID '{id}' does not exist, cannot be loaded due to missing permissions, or does not support this \
             operation"
        );
        let mut error = Self::new(100, details);
        error.title = "Unsupported request".to_owned();
        error.subcode = Some(33);
        error
    }

    /// The same error under another HTTP status.
    #[must_use]
    pub fn with_http(mut self, http: u16) -> Self {
        self.http = http;
        self
    }

    /// The body of the answer.
    pub fn body(&self, trace: &str) -> Value {
        let mut error = json!({
            "message": format!("(#{}) {}", self.code, self.title),
            "type": "OAuthException",
            "code": self.code,
            "error_data": { "messaging_product": "whatsapp", "details": self.details },
            "fbtrace_id": trace,
        });
        if let (Some(subcode), Some(map)) = (self.subcode, error.as_object_mut()) {
            map.insert("error_subcode".to_owned(), json!(subcode));
        }
        json!({ "error": error })
    }

    /// The object in `errors` of a status webhook.
    pub fn in_status(&self) -> Value {
        json!({
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": { "details": self.details },
            "href": "/documentation/business-messaging/whatsapp/support/error-codes",
        })
    }

    /// The whole answer.
    pub fn answer(&self, trace: &str) -> Response {
        let status = StatusCode::from_u16(self.http).unwrap_or(StatusCode::BAD_REQUEST);
        (status, axum::Json(self.body(trace))).into_response()
    }
}

fn known(code: u32) -> Option<&'static Known> {
    KNOWN.iter().find(|row| row.0 == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_metas_shape() {
        let body = GraphError::plain(131_047).body("trace");
        assert_eq!(body.pointer("/error/code"), Some(&json!(131_047)));
        assert_eq!(body.pointer("/error/message"), Some(&json!("(#131047) Re-engagement message")));
        assert_eq!(body.pointer("/error/type"), Some(&json!("OAuthException")));
        assert_eq!(body.pointer("/error/error_data/messaging_product"), Some(&json!("whatsapp")));
        assert_eq!(body.pointer("/error/fbtrace_id"), Some(&json!("trace")));
        assert!(
            body.pointer("/error/error_data/details")
                .and_then(Value::as_str)
                .is_some_and(|d| d.contains("24 hours"))
        );
    }

    #[test]
    fn every_code_is_listed_once() {
        let mut codes: Vec<u32> = KNOWN.iter().map(|row| row.0).collect();
        codes.sort_unstable();
        let before = codes.len();
        codes.dedup();
        assert_eq!(before, codes.len());
    }
}
