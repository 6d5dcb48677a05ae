//! Uploads and signed downloads on a real database and folder.

use bytes::Bytes;
use hilo_kit::config::ObjectsConfig;
use hilo_kit::download::Links;
use hilo_kit::error::Error;
use hilo_kit::grpc::PlainHttp;
use hilo_kit::objects::{Digest256, Objects};
use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::attention::v1::{
    AttachmentRef, BeginUploadRequest, FinishUploadRequest, GetDownloadUrlRequest, GetUploadRequest,
    MessageAttachmentRef, PutChunkRequest, Upload,
};
use hilo_proto::inbound::v1::Attachment;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use super::{House, Mail, fresh};
use crate::conversation::files::Downloads;
use crate::conversation::{Files, sweep};

/// A house with an object store.
pub(super) struct Store {
    pub house: House,
    pub files: Files,
    pub objects: Objects,
    folder: tempfile::TempDir,
}

impl Store {
    pub(super) async fn open() -> Self {
        let mut house = House::open().await;
        let folder = tempfile::tempdir().unwrap();
        let config = ObjectsConfig { path: folder.path().to_owned(), ..ObjectsConfig::default() };
        let objects = Objects::open(&config).await.unwrap();
        let files = Files::new(house.db.clone(), objects.clone(), links(), "");
        house.actions = house.actions.with_objects(objects.clone());
        Self { house, files, objects, folder }
    }

    pub(super) async fn begin(&self, user: &str, name: &str, content: &[u8]) -> Result<Upload, Error> {
        let request = BeginUploadRequest {
            file_name: name.into(),
            media_type: "image/png".into(),
            size_bytes: content.len() as i64,
            sha256: Digest256::of(content).to_string(),
            request_id: fresh(),
        };
        Ok(self.files.begin(self.house.access(user).await, request).await?.upload.unwrap())
    }

    async fn put(&self, user: &str, upload: &Upload, offset: i64, content: &[u8]) -> Result<i64, Error> {
        let request =
            PutChunkRequest { upload_id: upload.upload_id.clone(), offset, content: content.to_vec() };
        Ok(self.files.put(self.house.access(user).await, request).await?.upload.unwrap().received_bytes)
    }

    async fn get(&self, user: &str, upload: &Upload) -> Result<Upload, Error> {
        let request = GetUploadRequest { upload_id: upload.upload_id.clone() };
        Ok(self.files.get(self.house.access(user).await, request).await?.upload.unwrap())
    }

    async fn finish(&self, user: &str, upload: &Upload) -> Result<Upload, Error> {
        let request = FinishUploadRequest { upload_id: upload.upload_id.clone() };
        Ok(self.files.finish(self.house.access(user).await, request).await?.upload.unwrap())
    }

    /// A finished upload in one piece.
    pub(super) async fn uploaded(&self, user: &str, name: &str, content: &[u8]) -> Upload {
        let upload = self.begin(user, name, content).await.unwrap();
        self.put(user, &upload, 0, content).await.unwrap();
        self.finish(user, &upload).await.unwrap()
    }

    async fn url(&self, user: &str, source: Source, inline: bool) -> Result<String, Error> {
        let attachment = Some(AttachmentRef { source: Some(source), content_id: String::new() });
        let request = GetDownloadUrlRequest { attachment, inline };
        Ok(self.files.link(self.house.access(user).await, request).await?.url)
    }

    async fn fetch(&self, url: &str, more: &[(&str, &str)]) -> Response<Bytes> {
        self.ask("GET", url, more).await
    }

    async fn ask(&self, method: &str, url: &str, more: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let downloads = Downloads::new(self.objects.clone(), links());
        let (head, body) = downloads.answer(request.body(()).unwrap()).await.into_parts();
        let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
        Response::from_parts(head, body)
    }
}

fn links() -> Links {
    Links::new(b"una clave de enlaces")
}

