//! Reports at the store: equal to a plain computation over the list of events, whatever came twice, late or mixed up.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use hilo_history::domain::Scope;
use hilo_history::domain::report::query::{Asked, Condition, ReportState};
use hilo_history::domain::report::{Fact, Group, Grouping, Kind, Query};
use hilo_history::store::{ReportRequest, Store};
use hilo_proto::event::v1::AttentionEvent;

use crate::events::{Dice, made_up};
use crate::naive::{self, Counted};
use crate::sample;

fn facts(events: &[AttentionEvent]) -> Vec<Fact> {
    events.iter().filter_map(|event| hilo_history::report::fact(event.clone()).unwrap()).collect()
}

fn asked() -> Asked {
    let group_by = vec![Grouping::Day, Grouping::Campaign, Grouping::Agent];
    Asked { from: "2025-12-30".into(), to: "2026-01-30".into(), group_by, page_size: 7, ..Asked::default() }
}

/// All rows, page after page.
async fn rows(store: &Store, scope: &Scope, kind: Kind, asked: Asked) -> BTreeMap<Group, Vec<i64>> {
    let query = Query::parse(asked).unwrap();
    let mut request =
        ReportRequest { scope: scope.clone(), kind, query, time_zone: "America/Lima".into(), after: None };
    let mut all = BTreeMap::new();
    loop {
        let page = store.report(request.clone()).await.unwrap();
        for row in page.rows {
            assert!(all.insert(row.group, row.figures).is_none(), "a group comes once");
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return all,
        }
    }
}

type Fits = fn(&Counted) -> bool;

/// Filters, and what they mean.
fn filters() -> Vec<(Asked, Fits)> {
    let all = asked;
    vec![
        (all(), |_| true),
        (Asked { from: "2026-01-02".into(), to: "2026-01-02".into(), ..all() }, |one| {
            one.day == "2026-01-02"
        }),
        (Asked { campaigns: vec!["ventas".into(), "cerrada".into()], ..all() }, |one| {
            one.campaign != "soporte"
        }),
        (Asked { agents: vec!["ana".into()], ..all() }, |one| one.agent == "ana"),
        (Asked { states: vec![ReportState::Queued, ReportState::Closed], ..all() }, |one| {
            one.state == 1 || (one.state == 3 && one.closed)
        }),
        (Asked { states: vec![ReportState::Open, ReportState::Ended], ..all() }, |one| {
            one.state == 2 || (one.state == 3 && !one.closed)
        }),
        (Asked { conditions: vec![Condition::Reassigned], ..all() }, |one| one.reassigned > 0),
        (Asked { conditions: vec![Condition::Orphaned, Condition::OutOfHours], ..all() }, |one| {
            one.orphaned > 0 && one.late
        }),
        (Asked { direction: Some(hilo_history::domain::thread::Direction::Inbound), ..all() }, |one| {
            one.direction == 1
        }),
    ]
}

fn expected(kind: Kind, counted: &[Counted], fits: Fits, group_by: &[Grouping]) -> BTreeMap<Group, Vec<i64>> {
    let mut groups: BTreeMap<Group, Vec<Counted>> = BTreeMap::new();
    for one in counted.iter().filter(|one| fits(one)) {
        let by =
            |grouping, text: &String| if group_by.contains(&grouping) { text.clone() } else { String::new() };
        let group = Group {
            day: by(Grouping::Day, &one.day),
            campaign: by(Grouping::Campaign, &one.campaign),
            agent: by(Grouping::Agent, &one.agent),
        };
        groups.entry(group).or_default().push(one.clone());
    }
    let name = format!("{kind:?}");
    groups.into_iter().map(|(group, of)| (group, naive::figures(&name, &of))).collect()
}

