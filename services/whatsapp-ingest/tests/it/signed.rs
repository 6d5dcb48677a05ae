//! Who may post: only what was signed with a secret of ours, over exactly these bytes; without a secret nobody.

use hilo_whatsapp_ingest::domain::signature::sign;
use reqwest::header::HeaderValue;

use crate::rig::{APP_SECRET, NUMBER, Rig, Setup, VERIFY_TOKEN, said, webhook};

#[tokio::test]
async fn an_altered_signature_or_body_is_refused_and_nothing_is_stored() {
    let rig = Rig::start(Setup::default()).await;
    let body = webhook(NUMBER, vec![said("wamid.1", "hola")], vec![]).to_string();
    let good = sign(APP_SECRET.as_bytes(), body.as_bytes()).unwrap();
    let digits = good.strip_prefix("sha256=").unwrap().to_owned();
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8(bytes).unwrap()
    };
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    let reserialised = serde_json::to_string_pretty(&value).unwrap();
    let other = sign(b"another secret", body.as_bytes()).unwrap();
    let half_digit = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    let ways: Vec<(&str, Vec<String>, String)> = vec![
        ("bit of the body", vec![good.clone()], flip(&body, 40)),
        ("last bit of the body", vec![good.clone()], flip(&body, body.len() - 1)),
        ("digit of the digest", vec![half_digit], body.clone()),
        ("shortened digest", vec![good[..good.len() - 2].to_owned()], body.clone()),
        ("shortened body", vec![good.clone()], body[..body.len() - 1].to_owned()),
        ("longer body", vec![good.clone()], format!("{body}\n")),
        ("empty body", vec![good.clone()], String::new()),
        ("other secret", vec![other.clone()], body.clone()),
        ("missing", vec![], body.clone()),
        ("twice", vec![good.clone(), good.clone()], body.clone()),
        ("a good and a bad one", vec![good.clone(), other], body.clone()),
        ("sha1", vec![format!("sha1={digits}")], body.clone()),
        ("no scheme", vec![digits], body.clone()),
        ("two in one", vec![format!("{good},{good}")], body.clone()),
        ("re-serialised", vec![good.clone()], reserialised),
    ];
    for (way, signatures, body) in ways {
        let mut request = rig.http.post(&rig.webhook).body(body);
        for signature in signatures {
            request = request.header("X-Hub-Signature-256", signature);
        }
        assert_eq!(request.send().await.unwrap().status(), 401, "{way}");
    }
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.webhook").await, 0);
    let request = rig.http.post(&rig.webhook).header("X-Hub-Signature-256", good).body(body);
    assert_eq!(request.send().await.unwrap().status(), 200, "the same, unaltered");
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.webhook").await, 1);
}

#[tokio::test]
async fn without_a_secret_everything_is_refused_and_a_new_one_needs_no_restart() {
    let setup = Setup { secrets: vec![("app", ""), ("verify", VERIFY_TOKEN)], ..Setup::default() };
    let rig = Rig::start(Setup { ready: false, ..Setup::default() }).await;
    let body = webhook(NUMBER, vec![said("wamid.1", "hola")], vec![]);
    assert_eq!(rig.post(&body).await, 503, "no directory, no secret");
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.webhook").await, 0);
    drop(rig);

    let accounts = setup.accounts.clone();
    let rig = Rig::start(Setup { ready: true, secrets: vec![("app", APP_SECRET)], ..setup }).await;
    rig.set_secret("app", "");
    rig.set_accounts(accounts);
    let refused = || async { rig.post_signed(&body, "").await == 503 };
    hilo_test_support::eventually("an empty secret is none", crate::rig::DEADLINE, refused).await.unwrap();
    rig.set_secret("app", "a new one");
    let taken = || async { rig.post_signed(&body, "a new one").await == 200 };
    hilo_test_support::eventually("the new secret is known", crate::rig::DEADLINE, taken).await.unwrap();
    assert_eq!(rig.post(&body).await, 401, "the old one is forgotten");
}

#[tokio::test]
async fn the_handshake_gives_the_challenge_back_for_the_right_token_only() {
    let rig = Rig::start(Setup::default()).await;
    let asked = |mode: &str, token: &str, challenge: &str| {
        let query = format!("hub.mode={mode}&hub.verify_token={token}&hub.challenge={challenge}");
        rig.http.get(format!("{}?{}", rig.webhook, query.replace(' ', "%20"))).send()
    };
    let good = asked("subscribe", VERIFY_TOKEN, "1158201444").await.unwrap();
    assert_eq!(good.status(), 200);
    let kind = good.headers().get("content-type").cloned();
    assert_eq!(kind, Some(HeaderValue::from_static("text/plain; charset=utf-8")));
    assert_eq!(good.text().await.unwrap(), "1158201444");
    for (mode, token) in [("subscribe", "another"), ("subscribe", ""), ("unsubscribe", VERIFY_TOKEN)] {
        assert_eq!(asked(mode, token, "1").await.unwrap().status(), 403, "{mode} {token}");
    }
    let long = "1".repeat(2_000);
    assert_eq!(asked("subscribe", VERIFY_TOKEN, &long).await.unwrap().status(), 403);
}
