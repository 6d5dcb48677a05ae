//! A plain SMTP client that says what it is told and answers with what it heard.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A plain SMTP client.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub async fn connect(at: SocketAddr) -> Self {
        let mut client = Self(BufReader::new(TcpStream::connect(at).await.unwrap()));
        client.reply().await;
        client
    }

    pub async fn say(&mut self, line: &str) -> String {
        self.send(line).await;
        self.reply().await
    }

    /// Without waiting for the answer.
    pub async fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.unwrap() == 0 {
                return reply;
            }
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }
}