#[tokio::test]
async fn figures_are_those_of_the_plain_computation_for_every_filter_and_grouping() {
    let store = sample::store().await;
    let events = made_up(&mut Dice(42), 150);
    store.record(facts(&events)).await.unwrap();
    let (interactions, messages) = (naive::interactions(&events), naive::messages(&events));
    let groupings: [&[Grouping]; 4] = [
        &[],
        &[Grouping::Day],
        &[Grouping::Campaign, Grouping::Agent],
        &[Grouping::Day, Grouping::Campaign, Grouping::Agent],
    ];
    let mut not_zero = BTreeMap::<String, usize>::new();
    for kind in Kind::ALL {
        let counted = if kind == Kind::Messages { &messages } else { &interactions };
        for (number, (filter, fits)) in filters().into_iter().enumerate() {
            for group_by in groupings {
                let asked = Asked { group_by: group_by.to_vec(), ..filter.clone() };
                let found = rows(&store, &Scope::All, kind, asked).await;
                assert_eq!(
                    found,
                    expected(kind, counted, fits, group_by),
                    "{kind:?} filter {number} by {group_by:?}"
                );
                for ((name, _), place) in kind.figures().iter().zip(0..) {
                    let some = found.values().filter(|figures| figures[place] > 0).count();
                    *not_zero.entry(format!("{kind:?}.{name}")).or_default() += some;
                }
            }
        }
    }
    assert!(
        not_zero.values().all(|count| *count > 0),
        "a figure that is always 0 was not tested: {not_zero:?}"
    );
}

/// Guards the key (attention, sequence) and the computation from all facts: the same events twice, in other batches and
/// another order, at the same time.
#[tokio::test]
async fn replays_and_other_orders_change_no_figure() {
    let events = made_up(&mut Dice(7), 80);
    let whole = facts(&events);
    let (in_order, mixed) = (sample::store().await, sample::store().await);
    in_order.record(whole.clone()).await.unwrap();
    let mut dice = Dice(99);
    for size in [13, 50] {
        let shuffled = dice.shuffled(whole.clone());
        let batches: Vec<_> = shuffled.chunks(size).map(|batch| mixed.record(batch.to_vec())).collect();
        // Side by side; not so many that one meets the time limit of a lock.
        futures::stream::iter(batches).buffer_unordered(4).for_each(async |kept| kept.unwrap()).await;
    }
    for kind in Kind::ALL {
        let once = rows(&in_order, &Scope::All, kind, asked()).await;
        assert!(!once.is_empty());
        assert_eq!(rows(&mixed, &Scope::All, kind, asked()).await, once, "{kind:?}");
    }
    // And a rebuild from nothing, with everything delivered once more on top.
    mixed.record(whole).await.unwrap();
    assert_eq!(
        rows(&mixed, &Scope::All, Kind::Volumes, asked()).await,
        rows(&in_order, &Scope::All, Kind::Volumes, asked()).await
    );
}

/// Rows that an earlier version computed wrong are mended by the migration, whatever they say.
#[tokio::test]
async fn the_migration_mends_what_was_counted_as_closed() {
    let store = sample::store().await;
    store.record(facts(&made_up(&mut Dice(21), 80))).await.unwrap();
    let before = rows(&store, &Scope::All, Kind::States, asked()).await;
    let pool = store.db().pool();
    let spoilt = sqlx::query("UPDATE report_interaction SET attention_closed = NOT attention_closed");
    assert!(spoilt.execute(pool).await.unwrap().rows_affected() > 80);
    assert_ne!(rows(&store, &Scope::All, Kind::States, asked()).await, before);
    sqlx::raw_sql(include_str!("../../migrations/0026_closed_together.sql")).execute(pool).await.unwrap();
    assert_eq!(rows(&store, &Scope::All, Kind::States, asked()).await, before);
}

/// Guards the scope in the counting statement, for interactions and for messages.
#[tokio::test]
async fn a_scope_is_in_no_count() {
    let store = sample::store().await;
    let events = made_up(&mut Dice(3), 80);
    store.record(facts(&events)).await.unwrap();
    let scope = Scope::Campaigns(["ventas".to_owned()].into());
    for kind in Kind::ALL {
        let counted =
            if kind == Kind::Messages { naive::messages(&events) } else { naive::interactions(&events) };
        for group_by in [vec![], vec![Grouping::Campaign]] {
            let asked = Asked { group_by: group_by.clone(), ..asked() };
            let found = rows(&store, &scope, kind, asked.clone()).await;
            assert_eq!(
                found,
                expected(kind, &counted, |one| one.campaign == "ventas", &group_by),
                "{kind:?}"
            );
            let nothing = rows(&store, &Scope::Campaigns(Default::default()), kind, asked.clone()).await;
            assert!(nothing.is_empty(), "{kind:?}");
            let foreign = Asked { campaigns: vec!["soporte".into()], ..asked };
            assert!(rows(&store, &scope, kind, foreign).await.is_empty(), "{kind:?}: also when it is named");
        }
    }
}
