//! Table tests of the engine by text: a script of what happens, and the transcript it must produce.
//!
//! Script lines: `campaign NAME MODE [accept=S] [overflow=S:all|CAMPAIGN] members=a,b`, `agent NAME capacity=N`,
//! `present|absent|unknown|pause|resume NAME`, `queue ITEM CAMPAIGN`, `open ITEM AGENT`, `end ITEM`, `release ITEM`,
//! `decline ITEM`, `at SECONDS` (time passes, every deadline fires exactly), `rebuild` (a fresh engine from the truth).
//! The model of attention-state answers every decision at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test by panicking")]

mod script;
mod world;

use script::check;

const TWO: &str = "
    campaign soporte round_robin accept=30 members=ana,beto
    agent ana capacity=1
    agent beto capacity=1";

#[test]
fn an_arrival_rings_at_once_and_the_rotation_goes_on() {
    check(
        &format!("{TWO}\n queue a soporte\n queue b soporte\n queue c soporte"),
        "0: offer a to ana until 30
         0: offer b to beto until 30",
    );
}

#[test]
fn capacity_that_appears_serves_the_oldest_at_once() {
    check(
        &format!(
            "{TWO}\n queue a soporte\n queue b soporte\n at 1\n queue c soporte\n at 2\n queue d soporte
             open a ana\n open b beto\n at 5\n end b\n at 6\n end a"
        ),
        "0: offer a to ana until 30
         0: offer b to beto until 30
         5: offer c to beto until 35
         6: offer d to ana until 36",
    );
}

#[test]
fn the_accept_timeout_moves_to_the_next_and_nobody_is_asked_twice_in_a_round() {
    check(
        &format!("{TWO}\n queue a soporte\n at 60"),
        "0: offer a to ana until 30
         30: expire a AcceptTimeout
         30: offer a to beto until 60
         60: expire a AcceptTimeout",
    );
}

#[test]
fn when_all_let_it_pass_another_round_starts() {
    check(
        &format!("{TWO}\n queue a soporte\n at 62"),
        "0: offer a to ana until 30
         30: expire a AcceptTimeout
         30: offer a to beto until 60
         60: expire a AcceptTimeout
         61: offer a to ana until 91 (new round)",
    );
}

#[test]
fn an_item_nobody_takes_does_not_block_those_behind_it() {
    check(
        "campaign soporte round_robin accept=30 members=ana
         agent ana capacity=1
         queue a soporte
         at 1
         queue b soporte
         at 92",
        "0: offer a to ana until 30
         30: expire a AcceptTimeout
         30: offer b to ana until 60
         60: expire b AcceptTimeout
         60: offer a to ana until 90 (new round)
         90: expire a AcceptTimeout
         90: offer b to ana until 120 (new round)",
    );
}

#[test]
fn somebody_new_ends_the_rest_between_two_rounds() {
    check(
        &format!(
            "{TWO}\n pause beto\n queue a soporte\n at 3\n decline a\n at 3.2\n queue b soporte
             at 3.4\n resume beto"
        ),
        "0: offer a to ana until 30
         3.2: offer b to ana until 33.2
         3.4: offer a to beto until 33.4",
    );
}

#[test]
fn a_declined_offer_goes_to_the_next() {
    check(
        &format!("{TWO}\n queue a soporte\n at 3\n decline a"),
        "0: offer a to ana until 30
         3: offer a to beto until 33",
    );
}

#[test]
fn the_overflow_clock_runs_with_nobody_there_and_ends_at_everyone() {
    check(
        "campaign ventas round_robin accept=30 overflow=100:all members=ana,beto
         agent ana capacity=1
         agent beto capacity=1
         absent ana
         absent beto
         queue a ventas
         at 150
         present beto",
        "100: overflow a
         150: offer a to everyone",
    );
}

#[test]
fn the_overflow_ends_what_rings_and_then_rings_at_everyone() {
    check(
        "campaign ventas round_robin accept=8 overflow=10:all members=ana
         agent ana capacity=1
         queue a ventas
         at 60",
        "0: offer a to ana until 8
         8: expire a AcceptTimeout
         9: offer a to ana until 17 (new round)
         10: overflow a
         10: offer a to everyone",
    );
}

#[test]
fn without_accept_timeout_an_offer_rings_until_the_overflow() {
    check(
        "campaign ventas round_robin overflow=10:all members=ana
         agent ana capacity=1
         queue a ventas
         at 60",
        "0: offer a to ana
         10: overflow a
         10: offer a to everyone",
    );
}

#[test]
fn an_overflow_into_another_campaign_takes_what_rings_along_and_keeps_its_place_in_the_order() {
    check(
        "campaign ventas round_robin overflow=10:soporte members=ana
         campaign soporte round_robin members=beto
         agent ana capacity=1
         agent beto capacity=1
         pause beto
         queue a ventas
         at 5
         queue b soporte
         at 60
         resume beto
         open a beto
         end a",
        "0: offer a to ana
         10: overflow a
         60: offer a to beto
         60: offer b to beto",
    );
}

