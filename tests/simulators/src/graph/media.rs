//! Files at the Graph API: upload, address, download, delete.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;

use super::call::{Call, Outcome};
use super::{listing, messages};
use crate::config::App;
use crate::errors::GraphError;
use crate::faults::Endpoint;
use crate::media::{Media, MediaFault, refusal};
use crate::world::{Core, World};

/// POST /{phone-number-id}/media with a form: `messaging_product`, `type`, `file`.
pub(super) async fn upload(
    State(core): State<Arc<Core>>,
    Path((version, id)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = form(&headers, body).await;
    let mut call =
        Call::new(core, &Method::POST, uri.path(), &version, headers).on(Endpoint::MediaUpload, &id);
    if let Ok(form) = &form {
        call.row().body = json!({"type": form.mime, "bytes": form.file.as_ref().map(Bytes::len)});
    }
    call.run(move |world, app| {
        let number = messages::own(world, app, &id)?;
        let form = form.map_err(|why| GraphError::new(100, why))?;
        if form.product.as_deref() != Some("whatsapp") {
            return Err(GraphError::new(100, "(#100) The parameter messaging_product is required."));
        }
        let file = form.file.ok_or_else(|| GraphError::new(100, "The parameter file is required."))?;
        let mime = form.mime.ok_or_else(|| GraphError::new(100, "The parameter type is required."))?;
        if let Some(why) = refusal(&mime, file.len()) {
            return Err(GraphError::new(100, why));
        }
        let media = world.store(&number.phone_number_id, &mime, file, None, true);
        Ok(json!({ "id": media.id }).into())
    })
    .await
}

#[derive(Default)]
struct Form {
    product: Option<String>,
    mime: Option<String>,
    file: Option<Bytes>,
}

async fn form(headers: &HeaderMap, body: Bytes) -> Result<Form, String> {
    let of = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(of).map_err(|error| error.to_string())?;
    let stream = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(body)));
    let mut parts = multer::Multipart::new(stream, boundary);
    let (mut form, mut of_file) = (Form::default(), None);
    while let Some(part) = parts.next_field().await.map_err(|error| error.to_string())? {
        let name = part.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "messaging_product" => form.product = Some(part.text().await.map_err(|error| error.to_string())?),
            "type" => form.mime = Some(part.text().await.map_err(|error| error.to_string())?),
            "file" => {
                of_file = part.content_type().map(ToString::to_string);
                form.file = Some(part.bytes().await.map_err(|error| error.to_string())?);
            }
            _ => {}
        }
    }
    form.mime = form.mime.or(of_file);
    Ok(form)
}

/// GET /{id}: the address of a file, or the fields of a phone number.
pub(super) async fn info(
    State(core): State<Arc<Core>>,
    Path((version, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let number = core.world.lock().number(&id).is_some();
    let endpoint = if number { Endpoint::Numbers } else { Endpoint::MediaInfo };
    let base = core.base.clone();
    let call = Call::new(core, &Method::GET, uri.path(), &version, headers).on(endpoint, &id);
    call.run(move |world, app| {
        if number {
            let number = messages::own(world, app, &id)?;
            return Ok(listing::fields(listing::number(&number), query.get("fields")).into());
        }
        let media = readable(world, app, &id, query.get("phone_number_id"))?;
        let url = world.address(&base, &media, "getMedia");
        let size = media.bytes.len();
        Ok(json!({
            "messaging_product": "whatsapp",
            "url": url,
            "mime_type": media.mime,
            "sha256": media.hex(),
            "file_size": size,
            "id": media.id,
        })
        .into())
    })
    .await
}

/// DELETE /{media-id}.
pub(super) async fn delete(
    State(core): State<Arc<Core>>,
    Path((version, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let call = Call::new(core, &Method::DELETE, uri.path(), &version, headers).on(Endpoint::MediaInfo, &id);
    call.run(move |world, app| {
        readable(world, app, &id, query.get("phone_number_id"))?;
        world.media.remove(&id);
        Ok(json!({ "success": true }).into())
    })
    .await
}

fn readable(world: &World, app: &App, id: &str, of_number: Option<&String>) -> Result<Media, GraphError> {
    let media = world.media.get(id).filter(|media| media.ends_at_ms > world.now_ms());
    let media = media.filter(|media| of_number.is_none_or(|number| *number == media.number));
    let media = media.ok_or_else(|| GraphError::no_such_object(id))?;
    messages::own(world, app, &media.number).map_err(|_| GraphError::no_such_object(id))?;
    Ok(media.clone())
}

/// GET the address that was given out: the bytes, for whoever has the token, for five minutes.
pub(super) async fn download(
    State(core): State<Arc<Core>>,
    Query(query): Query<HashMap<String, String>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let field = |name: &str| query.get(name).cloned().unwrap_or_default();
    let (id, hash) = (field("mid"), field("hash"));
    let call = Call::new(core, &Method::GET, uri.path(), "", headers).on(Endpoint::MediaDownload, &id);
    call.run(move |world, app| {
        let now = world.now_ms();
        let alive = world.urls.get(&hash).is_some_and(|(of, ends)| *of == id && *ends > now);
        let gone = || GraphError::new(100, "The URL is not valid or has expired.").with_http(404);
        if !alive {
            return Err(gone());
        }
        let media = readable(world, app, &id, None).map_err(|_| gone())?;
        if media.fault == Some(MediaFault::Gone) {
            return Err(gone());
        }
        Ok(Outcome::Answer(file(&media)))
    })
    .await
}

fn file(media: &Media) -> Response {
    match &media.fault {
        Some(MediaFault::Html) => {
            let page = "<!DOCTYPE html><html><body>Sorry, something went wrong.</body></html>";
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
        }
        Some(MediaFault::Redirect(to)) => {
            (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response()
        }
        Some(MediaFault::Cut) => {
            let half = media.bytes.slice(..media.bytes.len() / 2);
            let broken = futures::stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
            ([(header::CONTENT_TYPE, media.mime.clone())], Body::from_stream(broken)).into_response()
        }
        _ => ([(header::CONTENT_TYPE, media.mime.clone())], media.bytes.clone()).into_response(),
    }
}
