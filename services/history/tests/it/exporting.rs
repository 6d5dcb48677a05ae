//! Exports over gRPC: each format read back by a reader that is not ours where there is one, rights, limits, broken ends.

use std::time::Duration;

use hilo_history::domain::Thread;
use hilo_history::domain::thread::{Attachment, FilledForm, FormField};
use hilo_kit::error::{Error, reason_of};
use hilo_kit::objects::Objects;
use hilo_proto::history::v1::{
    ExportFormat, ExportThreadsRequest, ExportThreadsResponse, SearchThreadsRequest, Thread as Answer,
};
use hilo_test_support::eventually;
use mail_parser::MimeHeaders;
use tonic::{Code, Streaming};

use crate::rights::{Running, running};
use crate::sample::{self, at};

async fn begin(
    running: &Running,
    user: &str,
    format: ExportFormat,
) -> Result<Streaming<ExportThreadsResponse>, tonic::Status> {
    let request =
        ExportThreadsRequest { search: Some(SearchThreadsRequest::default()), format: format.into() };
    Ok(running.client(user).export_threads(request).await?.into_inner())
}

async fn pieces(running: &Running, user: &str, format: ExportFormat) -> Vec<ExportThreadsResponse> {
    let mut stream = begin(running, user, format).await.unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        assert!(piece.chunk.len() <= 256 * 1024);
        pieces.push(piece);
    }
    pieces
}

async fn text(running: &Running, user: &str, format: ExportFormat) -> String {
    let chunks = pieces(running, user, format).await.into_iter().flat_map(|piece| piece.chunk).collect();
    String::from_utf8(chunks).unwrap()
}

/// Threads of two campaigns, the newest first.
fn threads(count: i64) -> Vec<Thread> {
    let thread = |n: i64| {
        let mut thread = sample::thread(&format!("texto {n}"));
        thread.head.attention_number = n;
        thread.head.ended_at = at(-n);
        thread.head.campaign_key = if n % 3 == 0 { "soporte" } else { "ventas" }.into();
        thread
    };
    (1..=count).map(thread).collect()
}

#[tokio::test]
async fn records_and_json_lines_hold_every_thread_of_the_scope_once() {
    let running = running().await;
    let threads = threads(120);
    running.keep(&threads).await;
    running.ready().await;
    let numbers = |user: &str| {
        let mine = threads.iter().filter(|one| user == "coco" || one.head.campaign_key == "ventas");
        mine.map(|one| one.head.attention_number).collect::<Vec<_>>()
    };
    for user in ["ana", "coco"] {
        let records = pieces(&running, user, ExportFormat::Records).await;
        let found: Vec<_> = records
            .into_iter()
            .map(|piece| piece.thread.unwrap().summary.unwrap().attention_number)
            .collect();
        assert_eq!(found, numbers(user), "{user}");
        let lines = text(&running, user, ExportFormat::JsonLines).await;
        let read = |line: &str| {
            let thread: Answer =
                hilo_proto::json::from_json("hilo.history.v1.Thread", line.as_bytes()).unwrap();
            thread.summary.unwrap().attention_number
        };
        assert_eq!(lines.lines().map(read).collect::<Vec<_>>(), numbers(user), "{user}");
    }
    for (user, code) in [("mona", Code::PermissionDenied), ("gone", Code::Unauthenticated)] {
        assert_eq!(begin(&running, user, ExportFormat::Records).await.unwrap_err().code(), code, "{user}");
    }
}

/// More than one page (2 MiB) in every format; each reader puts it together again.
#[tokio::test]
async fn a_thread_larger_than_a_page_is_exported_whole() {
    let running = running().await;
    let mut large = sample::thread("");
    large.messages = (0..6).map(|n| sample::message(&format!("texto{n} {}", "ñ".repeat(300_000)))).collect();
    large.head.message_count = 6;
    large.head.ended_at = at(9);
    large.form = Some(FilledForm {
        key: "f".into(),
        version: 1,
        fields: [("motivo".to_owned(), FormField { label: "M".into(), value: Some("uno".into()) })].into(),
    });
    running.keep(&[large.clone(), sample::thread("pequeño")]).await;
    running.ready().await;
    let texts = |thread: &Answer| thread.messages.iter().map(|one| one.text.clone()).collect::<Vec<_>>();
    let expected: Vec<String> = large.messages.iter().map(|one| one.text.clone()).collect();

    let records = pieces(&running, "ana", ExportFormat::Records).await;
    let id = large.head.interaction_id.to_string();
    let (mut of_large, mut answers, mut others) = (Vec::new(), 0, 0);
    for record in records.into_iter().map(|piece| piece.thread.unwrap()) {
        if record.summary.as_ref().unwrap().interaction_id == id {
            assert!(record.form.is_some(), "head and form come with every page");
            assert_eq!(others, 0, "the pages of a thread come in a row");
            of_large.extend(texts(&record));
            answers += 1;
        } else {
            others += 1;
        }
    }
    assert_eq!((of_large, others), (expected.clone(), 1));
    assert!(answers > 1, "it was one page: this proves nothing");

    let lines = text(&running, "ana", ExportFormat::JsonLines).await;
    let read = |line: &str| -> Answer {
        hilo_proto::json::from_json("hilo.history.v1.Thread", line.as_bytes()).unwrap()
    };
    let lines: Vec<Answer> = lines.lines().map(read).collect();
    assert_eq!((lines.len(), texts(&lines[0])), (2, expected));

    let mails = pieces(&running, "ana", ExportFormat::Eml).await;
    let names: Vec<String> =
        mails.into_iter().map(|piece| piece.file_name).filter(|name| !name.is_empty()).collect();
    assert_eq!(names.len(), 7);
    assert_eq!((names[0].as_str(), names[5].as_str()), ("1-1-0001.eml", "1-1-0006.eml"));
    let table = text(&running, "ana", ExportFormat::FormsCsv).await;
    assert_eq!(table.matches("\r\n").count(), 2, "the header and one line: {table}");
}

