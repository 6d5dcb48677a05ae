//! A customer's stop in WhatsApp's own menu is an entry of the list with a source of its own, which his taking it back takes off.

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_proto::dialer::v1 as wire;
use hilo_proto::inbound::v1::WhatsAppPreference;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use time::{Duration, OffsetDateTime};

use super::House;
use super::dialer_rig::{attentions, dialers, house, running, sql, step, susana};
use super::whatsapp_rig::{Chat, EVA, offer, take};
use crate::dialer::Step;

const OTTO: &str = "51911111111";

/// What Eva set so many minutes ago, as the channel hands it over.
fn set(stop: bool, minutes: i64) -> Chat {
    let at = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() - Duration::minutes(minutes);
    let preference = WhatsAppPreference { category: "marketing_messages".into(), stop };
    Chat::from(EVA).kind(Kind::Preference(preference)).at(at)
}

/// The list of the campaign: number, who, why.
async fn listed(house: &House) -> Vec<(String, String, String)> {
    let request =
        wire::ListOptOutsRequest { campaign_key: "chat".into(), ..wire::ListOptOutsRequest::default() };
    let page = dialers(house).list_opt_outs(susana(), request).await.unwrap();
    page.opt_outs.into_iter().map(|one| (one.number, one.added_by, one.reason)).collect()
}

fn entry(number: &str, by: &str, why: &str) -> (String, String, String) {
    (format!("+{number}"), by.into(), why.into())
}

fn stopped() -> Vec<(String, String, String)> {
    vec![entry(EVA, "", "STOPPED_IN_WHATSAPP")]
}

/// Adds or takes off a number as the supervisor does.
async fn by_hand(house: &House, number: &str, on: bool) -> bool {
    let (campaign_key, number) = ("chat".to_owned(), format!("+{number}"));
    if on {
        let request = wire::AddOptOutRequest { campaign_key, number, reason: "lo pidió".into() };
        return dialers(house).add_opt_out(susana(), request).await.unwrap().opt_out.is_some();
    }
    let request = wire::RemoveOptOutRequest { campaign_key, number };
    dialers(house).remove_opt_out(susana(), request).await.unwrap().removed
}

/// Without `preferences::binds` in the step the row goes out; without the lists' second half nobody sees why it does not.
#[tokio::test]
async fn a_stop_keeps_dialers_away_and_opens_nothing() {
    let house = house().await;
    take(&house, &[set(true, 5)]).await;
    assert_eq!(listed(&house).await, stopped());
    assert!(attentions(&house).await.is_empty(), "he did not write");
    assert_eq!(house.count("SELECT count(*) FROM attention.chat_window").await, 0);
    let dialer = running(&house, &[EVA, OTTO]).await;
    assert_eq!(step(&house, dialer).await, Step::Skipped("OPTED_OUT"));
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

/// Without the instants in `note` a stop that comes late, or again, comes back after it was taken back.
#[tokio::test]
async fn the_latest_wish_holds_in_whatever_order_and_however_often_it_comes() {
    let (stop, resume, again) = (set(true, 9), set(false, 6), set(true, 3));
    for (order, expected) in [
        (vec![&stop, &resume], vec![]),
        (vec![&resume, &stop], vec![]),
        (vec![&stop, &resume, &again], stopped()),
        (vec![&again, &resume, &stop], stopped()),
        (vec![&resume, &again, &stop, &resume], stopped()),
    ] {
        let house = house().await;
        for item in order {
            // Under another delivery each time, as after a restore.
            take(&house, &[Chat { delivery_id: uuid::Uuid::now_v7(), ..item.clone() }]).await;
        }
        assert_eq!(listed(&house).await, expected);
    }
    // In one batch, and of one second the stop.
    let house = house().await;
    take(&house, &[set(true, 4), set(false, 4), set(true, 8)]).await;
    assert_eq!(listed(&house).await, stopped());
}

/// Without a table of its own a wish taken back in the menu takes off what a person or Meta's refusal put on the list.
#[tokio::test]
async fn taking_it_back_takes_off_nothing_else() {
    let house = house().await;
    by_hand(&house, EVA, true).await;
    take(&house, &[set(true, 9)]).await;
    take(&house, &[set(false, 5)]).await;
    assert_eq!(listed(&house).await, [entry(EVA, "susana", "lo pidió")]);
    sql(&house, "UPDATE dialer.opt_out SET added_by = NULL, reason = 'OPTED_OUT'").await;
    take(&house, &[set(false, 4)]).await;
    assert_eq!(listed(&house).await, [entry(EVA, "", "OPTED_OUT")]);
}

#[tokio::test]
async fn a_person_may_take_it_off_and_an_older_stop_does_not_come_back() {
    let house = house().await;
    take(&house, &[set(true, 9)]).await;
    by_hand(&house, EVA, true).await;
    assert_eq!(listed(&house).await, [entry(EVA, "susana", "lo pidió")], "one line per number");
    assert!(by_hand(&house, EVA, false).await && listed(&house).await.is_empty());
    assert!(!by_hand(&house, EVA, false).await);
    take(&house, &[set(true, 20)]).await;
    assert!(listed(&house).await.is_empty());
    take(&house, &[set(true, 1)]).await;
    assert_eq!(listed(&house).await, stopped());
    assert!(by_hand(&house, EVA, false).await, "his alone as well");
}

/// Without the account in `binds` and `page` one number of ours is kept from writing because of another; without the numbers of his
/// contact a stop of somebody whose number Meta hides binds nothing.
#[tokio::test]
async fn it_holds_for_the_number_of_ours_that_it_names_and_for_his_own_by_whatever_he_is_known() {
    let house = house().await;
    take(&house, &[set(true, 9).to("ventas-wa")]).await;
    assert!(listed(&house).await.is_empty());
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);

    let house = super::dialer_rig::house().await;
    take(&house, &[Chat::from(EVA).who(|who| who.user_id = "PE.1".into())]).await;
    take(&house, &[hidden(set(true, 9))]).await;
    assert_eq!(listed(&house).await, stopped());
    // Of whom no number is known nothing can be dialled, and nothing is listed.
    let nobody = set(true, 9).who(|who| {
        *who = hilo_proto::inbound::v1::WhatsAppIdentity { user_id: "PE.9".into(), ..Default::default() };
    });
    take(&house, &[nobody]).await;
    assert_eq!(listed(&house).await, stopped());

    // A number of Mexico, dialled by other digits than Meta has.
    let house = super::dialer_rig::house().await;
    let mexican = set(true, 9).who(|who| {
        who.wa_id = "5215512345678".into();
        who.phone = "+5215512345678".into();
    });
    take(&house, &[mexican]).await;
    let dialer = running(&house, &["525512345678"]).await;
    assert_eq!(step(&house, dialer).await, Step::Skipped("OPTED_OUT"));
}

