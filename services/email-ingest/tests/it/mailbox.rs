//! An IMAP server with one mailbox that misbehaves on request, one mail at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What happens when the content of a mail is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// It comes.
    Comes,
    /// The connection ends in the middle of it.
    Drops,
    /// The connection ends without a word.
    Closes,
    /// Tagged NO.
    No,
    /// Bytes that are no IMAP.
    Noise,
}

/// What the client did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Listed mails by UID.
    Look,
    /// NOOP: at the end of a wait between two looks, and after a refusal.
    Noop,
    /// Asked for the content of a mail.
    Asked(u32),
}

#[derive(Default)]
struct State {
    mails: BTreeMap<u32, (Vec<u8>, Content)>,
    steps: Vec<Step>,
    arriving: Option<(u32, Vec<u8>)>,
    renumbered: u32,
}

/// The server.
#[derive(Clone)]
pub struct Mailbox {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Mailbox {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(session(stream, shared.clone()));
            }
        });
        Self { port, state }
    }

    /// Puts a mail there, or changes what happens to it.
    pub fn put(&self, uid: u32, raw: &[u8], content: Content) {
        self.state.lock().mails.insert(uid, (raw.to_vec(), content));
    }

    /// Every mail comes from now on.
    pub fn all_come(&self) {
        self.state.lock().mails.values_mut().for_each(|(_, content)| *content = Content::Comes);
    }

    /// The next session finds another UIDVALIDITY.
    pub fn renumber(&self) {
        self.state.lock().renumbered += 1;
    }

    /// Takes a mail out.
    pub fn remove(&self, uid: u32) {
        self.state.lock().mails.remove(&uid);
    }

    /// A mail comes, and is announced, during the next look, which does not list it yet.
    pub fn put_during_next_look(&self, uid: u32, raw: &[u8]) {
        self.state.lock().arriving = Some((uid, raw.to_vec()));
    }

    /// Everything the client did, in order.
    pub fn steps(&self) -> Vec<Step> {
        self.state.lock().steps.clone()
    }

    /// How often the mails were listed by UID.
    pub fn looks(&self) -> usize {
        self.count(Step::Look)
    }

    /// How often the content of a mail was asked for.
    pub fn asked(&self, uid: u32) -> usize {
        self.count(Step::Asked(uid))
    }

    fn count(&self, step: Step) -> usize {
        self.state.lock().steps.iter().filter(|one| **one == step).count()
    }
}

async fn session(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, b"* OK ready\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let mut words = line.trim_end().splitn(3, ' ');
        let (tag, command, rest) =
            (words.next()?.to_owned(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match (command, rest) {
            ("CAPABILITY", _) => say(&mut stream, b"* CAPABILITY IMAP4rev1\r\n").await?,
            ("SELECT", _) => {
                let (count, validity) = {
                    let state = state.lock();
                    (state.mails.len(), 7 + state.renumbered)
                };
                let untagged = format!("* {count} EXISTS\r\n* OK [UIDVALIDITY {validity}] ok\r\n");
                say(&mut stream, untagged.as_bytes()).await?;
            }
            ("NOOP", _) => state.lock().steps.push(Step::Noop),
            ("FETCH", asked) => match numbered(&state, asked.split(' ').next()?) {
                Some(mails) => list(&mut stream, &mails).await?,
                None => {
                    say(&mut stream, format!("{tag} BAD no such message\r\n").as_bytes()).await?;
                    continue;
                }
            },
            ("UID", asked) if asked.contains("RFC822.SIZE") => {
                let first = asked.trim_start_matches("FETCH ").split(':').next()?.parse().ok()?;
                list(&mut stream, &sizes(&state, first)).await?;
                let grown = look(&state);
                if let Some(count) = grown {
                    say(&mut stream, format!("* {count} EXISTS\r\n").as_bytes()).await?;
                }
            }
            ("UID", asked) => {
                let uid = asked.trim_start_matches("FETCH ").split(' ').next()?.parse().ok()?;
                if !content(&mut stream, &state, uid).await? {
                    say(&mut stream, format!("{tag} NO [SERVERBUG] not now\r\n").as_bytes()).await?;
                    continue;
                }
            }
            _ => {}
        }
        say(&mut stream, format!("{tag} OK done\r\n").as_bytes()).await?;
    }
}

/// Counts a look; the count of mails when one comes during it.
fn look(state: &Mutex<State>) -> Option<usize> {
    let mut state = state.lock();
    state.steps.push(Step::Look);
    let (uid, raw) = state.arriving.take()?;
    state.mails.insert(uid, (raw, Content::Comes));
    Some(state.mails.len())
}

fn sizes(state: &Mutex<State>, first: u32) -> Vec<(usize, u32, usize)> {
    let state = state.lock();
    let all = (1..).zip(state.mails.iter()).map(|(number, (uid, (raw, _)))| (number, *uid, raw.len()));
    all.filter(|(_, uid, _)| *uid >= first).collect()
}

/// What a sequence set names; `None` when it names a number above the count, which is an error (RFC 3501 section 9).
fn numbered(state: &Mutex<State>, set: &str) -> Option<Vec<(usize, u32, usize)>> {
    let all = sizes(state, 0);
    let number = |word: &str| {
        let number = if word == "*" { all.len() } else { word.parse().ok()? };
        (1..=all.len()).contains(&number).then_some(number)
    };
    let mut named = BTreeSet::new();
    for part in set.split(',') {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        named.extend(from.min(to)..=from.max(to));
    }
    Some(all.into_iter().filter(|(number, ..)| named.contains(number)).collect())
}

async fn list(stream: &mut BufReader<TcpStream>, mails: &[(usize, u32, usize)]) -> Option<()> {
    for (number, uid, size) in mails {
        let line = format!("* {number} FETCH (UID {uid} RFC822.SIZE {size})\r\n");
        say(stream, line.as_bytes()).await?;
    }
    Some(())
}

/// `false` for a mail that is refused; nothing comes of one that is gone; ends the session where the connection drops.
async fn content(stream: &mut BufReader<TcpStream>, state: &Mutex<State>, uid: u32) -> Option<bool> {
    let found = {
        let mut state = state.lock();
        state.steps.push(Step::Asked(uid));
        state.mails.get(&uid).cloned()
    };
    let Some((raw, what)) = found else { return Some(true) };
    let head = format!("* 1 FETCH (UID {uid} BODY[] {{{}}}\r\n", raw.len());
    match what {
        Content::No => return Some(false),
        Content::Closes => return None,
        Content::Noise => {
            say(stream, b"* 1 FETCH (UID BODY ((\r\n").await?;
            return None;
        }
        Content::Drops => {
            say(stream, head.as_bytes()).await?;
            say(stream, raw.get(..raw.len() / 2)?).await?;
            return None;
        }
        Content::Comes => {}
    }
    say(stream, head.as_bytes()).await?;
    say(stream, &raw).await?;
    say(stream, b")\r\n").await?;
    Some(true)
}

async fn say(stream: &mut BufReader<TcpStream>, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()
}
