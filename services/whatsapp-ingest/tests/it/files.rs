//! Files of customers, from the simulator of the Cloud API into the object store: handed over once, with their content or with the
//! reason why there is none.

use std::time::Duration;

use hilo_kit::nats::Subjects;
use hilo_kit::objects::Digest256;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::whats_app_content::Result as Content;
use hilo_proto::inbound::v1::{Attachment, InboundEnvelope, InboundWhatsApp, MediaKind};
use hilo_simulators::{Effect, Endpoint, Fault, File, MediaFault, Phone, Say, Simulator};
use hilo_test_support::eventually;
use hilo_whatsapp_ingest::config::MediaConfig;
use hilo_whatsapp_ingest::domain::media::{Failure, Trouble};
use hilo_whatsapp_ingest::store::{Again, Store};
use tokio::net::TcpListener;

use crate::rig::{DEADLINE, NUMBER, Rig, Setup, account, said, webhook};
use crate::simulated::{customer, simulated, world};

const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF a small picture";
const WAITING: &str = "SELECT count(*) FROM whatsapp.media WHERE state = 'waiting'";

pub fn picture() -> File {
    File::new("image/jpeg", JPEG)
}

pub async fn started(media: MediaConfig) -> (Rig, Simulator, Phone) {
    let (rig, simulator) = simulated(world(), Setup { media, ..Setup::default() }).await;
    let phone = customer(&simulator);
    (rig, simulator, phone)
}

pub fn quick() -> MediaConfig {
    MediaConfig { retry_seconds: 0.02, ..MediaConfig::default() }
}

fn media_calls(simulator: &Simulator) -> usize {
    let of = |endpoint| matches!(endpoint, Endpoint::MediaInfo | Endpoint::MediaDownload);
    simulator.requests().iter().filter(|request| of(request.endpoint)).count()
}

/// The next item that tells what became of a file, with what the file's own item was.
async fn content(rig: &mut Rig) -> (InboundEnvelope, InboundWhatsApp, Content) {
    loop {
        let (envelope, item) = rig.inbound().await;
        if let Some(Kind::Content(content)) = item.kind.clone() {
            assert_eq!(content.target_wamid, item.wamid);
            return (envelope, item, content.result.unwrap());
        }
    }
}