#[tokio::test]
async fn a_preference_about_something_else_is_a_dead_letter_of_this_release() {
    let house = house().await;
    let other = WhatsAppPreference { category: "calls".into(), stop: true };
    let item = [Chat::from(EVA).kind(Kind::Preference(other))];
    let outcomes = offer(&house, &item).await;
    assert!(
        matches!(&outcomes[..], [Outcome::Dead(error)] if error.reason() == "UNKNOWN_KIND"),
        "{outcomes:?}"
    );
    let batch: Vec<Delivery> = [set(true, 1)].iter().map(Chat::delivery).collect();
    for _ in 0..2 {
        let outcomes = house.inbound.handle(&batch).await;
        assert!(matches!(outcomes[..], [Outcome::Ack]), "{outcomes:?}");
    }
}

/// Meta hides the customer's number.
fn hidden(item: Chat) -> Chat {
    item.who(|who| {
        who.wa_id.clear();
        who.phone.clear();
        who.user_id = "PE.1".into();
    })
}

/// The customer wrote under his number and user id, and that conversation has ended.
async fn known(house: &House) {
    take(house, &[Chat::from(EVA).who(|who| who.user_id = "PE.1".into())]).await;
    house.end_item(house.attentions().await.pop().unwrap().last_interaction, true).await;
}

/// Without all names of his in `preference` a wish under fewer of them leaves what an earlier one said under more.
#[tokio::test]
async fn what_was_stopped_under_all_his_names_is_taken_back_under_any_of_them() {
    type Named = fn(Chat) -> Chat;
    let (plain, by_id): (Named, Named) = (|item| item, hidden);
    for (stops, resumes) in [(by_id, plain), (plain, by_id), (by_id, by_id), (plain, plain)] {
        let house = house().await;
        known(&house).await;
        let second = "INSERT INTO contact.identity (kind, value, contact_id) SELECT 'phone', '+51911111111', contact_id FROM contact.contact";
        sql(&house, second).await;
        take(&house, &[stops(set(true, 9))]).await;
        assert_eq!(listed(&house).await.len(), 2, "both his numbers");
        take(&house, &[resumes(set(false, 5))]).await;
        assert!(listed(&house).await.is_empty());
        let dialer = running(&house, &[EVA]).await;
        assert_eq!(step(&house, dialer).await, Step::Sent);
    }
}

/// Without the row of his user id a stop is lost that comes before the number is known; without the join of `lift` and `page` a person
/// neither sees it nor takes it off.
#[tokio::test]
async fn a_stop_of_whose_number_is_hidden_holds_once_the_number_is_known() {
    let house = house().await;
    take(&house, &[hidden(set(true, 9))]).await;
    assert!(listed(&house).await.is_empty());
    known(&house).await;
    assert_eq!(listed(&house).await, stopped());
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Skipped("OPTED_OUT"));
    assert!(by_hand(&house, EVA, false).await && listed(&house).await.is_empty());
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

/// Without the microsecond in `lift` a restored delivery brings the very stop back that a person took off.
#[tokio::test]
async fn a_stop_that_was_taken_off_and_is_told_again_stays_off() {
    let house = house().await;
    let stop = set(true, 9);
    take(&house, std::slice::from_ref(&stop)).await;
    assert!(by_hand(&house, EVA, false).await);
    take(&house, &[Chat { delivery_id: uuid::Uuid::now_v7(), ..stop }]).await;
    assert!(listed(&house).await.is_empty());
}
