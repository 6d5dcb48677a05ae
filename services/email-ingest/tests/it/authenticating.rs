//! What becomes of senders: real, forged, and those whose domain cannot be asked.

use hilo_email_ingest::config::ResolverChoice;
use hilo_proto::directory::v1::Account;
use hilo_proto::inbound::v1::{DmarcResult, ThreadingEvidence};

use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;

use crate::dns::{Known, NameServer};
use crate::rig::{Rig, Setup, VENTAS, account};

fn text(text: &str) -> Known {
    Known::Txt(text.to_owned())
}

async fn rig(table: &[(&str, Known)]) -> (Rig, NameServer) {
    let names = NameServer::start(table).await;
    let trusting = Account { accept_unauthenticated_replies: true, ..account("soporte") };
    let setup = Setup {
        accounts: vec![account("ventas"), trusting],
        resolver: ResolverChoice::Servers(vec![names.at]),
        ..Setup::default()
    };
    (Rig::start(setup).await, names)
}

async fn evidence(rig: &mut Rig, from: &str, id: &str) -> ThreadingEvidence {
    let raw = format!(
        "From: {from}\r\nTo: {VENTAS}\r\nCc: evil@attacker.example\r\nMessage-ID: <{id}@x.example>\r\n\
         In-Reply-To: <known@hilo.example>\r\nReferences: <known@hilo.example>\r\n\r\nHola\r\n"
    );
    assert!(rig.mail(&[VENTAS], &raw).await.starts_with("250"));
    rig.inbound().await.1.evidence.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_sender_fails_an_honest_one_passes_and_silence_is_not_no_policy() {
    let (mut rig, _names) = rig(&[
        ("cliente.example", text("v=spf1 ip4:127.0.0.1 -all")),
        ("_dmarc.cliente.example", text("v=DMARC1; p=none")),
        ("banco.example", text("v=spf1 -all")),
        ("_dmarc.banco.example", text("v=DMARC1; p=reject")),
        ("_dmarc.roto.example", Known::Fails),
    ])
    .await;
    // The envelope sender of every mail here is ana@cliente.example.
    let honest = evidence(&mut rig, "Ana <ana@cliente.example>", "honest").await;
    assert_eq!(
        (honest.dmarc(), honest.spf.as_str(), honest.dkim.as_str()),
        (DmarcResult::Pass, "pass", "none")
    );
    assert_eq!(honest.references, vec!["known@hilo.example"]);
    let forged = evidence(&mut rig, "Banco <soporte@banco.example>", "forged").await;
    assert_eq!(forged.dmarc(), DmarcResult::Fail);
    let two = evidence(&mut rig, "ana@cliente.example, soporte@banco.example", "two").await;
    assert_eq!(two.dmarc(), DmarcResult::Fail);
    let silent = evidence(&mut rig, "eva@sin-politica.example", "silent").await;
    assert_eq!(silent.dmarc(), DmarcResult::NoPolicy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_fails_for_now_is_tried_again() {
    let (mut rig, names) = rig(&[
        ("cliente.example", text("v=spf1 ip4:127.0.0.1 -all")),
        ("_dmarc.cliente.example", Known::Fails),
    ])
    .await;
    let raw = "From: ana@cliente.example\r\nMessage-ID: <retry@x.example>\r\n\r\nHola\r\n";
    assert!(rig.mail(&[VENTAS], raw).await.starts_with("250"));
    assert!(rig.nothing_inbound().await);
    names.set("_dmarc.cliente.example", text("v=DMARC1; p=reject"));
    assert_eq!(rig.inbound().await.1.evidence.unwrap().dmarc(), DmarcResult::Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_of_an_account_travels_with_its_mails_only() {
    let (mut rig, _names) = rig(&[]).await;
    let raw = "From: ana@cliente.example\r\nMessage-ID: <switch@x.example>\r\n\r\nHola\r\n";
    assert!(rig.mail(&[VENTAS, "soporte@hilo.example"], raw).await.starts_with("250"));
    for _ in 0..2 {
        let (envelope, email) = rig.inbound().await;
        let accepted = email.evidence.unwrap().unauthenticated_replies_accepted;
        assert_eq!(accepted, envelope.account_key == "soporte");
    }
}

/// Signed under a selector of the domain; the record that belongs to it.
fn signed(raw: &str, domain: &str, selector: &str) -> (String, Known) {
    use base64::Engine as _;
    let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(&Ed25519Key::generate_pkcs8().unwrap()).unwrap();
    let public = base64::engine::general_purpose::STANDARD.encode(key.public_key());
    let signature = DkimSigner::from_key(key)
        .domain(domain)
        .selector(selector)
        .headers(["From", "Subject"])
        .sign(raw.as_bytes())
        .unwrap();
    (format!("{}{raw}", signature.to_header()), text(&format!("v=DKIM1; k=ed25519; p={public}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_the_authors_domain_passes_and_an_altered_or_foreign_one_does_not() {
    let raw = |id: &str| {
        format!(
            "From: eva@firma.example\r\nSubject: firmado\r\nMessage-ID: <{id}@firma.example>\r\n\r\nHola\r\n"
        )
    };
    let (good, good_key) = signed(&raw("good"), "firma.example", "s");
    let (foreign, foreign_key) = signed(&raw("foreign"), "attacker.example", "s");
    let (mut rig, names) = rig(&[
        ("cliente.example", text("v=spf1 -all")),
        ("_dmarc.firma.example", text("v=DMARC1; p=reject")),
        ("s._domainkey.firma.example", good_key),
        ("s._domainkey.attacker.example", foreign_key),
    ])
    .await;
    let mut expect = Vec::new();
    // mail-auth calls a body that was altered `neutral`; for DMARC it is no pass.
    for (mail, dmarc, dkim) in [
        (good.clone(), DmarcResult::Pass, "pass"),
        (good.replace("Hola", "Hela").replace("good@", "altered@"), DmarcResult::Fail, "neutral"),
        (foreign, DmarcResult::Fail, "pass"),
    ] {
        assert!(rig.mail(&[VENTAS], &mail).await.starts_with("250"));
        let evidence = rig.inbound().await.1.evidence.unwrap();
        expect.push((evidence.dmarc(), evidence.dkim.clone(), dmarc, dkim));
    }
    for (found, word, dmarc, dkim) in expect {
        assert_eq!((found, word.as_str()), (dmarc, dkim));
    }
    // The key's server fails for now: not a failure of the mail.
    names.set("new._domainkey.firma.example", Known::Fails);
    let (later, later_key) = signed(&raw("later"), "firma.example", "new");
    assert!(rig.mail(&[VENTAS], &later).await.starts_with("250"));
    assert!(rig.nothing_inbound().await);
    names.set("new._domainkey.firma.example", later_key);
    assert_eq!(rig.inbound().await.1.evidence.unwrap().dmarc(), DmarcResult::Pass);
}
