//! A server that misbehaves on purpose at one step, and what each recipient is then told.

use std::sync::Arc;

use super::*;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does instead of answering as it should.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    Reply(&'static str),
    Close,
}

/// The step at which it does it; RCPT by the recipient's first letter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Greeting,
    Ehlo,
    Mail,
    Rcpt(char),
    Data,
    /// In the middle of the content.
    Content,
    /// After the final dot.
    FinalDot,
    Never,
}

#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

async fn misbehaving(step: Step, odd: Odd) -> (Server, Seen) {
    hilo_kit::install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let mails = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(session(stream, step, odd, mails.clone()));
        }
    });
    let server = Server {
        host: "127.0.0.1".into(),
        port,
        security: Security::Plain,
        tls: Tls::new(None).unwrap(),
        credentials: None,
        helo: "hilo.example".into(),
        reply_time: Duration::from_secs(30),
    };
    (server, seen)
}

async fn session(stream: TcpStream, step: Step, odd: Odd, seen: Seen) -> Option<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, step == Step::Greeting, odd, "220 hi").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let recipient = line.strip_prefix("RCPT TO:<").and_then(|rest| rest.chars().next());
        match line.get(..4)? {
            "EHLO" => say(&mut stream, step == Step::Ehlo, odd, "250-x\r\n250 8BITMIME").await?,
            "MAIL" => say(&mut stream, step == Step::Mail, odd, "250 2.1.0 ok").await?,
            "RCPT" => say(&mut stream, recipient.map(Step::Rcpt) == Some(step), odd, "250 2.1.5 ok").await?,
            "QUIT" => return say(&mut stream, false, odd, "221 bye").await,
            "DATA" => {
                say(&mut stream, step == Step::Data, odd, "354 go").await?;
                if step == Step::Content {
                    let mut some = String::new();
                    stream.read_line(&mut some).await.ok()?;
                    return None;
                }
                let mail = content(&mut stream).await?;
                seen.0.lock().push(mail);
                say(&mut stream, step == Step::FinalDot, odd, "250 2.0.0 queued").await?;
            }
            _ => say(&mut stream, false, odd, "500 what").await?,
        }
    }
}

async fn content(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut content = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == ".\r\n" {
            return Some(content);
        }
        content.push_str(&line);
    }
}

async fn say(stream: &mut BufReader<TcpStream>, oddly: bool, odd: Odd, usual: &str) -> Option<()> {
    let reply = match (oddly, odd) {
        (true, Odd::Close) => return None,
        (true, Odd::Reply(reply)) => reply,
        (false, _) => usual,
    };
    stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()
}

fn ready() -> Ready {
    ready_with(100)
}

fn ready_with(lines: usize) -> Ready {
    let addresses = ["ana@x.example", "luis@x.example", "eva@x.example"];
    let recipients = (0i16..).zip(addresses.iter().map(|address| address.parse().unwrap())).collect();
    let mut mail = b"Subject: x\r\n\r\n".to_vec();
    mail.extend(b"0123456789\r\n".repeat(lines));
    let sender = Some("ventas@hilo.example".parse().unwrap());
    Ready { sender, recipients, mail, envelope_id: "e1".into() }
}

/// One letter per recipient: accepted, refused, not yet, unknown; with the reply codes.
async fn told(step: Step, odd: Odd) -> (String, Vec<u16>, usize) {
    let (server, seen) = misbehaving(step, odd).await;
    // More than the system's buffers take: a smaller mail has left before the server is found closed.
    let lines = if step == Step::Content { 2_000_000 } else { 100 };
    let mut outcomes = deliver(&server, &ready_with(lines), async { Ok(()) }).await;
    outcomes.sort_by_key(|(position, _)| *position);
    let letters = outcomes
        .iter()
        .map(|(_, outcome)| match outcome {
            Outcome::Accepted(_) => 'a',
            Outcome::Refused(_) => 'r',
            Outcome::NotYet(_) | Outcome::CutOff(_) => 'n',
            Outcome::Unknown(_) => 'u',
        })
        .collect();
    let codes = outcomes
        .into_iter()
        .map(|(_, outcome)| match outcome {
            Outcome::Accepted(reply)
            | Outcome::Refused(reply)
            | Outcome::NotYet(reply)
            | Outcome::CutOff(reply)
            | Outcome::Unknown(reply) => reply.code,
        })
        .collect();
    let mails = seen.0.lock().len();
    (letters, codes, mails)
}

#[tokio::test]
async fn every_recipient_is_told_the_truth_at_every_step() {
    let busy = Odd::Reply("421 4.3.2 busy");
    let no = Odd::Reply("550 5.1.1 no such user");
    let later = Odd::Reply("451 4.7.1 greylisted");
    let table = [
        (Step::Never, Odd::Close, "aaa", [250; 3], 1),
        (Step::Greeting, busy, "nnn", [0; 3], 0),
        (Step::Greeting, Odd::Close, "nnn", [0; 3], 0),
        (Step::Ehlo, busy, "nnn", [0; 3], 0),
        (Step::Mail, busy, "nnn", [421; 3], 0),
        (Step::Mail, no, "rrr", [550; 3], 0),
        (Step::Mail, Odd::Close, "nnn", [0; 3], 0),
        (Step::Rcpt('l'), no, "ara", [250, 550, 250], 1),
        (Step::Rcpt('l'), later, "ana", [250, 451, 250], 1),
        (Step::Rcpt('l'), busy, "nnn", [0, 421, 0], 0),
        (Step::Rcpt('e'), Odd::Close, "nnn", [0; 3], 0),
        (Step::Data, busy, "nnn", [421; 3], 0),
        (Step::Data, no, "rrr", [550; 3], 0),
        (Step::Content, Odd::Close, "nnn", [0; 3], 0),
        (Step::FinalDot, no, "rrr", [550; 3], 1),
        (Step::FinalDot, later, "nnn", [451; 3], 1),
        (Step::FinalDot, busy, "nnn", [421; 3], 1),
        (Step::FinalDot, Odd::Close, "uuu", [0; 3], 1),
    ];
    for (step, odd, letters, codes, mails) in table {
        let (found, found_codes, seen) = told(step, odd).await;
        assert_eq!((found.as_str(), seen), (letters, mails), "{step:?} {odd:?}");
        assert_eq!(found_codes, codes, "{step:?} {odd:?}");
    }
}

