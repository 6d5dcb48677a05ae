//! Calls as bytes: any method of the contracts by its name, without its types, so that one loop can make all of them.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use bytes::{Buf as _, BufMut as _};

/// Longest that anything may take; a call that hangs is a defect, not a figure.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Answers taken from a stream at most; those that never end are left after the first.
const MOST: usize = 10_000;

/// Bytes in, bytes out.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Everything a caller got to see of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// gRPC code.
    pub code: Code,
    /// Stable reason; empty without one.
    pub reason: String,
    /// Text of the status.
    pub text: String,
    /// `grpc-status-details-bin`, decoded.
    pub details: Vec<u8>,
    /// Messages, encoded.
    pub messages: Vec<Vec<u8>>,
}

impl Answer {
    fn of(status: &Status, messages: Vec<Vec<u8>>) -> Self {
        Self {
            code: status.code(),
            reason: hilo_kit::error::reason_of(status).unwrap_or_default(),
            text: status.message().to_owned(),
            details: status.details().to_vec(),
            messages,
        }
    }

    /// True when any byte of it says one of the words, in lower, upper or title case.
    pub fn says(&self, words: &[&str]) -> bool {
        let parts = self.messages.iter().map(Vec::as_slice).chain([self.text.as_bytes(), &self.details]);
        parts.into_iter().any(|part| holds(part, words))
    }

    /// What a refusal says, without what was answered before it.
    pub fn refusal(&self) -> (Code, &str, &str, &[u8]) {
        (self.code, &self.reason, &self.text, &self.details)
    }

    /// For messages of failed tests.
    pub fn brief(&self) -> String {
        format!("{:?} {} {:?}, {} messages", self.code, self.reason, self.text, self.messages.len())
    }
}

/// True when the bytes hold one of the words, whatever the case of ASCII letters.
pub fn holds(bytes: &[u8], words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes())))
}

fn request(token: Option<&str>, body: Vec<u8>) -> Result<Request<Vec<u8>>, Status> {
    let mut request = Request::new(body);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse();
        let value = value.map_err(|_| Status::invalid_argument("the token is no header value"))?;
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// Opens a call; also a unary one is a stream of one message here.
pub async fn open(
    channel: &Channel,
    path: &str,
    token: Option<&str>,
    body: Vec<u8>,
) -> Result<Streaming<Vec<u8>>, Status> {
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
    let answer = client.server_streaming(request(token, body)?, path, Raw).await?;
    Ok(answer.into_inner())
}

/// Calls and collects; of an `endless` stream the first message only.
pub async fn call(
    channel: &Channel,
    path: &str,
    token: Option<&str>,
    body: Vec<u8>,
    endless: bool,
) -> Answer {
    let whole = async {
        let mut stream = match open(channel, path, token, body).await {
            Ok(stream) => stream,
            Err(status) => return Answer::of(&status, Vec::new()),
        };
        let mut messages = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return Answer::of(&Status::ok(""), messages),
                Err(status) => return Answer::of(&status, messages),
            }
            if endless || messages.len() >= MOST {
                return Answer::of(&Status::ok(""), messages);
            }
        }
    };
    let late = || Answer::of(&Status::deadline_exceeded(format!("{path}: no answer")), Vec::new());
    tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(|_| late())
}
