//! Case 31: files that cannot be had as they were told: tried again within limits, marked, never given out; the message is there at once
//! all the same.

use anyhow::{Context as _, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::until;
use hilo_kit::objects::Digest256;
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::history::v1::whats_app_item::Detail;
use hilo_simulators::{Endpoint, File, MediaFault, Say};

/// Most answers with an error while this runs, a minute or two; what is tried on comes ever more seldom.
const MOST_ERRORS: usize = 20;
/// Bytes of a document that is larger than Meta's largest.
const TOO_LARGE: usize = 101 << 20;

/// What is wrong with a file, and whether it is given up at once or soon; the others are tried for days.
fn cases() -> Vec<(&'static str, Option<MediaFault>, bool)> {
    vec![
        ("good", None, false),
        ("another hash", Some(MediaFault::WrongHash), true),
        ("a page of HTML", Some(MediaFault::Html), true),
        ("another host", Some(MediaFault::ForeignHost("https://evil.example".to_owned())), true),
        ("a redirect", Some(MediaFault::Redirect("http://127.0.0.1:9/".to_owned())), true),
        ("gone", Some(MediaFault::Gone), false),
        ("expired", Some(MediaFault::Expired), false),
        ("cut off", Some(MediaFault::Cut), false),
    ]
}

/// A JPEG as far as its first bytes say.
pub(crate) fn picture(n: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0, 0, 16];
    bytes.extend_from_slice(b"JFIF\0");
    bytes.extend((0..2_000).map(|at| u8::try_from((at * 7 + n) % 251).unwrap_or_default()));
    bytes
}

/// Sends one file of each sort, `large` also one that is too large.
///
/// # Errors
/// When a file is given out that is not what was told, a message is late or missing, or Meta is asked too often.
pub async fn media(house: &Chat, large: bool) -> Result<String> {
    let customer = house.customer("51900000031", "Cliente")?;
    let mut cases = cases();
    for (n, (name, fault, _)) in cases.iter().enumerate() {
        let file = File { fault: fault.clone(), ..File::new("image/jpeg", &picture(n)) };
        customer.says(&Say::media("image", file).caption(name))?;
    }
    if large {
        let file = File::new("application/pdf", &vec![b'%'; TOO_LARGE]);
        customer.says(&Say::media("document", file).caption("too large"))?;
        cases.push(("too large", None, true));
    }
    let item = house.serve(&customer).await?;
    house.said(&item.attention_id, cases.len()).await.context("the messages do not wait for their files")?;
    let settled = || async {
        let said = house.said(&item.attention_id, cases.len()).await?;
        let done = cases.iter().zip(&said).all(|((name, _, ends), message)| match (*name, *ends) {
            ("good", _) => !message.attachments.is_empty(),
            (_, true) => !failure(message).is_empty(),
            (_, false) => true,
        });
        Ok(done.then_some(said))
    };
    let said = until("the good one is here and the hopeless ones are marked", settled).await?;
    for ((name, _, _), message) in cases.iter().zip(&said) {
        ensure!(message.text.contains(name), "{name} has the words {:?}", message.text);
        let sha256: Vec<&str> = message.attachments.iter().map(|one| one.sha256.as_str()).collect();
        if *name == "good" {
            let expected = Digest256::of(&picture(0)).to_string();
            ensure!(sha256 == [expected.as_str()], "the good one is another file: {sha256:?}");
        } else {
            ensure!(sha256.is_empty(), "{name}: a file was given out");
        }
    }
    let files = |of: &Endpoint| matches!(of, Endpoint::MediaInfo | Endpoint::MediaDownload);
    let requests = house.meta()?.requests();
    let bad = requests.iter().filter(|one| files(&one.endpoint) && one.status != Some(200)).count();
    ensure!(bad <= MOST_ERRORS, "Meta was asked in vain {bad} times");
    let words: Vec<String> = cases
        .iter()
        .zip(&said)
        .filter(|((name, _, _), _)| *name != "good")
        .map(|((name, _, _), message)| match failure(message) {
            "" => format!("{name}: tried on"),
            why => format!("{name}: {why}"),
        })
        .collect();
    Ok(format!("1 good file, 0 bad ones given out ({}), {bad} errors at Meta", words.join(", ")))
}

fn failure(message: &ThreadMessage) -> &str {
    match message.whatsapp.as_ref().and_then(|item| item.detail.as_ref()) {
        Some(Detail::Media(media)) => &media.failure,
        _ => "",
    }
}
