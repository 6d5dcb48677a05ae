//! The detail of a thread: its place in the attention as far as the caller may read it, notes, the form version filled in.

use std::collections::BTreeMap;

use hilo_history::domain::thread::{FilledForm, FormField, Note};
use hilo_history::domain::{AttentionId, NoteId, Thread};
use hilo_proto::history::v1::{GetThreadRequest, GetThreadResponse, ThreadPlace};

use crate::rights::{Running, running};
use crate::sample;

async fn detail(running: &Running, user: &str, thread: &Thread) -> GetThreadResponse {
    let id = GetThreadRequest { interaction_id: thread.head.interaction_id.to_string() };
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
