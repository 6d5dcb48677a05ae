//! The detail of a thread: its place in the attention as far as the caller may read it, notes, the form version filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use hilo_history::domain::thread::{Attachment, FilledForm, FormField, Note};
use hilo_history::domain::{AttentionId, NoteId, Thread};
use hilo_kit::download::Links;
use hilo_kit::error::reason_of;
use hilo_proto::history::v1::{
    GetDownloadUrlRequest, GetThreadRequest, GetThreadResponse, SearchThreadsRequest, ThreadPlace,
};

use hilo_test_support::eventually;

use crate::rights::{Running, running};
use crate::sample;

async fn detail(running: &Running, user: &str, thread: &Thread) -> GetThreadResponse {
    let id =
        GetThreadRequest { interaction_id: thread.head.interaction_id.to_string(), ..Default::default() };
    running.client(user).get_thread(id).await.unwrap().into_inner()
}

/// Guards the scope in the counting statement: without it ana would see that there is a third interaction.
#[tokio::test]
async fn the_place_counts_only_what_the_caller_may_read() {
    let running = running().await;
    let attention = AttentionId::new();
    let threads: Vec<Thread> = [(1, "ventas"), (2, "soporte"), (3, "ventas")]
        .into_iter()
        .map(|(ordinal, campaign)| {
            let mut thread = sample::thread("hola");
            thread.head.attention_id = attention;
            thread.head.ordinal = ordinal;
            thread.head.campaign_key = campaign.into();
            thread
        })
        .collect();
    running.keep(&threads).await;
    running.keep(&[sample::thread("otra")]).await;
    running.ready().await;
    let id = |place: usize| threads[place].head.interaction_id.to_string();
    let place = |position, total, previous: String, next: String| ThreadPlace {
        position,
        total,
        previous_interaction_id: previous,
        next_interaction_id: next,
    };
    let none = String::new;
    for (user, number, expected) in [
        ("ana", 0, place(1, 2, none(), id(2))),
        ("ana", 2, place(2, 2, id(0), none())),
        ("luis", 1, place(1, 1, none(), none())),
        ("coco", 0, place(1, 3, none(), id(1))),
        ("coco", 1, place(2, 3, id(0), id(2))),
        ("coco", 2, place(3, 3, id(1), none())),
    ] {
        assert_eq!(detail(&running, user, &threads[number]).await.place, Some(expected), "{user} {number}");
    }
}

#[tokio::test]
async fn notes_vip_and_the_form_as_filled_in_are_there() {
    let running = running().await;
    let mut thread = sample::thread("hola");
    thread.head.vip = true;
    let text = "ojo: <b>pide</b> factura".to_owned();
    thread.notes = vec![Note {
        id: NoteId::new(),
        author_key: "luis".into(),
        text: text.clone(),
        created_at: sample::at(9),
    }];
    let field =
        |label: &str, value: Option<&str>| FormField { label: label.into(), value: value.map(Into::into) };
    let fields = [("motivo", field("Motivo (viejo)", Some("Reclamo"))), ("monto", field("Monto", None))];
    let fields: BTreeMap<_, _> = fields.map(|(key, field)| (key.to_owned(), field)).into();
    thread.form = Some(FilledForm { key: "f".into(), version: 3, fields });
    running.keep(std::slice::from_ref(&thread)).await;
    running.ready().await;
    let answer = detail(&running, "ana", &thread).await.thread.unwrap();
    assert!(answer.summary.unwrap().vip);
    assert_eq!((answer.notes[0].author_key.as_str(), &answer.notes[0].text), ("luis", &text));
    let form = answer.form.unwrap();
    assert_eq!(
        (form.form_version, form.values.len(), form.labels["motivo"].as_str()),
        (3, 1, "Motivo (viejo)")
    );
}

/// Guards the scope in the statement that finds the attachment: without it luis gets a link.
#[tokio::test]
async fn a_link_to_a_file_needs_the_rights_to_its_thread() {
    let running = running().await;
    let mut thread = sample::thread("hola");
    let file = |name: &str, media_type: &str| Attachment {
        sha256: "ab".repeat(32),
        file_name: name.into(),
        media_type: media_type.into(),
        size_bytes: 1,
        content_id: String::new(),
        inline: false,
    };
    thread.messages[0].attachments = vec![file("../a.html", "text/html"), file("foto.png", "image/png")];
    running.keep(std::slice::from_ref(&thread)).await;
    running.ready().await;
    let request = |index| GetDownloadUrlRequest {
        interaction_id: thread.head.interaction_id.to_string(),
        message_id: thread.messages[0].id.to_string(),
        index,
        inline: true,
    };
    let links = Links::of_installation(&running.fake.auth());
    for (index, inline) in [(0, false), (1, true)] {
        let answer = running.client("ana").get_download_url(request(index)).await.unwrap().into_inner();
        let (path, query) = answer.url.split_once('?').unwrap();
        let until = answer.expires_at.unwrap().seconds;
        let link = links.check(path, query, until - 1).unwrap();
        assert_eq!((link.inline, answer.inline, link.sha256.to_string()), (inline, inline, "ab".repeat(32)));
        assert!(!link.file_name.contains('/') && links.check(path, query, until).is_err());
    }
    let foreign = request(0);
    for (user, request) in
        [("luis", foreign), ("ana", request(2)), ("ana", request(-1)), ("ana", request(i32::MAX))]
    {
        let refused = running.client(user).get_download_url(request).await.unwrap_err();
        assert_eq!(reason_of(&refused).as_deref(), Some("ATTACHMENT_NOT_FOUND"), "{user}");
    }
    assert!(running.client("mona").get_download_url(request(0)).await.is_err());
}