fn reason<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    outcome.unwrap_err().reason().to_owned()
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_stopped() {
    let store = Store::open().await;
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_be_bytes).collect();
    let upload = store.begin("ana", "../datos\r\n.bin", &content).await.unwrap();
    assert_eq!((upload.file_name.as_str(), upload.received_bytes), ("_datos__.bin", 0));
    let (first, rest) = content.split_at(500_000);
    assert_eq!(store.put("ana", &upload, 0, first).await.unwrap(), 500_000);
    // The answer got lost: the same piece again changes nothing, another one there is refused.
    assert_eq!(store.put("ana", &upload, 0, first).await.unwrap(), 500_000);
    assert_eq!(reason(store.put("ana", &upload, 0, &rest[..500_000]).await), "CHUNK_DIFFERS");
    assert_eq!(reason(store.put("ana", &upload, 100, &first[100..200]).await), "CHUNK_DIFFERS");
    assert_eq!(reason(store.put("ana", &upload, 500_001, b"x").await), "CHUNK_GAP");
    assert_eq!(reason(store.put("ana", &upload, 500_000, &[0; 900_000]).await), "CHUNK_BEYOND_END");
    assert_eq!(reason(store.finish("ana", &upload).await), "UPLOAD_INCOMPLETE");
    assert_eq!(store.get("ana", &upload).await.unwrap().received_bytes, 500_000);
    assert_eq!(store.put("ana", &upload, 500_000, rest).await.unwrap(), 1_200_000);
    for _ in 0..2 {
        assert!(store.finish("ana", &upload).await.unwrap().finished);
    }
    assert_eq!(store.put("ana", &upload, 0, first).await.unwrap(), 1_200_000);
    let stored = store.objects.get(Digest256::of(&content)).await.unwrap().unwrap();
    assert_eq!(stored.as_ref(), content.as_slice());
    assert_eq!(store.house.count("SELECT count(*) FROM conversation.upload_chunk").await, 0);
}

#[tokio::test]
async fn only_its_uploader_uses_an_upload() {
    let store = Store::open().await;
    let upload = store.begin("ana", "a.png", b"abc").await.unwrap();
    for other in ["luis", "rosa"] {
        assert_eq!(reason(store.put(other, &upload, 0, b"abc").await), "UPLOAD_NOT_FOUND");
        assert_eq!(reason(store.get(other, &upload).await), "UPLOAD_NOT_FOUND");
        assert_eq!(reason(store.finish(other, &upload).await), "UPLOAD_NOT_FOUND");
    }
    let finished = store.uploaded("ana", "b.png", b"def").await;
    let source = || Source::UploadId(finished.upload_id.clone());
    assert_eq!(reason(store.url("luis", source(), false).await), "ATTACHMENT_NOT_FOUND");
    assert!(store.url("ana", source(), false).await.is_ok());
    let unfinished = Source::UploadId(upload.upload_id.clone());
    assert_eq!(reason(store.url("ana", unfinished, false).await), "UPLOAD_INCOMPLETE");
}

#[tokio::test]
async fn a_file_that_is_not_what_was_announced_is_sent_again() {
    let store = Store::open().await;
    let upload = store.begin("ana", "a.png", b"right").await.unwrap();
    store.put("ana", &upload, 0, b"wrong").await.unwrap();
    assert_eq!(reason(store.finish("ana", &upload).await), "HASH_DIFFERS");
    assert!(!store.objects.exists(Digest256::of(b"wrong")).await.unwrap());
    assert_eq!(store.get("ana", &upload).await.unwrap().received_bytes, 0);
    store.put("ana", &upload, 0, b"right").await.unwrap();
    assert!(store.finish("ana", &upload).await.unwrap().finished);
}

