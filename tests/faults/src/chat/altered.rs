//! Case 24: a body or signature that is not exactly what the app signed is refused and leaves no trace; so is everything while there is no
//! secret.

use anyhow::{Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::{text, until, webhook};
use http::StatusCode;
use serde_json::Value;

const STORED: &str = "SELECT count(*) FROM whatsapp.webhook";

/// What is posted: how it was altered, its signatures, its body.
type Altered = (&'static str, Vec<String>, Vec<u8>);

/// Posts every altered form, then the true one.
///
/// # Errors
/// When one is taken, refused otherwise than by 401 or 403, or stored.
pub async fn altered(house: &Chat) -> Result<String> {
    let poster = house.poster()?;
    let number = house.installation.whatsapp_number();
    let from = "51900000024";
    let body = webhook(&number, from, vec![text("wamid.24", from, "hola, señora")]).to_string();
    let good = poster.signature(body.as_bytes());
    let before = house.ledger(STORED).await?;
    let ways = ways(&good, &body, &hilo_simulators::signature("another secret", body.as_bytes()));
    for (way, signatures, body) in &ways {
        let status = poster.post_with(signatures, body.clone()).await?;
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        ensure!(refused, "{way}: answered {status}");
    }
    let stored = house.ledger(STORED).await? - before;
    ensure!(stored == 0, "{stored} altered bodies are in the ledger");
    let status = poster.post_with(&[good], body.into_bytes()).await?;
    ensure!(status == StatusCode::OK, "the true one was answered {status}");
    ensure!(house.ledger(STORED).await? == before + 1, "the true one is not in the ledger");
    Ok(format!("{} ways refused, 0 rows; the unaltered one taken", ways.len()))
}

fn ways(good: &str, body: &str, other: &str) -> Vec<Altered> {
    let digits = good.trim_start_matches("sha256=").to_owned();
    let flip = |at: usize| {
        let mut bytes = body.as_bytes().to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        bytes
    };
    let last = if good.ends_with('0') { '1' } else { '0' };
    let cut = |text: &str, by: usize| text.get(..text.len() - by).unwrap_or_default().to_owned();
    let pretty = serde_json::from_str::<Value>(body).map(|value| format!("{value:#}")).unwrap_or_default();
    let one = |text: String| vec![text];
    let same = || body.as_bytes().to_vec();
    vec![
        ("bit of the body", one(good.to_owned()), flip(40)),
        ("last bit of the body", one(good.to_owned()), flip(body.len() - 1)),
        ("digit of the digest", one(format!("{}{last}", cut(good, 1))), same()),
        ("shortened digest", one(cut(good, 2)), same()),
        ("shortened body", one(good.to_owned()), cut(body, 1).into_bytes()),
        ("longer body", one(good.to_owned()), format!("{body}\n").into_bytes()),
        ("empty body", one(good.to_owned()), Vec::new()),
        ("other secret", one(other.to_owned()), same()),
        ("no signature", Vec::new(), same()),
        ("twice", vec![good.to_owned(), good.to_owned()], same()),
        ("a good and a bad one", vec![good.to_owned(), other.to_owned()], same()),
        ("sha1", one(format!("sha1={digits}")), same()),
        ("no scheme", one(digits), same()),
        ("two in one", one(format!("{good},{good}")), same()),
        ("re-serialised", one(good.to_owned()), pretty.into_bytes()),
    ]
}

/// Names a secret that does not exist: everything is answered 503 and nothing stored, until it is named rightly again.
///
/// # Errors
/// When something is taken meanwhile, or nothing afterwards.
pub async fn no_secret(house: &Chat) -> Result<String> {
    let poster = house.poster()?;
    let number = house.installation.whatsapp_number();
    let from = "51900000124";
    let body =
        |n: u32| webhook(&number, from, vec![text(&format!("wamid.24.{n}"), from, "hola")]).to_string();
    let wrong =
        |yaml: &str| yaml.replace("app_secret_secret: META_APP", "app_secret_secret: NOBODY_HAS_THIS");
    house.installation.change_directory(wrong).await?;
    let mut tries = 0;
    until("webhooks are answered 503", || {
        tries += 1;
        let (poster, body) = (poster.clone(), body(tries));
        async move { Ok((poster.post(body).await? == StatusCode::SERVICE_UNAVAILABLE).then_some(())) }
    })
    .await?;
    let before = house.ledger(STORED).await?;
    for n in 0..20 {
        let status = poster.post(body(1_000 + n)).await?;
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "answered {status} without a secret");
    }
    ensure!(house.ledger(STORED).await? == before, "something was stored without a secret");
    house.installation.change_directory(str::to_owned).await?;
    until("webhooks are taken again", || {
        let (poster, body) = (poster.clone(), body(2_000));
        async move { Ok((poster.post(body).await? == StatusCode::OK).then_some(())) }
    })
    .await?;
    Ok("20 of 20 answered 503 without a secret, 0 rows".to_owned())
}