#[tokio::test]
async fn a_tag_is_found_by_key_and_by_name_and_days_are_those_of_the_campaign() {
    let running = running().await;
    let mut thread = sample::thread("hola");
    thread.head.tags = vec!["devolucion-parcial".into()];
    // 2026-01-01T02:00Z: still the year before in Lima, the new year in Madrid, where campaign `ventas` is.
    thread.head.ended_at = sample::at(2 * 3_600);
    running.keep(std::slice::from_ref(&thread)).await;
    running.ready().await;
    let found = |request: SearchThreadsRequest| {
        let mut client = running.client("coco");
        async move { client.search_threads(request).await.unwrap().into_inner().threads.len() }
    };
    for (tag, count) in [("devolucion-parcial", 1), ("DEVOLUCIÓN (parcial)", 1), ("parcial", 0)] {
        let request = SearchThreadsRequest { tag: tag.into(), ..Default::default() };
        assert_eq!(found(request).await, count, "{tag}");
    }
    let from = |campaign: &str| SearchThreadsRequest {
        ended_from: "2026-01-01".into(),
        campaign_key: campaign.into(),
        ..Default::default()
    };
    assert_eq!((found(from("ventas")).await, found(from("")).await), (1, 0));
}

/// Guards the scope in the statement that reads a page, and the version in its token.
#[tokio::test]
async fn a_thread_comes_in_pages_bound_to_its_version_and_to_the_caller() {
    let running = running().await;
    let mut thread = sample::thread("");
    thread.messages = (0..7).map(|n| sample::message(&format!("texto {n}"))).collect();
    thread.messages[4].attachments = vec![Attachment {
        sha256: "ab".repeat(32),
        file_name: "factura.pdf".into(),
        media_type: "application/pdf".into(),
        size_bytes: 1,
        content_id: String::new(),
        inline: false,
    }];
    thread.notes = (0..2)
        .map(|n| Note {
            id: NoteId::new(),
            author_key: "ana".into(),
            text: format!("nota {n}"),
            created_at: sample::at(n),
        })
        .collect();
    thread.head.message_count = 7;
    running.keep(std::slice::from_ref(&thread)).await;
    running.ready().await;
    let id = thread.head.interaction_id.to_string();
    let ask = |user: &'static str, page_size, page_token: String| {
        let mut client = running.client(user);
        let request = GetThreadRequest { interaction_id: id.clone(), page_size, page_token };
        async move { client.get_thread(request).await.map(tonic::Response::into_inner) }
    };
    let (mut token, mut seen, mut files) = (String::new(), Vec::new(), 0);
    for entries in [3, 3, 3] {
        let page = ask("ana", 3, token).await.unwrap();
        assert_eq!(page.place.unwrap().total, 1, "the place is on every page");
        let of = page.thread.unwrap();
        assert_eq!((of.notes.len() + of.messages.len(), of.summary.unwrap().message_count), (entries, 7));
        seen.extend(of.notes.into_iter().map(|note| note.text));
        files += of.messages.iter().map(|message| message.attachments.len()).sum::<usize>();
        seen.extend(of.messages.into_iter().map(|message| message.text));
        token = page.next_page_token;
    }
    let notes = (0..2).map(|n| format!("nota {n}"));
    assert_eq!(seen, notes.chain((0..7).map(|n| format!("texto {n}"))).collect::<Vec<_>>());
    assert_eq!((token.as_str(), files), ("", 1));
    let whole = ask("ana", 0, String::new()).await.unwrap();
    assert_eq!((whole.thread.unwrap().messages.len(), whole.next_page_token.as_str()), (7, ""));

    let token = ask("ana", 3, String::new()).await.unwrap().next_page_token;
    let reason = |answer: Result<GetThreadResponse, tonic::Status>| reason_of(&answer.unwrap_err());
    let foreign = reason(ask("luis", 3, token.clone()).await);
    assert_eq!(foreign.as_deref(), Some("THREAD_NOT_FOUND"), "a token grants nothing");
    for size in [-1, 501] {
        assert_eq!(reason(ask("ana", size, String::new()).await).as_deref(), Some("INVALID_PAGE"));
    }
    for token in ["x", "1.2", "1.2.3.4", "1.-1.0", "%"] {
        let refused = reason(ask("ana", 3, token.into()).await);
        assert_eq!(refused.as_deref(), Some("PAGE_TOKEN_INVALID"), "{token}");
    }
    thread.version += 1;
    running.fake.end(&thread);
    eventually("the newer version is stored", Duration::from_secs(60), || async {
        let answer = ask("ana", 3, token.clone()).await;
        answer.is_err_and(|status| reason_of(&status).as_deref() == Some("THREAD_CHANGED"))
    })
    .await
    .unwrap();
}
