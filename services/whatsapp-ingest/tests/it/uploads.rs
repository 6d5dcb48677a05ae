//! What an upload's answer means: the same as a message's, but never a doubt.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use hilo_kit::config::Secret;
use hilo_whatsapp_ingest::adapter::files::{Files, Upload};
use hilo_whatsapp_ingest::adapter::graph::Graph;
use hilo_whatsapp_ingest::config::GraphConfig;
use hilo_whatsapp_ingest::domain::send::Outcome;
use tokio::net::TcpListener;

/// Uploads to a server that answers so.
async fn upload(media_type: &str, status: u16, body: &'static str) -> String {
    hilo_kit::install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let status = StatusCode::from_u16(status).unwrap();
    let router =
        Router::new().route("/{version}/{number}/media", post(move || async move { (status, body) }));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let graph = Graph::new(&GraphConfig { base_url, ..GraphConfig::default() }).unwrap();
    let (bytes, media_type) = (Bytes::from_static(b"a file"), media_type.to_owned());
    let file = Upload { bytes, media_type, file_name: "file".to_owned() };
    let ended = Files::new(graph, &[]).upload("1", &Secret::new("token"), file).await;
    server.abort();
    match ended {
        Ok(id) => id,
        Err(Outcome::Refused { code, .. }) => code.to_string(),
        Err(Outcome::NotSent { reason, .. }) => reason.to_owned(),
        Err(Outcome::Unsendable { why, .. }) => why.as_str().to_owned(),
        Err(other @ (Outcome::Accepted { .. } | Outcome::NoAnswer(_))) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_upload_is_judged_like_a_message_and_is_never_in_doubt() {
    let later = "MEDIA_NOT_UPLOADED";
    let table = [
        ("image/png", 200, r#"{"id": "77"}"#, "77"),
        ("image/png", 200, "{}", later),
        ("image/png", 400, r#"{"error": {"code": 131053}}"#, "131053"),
        ("image/png", 500, r#"{"error": {"code": 131000}}"#, "131000"),
        ("image/png", 401, "", "190"),
        ("image/png", 429, "<html>", "4"),
        // No code of Meta's is negative; it fails at once.
        ("image/png", 413, "<html>", "-413"),
        ("image/png", 408, "", later),
        ("image/png", 502, "<html>", later),
        ("no type at all", 200, "{}", "MEDIA_TYPE_REFUSED"),
    ];
    for (media_type, status, body, expected) in table {
        assert_eq!(upload(media_type, status, body).await, expected, "{media_type} {status} {body}");
    }
}
