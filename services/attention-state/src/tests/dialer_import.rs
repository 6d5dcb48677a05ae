//! Dialers are made, filled from CSV, looked at and held: by whoever may, in pages, once per request.

use hilo_proto::dialer::v1 as wire;
use hilo_proto::dialer::v1::{DialerState, RowState};

use super::dialer_rig::{
    approve, csv, dialers, draft, house, import, life, row, rows, running, sql, step, susana, wanted, who,
};
use super::fresh;
use super::whatsapp_rig::EVA;
use crate::dialer::Step;
use crate::directory::Role;

const BAD: &[u8] =
    b"number,1,2\n+51987654321,17,Eva\n987654321,17,Otto\n+51911111111,,Ida\n+51922222222,18,Uma\n";

#[tokio::test]
async fn all_or_nothing_unless_bad_rows_are_to_be_skipped() {
    let house = house().await;
    let dialer = draft(&house).await;
    let refused = import(&house, dialer, BAD.to_vec(), false).await.unwrap();
    assert_eq!((refused.imported, refused.bad_rows, refused.total_rows), (0, 2, 0));
    let told: Vec<(i32, &str, &str)> =
        refused.problems.iter().map(|one| (one.line, one.column.as_str(), one.reason.as_str())).collect();
    assert_eq!(told, [(3, "number", "NUMBER_MALFORMED"), (4, "1", "VALUE_MISSING")]);
    assert_eq!(rows(&house, dialer).await, []);
    let taken = import(&house, dialer, BAD.to_vec(), true).await.unwrap();
    assert_eq!((taken.imported, taken.bad_rows, taken.total_rows, taken.problems.len()), (2, 2, 2, 2));
    let list = rows(&house, dialer).await;
    let told: Vec<(i32, &str, RowState)> =
        list.iter().map(|row| (row.ordinal, row.number.as_str(), row.state())).collect();
    assert_eq!(told, [(1, "+51987654321", RowState::Pending), (2, "+51922222222", RowState::Pending)]);
    assert_eq!(list[1].values, ["18", "Uma"]);
}

#[tokio::test]
async fn a_number_counts_once_however_often_it_is_imported() {
    let house = house().await;
    let dialer = draft(&house).await;
    let first = import(&house, dialer, csv(&[EVA, "51911111111", EVA]), false).await.unwrap();
    assert_eq!((first.imported, first.duplicates, first.total_rows), (2, 1, 2));
    let again = import(&house, dialer, csv(&["51922222222", EVA]), false).await.unwrap();
    assert_eq!((again.imported, again.duplicates, again.total_rows), (1, 1, 3));
    let ordinals: Vec<i32> = rows(&house, dialer).await.iter().map(|row| row.ordinal).collect();
    assert_eq!(ordinals, [1, 2, 3]);
    let request = wire::ImportRowsRequest {
        dialer_id: dialer.to_string(),
        request_id: fresh(),
        csv: csv(&["51933333333"]),
        skip_bad: false,
    };
    let one = dialers(&house).import(susana(), request.clone()).await.unwrap();
    let repeated = dialers(&house).import(susana(), request).await.unwrap();
    assert_eq!((one.imported, &one), (1, &repeated), "a repeated request has the same answer");
}

#[tokio::test]
async fn a_dialer_has_at_most_so_many_rows_and_takes_none_once_stopped() {
    let house = house().await;
    let dialer = draft(&house).await;
    sql(&house, "UPDATE dialer.dialer SET total_rows = 99999").await;
    let refused = import(&house, dialer, csv(&[EVA, "51911111111"]), false).await.unwrap_err();
    assert_eq!(refused.reason(), "TOO_MANY_ROWS");
    assert_eq!(rows(&house, dialer).await, [], "nothing of it came in");
    assert_eq!(import(&house, dialer, csv(&[EVA]), false).await.unwrap().total_rows, 100_000);
    let id = dialer.to_string();
    dialers(&house).stop(susana(), wire::StopDialerRequest { dialer_id: id }).await.unwrap();
    assert_eq!(import(&house, dialer, csv(&[EVA]), false).await.unwrap_err().reason(), "DIALER_STOPPED");
}

