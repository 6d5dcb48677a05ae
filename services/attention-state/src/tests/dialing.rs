//! A dialer's rows go out: once, at its pace, in its hours, and to nobody who is talked to or has opted out.

use futures::future::join_all;
use hilo_kit::Error;
use hilo_proto::dialer::v1 as wire;
use hilo_proto::dialer::v1::{DialerState, RowState};
use hilo_proto::directory::v1::{OpenDay, OpeningHours, TimeSpan};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use uuid::Uuid;

use super::House;
use super::dialer_rig::{
    approve, attentions, dialers, draft, house, import, life, post, row, rows, running, sql, step, susana,
};
use super::dialer_rig::{csv, wanted};
use super::whatsapp_rig::{Chat, EVA, identities, outbound, take};
use crate::dialer::{Runner, Step};

const OTTO: &str = "51911111111";

#[tokio::test]
async fn a_row_begins_a_waiting_attention_and_goes_out_as_the_filled_template() {
    let house = house().await;
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    assert_eq!(attentions(&house).await, [("waiting".to_owned(), 0)]);
    let (envelope, sent) = outbound(&house).await.pop().unwrap();
    let attention: Uuid = envelope.conversation_key.parse().unwrap();
    assert_eq!((envelope.account_key.as_str(), envelope.sequence), ("chat-wa", 1));
    let to = sent.to.unwrap();
    assert_eq!((to.phone.as_str(), to.wa_id.as_str()), ("+51987654321", ""));
    assert!(sent.bulk, "people go first");
    let Some(Kind::Template(template)) = sent.kind else { panic!("{:?}", sent.kind) };
    assert_eq!((template.name.as_str(), template.components.len()), ("aviso", 1));
    assert_eq!(house.events(attention).await, ["attention_opened", "message_queued"]);
    let row = row(&house, dialer).await;
    assert_eq!((row.state(), row.attention_id), (RowState::Queued, attention.to_string()));
    assert_eq!(identities(&house).await, [("phone".to_owned(), "+51987654321".to_owned())]);
    assert_eq!(step(&house, dialer).await, Step::Finished);
    assert_eq!(life(&house, dialer).await, (DialerState::Finished, String::new()));
    assert_eq!(outbound(&house).await.len(), 1);
}