#[tokio::test]
async fn uploads_are_bounded_and_expire() {
    let store = Store::open().await;
    for _ in 0..20 {
        store.begin("ana", "a.png", b"abc").await.unwrap();
    }
    assert_eq!(reason(store.begin("ana", "a.png", b"abc").await), "TOO_MANY_UPLOADS");
    assert!(store.begin("luis", "a.png", b"abc").await.is_ok(), "each has his own limit");
    let mine = "UPDATE conversation.upload SET expires_at = now() WHERE user_key = 'ana'";
    sqlx::query(mine).execute(store.house.db.pool()).await.unwrap();
    let upload = store.begin("ana", "a.png", b"abc").await.unwrap();
    store.put("ana", &upload, 0, b"abc").await.unwrap();
    assert_eq!(sweep::all(&store.house.db).await.unwrap(), 20);
    assert_eq!(store.house.count("SELECT count(*) FROM conversation.upload").await, 2);
    sqlx::query(mine).execute(store.house.db.pool()).await.unwrap();
    assert_eq!(reason(store.get("ana", &upload).await), "UPLOAD_NOT_FOUND", "before any sweep");
    assert_eq!(reason(store.put("ana", &upload, 0, b"abc").await), "UPLOAD_NOT_FOUND");
}

#[tokio::test]
async fn what_is_malformed_names_its_fields() {
    let store = Store::open().await;
    let begin = |name: &str, size: i64, sha256: &str| BeginUploadRequest {
        file_name: name.into(),
        media_type: String::new(),
        size_bytes: size,
        sha256: sha256.into(),
        request_id: fresh(),
    };
    let digest = Digest256::of(b"x").to_string();
    let rows = [
        (begin(" ", 0, "abc"), "INVALID_REQUEST", vec!["file_name", "size_bytes", "sha256"]),
        (begin("a", 1, &digest.to_uppercase()), "INVALID_REQUEST", vec!["sha256"]),
        (begin("a", 26_214_401, &digest), "FILE_TOO_LARGE", vec!["size_bytes"]),
    ];
    for (request, reason, fields) in rows {
        let error = store.files.begin(store.house.access("ana").await, request).await.unwrap_err();
        let named: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!((error.reason(), named), (reason, fields));
    }
    let upload = store.begin("ana", "a", b"abc").await.unwrap();
    for (offset, content) in [(-1, vec![1]), (0, Vec::new()), (0, vec![0; 1024 * 1024 + 1])] {
        assert_eq!(reason(store.put("ana", &upload, offset, &content).await), "INVALID_REQUEST");
    }
}

/// A house with a mail that brought a file, and the reference to it.
async fn with_attachment(content: &'static [u8], media_type: &str, name: &str) -> (Store, Source) {
    let store = Store::open().await;
    let sha256 = store.objects.put(Bytes::from_static(content)).await.unwrap().to_string();
    let (media_type, file_name) = (media_type.to_owned(), name.to_owned());
    let mail = Mail::from("eva@cliente.example").with(|email| {
        email.attachments = vec![Attachment {
            sha256,
            file_name,
            media_type,
            size_bytes: content.len() as i64,
            ..Attachment::default()
        }];
    });
    store.house.take(&[mail]).await;
    let message: uuid::Uuid = sqlx::query_scalar("SELECT message_id FROM attention.message")
        .fetch_one(store.house.db.pool())
        .await
        .unwrap();
    let source = Source::Message(MessageAttachmentRef { message_id: message.to_string(), index: 0 });
    (store, source)
}

#[tokio::test]
async fn a_link_brings_the_bytes_and_every_header_keeps_them_harmless() {
    let (store, source) =
        with_attachment(b"<html><script>alert(1)</script>", "text/html", "p\"\r\n\u{f1}.html").await;
    let url = store.url("ana", source, true).await.unwrap();
    let answer = store.fetch(&url, &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.body().as_ref(), b"<html><script>alert(1)</script>");
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment; filename=\"p____.html\"; filename*=UTF-8''p%22__%C3%B1.html"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "private, no-store"),
        ("content-length", "31"),
    ] {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    assert!(!answer.headers().contains_key("set-cookie"));
    let part = store.fetch(&url, &[("range", "bytes=1-4")]).await;
    assert_eq!((part.status().as_u16(), part.body().as_ref()), (206, &b"html"[..]));
    assert_eq!(part.headers()["content-range"], "bytes 1-4/31");
    assert_eq!(store.fetch(&url, &[("range", "bytes=31-")]).await.status().as_u16(), 416);
    let head = store.ask("HEAD", &url, &[]).await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    assert_eq!(store.ask("POST", &url, &[]).await.status().as_u16(), 405);
}