/// In statements that each have time enough on any machine: a full list is read, refused for one bad row, taken, and stopped as a whole.
#[tokio::test]
async fn a_list_of_100_000_rows_comes_in_whole_each_number_once_and_ends_whole() {
    let house = house().await;
    let dialer = draft(&house).await;
    let line = |n: u32| format!("+519{n:08},{n},Eva\n");
    let mut text: String = std::iter::once("number,1,2\n".to_owned()).chain((0..99_999).map(line)).collect();
    // The one that is bad, one that came before, and the last one.
    text.extend(["51,1,Eva\n".to_owned(), line(7), line(99_999)]);
    let text = text.into_bytes();
    let refused = import(&house, dialer, text.clone(), false).await.unwrap();
    let told: Vec<(i32, &str)> = refused.problems.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!((refused.total_rows, told), (0, vec![(100_001, "NUMBER_MALFORMED")]));
    let taken = import(&house, dialer, text.clone(), true).await.unwrap();
    assert_eq!((taken.imported, taken.duplicates, taken.bad_rows), (100_000, 1, 1));
    let again = import(&house, dialer, text, true).await.unwrap();
    assert_eq!((again.imported, again.duplicates, again.total_rows), (0, 100_001, 100_000));
    let page = wire::ListRowsRequest {
        dialer_id: dialer.to_string(),
        page_token: "99998".into(),
        ..wire::ListRowsRequest::default()
    };
    let last = dialers(&house).rows(susana(), page).await.unwrap().rows;
    let told: Vec<(i32, &str)> = last.iter().map(|row| (row.ordinal, row.number.as_str())).collect();
    assert_eq!(told, [(99_999, "+51900099998"), (100_000, "+51900099999")], "in the order of the list");
    let stop = wire::StopDialerRequest { dialer_id: dialer.to_string() };
    assert_eq!(dialers(&house).stop(susana(), stop).await.unwrap().skipped, 100_000);
    assert_eq!(house.count("SELECT count(*) FROM dialer.row WHERE state = 'skipped'").await, 100_000);
}

