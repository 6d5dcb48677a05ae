//! Transcripts: lines and news in, calls and output lines out.

use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{DeskCounters, DeskItem, DeskSnapshot};
use hilo_proto::event::v1::InteractionState;

use super::*;

#[path = "driver_double.rs"]
mod double;
use double::Calls;

fn snapshot() -> News {
    let item = DeskItem {
        interaction_id: "int".to_owned(),
        version: 1,
        attention_number: 7,
        state: InteractionState::Queued as i32,
        ringing: true,
        offer_id: "offer".to_owned(),
        customer_name: "Rosa".to_owned(),
        subject: "Pedido".to_owned(),
        campaign_key: "soporte".to_owned(),
        sender_verified: true,
        message_count: 1,
        ..DeskItem::default()
    };
    News::Update(
        "",
        Box::new(Update::Snapshot(DeskSnapshot {
            items: vec![item],
            counters: Some(DeskCounters { open: 0, queued: 1 }),
        })),
    )
}

/// Plays lines; answers `(output, calls)`.
async fn play(calls: &Calls, interactive: bool, lines: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut driver = Driver::new(calls, Output::kept(), interactive);
    driver.news(snapshot()).expect("news");
    driver.output.take();
    for line in lines {
        driver.line(line).await.expect("a line");
    }
    (driver.output.take(), std::mem::take(&mut *calls.made.lock()))
}

#[tokio::test]
async fn an_agent_serves_a_customer() {
    let calls = Calls::default();
    let lines = ["open 1", "read", "reply Buenos días\\nAna", "form motivo=\"dos palabras\"", "end --close"];
    let (output, made) = play(&calls, false, &lines).await;
    assert_eq!(
        made,
        vec![
            "open int",
            "messages att",
            "reply int \"Buenos días\\nAna\" false",
            "form 0 {\"motivo\": \"dos palabras\"}",
            "end int true"
        ]
    );
    assert_eq!(
        output,
        vec![
            "attention #7: Pedido",
            "form: Consulta",
            "  * motivo = \"\"   Motivo",
            "← -  - to ",
            "    Hola",
            "← -  - to ",
            "    1. 📎 ../a.pdf, , 0 bytes",
            "    Hola",
            "replied to rosa@example.org: <1@hilo>",
            "form: Consulta",
            "  * motivo = \"dos palabras\"   Motivo",
            "interaction ended, attention closed",
        ]
    );
}

#[tokio::test]
async fn an_item_is_handed_over_and_others_are_begun() {
    let calls = Calls::default();
    let id = "019a0000-0000-7000-8000-000000000001";
    let (reopen, start) = (format!("reopen {id}"), "start ventas eva@x.pe \"Su pedido\" Hola");
    let lines = ["open 1", "note Ya llamó", "transfer @luis Es suyo", "transfer ventas", start, &reopen];
    let (output, made) = play(&calls, false, &lines).await;
    let open_id = format!("open {id}");
    assert_eq!(
        made,
        [
            "open int",
            "note int \"Ya llamó\"",
            "transfer int Agent(\"luis\") \"Es suyo\"",
            "start ventas eva@x.pe \"Su pedido\" \"Hola\"",
            "open new",
            reopen.as_str(),
            open_id.as_str()
        ]
    );
    let said: Vec<&str> = output
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with(' ') && !line.starts_with("form"))
        .collect();
    assert_eq!(
        said,
        [
            "attention #7: Pedido",
            "noted",
            "offered to luis; what is not taken comes back",
            "! NOTHING_OPEN: open an item first: open N",
            "attention #8 started",
            "attention #7: Pedido",
            "attention #7: Pedido"
        ]
    );
}

#[tokio::test]
async fn a_transfer_that_nobody_took_is_told() {
    let calls = Calls::default();
    let mut driver = Driver::new(&calls, Output::kept(), false);
    driver.news(snapshot()).expect("news");
    for line in ["open 1", "transfer @luis"] {
        driver.line(line).await.expect("a line");
    }
    driver.output.take();
    let back = DeskItem {
        interaction_id: "int".to_owned(),
        version: 5,
        state: InteractionState::Open as i32,
        ..DeskItem::default()
    };
    driver.news(News::Update("", Box::new(Update::Item(back)))).expect("news");
    let output = driver.output.take();
    assert!(output.len() == 1 && output[0].starts_with("* came back: 1  open"), "{output:?}");
}

