//! The Graph endpoints of the Cloud API: messages, files, templates, phone numbers.
//!
//! Paths are `/vNN.0/{id}/...`; every call needs the bearer token of the app its object belongs to. An object of
//! another app is answered like one that does not exist.

mod call;
pub(crate) mod check;
mod listing;
mod media;
mod messages;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::response::Response;
use axum::routing::{get, post};

use crate::errors::GraphError;
use crate::world::Core;

pub(crate) use call::Unanswered;

/// Most bytes of a request: a document of 100 MB in its form.
const MAX_BODY: usize = 110 << 20;

pub(crate) fn routes() -> Router<Arc<Core>> {
    Router::new()
        .route("/{version}/{id}/messages", post(messages::post))
        .route("/{version}/{id}/media", post(media::upload))
        .route("/{version}/{id}/message_templates", get(listing::templates))
        .route("/{version}/{id}/phone_numbers", get(listing::numbers))
        .route("/{version}/{id}", get(media::info).delete(media::delete))
        .route("/whatsapp_business/attachments/", get(media::download))
        .route("/whatsapp_business/attachments", get(media::download))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn unknown(State(_): State<Arc<Core>>, OriginalUri(uri): OriginalUri) -> Response {
    GraphError::new(2500, format!("Unknown path components: {}", uri.path())).answer(&call::trace())
}
