//! `hilo phone` against a running simulator.

use std::time::Duration;

use clap::Parser;
use hilo_simulators::{Config, Simulator};

use super::*;

/// The business number of a simulator without a configuration.
const NUMBER: &str = "106540352242922";

#[derive(clap::Parser)]
struct Typed {
    #[command(flatten)]
    args: PhoneArgs,
}

async fn typed(simulator: &Simulator, words: &[&str]) -> Result<Vec<String>, Failure> {
    let line = ["phone", "--simulator", simulator.base_url()].into_iter().chain(words.iter().copied());
    let mut output = Output::kept();
    run(Typed::parse_from(line).args, &mut output).await?;
    Ok(output.take())
}

/// What a business answers with, by the Graph API.
async fn answer(simulator: &Simulator, to: &str, text: &str) {
    let body = json!({ "messaging_product": "whatsapp", "to": to, "type": "text", "text": { "body": text } });
    let request = http::Request::post(format!("{}/v23.0/{NUMBER}/messages", simulator.base_url()))
        .header("authorization", "Bearer simulated-access-token")
        .body(http_body_util::Full::new(bytes::Bytes::from(body.to_string())))
        .expect("request");
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    assert_eq!(client.request(request).await.expect("answer").status(), 200);
    simulator.settled(Duration::from_secs(60)).await.expect("statuses are told");
}

#[tokio::test]
async fn a_chat_is_written_read_answered_and_reacted_to() {
    let simulator = Simulator::start(Config::default()).await.expect("simulator");
    let sent =
        typed(&simulator, &["send", "--from", "+51 999 111 222", "--name", "Rosa", "--text", r"Hola\nmundo"])
            .await
            .expect("sent");
    assert!(
        sent.first().is_some_and(|line| line.starts_with("+51 999 111 222 is new here: PE.")),
        "{sent:?}"
    );
    answer(&simulator, "51999111222", "Buenos días").await;
    let chat = typed(&simulator, &["read", "--of", "51999111222", "--peek"]).await.expect("chat").join("\n");
    assert!(chat.contains("text (delivered)") && chat.contains("    mundo"), "{chat}");
    let chat = typed(&simulator, &["read", "--of", "51999111222"]).await.expect("chat").join("\n");
    assert!(chat.contains("business  text (read)\n    Buenos días"), "{chat}");
    typed(&simulator, &["reply", "--of", "51999111222", "--text", "Gracias"]).await.expect("replied");
    typed(&simulator, &["react", "--of", "51999111222", "--emoji", "👍"]).await.expect("reacted");
    typed(&simulator, &["react", "--of", "51999111222", "--emoji", ""]).await.expect("taken back");
    let chat =
        typed(&simulator, &["read", "--of", "51999111222", "--last", "3"]).await.expect("chat").join("\n");
    assert!(chat.contains("    Gracias") && chat.contains("    👍") && !chat.contains("Hola"), "{chat}");
    let list = typed(&simulator, &["list"]).await.expect("list");
    assert!(list.first().is_some_and(|line| line.starts_with("51999111222  Rosa  PE.")), "{list:?}");
    assert_eq!(list.last().map(String::as_str), Some("1 customer"));
}

#[tokio::test]
async fn files_and_every_documented_kind_can_be_sent() {
    let simulator = Simulator::start(Config::default()).await.expect("simulator");
    let folder = tempfile::tempdir().expect("folder");
    for (name, kind) in
        [("cat.jpg", "image"), ("voice.ogg", "audio"), ("film.mp4", "video"), ("bill.pdf", "document")]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, b"bytes").expect("written");
        let path = path.to_string_lossy().into_owned();
        typed(&simulator, &["send", "--from", "51999", "--file", &path, "--text", "Mira"]).await.expect(name);
        let chat =
            typed(&simulator, &["read", "--of", "51999", "--last", "1"]).await.expect("chat").join("\n");
        assert!(chat.contains(&format!("me  {kind} (sent)")), "{name}: {chat}");
        assert_eq!(chat.contains("    Mira"), kind != "audio", "{name}: {chat}");
    }
    let with = r#"{"location": {"name": "Plaza"}}"#;
    typed(&simulator, &["send", "--from", "51999", "--kind", "location", "--with", with])
        .await
        .expect("location");
    let chat = typed(&simulator, &["read", "--of", "51999", "--last", "1"]).await.expect("chat").join("\n");
    assert!(chat.contains("    Plaza"), "{chat}");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_its_exit_code() {
    let simulator = Simulator::start(Config::default()).await.expect("simulator");
    for (words, exit, reason) in [
        (vec!["send", "--from", "51999"], Exit::Invalid, "NOTHING_TO_SEND"),
        (
            vec!["send", "--from", "51999", "--kind", "image", "--with", "no"],
            Exit::Invalid,
            "WITH_IS_NO_JSON",
        ),
        (vec!["send", "--from", "51999", "--file", "/nowhere/x.jpg"], Exit::Invalid, "FILE_UNREADABLE"),
        (vec!["send", "--from", "51999", "--kind", "nothing"], Exit::Missing, "NOT_FOUND"),
        (vec!["read", "--of", "52000", "--peek"], Exit::Missing, "NO_SUCH_CUSTOMER"),
        (vec!["reply", "--of", "51999", "--text", "Hola"], Exit::Missing, "NO_MESSAGE"),
    ] {
        let failure = typed(&simulator, &words).await.expect_err(reason);
        assert_eq!((failure.exit, failure.reason.as_str()), (exit, reason), "{words:?}: {}", failure.message);
    }
    let gone = simulator.base_url().to_owned();
    drop(simulator);
    let mut output = Output::kept();
    let args =
        Typed::parse_from(["phone", "--simulator", &gone.replace("127.0.0.1", "127.0.0.2"), "list"]).args;
    let failure = run(args, &mut output).await.expect_err("nobody is there");
    assert_eq!((failure.exit, failure.reason.as_str()), (Exit::Unavailable, "NOBODY_ANSWERS"));
}