#[tokio::test]
async fn only_true_images_are_shown_in_the_page() {
    let png = b"\x89PNG\r\n\x1a\n rest";
    let rows: [(&'static [u8], &str, bool, &str); 4] = [
        (png, "image/png", true, "inline"),
        (png, "image/png", false, "attachment"),
        (b"<svg onload=alert(1)>", "image/svg+xml", true, "attachment"),
        (b"<html>no image", "image/png", true, "attachment"),
    ];
    for (content, media_type, inline, expected) in rows {
        let (store, source) = with_attachment(content, media_type, "x").await;
        let url = store.url("ana", source, inline).await.unwrap();
        let answer = store.fetch(&url, &[]).await;
        let disposition = answer.headers()["content-disposition"].to_str().unwrap();
        assert!(disposition.starts_with(expected), "{media_type} {inline}: {disposition}");
        let shown = if expected == "inline" { media_type } else { "application/octet-stream" };
        assert_eq!(answer.headers()["content-type"], shown);
    }
}

#[tokio::test]
async fn foreign_missing_altered_and_expired_give_nothing() {
    let (store, source) = with_attachment(b"secreto", "text/plain", "x.txt").await;
    assert_eq!(reason(store.url("rosa", source.clone(), false).await), "ATTACHMENT_NOT_FOUND");
    let Source::Message(at) = source.clone() else { panic!("a message") };
    for index in [1, -1] {
        let missing = Source::Message(MessageAttachmentRef { index, ..at.clone() });
        assert_eq!(reason(store.url("ana", missing, false).await), "ATTACHMENT_NOT_FOUND");
    }
    let missing = Source::Message(MessageAttachmentRef { message_id: fresh(), index: 0 });
    assert_eq!(reason(store.url("ana", missing, false).await), "ATTACHMENT_NOT_FOUND");
    let url = store.url("ana", source, false).await.unwrap();
    let altered = url.replace("show=attachment", "show=inline");
    let expired = {
        let link = hilo_kit::download::Link {
            sha256: Digest256::of(b"secreto"),
            file_name: "x.txt".into(),
            media_type: "text/plain".into(),
            inline: false,
            until: hilo_kit::clock::wall().unix_timestamp() - 1,
        };
        links().path(&link)
    };
    for bad in [altered, expired, "/files/v1/x".to_owned(), "/files/v1/".to_owned()] {
        let answer = store.fetch(&bad, &[]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{bad}");
        assert!(!answer.body().windows(7).any(|window| window == b"secreto"));
    }
    // Ended and closed threads stay readable.
    let interaction = store.house.attentions().await[0].last_interaction;
    store.house.end_item(interaction, true).await;
    assert_eq!(store.fetch(&url, &[]).await.body().as_ref(), b"secreto");
}

#[tokio::test]
async fn a_damaged_object_is_not_delivered_whole() {
    let (store, source) = with_attachment(b"secreto", "text/plain", "x.txt").await;
    let name = Digest256::of(b"secreto").to_string();
    std::fs::write(store.folder.path().join(&name[..2]).join(&name), b"alterad").unwrap();
    let url = store.url("ana", source, false).await.unwrap();
    assert!(store.fetch(&url, &[]).await.body().is_empty(), "cut before its last bytes");
    std::fs::remove_file(store.folder.path().join(&name[..2]).join(&name)).unwrap();
    assert_eq!(store.fetch(&url, &[]).await.status(), StatusCode::NOT_FOUND);
}