async fn failure(rig: &mut Rig, wamid: &str) -> String {
    let (_, item, content) = content(rig).await;
    assert_eq!(item.wamid, wamid);
    match content {
        Content::Failure(failure) => failure,
        Content::Attachment(attachment) => panic!("{attachment:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_handed_over_at_once_and_its_content_follows_as_an_item_of_its_own() {
    let (mut rig, simulator, phone) = started(quick()).await;
    simulator.fault(Fault::new(Endpoint::MediaInfo, 2, Effect::Answer { http: 503, body: String::new() }));
    simulator.fault(Fault::new(Endpoint::MediaDownload, 1, Effect::HangBefore { ms: 10 }));
    let wamid = phone.says(NUMBER, &Say::media("image", picture()).caption("mira")).unwrap();
    let (first, item) = rig.inbound().await;
    let Some(Kind::Media(media)) = item.kind.clone() else { panic!("{:?}", item.kind) };
    assert_eq!((media.kind(), media.attachment, media.failure.as_str()), (MediaKind::Image, None, ""));
    assert_eq!((item.wamid.as_str(), media.caption.as_str()), (wamid.as_str(), "mira"));

    let (second, about, content) = content(&mut rig).await;
    assert_eq!(
        (about.wamid.as_str(), &about.customer, &about.sent_at),
        (wamid.as_str(), &item.customer, &item.sent_at)
    );
    assert_eq!((&second.conversation_key, second.sequence), (&first.conversation_key, 2));
    assert_ne!(second.ledger_id, first.ledger_id);
    let Content::Attachment(attachment) = content else { panic!("{content:?}") };
    let digest = Digest256::of(JPEG);
    assert_eq!(
        (attachment.sha256.as_str(), attachment.media_type.as_str()),
        (digest.to_string().as_str(), "image/jpeg")
    );
    assert_eq!(attachment.size_bytes, JPEG.len() as i64);
    assert_eq!(rig.objects().await.get(digest).await.unwrap().as_deref(), Some(JPEG));
    // The webhook once more is the same file once.
    let again = phone.says(NUMBER, &Say { id: Some(wamid), ..Say::media("image", picture()) }).unwrap();
    phone.says(NUMBER, &Say::text("fin")).unwrap();
    let (last, end) = rig.inbound().await;
    assert!(matches!(end.kind, Some(Kind::Text(_))) && last.sequence == 3, "{again}: {end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn voice_notes_and_documents_keep_their_kind_and_name() {
    let (mut rig, _simulator, phone) = started(quick()).await;
    phone
        .says(NUMBER, &Say::media("voice", File::new("audio/ogg; codecs=opus", b"OggS\x00\x02 a voice")))
        .unwrap();
    let (_, _, voice) = content(&mut rig).await;
    let Content::Attachment(voice) = voice else { panic!("{voice:?}") };
    assert_eq!(voice.media_type, "audio/ogg; codecs=opus");
    phone.says(NUMBER, &Say::media("document", File::new("application/pdf", b"%PDF-1.7 words"))).unwrap();
    let (_, _, document) = content(&mut rig).await;
    let Content::Attachment(document) = document else { panic!("{document:?}") };
    assert!(document.file_name.ends_with(".pdf"), "{document:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_file_that_meta_told_of_is_tried_a_few_times_and_then_failed_with_its_reason() {
    let (mut rig, simulator, phone) = started(quick()).await;
    let page = File::new("image/jpeg", b"<!DOCTYPE html><html><body>not a picture</body></html>");
    let table = [
        (picture().but(MediaFault::WrongHash), "MEDIA_HASH_MISMATCH", 6),
        (picture().but(MediaFault::Html), "MEDIA_HASH_MISMATCH", 6),
        (page, "MEDIA_TYPE_REFUSED", 6),
        (picture().but(MediaFault::Gone), "MEDIA_EXPIRED", 10),
        (picture().but(MediaFault::Expired), "MEDIA_EXPIRED", 10),
    ];
    for (file, expected, calls) in table {
        let before = media_calls(&simulator);
        let wamid = phone.says(NUMBER, &Say::media("image", file)).unwrap();
        assert_eq!(failure(&mut rig, &wamid).await, expected);
        assert_eq!(media_calls(&simulator) - before, calls, "{expected}: each try asks for a new address");
    }
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.media_error").await, 10, "of the two that were gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_follows_no_address_and_no_redirect_to_another_host() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", trap.local_addr().unwrap());
    let visitor = tokio::spawn(async move { trap.accept().await.map(drop) });
    let (mut rig, _simulator, phone) = started(quick()).await;
    for fault in [MediaFault::ForeignHost(host.clone()), MediaFault::Redirect(format!("{host}/x"))] {
        let wamid = phone.says(NUMBER, &Say::media("image", picture().but(fault))).unwrap();
        assert_eq!(failure(&mut rig, &wamid).await, "MEDIA_ADDRESS_REFUSED");
    }
    assert!(!visitor.is_finished(), "nobody came there");
    visitor.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_is_not_even_begun() {
    let media = MediaConfig { max_bytes: 20, memory_bytes: 1024, ..quick() };
    let (mut rig, simulator, phone) = started(media).await;
    let wamid = phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    assert_eq!(failure(&mut rig, &wamid).await, "MEDIA_TOO_LARGE");
    assert!(simulator.requests().iter().all(|request| request.endpoint != Endpoint::MediaDownload));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_is_tried_again_and_what_waits_outlives_a_stop() {
    let (mut rig, simulator, phone) = started(MediaConfig { retry_seconds: 600.0, ..quick() }).await;
    phone.says(NUMBER, &Say::media("image", picture().but(MediaFault::Cut))).unwrap();
    rig.counts(
        "SELECT count(*) FROM whatsapp.media WHERE reason = 'AWAY' AND next_at > now() + interval '1 minute'",
        1,
    )
    .await;
    // A try that a stop cuts off is given back at once and does not count.
    simulator.fault(Fault::new(Endpoint::MediaInfo, 1, Effect::HangBefore { ms: 60_000 }));
    let second = phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    let asked = || async { simulator.requests().iter().any(|request| request.status.is_none()) };
    eventually("Meta was asked", DEADLINE, asked).await.unwrap();
    rig.stop().await;
    assert_eq!(
        rig.count(
            "SELECT count(*) FROM whatsapp.media WHERE claim IS NULL AND attempts = 0 AND next_at <= now()"
        )
        .await,
        1
    );
    rig.run().await;
    let (_, item, content) = content(&mut rig).await;
    assert_eq!(item.wamid, second);
    assert!(matches!(content, Content::Attachment(_)), "{content:?}");
    assert_eq!(rig.count(WAITING).await, 1, "the other one is tried again in its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_is_not_asked_again_and_again_while_it_answers_with_errors() {
    let (mut rig, simulator, phone) = started(quick()).await;
    let outage =
        Fault::new(Endpoint::MediaInfo, 1, Effect::Answer { http: 500, body: String::new() }).lasting();
    let outage = simulator.fault(outage);
    for _ in 0..30 {
        phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    }
    rig.counts("SELECT (count(*) >= 15)::int::bigint FROM whatsapp.media_error", 1).await;
    rig.counts("SELECT count(*) FROM whatsapp.media WHERE next_at <= now()", 30).await;
    assert!(media_calls(&simulator) < 20, "{} in an hour", media_calls(&simulator));
    // An hour later, and Meta well again.
    simulator.heal(Some(outage));
    sqlx::query("UPDATE whatsapp.media_error SET happened_at = happened_at - interval '1 hour'")
        .execute(rig.db.pool())
        .await
        .unwrap();
    rig.counts(WAITING, 0).await;
    for _ in 0..30 {
        let (_, _, content) = content(&mut rig).await;
        assert!(matches!(content, Content::Attachment(_)), "{content:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_switched_off_asks_for_nothing_until_the_file_is_too_old() {
    let (mut rig, simulator, phone) = started(quick()).await;
    rig.set_secret("token", "");
    let wamid = phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    rig.counts(
        "SELECT count(*) FROM whatsapp.media WHERE reason = 'NOT_ASKED' AND next_at > now() AND attempts = 0",
        1,
    )
    .await;
    assert_eq!(media_calls(&simulator), 0);
    sqlx::query("UPDATE whatsapp.media SET received_at = now() - interval '7 days', next_at = now()")
        .execute(rig.db.pool())
        .await
        .unwrap();
    assert_eq!(failure(&mut rig, &wamid).await, "MEDIA_UNAVAILABLE");
}

/// A ledger with one file that is due, and no fetcher.
pub async fn due(rig: &mut Rig, simulator: &Simulator, phone: &Phone) -> Store {
    simulator.fault(Fault::new(Endpoint::MediaInfo, 1, Effect::HangBefore { ms: 60_000 }));
    phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    rig.counts("SELECT count(*) FROM whatsapp.media WHERE claim IS NOT NULL", 1).await;
    rig.stop().await;
    Store::new(rig.db.clone(), Subjects::new("hilo").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_claim_is_over_hands_nothing_over() {
    let (mut rig, simulator, phone) = started(quick()).await;
    let store = due(&mut rig, &simulator, &phone).await;
    let handed = "SELECT count(*) FROM kit.outbox_log WHERE stream = 'inbound'";
    assert_eq!(rig.count(handed).await, 1);
    let long = Duration::from_secs(600);
    assert!(store.claim_files("otra", 9, long).await.unwrap().is_empty(), "another account's");
    assert_eq!(store.accounts_with_due_files().await.unwrap(), ["ventas"]);
    let dead = store.claim_files("ventas", 9, long).await.unwrap().remove(0);
    assert!(store.claim_files("ventas", 9, long).await.unwrap().is_empty(), "claimed");
    assert!(store.accounts_with_due_files().await.unwrap().is_empty());
    // Its process was killed: another one goes on when the claim's time is over.
    sqlx::query("UPDATE whatsapp.media SET next_at = now()").execute(rig.db.pool()).await.unwrap();
    let alive = store.claim_files("ventas", 9, long).await.unwrap().remove(0);
    assert_eq!((alive.attempts, dead.attempts), (2, 1));
    let file = Attachment { sha256: Digest256::of(JPEG).to_string(), ..Attachment::default() };
    let again = Again { trouble: Trouble::Gone, after: Duration::ZERO, error_answer: true };
    assert!(!store.file_ended(&dead, Ok(file.clone())).await.unwrap());
    assert!(!store.file_ended(&dead, Err((Failure::Expired, false))).await.unwrap());
    assert!(!store.file_again(&dead, again).await.unwrap());
    assert!(!store.file_renewed(&dead, Duration::ZERO).await.unwrap());
    store.file_put_back(&dead).await.unwrap();
    assert_eq!(
        rig.count(
            "SELECT count(*) FROM whatsapp.media WHERE next_at > now() AND attempts = 2 AND faults = 0"
        )
        .await,
        1
    );
    assert_eq!(rig.count(handed).await, 1);
    assert!(store.file_renewed(&alive, long).await.unwrap());
    assert!(store.file_ended(&alive, Ok(file.clone())).await.unwrap());
    assert!(!store.file_renewed(&alive, long).await.unwrap());
    assert!(!store.file_ended(&alive, Ok(file)).await.unwrap(), "once");
    assert!(!store.file_again(&alive, again).await.unwrap());
    assert_eq!(rig.count(handed).await, 2);
    assert_eq!(rig.count(WAITING).await, 0);
    let sequence: Option<i64> =
        sqlx::query_scalar("SELECT sequence FROM whatsapp.media WHERE state = 'stored'")
            .fetch_one(rig.db.pool())
            .await
            .unwrap();
    assert_eq!(sequence, Some(2));
}

/// Without those under way in the count two looks in a row ask Meta for twice as many, and each of them may be answered with an error.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_counts_for_how_many_and_for_the_gate() {
    let (mut rig, simulator, phone) = started(quick()).await;
    simulator.fault(Fault::new(Endpoint::MediaInfo, 1, Effect::HangBefore { ms: 60_000 }).lasting());
    for _ in 0..6 {
        phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    }
    rig.counts("SELECT count(*) FROM whatsapp.media", 6).await;
    rig.stop().await;
    let store = Store::new(rig.db.clone(), Subjects::new("hilo").unwrap());
    let claims = async |at_once: usize| {
        store.claim_files("ventas", at_once, Duration::from_secs(600)).await.unwrap().len()
    };
    assert_eq!([claims(4).await, claims(4).await, claims(5).await], [4, 0, 1]);
    let over = "UPDATE whatsapp.media SET next_at = now(), claim = NULL";
    sqlx::query(over).execute(rig.db.pool()).await.unwrap();
    let errors = "INSERT INTO whatsapp.media_error (account_key) SELECT 'ventas' FROM generate_series(1, 13)";
    sqlx::query(errors).execute(rig.db.pool()).await.unwrap();
    assert_eq!([claims(4).await, claims(4).await], [2, 0]);
    let dead = "UPDATE whatsapp.media SET next_at = now()";
    sqlx::query(dead).execute(rig.db.pool()).await.unwrap();
    assert_eq!(claims(4).await, 1, "those of a dead process are not under way, and each of them goes alone");
    assert_eq!(claims(4).await, 0, "nobody goes beside it");
}

/// Without it an account whose rows cannot be claimed keeps those that are looked at after it from their files.
#[tokio::test(flavor = "multi_thread")]
async fn the_trouble_of_one_account_is_no_other_s() {
    // In whatever order they are looked at, ventas is hardly the first.
    let others: Vec<String> = (0..12).map(|n| format!("otra-{n}")).collect();
    let mut accounts = vec![account("ventas", NUMBER, "app")];
    accounts.extend(others.iter().map(|key| account(key, key, "app")));
    let (mut rig, simulator) =
        simulated(world(), Setup { media: quick(), accounts, ..Setup::default() }).await;
    let function = "CREATE FUNCTION whatsapp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.account_key LIKE 'otra-%' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$";
    sqlx::query(function).execute(rig.db.pool()).await.unwrap();
    let trigger = "CREATE TRIGGER refuse BEFORE UPDATE ON whatsapp.media FOR EACH ROW EXECUTE FUNCTION whatsapp.refuse()";
    sqlx::query(trigger).execute(rig.db.pool()).await.unwrap();
    for number in &others {
        let mut image = said(&format!("wamid.{number}"), "x");
        image["type"] = "image".into();
        image["image"] = serde_json::json!({ "id": "77", "mime_type": "image/jpeg" });
        assert_eq!(rig.post(&webhook(number, vec![image], vec![])).await, 200);
    }
    rig.counts(WAITING, 12).await;
    customer(&simulator).says(NUMBER, &Say::media("image", picture())).unwrap();
    let (envelope, _, content) = content(&mut rig).await;
    assert!(matches!(content, Content::Attachment(_)), "{content:?}");
    assert_eq!((envelope.account_key.as_str(), rig.count(WAITING).await), ("ventas", 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_counted_and_errors_of_the_last_hour_only_close_the_gate() {
    let (mut rig, simulator, phone) = started(quick()).await;
    let store = due(&mut rig, &simulator, &phone).await;
    let long = Duration::from_secs(600);
    let mut faults = 0;
    for (trouble, error_answer) in
        [(Trouble::Gone, true), (Trouble::Away, true), (Trouble::HashMismatch, false)]
    {
        let wanted = store.claim_files("ventas", 9, long).await.unwrap().remove(0);
        assert_eq!(wanted.faults, faults);
        faults += u32::from(trouble.is_fault());
        assert!(
            store.file_again(&wanted, Again { trouble, after: Duration::ZERO, error_answer }).await.unwrap()
        );
    }
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.media_error").await, 2);
    let add = "INSERT INTO whatsapp.media_error (account_key, happened_at) SELECT $1, now() - make_interval(secs => $2) FROM generate_series(1, 13)";
    let add = |account: &'static str, seconds: f64| {
        sqlx::query(add).bind(account).bind(seconds).execute(rig.db.pool())
    };
    add("otra", 0.0).await.unwrap();
    add("ventas", 3700.0).await.unwrap();
    let wanted = store.claim_files("ventas", 9, long).await.unwrap().remove(0);
    store.file_put_back(&wanted).await.unwrap();
    add("ventas", 3500.0).await.unwrap();
    assert!(store.claim_files("ventas", 9, long).await.unwrap().is_empty());
    assert_eq!(store.accounts_with_due_files().await.unwrap(), ["ventas"], "it is due all the same");
}
