//! Files in both directions.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use bytes::Bytes;
use hilo_simulators::{Customer, File, MediaFault, Say};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{NUMBER, PHONE, TOKEN, World, code};

/// A form with a file in it, posted by hand: no library of ours makes it.
async fn upload(world: &World, mime: &str, file: &[u8]) -> (StatusCode, Value) {
    let mut body = Vec::new();
    for (name, value) in [("messaging_product", "whatsapp"), ("type", mime)] {
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\nContent-Type: {mime}\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let http: hyper_util::client::legacy::Client<_, http_body_util::Full<Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = axum::http::Request::post(format!("{}/v23.0/{NUMBER}/media", world.simulator.base_url()))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "multipart/form-data; boundary=b")
        .body(http_body_util::Full::new(Bytes::from(body)))
        .expect("request");
    let answer = http.request(request).await.expect("answer");
    let status = answer.status();
    let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.expect("body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn what_is_uploaded_can_be_sent_looked_at_downloaded_and_deleted() {
    let world = World::start().await;
    world.talking().await;
    let bytes = b"\xff\xd8\xff and more";
    let (_, answer) = upload(&world, "image/jpeg", bytes).await;
    let id = answer["id"].as_str().expect("id").to_owned();
    let (_, info) = world.call("GET", &format!("/v23.0/{id}"), None).await;
    assert_eq!(info["sha256"], hex::encode(Sha256::digest(bytes)));
    assert_eq!((&info["file_size"], &info["mime_type"]), (&json!(bytes.len()), &json!("image/jpeg")));
    let url = info["url"].as_str().expect("url");
    let (status, file) = world.raw(TOKEN, "GET", url, None).await.expect("file");
    assert_eq!((status, file.as_ref()), (StatusCode::OK, bytes.as_slice()));
    assert_eq!(world.raw("", "GET", url, None).await.expect("refusal").0, StatusCode::UNAUTHORIZED);

    let send =
        |kind: &str| json!({"messaging_product": "whatsapp", "to": PHONE, "type": kind, kind: {"id": id}});
    assert_eq!(code(&world.send(&send("image")).await), 0);
    assert_eq!(code(&world.send(&send("video")).await), 131_053);
    let (_, deleted) = world.call("DELETE", &format!("/v23.0/{id}"), None).await;
    assert_eq!(deleted, json!({"success": true}));
    assert_eq!(code(&world.call("GET", &format!("/v23.0/{id}"), None).await), 100);
    assert_eq!(code(&world.send(&send("image")).await), 131_009);
}

#[tokio::test]
async fn wrong_types_and_sizes_are_not_uploaded() {
    let world = World::start().await;
    assert_eq!(code(&upload(&world, "image/gif", b"GIF89a").await), 100);
    assert_eq!(code(&upload(&world, "image/png", &vec![0; (5 << 20) + 1]).await), 100);
    assert_eq!(code(&upload(&world, "image/png", b"").await), 100);
    assert_eq!(code(&upload(&world, "image/png", b"\x89PNG").await), 0);
}

#[tokio::test]
async fn an_address_is_good_for_five_minutes_and_an_id_from_a_webhook_for_seven_days() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    let bytes = b"OggS and a voice";
    phone.says(NUMBER, &Say::media("voice", File::new("audio/ogg; codecs=opus", bytes))).expect("says");
    world.settled().await;
    let audio = world.events().pop().expect("message")["audio"].clone();
    assert_eq!(audio["voice"], true);
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes));
    assert_eq!(audio["sha256"], hash);
    let id = audio["id"].as_str().expect("id").to_owned();
    for url in [audio["url"].as_str().expect("url").to_owned(), address(&world, &id).await] {
        assert_eq!(world.raw(TOKEN, "GET", &url, None).await.expect("file").1.as_ref(), bytes);
    }
    let url = address(&world, &id).await;
    world.simulator.advance(Duration::from_secs(301));
    assert_eq!(world.raw(TOKEN, "GET", &url, None).await.expect("answer").0, StatusCode::NOT_FOUND);
    assert_eq!(
        world.raw(TOKEN, "GET", &address(&world, &id).await, None).await.expect("file").0,
        StatusCode::OK
    );
    world.simulator.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(code(&world.call("GET", &format!("/v23.0/{id}"), None).await), 100);
}

async fn address(world: &World, id: &str) -> String {
    let (_, info) = world.call("GET", &format!("/v23.0/{id}"), None).await;
    info["url"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn files_go_wrong_on_demand() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    for fault in [
        MediaFault::WrongHash,
        MediaFault::Html,
        MediaFault::Gone,
        MediaFault::Expired,
        MediaFault::ForeignHost("https://evil.example".to_owned()),
        MediaFault::Redirect("http://169.254.169.254/".to_owned()),
        MediaFault::Cut,
    ] {
        let bytes = b"\xff\xd8\xff picture";
        let file = File::new("image/jpeg", bytes).but(fault.clone());
        phone.says(NUMBER, &Say::media("image", file)).expect("says");
        world.settled().await;
        let image = world.events().pop().expect("message")["image"].clone();
        let (_, info) =
            world.call("GET", &format!("/v23.0/{}", image["id"].as_str().expect("id")), None).await;
        let url = info["url"].as_str().expect("url").to_owned();
        let right = info["sha256"] == hex::encode(Sha256::digest(bytes));
        assert_eq!(right, fault != MediaFault::WrongHash, "{fault:?}");
        if let MediaFault::ForeignHost(host) = &fault {
            assert!(url.starts_with(host), "{url}");
            continue;
        }
        let answer = world.raw(TOKEN, "GET", &url, None).await;
        match (&fault, answer) {
            (MediaFault::Cut, answer) => assert!(answer.is_err(), "a whole file came"),
            (MediaFault::Html, Ok((status, page))) => {
                assert!(status == StatusCode::OK && page.starts_with(b"<!DOCTYPE html>"));
            }
            (MediaFault::Redirect(_), Ok((status, _))) => assert_eq!(status, StatusCode::FOUND),
            (MediaFault::Gone | MediaFault::Expired, Ok((status, _))) => {
                assert_eq!(status, StatusCode::NOT_FOUND)
            }
            (_, answer) => assert_eq!(answer.expect("file").0, StatusCode::OK),
        }
    }
}