#[tokio::test]
async fn a_finished_dialer_goes_on_with_rows_that_came_later() {
    let house = house().await;
    let dialer = running(&house, &[EVA]).await;
    assert_eq!(step(&house, dialer).await, Step::Sent);
    assert_eq!(step(&house, dialer).await, Step::Finished);
    import(&house, dialer, csv(&["51911111111"]), false).await.unwrap();
    assert_eq!(step(&house, dialer).await, Step::NotDue, "they wait for the next start");
    let start = wire::StartDialerRequest { dialer_id: dialer.to_string() };
    dialers(&house).start(susana(), start).await.unwrap();
    assert_eq!(step(&house, dialer).await, Step::Sent);
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_the_dialer_is_made() {
    let house = house().await;
    type Change = fn(&mut wire::CreateDialerRequest);
    let rows: [(Change, &str); 11] = [
        (|r| r.name = " ".into(), "INVALID_REQUEST name"),
        (|r| r.per_minute = 0, "INVALID_REQUEST per_minute"),
        (|r| r.per_minute = 4_801, "INVALID_REQUEST per_minute"),
        (|r| r.answer_timeout_hours = 721, "INVALID_REQUEST answer_timeout_hours"),
        (|r| r.answer_timeout_hours = -1, "INVALID_REQUEST answer_timeout_hours"),
        (|r| r.template_language = String::new(), "INVALID_REQUEST template_language"),
        (|r| r.hours = Some(Default::default()), "INVALID_REQUEST hours.weekly"),
        (|r| r.account_key = "ventas-wa".into(), "INVALID_REQUEST account_key"),
        (|r| r.template_name = "otra".into(), "TEMPLATE_NOT_APPROVED "),
        (|r| r.campaign_key = "nada".into(), "CAMPAIGN_NOT_FOUND "),
        (|r| r.campaign_key = "ventas-chat".into(), "CAMPAIGN_NOT_FOUND "),
    ];
    for (change, expected) in rows {
        let mut request = wanted();
        change(&mut request);
        let error = dialers(&house).create(susana(), request).await.unwrap_err();
        let field = error.violations().first().map_or("", |one| one.field.as_str());
        assert_eq!(format!("{} {field}", error.reason()), expected);
    }
    let coordinator = who(&[Role::Coordinator], &[]);
    let mail = wire::CreateDialerRequest { campaign_key: "soporte".into(), ..wanted() };
    assert_eq!(dialers(&house).create(coordinator, mail).await.unwrap_err().reason(), "OTHER_CHANNEL");
    approve(&house, "PENDING", &["1"]).await;
    let error = dialers(&house).create(susana(), wanted()).await.unwrap_err();
    assert_eq!(error.reason(), "TEMPLATE_NOT_APPROVED");
    let made = house.count("SELECT count(*) FROM dialer.dialer").await;
    assert_eq!(made, 0);
}

#[tokio::test]
async fn a_request_is_carried_out_once_and_the_defaults_are_told() {
    let house = house().await;
    let request = wanted();
    let one = dialers(&house).create(susana(), request.clone()).await.unwrap();
    let again = dialers(&house).create(susana(), request).await.unwrap();
    assert_eq!(one, again);
    let dialer = one.dialer.unwrap();
    assert_eq!((dialer.account_key.as_str(), dialer.answer_timeout_hours), ("chat-wa", 72));
    assert_eq!(dialer.columns, ["1", "2"]);
    assert_eq!((dialer.state(), dialer.created_by.as_str()), (DialerState::Draft, "susana"));
    assert_eq!(dialer.hours, None);
}

#[tokio::test]
async fn who_may_do_what() {
    let house = house().await;
    let dialer = draft(&house).await;
    let id = || dialer.to_string();
    let foreign = who(&[Role::Supervisor], &["ventas-chat"]);
    let agent = house.access("ana").await;
    let reporter = who(&[Role::Reporter], &["chat"]);
    let coordinator = who(&[Role::Coordinator], &[]);
    for (access, expected) in [
        (susana(), "ok"),
        (coordinator.clone(), "ok"),
        (foreign.clone(), "DIALER_NOT_FOUND"),
        (agent.clone(), "SUPERVISOR_REQUIRED"),
        (reporter, "SUPERVISOR_REQUIRED"),
    ] {
        let get = dialers(&house).get(access.clone(), wire::GetDialerRequest { dialer_id: id() }).await;
        let pause = dialers(&house).start(access, wire::StartDialerRequest { dialer_id: id() }).await;
        let told = |error: Option<hilo_kit::Error>| error.map_or("ok".to_owned(), |e| e.reason().to_owned());
        assert_eq!((told(get.err()), told(pause.err())), (expected.to_owned(), expected.to_owned()));
    }
    let all = dialers(&house);
    let list = |access| all.list(access, wire::ListDialersRequest::default());
    assert_eq!(list(susana()).await.unwrap().dialers.len(), 1);
    assert_eq!(list(coordinator).await.unwrap().dialers.len(), 1);
    assert_eq!(list(foreign).await.unwrap().dialers.len(), 0);
    assert_eq!(list(agent).await.unwrap_err().reason(), "SUPERVISOR_REQUIRED");
    assert_eq!(life(&house, dialer).await.0, DialerState::Running);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let house = house().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(0, draft(&house).await.to_string());
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListDialersRequest { page_size: 2, page_token, campaign_key: "chat".into() };
        let page = dialers(&house).list(susana(), request).await.unwrap();
        seen.extend(page.dialers.into_iter().map(|one| one.dialer_id));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert_eq!(seen, made, "newest first, each once");
    let dialer = running(&house, &[EVA, "51911111111", "51922222222"]).await;
    step(&house, dialer).await;
    let page = |state: RowState, page_token: &str| wire::ListRowsRequest {
        dialer_id: dialer.to_string(),
        state: state.into(),
        page_size: 1,
        page_token: page_token.into(),
    };
    let all = dialers(&house);
    let ask = |request| all.rows(susana(), request);
    let first = ask(page(RowState::Pending, "")).await.unwrap();
    let second = ask(page(RowState::Pending, &first.next_page_token)).await.unwrap();
    assert_eq!((first.rows[0].ordinal, second.rows[0].ordinal, second.next_page_token.as_str()), (2, 3, ""));
    assert_eq!(ask(page(RowState::Answered, "")).await.unwrap().rows, []);
    assert_eq!(ask(page(RowState::Pending, "x")).await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
    let counts = all.get(susana(), wire::GetDialerRequest { dialer_id: dialer.to_string() });
    let counts: Vec<(RowState, i32)> =
        counts.await.unwrap().counts.iter().map(|one| (one.state(), one.rows)).collect();
    assert_eq!(counts, [(RowState::Pending, 2), (RowState::Queued, 1)]);
    assert_eq!(row(&house, dialer).await.state(), RowState::Queued);
}

#[tokio::test]
async fn the_opt_out_list_says_who_when_and_why() {
    let house = house().await;
    let add = |number: &str, reason: &str| wire::AddOptOutRequest {
        campaign_key: "chat".into(),
        number: number.into(),
        reason: reason.into(),
    };
    dialers(&house).add_opt_out(susana(), add("+51987654321", "lo pidió")).await.unwrap();
    let again = dialers(&house).add_opt_out(susana(), add("+51987654321", "otra vez")).await.unwrap();
    assert_eq!(again.opt_out.unwrap().reason, "lo pidió", "the first entry stays");
    dialers(&house).add_opt_out(susana(), add("+51911111111", "")).await.unwrap();
    let list = |size, token: &str| wire::ListOptOutsRequest {
        campaign_key: "chat".into(),
        page_size: size,
        page_token: token.into(),
    };
    let first = dialers(&house).list_opt_outs(susana(), list(1, "")).await.unwrap();
    assert_eq!(first.opt_outs[0].number, "+51911111111");
    let second = dialers(&house).list_opt_outs(susana(), list(1, &first.next_page_token)).await.unwrap();
    let one = &second.opt_outs[0];
    assert_eq!((one.number.as_str(), one.added_by.as_str()), ("+51987654321", "susana"));
    assert!(one.added_at.is_some() && second.next_page_token.is_empty());
    for (number, reason, field) in [("987", "", "number"), ("+51987654321", "a\nb", "reason")] {
        let error = dialers(&house).add_opt_out(susana(), add(number, reason)).await.unwrap_err();
        assert_eq!(error.violations()[0].field, field);
    }
    let foreign = who(&[Role::Supervisor], &["ventas-chat"]);
    let hidden = dialers(&house).list_opt_outs(foreign, list(1, "")).await.unwrap_err();
    assert_eq!(hidden.reason(), "CAMPAIGN_NOT_FOUND");
}
