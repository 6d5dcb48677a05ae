//! WhatsApp items in the history: kept beside the text, through the purge, and until the customer takes them back.

use hilo_history::domain::criteria::Asked;
use hilo_history::domain::{Criteria, Scope, Thread};
use hilo_history::store::{PageRequest, Store, Stored};
use hilo_proto::history::v1::WhatsAppItem;
use prost::Message as _;

use crate::{pages, sample};

fn item(kind: &str, revoked: bool) -> Option<Vec<u8>> {
    let revoked_at = revoked.then(prost_types::Timestamp::default);
    Some(WhatsAppItem { kind: kind.into(), revoked_at, ..WhatsAppItem::default() }.encode_to_vec())
}

async fn found(store: &Store, words: &str) -> usize {
    let asked = Asked { words: words.into(), ..Asked::default() };
    let page = PageRequest::first(Scope::All, Criteria::parse(&asked).unwrap(), "UTC".into(), 10);
    store.search(page).await.unwrap().heads.len()
}

async fn put(store: &Store, thread: &Thread, in_pages: bool) -> Stored {
    if in_pages { pages::put_in_pages(store, thread).await } else { store.put(thread.clone()).await.unwrap() }
}

#[tokio::test]
async fn an_item_outlives_the_purge_and_goes_when_the_customer_takes_it_back() {
    for in_pages in [false, true] {
        let store = sample::store().await;
        let mut thread = sample::thread("mi clave es 1234");
        thread.head.channel = "whatsapp".into();
        thread.messages[0].whatsapp = item("text", false);
        let mut failed = sample::sent("ya la cambiamos");
        failed.delivery_reason = "WINDOW_CLOSED".into();
        failed.whatsapp = item("text", false);
        thread.messages.push(failed);
        put(&store, &thread, in_pages).await;
        let id = thread.head.interaction_id;
        let kept = sample::read(&store, id).await.unwrap();
        assert_eq!(kept.messages[0].whatsapp, item("text", false), "{in_pages}");
        assert_eq!(kept.messages[1].delivery_reason, "WINDOW_CLOSED");
        assert_eq!(found(&store, "1234").await, 1);

        let mut purged = Thread { version: 2, ..thread.clone() };
        for message in &mut purged.messages {
            message.text.clear();
            message.whatsapp = None;
            message.delivery_reason.clear();
        }
        assert_eq!(put(&store, &purged, in_pages).await, Stored::Replaced);
        let kept = sample::read(&store, id).await.unwrap();
        assert_eq!(kept.messages[0].whatsapp, item("text", false), "{in_pages}: nothing replaces something");
        assert_eq!(
            (kept.messages[0].text.as_str(), kept.messages[1].delivery_reason.as_str()),
            ("mi clave es 1234", "")
        );

        let mut revoked = Thread { version: 3, ..thread.clone() };
        revoked.messages[0].text.clear();
        revoked.messages[0].whatsapp = item("text", true);
        put(&store, &revoked, in_pages).await;
        let kept = sample::read(&store, id).await.unwrap();
        assert_eq!(kept.messages[0].whatsapp, item("text", true), "{in_pages}");
        assert_eq!(kept.messages[0].text, "", "{in_pages}: what was taken back is not kept");
        assert_eq!((found(&store, "1234").await, found(&store, "cambiamos").await), (0, 1), "{in_pages}");
    }
}
