//! A name server over a literal table: the resolver that production uses, asked on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;

/// What is known about a name.
#[derive(Clone, Debug)]
pub enum Known {
    /// Text records.
    Txt(String),
    /// The server fails for this name (SERVFAIL).
    Fails,
}

#[derive(Clone)]
pub struct NameServer {
    pub at: SocketAddr,
    table: Arc<Mutex<HashMap<String, Known>>>,
}

impl NameServer {
    pub async fn start(table: &[(&str, Known)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let table: HashMap<_, _> =
            table.iter().map(|(name, known)| ((*name).to_owned(), known.clone())).collect();
        let server = Self { at, table: Arc::new(Mutex::new(table)) };
        let answering = server.clone();
        tokio::spawn(async move {
            let mut question = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answering.answer(&question[..length]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        server
    }

    pub fn set(&self, name: &str, known: Known) {
        self.table.lock().insert(name.to_owned(), known);
    }

    /// RFC 1035 section 4: one question, at most one text record.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*question.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
        let name = labels.join(".");
        let known = self.table.lock().get(&name).cloned();
        let (code, text) = match known {
            Some(Known::Fails) => (2, None),
            Some(Known::Txt(text)) if kind == 16 => (0, Some(text)),
            Some(Known::Txt(_)) => (0, None),
            None => (3, None),
        };
        let mut answer = question.get(..2)?.to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(text.is_some()), 0, 0, 0, 0]);
        answer.extend(question.get(12..at + 4)?);
        if let Some(text) = text {
            let mut data = Vec::new();
            for piece in text.as_bytes().chunks(255) {
                data.push(u8::try_from(piece.len()).ok()?);
                data.extend(piece);
            }
            answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 1]);
            answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}
