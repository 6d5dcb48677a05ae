//! From a host name to a connection that has said EHLO, encrypted unless it is this machine.

use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::watched::{FinalDot, Transport, Watched};
use super::{Security, Server};
use crate::adapter::tls;

const CONNECT_TIME: Duration = Duration::from_secs(15);
/// Longest reply read before TLS.
const MAX_PLAIN_REPLY: usize = 8 * 1_024;

/// Connects and encrypts.
pub(super) async fn stream(server: &Server) -> Result<(Watched, FinalDot), String> {
    if server.security == Security::Plain && !tls::is_loopback(&server.host) {
        return Err("without TLS only this machine may be spoken to".to_owned());
    }
    let opening = async {
        let mut tcp = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok::<_, String>(match server.security {
            Security::Plain => Watched::new(Transport::Plain(tcp), Vec::new()),
            Security::Tls => Watched::new(encrypt(tcp, server).await?, Vec::new()),
            Security::StartTls => {
                start_tls(&mut tcp, &server.helo).await?;
                // No second greeting comes after STARTTLS, but lettre waits for one.
                Watched::new(encrypt(tcp, server).await?, b"220 ready\r\n".to_vec())
            }
        })
    };
    match tokio::time::timeout(CONNECT_TIME.min(server.reply_time * 2), opening).await {
        Ok(Ok(open)) => Ok(open),
        Ok(Err(text)) => Err(format!("connection: {text}")),
        Err(_) => Err("connection: not in time".to_owned()),
    }
}

async fn encrypt(tcp: TcpStream, server: &Server) -> Result<Transport, String> {
    let stream = server.tls.connect(tcp, &server.host).await.map_err(|error| format!("TLS: {error}"))?;
    Ok(Transport::Tls(Box::new(stream)))
}

/// Greeting, EHLO, STARTTLS (RFC 3207). Bytes that came early, before TLS, end it: they may be injected.
async fn start_tls(tcp: &mut TcpStream, helo: &str) -> Result<(), String> {
    expect(tcp, "220").await?;
    tcp.write_all(format!("EHLO {helo}\r\n").as_bytes()).await.map_err(|error| error.to_string())?;
    let offered = expect(tcp, "250").await?;
    if !offered
        .lines()
        .any(|line| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS")))
    {
        return Err("the server does not offer STARTTLS, which is required".to_owned());
    }
    tcp.write_all(b"STARTTLS\r\n").await.map_err(|error| error.to_string())?;
    expect(tcp, "220").await.map(drop)
}

/// Reads exactly one reply.
async fn expect(tcp: &mut TcpStream, code: &str) -> Result<String, String> {
    let mut reply = Vec::new();
    let mut piece = [0; 512];
    loop {
        let count = tcp.read(&mut piece).await.map_err(|error| error.to_string())?;
        reply.extend_from_slice(piece.get(..count).unwrap_or_default());
        let text = String::from_utf8_lossy(&reply);
        let mut lines = text.split_inclusive('\n');
        let last = lines.find(|line| line.ends_with('\n') && line.as_bytes().get(3) != Some(&b'-'));
        match last {
            Some(_) if lines.next().is_some() => return Err("the server spoke out of turn".to_owned()),
            Some(last) if last.starts_with(code) => return Ok(text.into_owned()),
            Some(_) => return Err("the server refused".to_owned()),
            None if count == 0 || reply.len() > MAX_PLAIN_REPLY => {
                return Err("the server gave no reply".to_owned());
            }
            None => {}
        }
    }
}

/// Greeting and EHLO.
pub(super) async fn greet(stream: Watched, server: &Server) -> Result<AsyncSmtpConnection, Error> {
    AsyncSmtpConnection::connect_with_transport(Box::new(stream), &ClientId::Domain(server.helo.clone()))
        .await
}