#[tokio::test]
async fn a_pipe_stops_at_the_first_line_that_fails_a_person_goes_on() {
    let calls = Calls { taken: true, ..Calls::default() };
    for (interactive, expected) in [(false, 1), (true, 2)] {
        let mut driver = Driver::new(&calls, Output::kept(), interactive);
        let (news_tx, news) = tokio::sync::mpsc::channel(4);
        let (lines_tx, lines) = tokio::sync::mpsc::channel(4);
        news_tx.send(snapshot()).await.expect("read");
        for line in ["open 1", "open 1"] {
            lines_tx.send(line.to_owned()).await.expect("read");
        }
        drop(lines_tx);
        crate::cli::desk::run(&mut driver, news, lines, interactive).await.expect("left");
        assert_eq!(driver.failed(), expected, "interactive: {interactive}");
    }
}

#[tokio::test]
async fn a_file_is_never_written_over_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nota.txt").display().to_string();
    let calls = Calls::default();
    let line = format!("download 1 {path}");
    let (output, _) = play(&calls, false, &["open 1", &line, &line]).await;
    let said: Vec<&String> = output.iter().skip(3).collect();
    let exists = format!("! FILE_NOT_WRITTEN: {path} exists: download 1 OTHERNAME");
    assert_eq!(said, [&format!("saved {path}, 9 bytes"), &exists]);
}

#[tokio::test]
async fn refusals_carry_their_reason_and_the_desk_goes_on() {
    let calls = Calls { taken: true, ..Calls::default() };
    let (output, _) = play(&calls, false, &["open 1", "reply Hola", "open 9", "nada"]).await;
    assert_eq!(
        output,
        vec![
            "! ALREADY_TAKEN: another agent was first",
            "! NOTHING_OPEN: open an item first: open N",
            "! NO_SUCH_ITEM: there is no such item; type list",
            "! BAD_LINE: there is no command \"nada\"; type help",
        ]
    );
    let calls = Calls { required_empty: true, ..Calls::default() };
    let (output, _) = play(&calls, false, &["open", "end"]).await;
    let expected = ["! FORM_INCOMPLETE: required fields are empty", "!   motivo: is required"];
    assert_eq!(output.iter().skip(3).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_person_is_asked_before_ending_a_pipe_is_not() {
    let calls = Calls::default();
    let (_, made) = play(&calls, true, &["open 1", "end", "n", "end", "s"]).await;
    assert_eq!(made, vec!["open int", "end int false"]);
}

#[tokio::test]
async fn declining_names_the_offer() {
    let calls = Calls::default();
    let (output, made) = play(&calls, false, &["decline 1"]).await;
    assert_eq!((made, output), (vec!["decline int offer".to_owned()], vec!["the offer moves on".to_owned()]));
}

#[tokio::test]
async fn a_lost_connection_is_said_once_and_so_is_its_return() {
    let calls = Calls::default();
    let mut driver = Driver::new(&calls, Output::kept(), false);
    driver.news(snapshot()).expect("news");
    driver.output.take();
    let lost = || News::Lost("", Failure::unavailable("STREAM_ENDED", "ended"));
    driver.news(lost()).expect("news");
    driver.news(lost()).expect("news");
    driver.news(snapshot()).expect("news");
    assert_eq!(
        driver.output.take(),
        vec!["connection lost (STREAM_ENDED), trying again ...", "connected again. Abiertas 0 · En cola 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_first_queued_item() {
    let calls = Calls::default();
    let mut driver = Driver::new(&calls, Output::kept(), false);
    driver.news(News::Update("", Box::new(Update::Snapshot(DeskSnapshot::default())))).expect("news");
    driver.line("wait 5").await.expect("a line");
    assert!(driver.waits_until().is_some());
    driver.news(snapshot()).expect("news");
    assert!(driver.waits_until().is_none());
    assert_eq!(driver.failed(), 0);
}

#[tokio::test]
async fn whom_an_agent_writes_to_first_in_whatsapp_gets_a_template_of_the_campaign() {
    let calls = Calls::default();
    let (output, made) = play(&calls, false, &["start mensajes +51999111222 aviso"]).await;
    assert_eq!(made, ["templates mensajes", "start mensajes +51999111222 aviso", "open new"]);
    assert_eq!(output.first().map(String::as_str), Some("attention #8 started"));
}

#[tokio::test]
async fn what_failed_is_sent_again_by_hand() {
    let calls = Calls { failed: true, ..Calls::default() };
    let (_, made) = play(&calls, false, &["open 1", "retry"]).await;
    assert_eq!(made, ["open int", "messages att", "retry m2"]);
    let (output, _) = play(&Calls::default(), false, &["open 1", "retry"]).await;
    let refused = "! NOTHING_FAILED: no message of this conversation failed";
    assert_eq!(output.last().map(String::as_str), Some(refused));
}
