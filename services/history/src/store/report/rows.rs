//! Counting: one statement per page, grouped by what was asked, within the scope. Built with a query builder because
//! filters and groups are free; the figures themselves are constants of this source, never text of a caller.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use sqlx::postgres::{PgConnection, PgRow, Postgres};
use sqlx::{QueryBuilder, Row};

use super::{ReportPage, ReportRequest, ReportRow};
use crate::domain::report::query::{Condition, Grouping, ReportState};
use crate::domain::report::{Group, Kind, Query};
use crate::store::{rows, scope};

/// Where a report's rows come from, and how its columns are called there.
struct Source {
    /// Columns the figures are made of.
    columns: &'static str,
    from: &'static str,
    at: &'static str,
    campaign: &'static str,
    agent: &'static str,
}

/// Interactions by the day they began.
const INTERACTIONS: Source = Source {
    columns: "i.*",
    from: " FROM report_interaction i WHERE TRUE",
    at: "i.began_at",
    campaign: "i.campaign_key",
    agent: "i.agent_key",
};

/// Messages by their day: of customers under the agent who has the interaction, of agents under their author.
const MESSAGES: Source = Source {
    columns: "e.kind, coalesce(status.last, e.delivery_state) AS delivery_state",
    from: " FROM report_event e JOIN report_interaction i USING (interaction_id)
          LEFT JOIN LATERAL (
              SELECT s.delivery_state AS last FROM report_event s WHERE s.kind = 15 AND s.message_id = e.message_id
              ORDER BY s.sequence DESC LIMIT 1
          ) AS status ON TRUE
          WHERE e.kind IN (13, 14)",
    at: "e.occurred_at",
    campaign: "e.campaign_key",
    agent: "CASE e.kind WHEN 14 THEN e.actor_key ELSE e.agent_key END",
};

impl Source {
    fn of(kind: Kind) -> &'static Self {
        match kind {
            Kind::Messages => &MESSAGES,
            Kind::Volumes
            | Kind::States
            | Kind::Reassigned
            | Kind::Orphaned
            | Kind::OutOfHours
            | Kind::FirstResponse
            | Kind::TimeToAssign => &INTERACTIONS,
        }
    }
}

/// Reads one page; one row more than asked tells whether there is a next one.
pub(super) async fn page(conn: &mut PgConnection, request: &ReportRequest) -> Result<ReportPage, Error> {
    let mut sql = QueryBuilder::new("");
    statement(&mut sql, request);
    let found = sql.build().persistent(false).fetch_all(conn).await?;
    let figures = request.kind.figures().len();
    let mut rows = found.iter().map(|row| read(row, figures)).collect::<Result<Vec<_>, _>>()?;
    let size = usize::try_from(request.query.page_size).unwrap_or(0);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|row| row.group.clone());
    Ok(ReportPage { rows, next })
}

fn read(row: &PgRow, figures: usize) -> Result<ReportRow, Error> {
    let group = Group { day: row.try_get(0)?, campaign: row.try_get(1)?, agent: row.try_get(2)? };
    let figures = (3..3 + figures).map(|column| row.try_get(column)).collect::<Result<_, _>>()?;
    Ok(ReportRow { group, figures })
}

fn statement(sql: &mut QueryBuilder<Postgres>, request: &ReportRequest) {
    let source = Source::of(request.kind);
    sql.push("SELECT * FROM (SELECT g_day, g_campaign, g_agent");
    for (name, expression) in request.kind.figures() {
        sql.push(", ").push(*expression).push(" AS \"").push(*name).push("\"");
    }
    sql.push(" FROM (SELECT ");
    group(sql, request, source);
    sql.push(source.columns).push(source.from);
    scope::restrict(sql, &request.scope, source.campaign);
    days(sql, &request.query, source.at, &request.time_zone);
    filter(sql, &request.query, source);
    sql.push(") AS facts GROUP BY g_day, g_campaign, g_agent) AS grouped WHERE TRUE");
    if let Some(after) = &request.after {
        sql.push(" AND (g_day, g_campaign, g_agent) > (").push_bind(after.day.clone());
        sql.push(", ").push_bind(after.campaign.clone());
        sql.push(", ").push_bind(after.agent.clone()).push(")");
    }
    sql.push(" ORDER BY g_day, g_campaign, g_agent LIMIT ").push_bind(i64::from(request.query.page_size) + 1);
}

/// The three group columns; what is not grouped by is empty. By code point, so that the order is the same everywhere.
fn group(sql: &mut QueryBuilder<Postgres>, request: &ReportRequest, source: &Source) {
    let by = |grouping| request.query.group_by.contains(&grouping);
    if by(Grouping::Day) {
        sql.push("to_char(").push(source.at).push(" AT TIME ZONE ").push_bind(request.time_zone.clone());
        sql.push(", 'YYYY-MM-DD')");
    } else {
        sql.push("''::text");
    }
    sql.push(" COLLATE \"C\" AS g_day, ");
    sql.push(if by(Grouping::Campaign) { source.campaign } else { "''::text" });
    sql.push(" COLLATE \"C\" AS g_campaign, (");
    sql.push(if by(Grouping::Agent) { source.agent } else { "''::text" });
    sql.push(") COLLATE \"C\" AS g_agent, ");
}

fn days(sql: &mut QueryBuilder<Postgres>, query: &Query, at: &'static str, time_zone: &str) {
    sql.push(" AND ").push(at).push(" >= ").push_bind(query.from).push("::date::timestamp AT TIME ZONE ");
    sql.push_bind(time_zone.to_owned());
    sql.push(" AND ").push(at).push(" < (").push_bind(query.to).push("::date + 1)::timestamp AT TIME ZONE ");
    sql.push_bind(time_zone.to_owned());
}

fn filter(sql: &mut QueryBuilder<Postgres>, query: &Query, source: &Source) {
    let list = |keys: &BTreeSet<String>| keys.iter().cloned().collect::<Vec<String>>();
    if !query.campaigns.is_empty() {
        sql.push(" AND ").push(source.campaign).push(" = ANY(").push_bind(list(&query.campaigns)).push(")");
    }
    if !query.agents.is_empty() {
        sql.push(" AND (").push(source.agent).push(") = ANY(").push_bind(list(&query.agents)).push(")");
    }
    if let Some(direction) = query.direction {
        sql.push(" AND i.direction = ").push_bind(rows::direction_number(direction));
    }
    for condition in &query.conditions {
        sql.push(match condition {
            Condition::Reassigned => " AND i.reassigned_times > 0",
            Condition::Orphaned => " AND i.orphaned_times > 0",
            Condition::OutOfHours => " AND i.out_of_hours",
        });
    }
    if !query.states.is_empty() {
        sql.push(" AND (FALSE");
        for state in &query.states {
            sql.push(match state {
                ReportState::Queued => " OR i.state = 1",
                ReportState::Open => " OR i.state = 2",
                ReportState::Ended => " OR (i.state = 3 AND NOT i.attention_closed)",
                ReportState::Closed => " OR (i.state = 3 AND i.attention_closed)",
            });
        }
        sql.push(")");
    }
}
