//! The dialogue as a client sees it, over a real socket, with a ledger in memory.

use super::*;
use hilo_proto::directory::v1::Account;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

#[derive(Default)]
struct Memory {
    mails: Mutex<Vec<ReceivedMail>>,
    broken: std::sync::atomic::AtomicBool,
    unknown: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl MailIntake for Memory {
    fn accounts(&self) -> Option<Arc<Accounts>> {
        if self.unknown.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        let account = |key: &str| Account {
            key: key.into(),
            channel: "email".into(),
            address: format!("{key}@hilo.example"),
            active: true,
            ..Account::default()
        };
        Some(Arc::new(Accounts::new(&[account("ventas"), account("soporte")])))
    }

    async fn accept(&self, mail: ReceivedMail) -> Result<Vec<Uuid>, Error> {
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::unavailable("DATABASE_UNAVAILABLE", "away"));
        }
        let ids = mail.recipients.iter().map(|_| Uuid::now_v7()).collect();
        self.mails.lock().push(mail);
        Ok(ids)
    }
}

struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    async fn connect(at: std::net::SocketAddr) -> Self {
        let (reader, writer) = TcpStream::connect(at).await.unwrap().into_split();
        let mut client = Self { reader: BufReader::new(reader), writer };
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).await.unwrap();
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    async fn say(&mut self, text: &str) -> String {
        self.writer.write_all(text.as_bytes()).await.unwrap();
        self.reply().await
    }

    async fn expect(&mut self, dialogue: &[(&str, &str)]) {
        for (line, code) in dialogue {
            let reply = self.say(&format!("{line}\r\n")).await;
            assert!(reply.starts_with(code), "{line:?}: {reply:?}, not {code}");
        }
    }
}

struct Running {
    at: std::net::SocketAddr,
    memory: Arc<Memory>,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<()>,
}

async fn running(max_connections: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let memory = Arc::new(Memory::default());
    let limits = Limits {
        hostname: "mx.hilo.example".into(),
        max_message_bytes: 2_000,
        // One mail of two kilobytes at a time.
        max_buffered_bytes: 3 * 1_024,
        max_connections,
        idle: Duration::from_secs(30),
    };
    let shutdown = Shutdown::new();
    let served = tokio::spawn(serve(listener, memory.clone(), limits, shutdown.clone()));
    Running { at, memory, shutdown, served }
}

#[tokio::test]
async fn a_mail_for_two_accounts_is_accepted_once_with_both() {
    let running = running(10).await;
    let mut client = Client::connect(running.at).await;
    let hello = client.say("EHLO client.example\r\n").await;
    assert!(
        hello.contains("SIZE 2000") && hello.contains("8BITMIME") && hello.contains("SMTPUTF8"),
        "{hello}"
    );
    client
        .expect(&[
            ("MAIL FROM:<Ana@Example.COM> BODY=8BITMIME SMTPUTF8", "250"),
            ("RCPT TO:<VENTAS+x@hilo.example>", "250"),
            ("RCPT TO:<soporte@hilo.example>", "250"),
            ("RCPT TO:<nadie@hilo.example>", "550 5.1.1"),
            ("DATA", "354"),
            ("Subject: ñ\r\n\r\n..hola\r\n.", "250 2.0.0"),
            ("MAIL FROM:<>", "250"),
            ("RSET", "250"),
            ("NOOP", "250"),
            ("QUIT", "221"),
        ])
        .await;
    let mails = running.memory.mails.lock().clone();
    let mail = mails.first().unwrap();
    assert_eq!(mail.raw, "Subject: ñ\r\n\r\n.hola\r\n");
    assert_eq!(mail.envelope_sender, "Ana@example.com");
    let expected = vec![
        ("ventas".to_owned(), vec!["ventas+x@hilo.example".to_owned()]),
        ("soporte".to_owned(), vec!["soporte@hilo.example".to_owned()]),
    ];
    assert_eq!((mails.len(), &mail.recipients), (1, &expected));
}

#[tokio::test]
async fn order_size_and_recipients_are_checked() {
    let running = running(10).await;
    let mut client = Client::connect(running.at).await;
    let big = format!("{}\r\n.", "x".repeat(2_500));
    client
        .expect(&[
            ("MAIL FROM:<a@b.example>", "503"),
            ("HELO x", "250"),
            ("RCPT TO:<ventas@hilo.example>", "503"),
            ("MAIL FROM:<a@b.example> SIZE=2001", "552 5.3.4"),
            ("MAIL FROM:<a@b.example>", "250"),
            ("DATA", "503"),
            ("RCPT TO:<x@other.example>", "550"),
            ("DATA", "554"),
            ("RCPT TO:<ventas@hilo.example>", "250"),
            ("DATA", "354"),
            (&big, "552 5.3.4"),
            ("STARTTLS", "502"),
            ("WHAT", "500"),
            ("NOOP", "250"),
        ])
        .await;
    assert!(running.memory.mails.lock().is_empty());
}

