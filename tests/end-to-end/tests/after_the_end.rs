//! What still happens to a thread after it ended and its bodies left for the history: reading, answering, reopening.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use hilo_end_to_end::agent::persist;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Agent, Installation, Options};
use hilo_proto::attention::v1::{GetAttentionRequest, ReopenInteractionRequest};
use hilo_proto::history::v1::{GetThreadRequest, SearchThreadsRequest, ThreadMessage};
use hilo_test_support::eventually;

const SOON: Duration = Duration::from_secs(60);

/// Interactions of an attention whose bodies are in the history.
async fn in_history(agent: &Agent, attention_id: &str) -> Vec<String> {
    let request = GetAttentionRequest { attention_id: attention_id.to_owned() };
    let answer = persist(SOON, || {
        let (mut client, request) = (agent.attention(), request.clone());
        async move { client.get_attention(request).await }
    });
    answer.await.unwrap().attention.unwrap().interaction_ids_in_history
}

async fn purged(agent: &Agent, attention_id: &str, interaction_id: &str) {
    let gone = || async { in_history(agent, attention_id).await.iter().any(|id| id == interaction_id) };
    eventually("the bodies have left", SOON, gone).await.unwrap();
}

async fn stored(agent: &Agent, interaction_id: &str) -> Vec<ThreadMessage> {
    let request = GetThreadRequest { interaction_id: interaction_id.to_owned(), ..Default::default() };
    agent.history().get_thread(request).await.unwrap().into_inner().thread.unwrap().messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_thread_is_read_answered_and_opened_again() {
    let installation =
        Installation::start(Options { purge_after_seconds: 0, ..Options::default() }).await.unwrap();
    let agent = installation.login("agente-0").await.unwrap();
    let _present = agent.be_present().await.unwrap();
    let desk = agent.watch();
    let from = "eva@cliente.example";
    let mut first = Mail::new(from, installation.support_address(), "Pedido 7", "Aún no llega el ñandú");
    first.html = Some("<p>Aún no llega <b>el ñandú</b></p>".to_owned());
    first.attachment = Some(("factura.txt".to_owned(), "text/plain".to_owned(), b"S/ 100".to_vec()));
    customer::send(installation.smtp(), &first).await.unwrap();
    let item = desk.wait_for_offer(from, SOON).await.unwrap();
    agent.open(&item.interaction_id).await.unwrap();
    let reply = agent.reply(&item.interaction_id, "Sale mañana").await.unwrap();
    let arrived = |mail: &hilo_end_to_end::sink::Received| mail.message_id == reply.internet_message_id;
    let received = installation.sink().wait_for("the answer", SOON, arrived).await.unwrap();
    let sent = || async {
        let messages = agent.messages(&item.attention_id).await.unwrap();
        messages.iter().any(|one| one.delivery_state == "sent")
    };
    eventually("the answer is known as sent", SOON, sent).await.unwrap();
    let before = agent.messages(&item.attention_id).await.unwrap();
    agent.end(&item.interaction_id, false).await.unwrap();

    // The bodies are in the history and nowhere else; heads stay where they were.
    purged(&agent, &item.attention_id, &item.interaction_id).await;
    let heads = agent.messages(&item.attention_id).await.unwrap();
    assert_eq!(heads.len(), before.len());
    assert!(heads.iter().all(|one| one.body_in_history && one.text.is_empty() && one.attachments.is_empty()));
    let kept = stored(&agent, &item.interaction_id).await;
    let texts = |messages: &[ThreadMessage]| messages.iter().map(|one| one.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&kept), texts(&before));

    // Reopened, it is what it was.
    let request = ReopenInteractionRequest {
        interaction_id: item.interaction_id.clone(),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let reopen = || {
        let (mut client, request) = (agent.attention(), request.clone());
        async move { client.reopen_interaction(request).await }
    };
    persist(SOON, reopen).await.unwrap();
    assert_eq!(agent.messages(&item.attention_id).await.unwrap(), before);
    assert_eq!(in_history(&agent, &item.attention_id).await, Vec::<String>::new());
    agent.reply(&item.interaction_id, "Salió hoy").await.unwrap();
    agent.end(&item.interaction_id, false).await.unwrap();
    let search = |words: &str| SearchThreadsRequest { words: words.to_owned(), ..Default::default() };
    agent.find_in_history(search("nandu salio"), 1, SOON).await.unwrap();
    purged(&agent, &item.attention_id, &item.interaction_id).await;

    // The customer's answer finds its thread; the history keeps every word.
    customer::send(installation.smtp(), &Mail::reply(&received, from, "Gracias")).await.unwrap();
    let next = desk.wait_for_offer(from, SOON).await.unwrap();
    assert_eq!(next.attention_id, item.attention_id);
    assert_ne!(next.interaction_id, item.interaction_id);
    let kept = stored(&agent, &item.interaction_id).await;
    assert_eq!(kept.len(), 3);
    assert_eq!((kept[0].text.as_str(), kept[0].attachments.len()), (before[0].text.as_str(), 1));
    assert_eq!(kept[0].html, before[0].html);
    assert!(kept[2].text.contains("Salió hoy"));
}