#[tokio::test]
async fn forms_become_a_table_without_formulas() {
    let running = running().await;
    let mut threads = threads(3);
    for (thread, value) in threads.iter_mut().zip(["=1+1", "uno, \"dos\"", ""]) {
        let field = FormField { label: "Motivo".into(), value: Some(value.into()) };
        let fields = [("motivo".to_owned(), field)].into();
        thread.form = Some(FilledForm { key: "f".into(), version: 1, fields });
        thread.head.subject = "@SUM(1)".into();
    }
    threads[2].form = None;
    running.keep(&threads).await;
    running.ready().await;
    let table = text(&running, "ana", ExportFormat::FormsCsv).await;
    let lines: Vec<_> = table.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "header, two threads, the end: {table}");
    assert!(lines[0].ends_with(",form,form_version,motivo,other_fields"));
    assert!(lines[1].contains(",'@SUM(1),") && lines[1].ends_with(",f,1,'=1+1,"), "{}", lines[1]);
    assert!(lines[2].ends_with(",f,1,\"uno, \"\"dos\"\"\","), "{}", lines[2]);
}

#[tokio::test]
async fn mails_are_whole_with_their_files_and_say_what_is_missing() {
    let running = running().await;
    let objects = Objects::open(&running.config.objects).await.unwrap();
    let content = bytes::Bytes::from((0..200_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let digest = objects.put(content.clone()).await.unwrap();
    let file = |sha256: String, name: &str| Attachment {
        sha256,
        file_name: name.into(),
        media_type: "application/pdf".into(),
        size_bytes: 200_000,
        content_id: String::new(),
        inline: false,
    };
    let mut threads = threads(2);
    threads[0].messages.push(sample::message("segundo\nFrom aquí"));
    threads[0].messages[0].html = "<p>Hola<script>alert(1)</script></p>".into();
    threads[0].messages[0].attachments =
        vec![file(digest.to_string(), "../año.pdf"), file("0".repeat(64), "perdido.pdf")];
    running.keep(&threads).await;
    running.ready().await;

    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for piece in pieces(&running, "ana", ExportFormat::Eml).await {
        if !piece.file_name.is_empty() {
            files.push((piece.file_name, Vec::new()));
        }
        files.last_mut().unwrap().1.extend(piece.chunk);
    }
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["1-1-0001.eml", "1-1-0002.eml", "2-1-0001.eml"]);
    let first = mail_parser::MessageParser::default().parse(&files[0].1).unwrap();
    assert_eq!(first.body_text(0).as_deref(), Some("texto 1"));
    assert_eq!(first.body_html(0).as_deref(), Some("<p>Hola</p>"));
    assert_eq!(first.attachment_count(), 1);
    let attached = first.attachment(0).unwrap();
    assert_eq!((attached.attachment_name(), attached.contents()), (Some("año.pdf"), content.as_ref()));
    assert_eq!(first.header("X-Hilo-Missing-File").and_then(|one| one.as_text()), Some("perdido.pdf"));

    let mbox = text(&running, "ana", ExportFormat::Mbox).await;
    assert!(!mbox.contains('\r'));
    let mails: Vec<_> = mbox.split("\n\nFrom ").collect();
    assert_eq!(mails.len(), 3, "{}", &mbox[..200]);
    let last = format!("From {}", mails[1]);
    let last = last.split_once('\n').unwrap().1;
    let second = mail_parser::MessageParser::default().parse(last.as_bytes()).unwrap();
    assert_eq!(second.body_text(0).as_deref(), Some("segundo\nFrom aquí"));
}

#[tokio::test]
async fn exports_are_bounded_in_number_and_a_caller_who_left_makes_room() {
    let running = running().await;
    // More than the stream's window and the waiting pieces take, so that an export nobody reads stays.
    let mut threads = threads(40);
    for thread in &mut threads {
        thread.messages[0].text = "ñandú ".repeat(50_000);
    }
    running.keep(&threads).await;
    running.ready().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(begin(&running, "coco", ExportFormat::JsonLines).await.unwrap());
    }
    let refused = begin(&running, "coco", ExportFormat::JsonLines).await.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("TOO_MANY_EXPORTS"));
    drop(streams);
    let room = || async { begin(&running, "coco", ExportFormat::JsonLines).await.is_ok() };
    eventually("an export may begin again", Duration::from_secs(60), room).await.unwrap();
}

#[tokio::test]
async fn an_export_that_breaks_off_never_looks_whole() {
    let running = running().await;
    let mut threads = threads(40);
    for thread in &mut threads {
        thread.messages[0].text = "ñandú ".repeat(50_000);
    }
    running.keep(&threads).await;
    running.ready().await;
    let mut stream = begin(&running, "coco", ExportFormat::JsonLines).await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
    running.shutdown.begin();
    let mut end = Ok(());
    while end.is_ok() {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the half ended as if it were the whole"),
            Err(status) => end = Err(Error::from(status)),
        }
    }
    assert!(end.is_err());
}