#[tokio::test]
async fn without_database_or_directory_it_is_try_again() {
    let running = running(10).await;
    running.memory.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut client = Client::connect(running.at).await;
    let mail =
        [("MAIL FROM:<a@b.example>", "250"), ("RCPT TO:<ventas@hilo.example>", "250"), ("DATA", "354")];
    client.expect(&[("EHLO x", "250")]).await;
    client.expect(&mail).await;
    client.expect(&[("x\r\n.", "451")]).await;
    running.memory.unknown.store(true, std::sync::atomic::Ordering::Relaxed);
    client.expect(&[("MAIL FROM:<a@b.example>", "250"), ("RCPT TO:<ventas@hilo.example>", "451")]).await;
}

#[tokio::test]
async fn smuggled_commands_stay_content_and_bare_line_feeds_end_the_session() {
    let running = running(10).await;
    let mut client = Client::connect(running.at).await;
    let mail = [
        ("EHLO x", "250"),
        ("MAIL FROM:<a@b.example>", "250"),
        ("RCPT TO:<ventas@hilo.example>", "250"),
        ("DATA", "354"),
        ("hi\r\n.\r\r\nMAIL FROM:<evil@b.example>\n.\nRCPT TO:<soporte@hilo.example>\n.\r\nDATA\r\n.", "250"),
    ];
    client.expect(&mail).await;
    assert_eq!(running.memory.mails.lock().len(), 1);
    let reply = client.say("NOOP\nQUIT\r\n").await;
    assert!(reply.starts_with("521"), "{reply}");
    assert_eq!(client.reader.read_to_end(&mut vec![]).await.unwrap(), 0);
}

#[tokio::test]
async fn too_many_connections_and_a_stop_say_421() {
    let running = running(1).await;
    let mut client = Client::connect(running.at).await;
    let mut second = BufReader::new(TcpStream::connect(running.at).await.unwrap());
    let mut line = String::new();
    second.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("421 "), "{line}");
    running.shutdown.begin();
    assert!(client.reply().await.starts_with("421 "));
    running.served.await.unwrap();
    assert!(TcpStream::connect(running.at).await.is_err());
}

#[tokio::test]
async fn a_mail_in_flight_is_finished_while_stopping() {
    let running = running(1).await;
    let mut client = Client::connect(running.at).await;
    let mail = [
        ("EHLO x", "250"),
        ("MAIL FROM:<a@b.example>", "250"),
        ("RCPT TO:<ventas@hilo.example>", "250"),
        ("DATA", "354"),
    ];
    client.expect(&mail).await;
    running.shutdown.begin();
    client.expect(&[("late\r\n.", "250")]).await;
    assert!(client.reply().await.starts_with("421 "));
    running.served.await.unwrap();
    assert_eq!(running.memory.mails.lock().len(), 1);
}

#[tokio::test]
async fn endless_mistakes_end_the_session() {
    let running = running(1).await;
    let mut client = Client::connect(running.at).await;
    for _ in 0..=20 {
        assert!(client.say("WHAT\r\n").await.starts_with("500"));
    }
    assert!(client.reply().await.starts_with("421 4.7.0"));
}

#[tokio::test]
async fn without_room_a_mail_is_put_off_and_taken_later() {
    let running = running(10).await;
    let begin =
        [("EHLO x", "250"), ("MAIL FROM:<a@b.example>", "250"), ("RCPT TO:<ventas@hilo.example>", "250")];
    let mut first = Client::connect(running.at).await;
    first.expect(&begin).await;
    first.expect(&[("DATA", "354")]).await;
    first.writer.write_all(b"Subject: uno\r\n").await.unwrap();
    let mut second = Client::connect(running.at).await;
    second.expect(&begin[..1]).await;
    let put_off = async {
        // Until the first line of the first has arrived there is room for the second.
        loop {
            second.expect(&begin[1..]).await;
            second.expect(&[("DATA", "354")]).await;
            let reply = second.say("Subject: dos\r\n\r\n.\r\n").await;
            if !reply.starts_with("250") {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(Duration::from_secs(30), put_off).await.unwrap();
    assert!(reply.starts_with("452 4.3.1"), "{reply}");
    assert!(first.say("\r\n.\r\n").await.starts_with("250"));
    second.expect(&begin[1..]).await;
    second.expect(&[("DATA", "354"), ("Subject: dos\r\n\r\n.", "250")]).await;
    let mails = running.memory.mails.lock().clone();
    assert_eq!(mails.iter().filter(|mail| mail.raw.starts_with(b"Subject: uno")).count(), 1);
}