/// Removing `FOR UPDATE SKIP LOCKED` from `dialers::claim` and `AND state = 'pending'` from `sends::note` sends rows twice; each of the
/// two alone keeps them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn runners_beside_each_other_send_every_row_once() {
    let house = house().await;
    let numbers: Vec<String> = (0..40).map(|n| format!("519000000{n:02}")).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let dialer = running(&house, &numbers).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let runners = (0..4).map(|_| {
        let (runner, db) = (Runner::new(house.db.clone(), post()), house.db.clone());
        tokio::spawn(async move {
            loop {
                assert!(std::time::Instant::now() < deadline, "the rows do not come to an end");
                match runner.step(dialer).await {
                    Ok(Step::Finished) => return,
                    Ok(Step::NotDue) => {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                        if finished(&db, dialer).await {
                            return;
                        }
                    }
                    Ok(Step::Sent) => {}
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for ended in join_all(runners).await {
        ended.unwrap();
    }
    let mut sent: Vec<String> =
        outbound(&house).await.into_iter().map(|(_, item)| item.to.unwrap().phone).collect();
    sent.sort_unstable();
    let mut wanted: Vec<String> = numbers.iter().map(|number| format!("+{number}")).collect();
    wanted.sort_unstable();
    assert_eq!(sent, wanted);
    assert_eq!(attentions(&house).await.len(), 40);
}

async fn finished(db: &hilo_kit::db::Db, dialer: Uuid) -> bool {
    sqlx::query_scalar("SELECT state = 'finished' FROM dialer.dialer WHERE dialer_id = $1")
        .bind(dialer)
        .fetch_one(db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_a_crash_cuts_off_leaves_nothing_behind_and_is_done_once_afterwards() {
    let house = house().await;
    let dialer = running(&house, &[EVA]).await;
    let crash = house
        .db
        .transaction(move |tx| {
            Box::pin(async move {
                assert_eq!(crate::dialer::step(tx, &post(), dialer).await?, Step::Sent);
                Err::<(), Error>(Error::internal("CRASH", "everything was done but the commit"))
            })
        })
        .await;
    assert_eq!(crash.unwrap_err().reason(), "CRASH");
    assert_eq!((attentions(&house).await.len(), outbound(&house).await.len()), (0, 0));
    assert_eq!(row(&house, dialer).await.state(), RowState::Pending);
    assert_eq!(step(&house, dialer).await, Step::Sent);
    assert_eq!(step(&house, dialer).await, Step::Finished);
    assert_eq!((attentions(&house).await.len(), outbound(&house).await.len()), (1, 1));
}

/// Removing `state = 'running'` from `dialers::claim` turns this red.
#[tokio::test]
async fn a_dialer_that_is_not_running_sends_nothing() {
    let house = house().await;
    let dialer = draft(&house).await;
    import(&house, dialer, csv(&[EVA, OTTO]), false).await.unwrap();
    assert_eq!(step(&house, dialer).await, Step::NotDue, "nobody has started it");
    let id = || dialer.to_string();
    dialers(&house).start(susana(), wire::StartDialerRequest { dialer_id: id() }).await.unwrap();
    assert_eq!(step(&house, dialer).await, Step::Sent);
    dialers(&house).pause(susana(), wire::PauseDialerRequest { dialer_id: id() }).await.unwrap();
    assert_eq!(step(&house, dialer).await, Step::NotDue);
    let stopped = dialers(&house).stop(susana(), wire::StopDialerRequest { dialer_id: id() }).await.unwrap();
    assert_eq!(stopped.skipped, 1);
    assert_eq!(step(&house, dialer).await, Step::NotDue);
    assert_eq!(outbound(&house).await.len(), 1);
    let told: Vec<(RowState, String)> =
        rows(&house, dialer).await.into_iter().map(|row| (row.state(), row.reason)).collect();
    assert_eq!(told, [(RowState::Queued, String::new()), (RowState::Skipped, "STOPPED".to_owned())]);
    let start = dialers(&house).start(susana(), wire::StartDialerRequest { dialer_id: id() }).await;
    assert_eq!(start.unwrap_err().reason(), "DIALER_STOPPED");
}

/// Removing `next_at <= now()` from `dialers::claim`, or the step of `dialers::advance`, turns this red.
#[tokio::test]
async fn the_pace_holds_and_missed_time_is_not_made_up_for() {
    let house = house().await;
    let dialer = running(&house, &[EVA, OTTO, "51922222222"]).await;
    sql(&house, "UPDATE dialer.dialer SET per_minute = 1, next_at = now() - interval '1 day'").await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    assert_eq!(step(&house, dialer).await, Step::NotDue, "a minute has not passed");
    // By the clock of the step, a second of which is made up for.
    let pause = house.count(
        "SELECT extract(epoch FROM next_at - sent_at)::bigint FROM dialer.dialer JOIN dialer.row USING (dialer_id) WHERE ordinal = 1",
    );
    let pause = pause.await;
    assert!((50..=60).contains(&pause), "{pause} s");
    sql(&house, "UPDATE dialer.dialer SET next_at = now()").await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

#[tokio::test]
async fn outside_of_its_hours_a_dialer_waits() {
    let house = house().await;
    // Open on one minute of one weekday in a leap year's holiday only: closed now, whenever this runs.
    let never = OpeningHours {
        weekly: vec![OpenDay {
            day: "monday".into(),
            open: vec![TimeSpan { from: "00:00".into(), to: "00:01".into() }],
        }],
        ..OpeningHours::default()
    };
    let request = wire::CreateDialerRequest { hours: Some(never), ..wanted() };
    let made = dialers(&house).create(susana(), request).await.unwrap().dialer.unwrap();
    let dialer: Uuid = made.dialer_id.parse().unwrap();
    assert_eq!(made.hours.unwrap().time_zone, "UTC", "the installation's");
    import(&house, dialer, csv(&[EVA]), false).await.unwrap();
    dialers(&house).start(susana(), wire::StartDialerRequest { dialer_id: made.dialer_id }).await.unwrap();
    // That minute of the week included.
    sql(&house, r#"UPDATE dialer.dialer SET hours = jsonb_set(hours, '{weekly}', '[[],[],[],[],[],[],[]]')"#)
        .await;
    assert_eq!(step(&house, dialer).await, Step::Waits);
    assert_eq!(step(&house, dialer).await, Step::NotDue, "it is not looked at all the time");
    sql(&house, "UPDATE dialer.dialer SET hours = NULL, next_at = now()").await;
    assert_eq!(
        step(&house, dialer).await,
        Step::Sent,
        "without hours of its own it follows its campaign, which has none"
    );
}

#[tokio::test]
async fn nobody_is_written_to_who_opted_out_or_is_talked_to() {
    let house = house().await;
    take(&house, &[Chat::from(OTTO)]).await;
    let opt_out = |campaign: &str, number: &str| wire::AddOptOutRequest {
        campaign_key: campaign.into(),
        number: number.into(),
        reason: "lo pidió".into(),
    };
    dialers(&house).add_opt_out(susana(), opt_out("chat", "+51 987 654 321")).await.unwrap();
    let first = running(&house, &[EVA, OTTO, "51922222222"]).await;
    assert_eq!(step(&house, first).await, Step::Skipped("OPTED_OUT"));
    assert_eq!(step(&house, first).await, Step::Skipped("LIVE_ATTENTION"));
    assert_eq!(step(&house, first).await, Step::Sent);
    // A dialer's waiting attention counts as live for the next dialer.
    let second = running(&house, &["51922222222"]).await;
    assert_eq!(step(&house, second).await, Step::Skipped("LIVE_ATTENTION"));
    assert_eq!(outbound(&house).await.len(), 1);
    let removed = wire::RemoveOptOutRequest { campaign_key: "chat".into(), number: format!("+{EVA}") };
    assert!(dialers(&house).remove_opt_out(susana(), removed.clone()).await.unwrap().removed);
    assert!(!dialers(&house).remove_opt_out(susana(), removed).await.unwrap().removed);
    let third = running(&house, &[EVA]).await;
    assert_eq!(step(&house, third).await, Step::Sent);
}

/// Removing `campaign_key = $1` from `opt_outs::find` turns this red.
#[tokio::test]
async fn the_list_of_another_campaign_binds_nobody_here() {
    let house = house().await;
    sql(&house, "INSERT INTO dialer.opt_out (campaign_key, number) VALUES ('ventas-chat', '+51987654321')")
        .await;
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

#[tokio::test]
async fn a_template_that_may_not_be_sent_any_more_holds_the_dialer_and_costs_no_row() {
    let house = house().await;
    let dialer = running(&house, &[EVA]).await;
    approve(&house, "PAUSED", &["1", "2"]).await;
    assert_eq!(step(&house, dialer).await, Step::Halted("TEMPLATE_NOT_APPROVED"));
    assert_eq!(life(&house, dialer).await, (DialerState::Paused, "TEMPLATE_NOT_APPROVED".to_owned()));
    assert_eq!(row(&house, dialer).await.state(), RowState::Pending);
    let start = || wire::StartDialerRequest { dialer_id: dialer.to_string() };
    let refused = dialers(&house).start(susana(), start()).await.unwrap_err();
    assert_eq!(refused.reason(), "TEMPLATE_NOT_APPROVED");
    approve(&house, "APPROVED", &["2", "1"]).await;
    dialers(&house).start(susana(), start()).await.unwrap();
    assert_eq!(
        step(&house, dialer).await,
        Step::Halted("TEMPLATE_CHANGED"),
        "the values would change places"
    );
    approve(&house, "APPROVED", &["1", "2"]).await;
    dialers(&house).start(susana(), start()).await.unwrap();
    assert_eq!(life(&house, dialer).await, (DialerState::Running, String::new()));
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

#[tokio::test]
async fn a_dialer_waits_for_a_channel_that_does_not_report() {
    let house = house().await;
    let numbers: Vec<String> = (0..201).map(|n| format!("51900000{n:03}")).collect();
    let dialer = running(&house, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    let copies = "UPDATE dialer.row SET delivery = 'queued', send_id = gen_random_uuid(), sent_at = now(), due_at = now(), item = '',
        attention_id = (SELECT attention_id FROM attention.attention LIMIT 1) WHERE state = 'pending' AND ordinal <= 200";
    sql(&house, copies).await;
    assert_eq!(step(&house, dialer).await, Step::Waits);
    sql(&house, "UPDATE dialer.row SET delivery = 'sent' WHERE ordinal = 7").await;
    sql(&house, "UPDATE dialer.dialer SET next_at = now()").await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

async fn constraint_of(house: &House, text: &'static str) -> Option<String> {
    let error = sqlx::raw_sql(text).execute(house.db.pool()).await.unwrap_err();
    let sqlx::Error::Database(error) = error else { panic!("{error}") };
    error.constraint().map(str::to_owned)
}

#[tokio::test]
async fn rows_cannot_break_their_invariants() {
    let house = house().await;
    let dialer = running(&house, &[EVA, OTTO]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    for (text, constraint) in [
        ("UPDATE dialer.dialer SET per_minute = 0", "pace_is_bounded"),
        ("UPDATE dialer.dialer SET total_rows = 100001", "rows_are_bounded"),
        ("UPDATE dialer.dialer SET state_reason = 'X'", "reason_only_while_paused"),
        ("UPDATE dialer.row SET number = '+51911111111'", "number_counts_once"),
        ("UPDATE dialer.row SET skipped = 'X' WHERE ordinal = 1", "skipped_is_never_sent"),
        ("UPDATE dialer.row SET delivery = 'sent' WHERE ordinal = 2", "sent_as_a_whole"),
        ("UPDATE dialer.row SET waited_for = 'answered' WHERE ordinal = 2", "waits_only_when_sent"),
        ("UPDATE dialer.row SET waited_for = 'no_answer' WHERE ordinal = 1", "gave_up_at_iff_no_answer"),
        ("UPDATE dialer.row SET answered_at = now() WHERE ordinal = 1", "answered_only_when_sent"),
        ("UPDATE attention.attention SET state = 'open'", "waiting_iff_no_interaction_yet"),
        ("INSERT INTO attention.attention SELECT gen_random_uuid(), number + 1000, channel, account_key, campaign_key, contact_id,
            customer_address, subject, state, closed_at, sequence, send_sequence, message_position, interaction_count,
            linked_attention_id, lineage_id FROM attention.attention", "one_open_attention_per_lineage"),
    ] {
        assert_eq!(constraint_of(&house, text).await.as_deref(), Some(constraint), "{text}");
    }
}