/// Answers everything but the final dot; true once that has come.
async fn silent_at_the_end() -> (u16, Arc<Mutex<bool>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dotted = Arc::new(Mutex::new(false));
    let seen = dotted.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.ok()?;
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 hi\r\n").await.ok()?;
        for reply in ["250 x", "250 ok", "250 ok", "250 ok", "250 ok", "354 go"] {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        }
        content(&mut stream).await?;
        *seen.lock() = true;
        std::future::pending::<Option<()>>().await
    });
    (port, dotted)
}

#[tokio::test]
async fn a_server_that_never_answers_the_final_dot_leaves_doubt() {
    let (usual, _) = misbehaving(Step::Never, Odd::Close).await;
    // The shortest patience with which this machine gets as far as the final dot.
    for patience in [300, 1_000, 5_000, 30_000].map(Duration::from_millis) {
        let (port, dotted) = silent_at_the_end().await;
        let server = Server { port, reply_time: patience, ..usual.clone() };
        let outcomes = deliver(&server, &ready(), async { Ok(()) }).await;
        if *dotted.lock() {
            let all = outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Unknown(_)));
            assert!(all, "{outcomes:?}");
            return;
        }
    }
    panic!("the final dot never came");
}

#[tokio::test]
async fn who_lost_the_account_stops_before_the_final_dot() {
    let (server, seen) = misbehaving(Step::Never, Odd::Close).await;
    let outcomes = deliver(&server, &ready(), async { Err("lost") }).await;
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::NotYet(_))), "{outcomes:?}");
    assert!(seen.0.lock().is_empty());
}

#[tokio::test]
async fn without_tls_only_this_machine_is_spoken_to_and_starttls_is_required() {
    let (usual, _) = misbehaving(Step::Never, Odd::Close).await;
    let far = Server { host: "192.0.2.1".into(), ..usual.clone() };
    let text = |outcomes: Vec<(i16, Outcome)>| match outcomes.into_iter().next() {
        Some((_, Outcome::NotYet(reply))) => reply.text,
        other => format!("{other:?}"),
    };
    assert!(text(deliver(&far, &ready(), async { Ok(()) }).await).contains("without TLS"));
    let stripped = Server { security: Security::StartTls, ..usual };
    assert!(text(deliver(&stripped, &ready(), async { Ok(()) }).await).contains("does not offer STARTTLS"));
}

#[test]
fn enhanced_codes_are_recognised() {
    assert!(is_enhanced("5.1.1") && is_enhanced("4.7.100"));
    assert!(!is_enhanced("5.1") && !is_enhanced("3.1.1") && !is_enhanced("5.1.x") && !is_enhanced(""));
}

/// A server with a certificate of its own authority that wants STARTTLS or speaks TLS at once, and a password.
async fn encrypted(starttls: bool) -> (Server, tempfile::TempDir, Arc<Mutex<Vec<String>>>) {
    hilo_kit::install_crypto();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if starttls {
                plain_part(&mut stream).await;
            }
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut stream = BufReader::new(stream);
            if !starttls {
                stream.write_all(b"220 hi\r\n").await.unwrap();
            }
            let mut data = false;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    break;
                }
                seen.lock().push(line.trim_end().to_owned());
                let reply = match (data, line.get(..4).unwrap_or_default()) {
                    (true, _) if line == ".\r\n" => "250 queued",
                    (true, _) => continue,
                    (false, "EHLO") => "250-x\r\n250 AUTH PLAIN",
                    (false, "AUTH") => "235 welcome",
                    (false, "DATA") => "354 go",
                    (false, _) => "250 ok",
                };
                data = reply == "354 go";
                stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            }
        }
    });
    let server = Server {
        host: "localhost".into(),
        port,
        security: if starttls { Security::StartTls } else { Security::Tls },
        tls: Tls::new(Some(&file)).unwrap(),
        credentials: Some(("ventas".into(), Secret::new("pass word"))),
        helo: "hilo.example".into(),
        reply_time: Duration::from_secs(30),
    };
    (server, folder, lines)
}

async fn plain_part(stream: &mut TcpStream) {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 hi\r\n").await.unwrap();
    for reply in ["250-x\r\n250 STARTTLS", "220 go"] {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn tls_at_once_and_by_starttls_with_a_password_and_never_to_an_unproven_server() {
    for starttls in [false, true] {
        let (server, _folder, lines) = encrypted(starttls).await;
        let outcomes = deliver(&server, &ready(), async { Ok(()) }).await;
        assert!(
            outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Accepted(_))),
            "{starttls}: {outcomes:?}"
        );
        assert!(lines.lock().iter().any(|line| line.starts_with("AUTH PLAIN ")), "{:?}", lines.lock());
        let stranger = Server { tls: Tls::new(None).unwrap(), ..server };
        lines.lock().clear();
        let outcomes = deliver(&stranger, &ready(), async { Ok(()) }).await;
        assert!(
            outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::NotYet(_))),
            "{starttls}: {outcomes:?}"
        );
        assert!(lines.lock().is_empty(), "{:?}", lines.lock());
    }
}
