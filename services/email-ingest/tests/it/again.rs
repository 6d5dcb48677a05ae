//! A mail that a person had sent again: received by aiosmtpd, an SMTP server that is not our code.

use std::path::Path;
use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::outbound::v1::OutboundEmail;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_test_support::{Launch, Process, eventually};

use crate::rig::{Rig, Setup, send, sending_to};

/// aiosmtpd, which files every mail.
struct Sink {
    port: u16,
    folder: tempfile::TempDir,
    _process: Process,
}

/// A mail as aiosmtpd filed it.
struct Filed {
    /// Recipients of the envelope.
    recipients: Vec<String>,
    /// The mail byte for byte.
    mail: String,
}

impl Sink {
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tools = std::env::var_os("HILO_REPOSITORY").map_or_else(|| root.clone(), Into::into);
        let folder = tempfile::tempdir().unwrap();
        let port_file = folder.path().join("port");
        let arguments = [
            root.join("tests/support/aiosmtpd_sink.py").into_os_string(),
            "--folder".into(),
            folder.path().join("mails").into_os_string(),
            "--port-file".into(),
            port_file.clone().into_os_string(),
        ];
        let launch = Launch {
            program: tools.join(".hilo/tools/venv/bin/python3"),
            arguments: arguments.into(),
            log: folder.path().join("log"),
            ..Launch::default()
        };
        let process = launch.spawn().expect("`make tools` installs aiosmtpd");
        let up = || async { port_file.exists() };
        eventually("aiosmtpd listens", Duration::from_secs(60), up).await.unwrap();
        let port = std::fs::read_to_string(&port_file).unwrap().trim().parse().unwrap();
        Self { port, folder, _process: process }
    }

    /// Every mail in the order of its arrival.
    fn filed(&self) -> Vec<Filed> {
        let files = std::fs::read_dir(self.folder.path().join("mails")).unwrap();
        let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|one| one == "eml"));
        paths.sort();
        paths.iter().map(|path| filed(&std::fs::read_to_string(path).unwrap())).collect()
    }
}

fn filed(text: &str) -> Filed {
    let mut rest = text;
    let mut recipients = Vec::new();
    while rest.starts_with("X-Envelope-") {
        let (line, after) = rest.split_once("\r\n").unwrap();
        recipients.extend(line.strip_prefix("X-Envelope-To: ").map(str::to_owned));
        rest = after;
    }
    Filed { recipients, mail: rest.to_owned() }
}

fn address(address: &str) -> EmailAddress {
    EmailAddress { address: address.into(), name: String::new() }
}

fn email(envelope: &mut hilo_proto::outbound::v1::OutboundEnvelope) -> &mut OutboundEmail {
    match &mut envelope.content {
        Some(Content::Email(email)) => email,
        Some(Content::StoredEmail(_) | Content::Whatsapp(_)) | None => panic!("no mail"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_it_has_not_reached_get_it_and_it_reads_as_the_first_time() {
    let sink = Sink::start().await;
    let mut rig = Rig::start(Setup { accounts: vec![sending_to(sink.port)], ..Setup::default() }).await;
    let conversation = Uuid::now_v7();
    let mut first = send(conversation, 1, &["ana@cliente.example", "luis@cliente.example"]);
    email(&mut first).cc = vec![address("caja@cliente.example")];
    email(&mut first).bcc = vec![address("jefa@hilo.example")];
    rig.publish(&first).await;
    assert_eq!(rig.report().await.state(), SendState::Sent);

    // A new send of the same mail: a name in other case, a hidden recipient, and one who was never among the recipients.
    let mut again = first.clone();
    again.send_id = Uuid::now_v7().to_string();
    again.sequence = 2;
    email(&mut again).only_recipients =
        ["LUIS@cliente.example", "jefa@hilo.example", "otro@cliente.example"].map(str::to_owned).into();
    rig.publish(&again).await;
    let report = rig.report().await;
    let told: Vec<(&str, SendState)> =
        report.recipients.iter().map(|one| (one.address.as_str(), one.state())).collect();
    let expected = [("luis@cliente.example", SendState::Sent), ("jefa@hilo.example", SendState::Sent)];
    assert_eq!((report.send_id.as_str(), told.as_slice()), (again.send_id.as_str(), expected.as_slice()));

    let filed = sink.filed();
    let envelopes: Vec<_> = filed.iter().map(|one| one.recipients.clone()).collect();
    let all = ["ana@cliente.example", "luis@cliente.example", "caja@cliente.example", "jefa@hilo.example"];
    assert_eq!(envelopes, [all.to_vec(), vec!["luis@cliente.example", "jefa@hilo.example"]]);
    let (once, twice) = (filed.first().unwrap(), filed.last().unwrap());
    assert_eq!(once.mail, twice.mail, "Message-ID, To and Cc are those of the first time");
    let head = twice.mail.split("\r\n\r\n").next().unwrap();
    for line in ["To: ana@cliente.example, luis@cliente.example", "Cc: caja@cliente.example"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let id = format!("Message-ID: <{}@hilo.example>", first.send_id);
    assert!(head.contains(&id) && !twice.mail.contains("jefa"), "{head}");
    rig.stop().await;
}
