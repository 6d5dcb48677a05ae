//! A browser that follows a signed link: plain HTTP/1.1, no token, no cookie.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

/// Gets a path from `endpoint` (`http://host:port`); `more` are header lines, each ended by CR LF.
///
/// # Errors
/// When nothing answers, or not in the words of HTTP.
pub async fn get(endpoint: &str, path: &str, more: &str) -> Result<Answer> {
    let host = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await??;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the headers")?;
    let (head, body) = answer.split_at(end + 4);
    let head = String::from_utf8(head.to_vec())?.to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok(Answer { status, head, body: body.to_vec() })
}