#[test]
fn a_chain_of_overflows_visits_each_campaign_once_and_ends_where_it_has_been_nowhere_else_to_go() {
    check(
        "campaign uno round_robin overflow=10:dos members=ana
         campaign dos round_robin overflow=20:tres members=ana
         campaign tres round_robin overflow=30:uno members=ana
         agent ana capacity=1
         absent ana
         queue a uno
         at 500
         present ana
         at 900",
        "10: overflow a
         30: overflow a
         500: offer a to ana",
    );
}

#[test]
fn a_release_begins_a_new_queueing_and_so_a_new_chain() {
    check(
        "campaign uno round_robin overflow=10:dos members=ana
         campaign dos round_robin overflow=20:uno members=ana
         agent ana capacity=1
         absent ana
         queue a uno
         at 100
         open a ana
         at 110
         release a
         at 200",
        "10: overflow a
         130: overflow a",
    );
}

#[test]
fn everyone_rings_once_somebody_is_there_and_only_once() {
    check(
        "campaign ventas everyone accept=30 members=ana,beto
         agent ana capacity=1
         agent beto capacity=1
         absent ana
         pause beto
         queue a ventas
         queue b ventas
         at 5
         resume beto
         present ana
         at 300",
        "5: offer a to everyone
         5: offer b to everyone",
    );
}

#[test]
fn an_offer_leaves_an_agent_who_goes_or_pauses_but_not_one_who_is_unknown() {
    check(
        &format!(
            "{TWO}\n queue a soporte\n at 1\n unknown ana\n at 2\n absent ana\n at 3\n pause beto\n at 4\n present ana"
        ),
        "0: offer a to ana until 30
         2: expire a AgentAbsent
         2: offer a to beto until 32
         3: expire a AgentPaused
         4: offer a to ana until 34",
    );
}

#[test]
fn opening_by_hand_ends_the_ringing_and_counts_for_the_one_who_opened() {
    check(
        &format!("{TWO}\n queue a soporte\n at 1\n open a beto\n queue b soporte\n at 100"),
        "0: offer a to ana until 30
         1: offer b to ana until 31
         31: expire b AcceptTimeout
         32: offer b to ana until 62 (new round)
         62: expire b AcceptTimeout
         63: offer b to ana until 93 (new round)
         93: expire b AcceptTimeout
         94: offer b to ana until 124 (new round)",
    );
}

#[test]
fn a_released_item_keeps_its_place_in_the_order() {
    check(
        "campaign soporte round_robin members=ana
         agent ana capacity=1
         at 10
         queue a soporte
         open a ana
         at 12
         queue b soporte
         at 14
         pause ana
         release a
         resume ana",
        "10: offer a to ana
         14: offer a to ana",
    );
}

#[test]
fn two_campaigns_of_one_agent_are_served_by_age() {
    check(
        "campaign uno round_robin members=ana
         campaign dos round_robin members=ana
         agent ana capacity=1
         pause ana
         queue b dos
         at 1
         queue a uno
         at 2
         queue c dos
         resume ana
         open b ana
         end b
         open a ana
         end a",
        "2: offer b to ana
         2: offer a to ana
         2: offer c to ana",
    );
}

#[test]
fn least_busy_takes_the_emptiest_then_the_one_offered_longest_ago() {
    check(
        "campaign soporte least_busy members=ana,beto,caro
         agent ana capacity=3
         agent beto capacity=3
         agent caro capacity=3
         queue a soporte
         at 1
         queue b soporte
         at 2
         queue c soporte
         open b beto
         end b
         at 3
         queue d soporte
         at 4
         queue e soporte",
        "0: offer a to ana
         1: offer b to beto
         2: offer c to caro
         3: offer d to beto
         4: offer e to ana",
    );
}

#[test]
fn a_restart_keeps_pointer_passes_deadlines_and_overflow() {
    check(
        "campaign soporte round_robin accept=30 overflow=100:all members=ana,beto,caro
         agent ana capacity=1
         agent beto capacity=1
         agent caro capacity=1
         queue a soporte
         at 10
         rebuild
         queue b soporte
         at 35
         rebuild
         at 70
         rebuild
         at 101",
        "0: offer a to ana until 30
         10: offer b to beto until 40
         30: expire a AcceptTimeout
         30: offer a to caro until 60
         40: expire b AcceptTimeout
         40: offer b to ana until 70
         60: expire a AcceptTimeout
         60: offer a to beto until 90
         70: expire b AcceptTimeout
         70: offer b to caro until 100
         90: expire a AcceptTimeout
         91: offer a to ana until 121 (new round)
         100: overflow a
         100: expire b AcceptTimeout
         100: offer a to everyone
         101: offer b to beto until 131 (new round)",
    );
}
