//! The search: criteria in any combination, newest first, keyset pages. Built with a query builder because every
//! combination is another statement; a test runs each criterion and every pair and looks at its plan.
//!
//! Words are looked up first, on their own: PostgreSQL knows next to nothing of a word outside of the thousand most
//! frequent ones, so it would now and then walk all threads from the newest looking for 51 of one. A word that fits few
//! threads is replaced by their ids; only for a frequent one are the threads walked, and there a page is found soon.

use std::collections::HashSet;

use hilo_kit::error::Error;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::{rows, scope};
use crate::domain::thread::Head;
use crate::domain::{Criteria, Position, Scope};

/// A page to be read.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// What the caller may read.
    pub scope: Scope,
    /// What is looked for.
    pub criteria: Criteria,
    /// Keys of tags whose name the criteria's tag is.
    pub tag_keys: Vec<String>,
    /// IANA name of the time zone in which days begin and end.
    pub time_zone: String,
    /// Most threads of the page.
    pub size: i32,
    /// Where the page before ended.
    pub after: Option<Position>,
}

/// A word that fits at most so many threads is replaced by their ids; of a more frequent one a page is found by walking a few
/// hundred threads while there are less than some millions.
const MAX_CANDIDATES: i64 = 20_000;

/// A page of heads.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub heads: Vec<Head>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Position>,
}

/// What the criteria's texts are to the database: stems of words, texts without accents. Computed once, before the
/// statement, so that the planner sees constants and no row pays for it.
#[derive(Debug)]
struct Texts {
    /// Threads that hold all the words which few hold; `None` when there is no such word.
    candidates: Option<Vec<Uuid>>,
    /// The other words.
    words: Vec<String>,
    customer: Option<String>,
    subject: Option<String>,
    tag: Option<String>,
    form_entries: Vec<String>,
    form_value: Option<String>,
}

impl Texts {
    async fn of(conn: &mut PgConnection, criteria: &Criteria) -> Result<Self, Error> {
        let row = sqlx::query!(
            r#"SELECT
                ARRAY(SELECT search_query(w.word)::text FROM unnest($1::text[]) WITH ORDINALITY AS w(word, place)
                      ORDER BY w.place) AS "words!",
                public.unaccent($2) AS customer,
                public.unaccent($3) AS subject,
                public.unaccent($4) AS tag,
                ARRAY(SELECT public.unaccent(entry) FROM unnest($5::text[]) AS entry) AS "form_entries!",
                public.unaccent($6) AS form_value,
                -- Until the end of the transaction: reading every row is never right here, whatever is estimated.
                set_config('enable_seqscan', 'off', true) AS "off!""#,
            &criteria.words,
            criteria.customer.as_deref().map(pattern),
            criteria.subject.as_deref().map(pattern),
            criteria.tag,
            &criteria.form_entries,
            criteria.form_value,
        )
        .fetch_one(&mut *conn)
        .await?;
        let (candidates, words) = candidates(conn, row.words).await?;
        Ok(Self {
            candidates,
            words,
            customer: row.customer,
            subject: row.subject,
            tag: row.tag,
            form_entries: row.form_entries,
            form_value: row.form_value,
        })
    }
}

/// Looks the words up; the threads that hold all the rare ones, and the frequent ones.
async fn candidates(
    conn: &mut PgConnection,
    words: Vec<String>,
) -> Result<(Option<Vec<Uuid>>, Vec<String>), Error> {
    let mut known: Option<HashSet<Uuid>> = None;
    let mut frequent = Vec::new();
    for word in words {
        let few = sqlx::query_scalar!(
            "SELECT CASE WHEN count(*) <= $2::bigint THEN coalesce(array_agg(few.interaction_id), '{}') END FROM (
                 SELECT w.interaction_id FROM thread_words w WHERE w.words @@ $1::text::tsquery LIMIT $2::bigint + 1
             ) AS few",
            word,
            MAX_CANDIDATES,
        )
        .fetch_one(&mut *conn)
        .await?;
        match few {
            Some(ids) => {
                let ids: HashSet<Uuid> = ids.into_iter().collect();
                known = Some(known.map_or(ids.clone(), |known| known.intersection(&ids).copied().collect()));
            }
            None => frequent.push(word),
        }
    }
    Ok((known.map(|known| known.into_iter().collect()), frequent))
}

/// Reads one page; one row more than asked tells whether there is a next one.
pub(super) async fn page(conn: &mut PgConnection, request: &PageRequest) -> Result<Page, Error> {
    let texts = Texts::of(conn, &request.criteria).await?;
    let mut builder = QueryBuilder::new("");
    statement(&mut builder, request, &texts);
    // Not a prepared statement: the planner then sees the values, and the plan fits how selective they are.
    let rows = builder.build().persistent(false).fetch_all(conn).await?;
    let mut heads = rows.iter().map(rows::head).collect::<Result<Vec<_>, _>>()?;
    let size = usize::try_from(request.size).unwrap_or(0);
    let more = heads.len() > size;
    heads.truncate(size);
    let next = heads.last().filter(|_| more);
    let next = next.map(|head| Position { ended_at: head.ended_at, interaction_id: head.interaction_id });
    Ok(Page { heads, next })
}

/// The plan of a page, one line per node.
pub(super) async fn plan(conn: &mut PgConnection, request: &PageRequest) -> Result<Vec<String>, Error> {
    let texts = Texts::of(conn, &request.criteria).await?;
    let mut builder = QueryBuilder::new("EXPLAIN ");
    statement(&mut builder, request, &texts);
    let rows = builder.build().persistent(false).fetch_all(conn).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

fn statement(sql: &mut QueryBuilder<Postgres>, request: &PageRequest, texts: &Texts) {
    sql.push("SELECT ").push(rows::HEAD_COLUMNS).push(" FROM thread t WHERE TRUE");
    scope::restrict(sql, &request.scope, "t.campaign_key");
    heads(sql, &request.criteria);
    days(sql, &request.criteria, &request.time_zone);
    contents(sql, texts);
    tags(sql, request, texts);
    if let Some(after) = request.after {
        sql.push(" AND (t.ended_at, t.interaction_id) < (").push_bind(after.ended_at);
        sql.push(", ").push_bind(after.interaction_id.uuid()).push(")");
    }
    sql.push(" ORDER BY t.ended_at DESC, t.interaction_id DESC LIMIT ");
    sql.push_bind(i64::from(request.size) + 1);
}

fn heads(sql: &mut QueryBuilder<Postgres>, criteria: &Criteria) {
    if let Some(key) = &criteria.campaign_key {
        sql.push(" AND t.campaign_key = ").push_bind(key.clone());
    }
    if let Some(key) = &criteria.agent_key {
        sql.push(" AND t.agent_key = ").push_bind(key.clone());
    }
    if let Some(number) = criteria.attention_number {
        sql.push(" AND t.attention_number = ").push_bind(number);
    }
    if let Some(direction) = criteria.direction {
        sql.push(" AND t.direction = ").push_bind(rows::direction_number(direction));
    }
}

/// Days of the installation: from the first instant of one to the first instant after the other.
fn days(sql: &mut QueryBuilder<Postgres>, criteria: &Criteria, time_zone: &str) {
    if let Some(day) = criteria.ended_from {
        sql.push(" AND t.ended_at >= ").push_bind(day).push("::date::timestamp AT TIME ZONE ");
        sql.push_bind(time_zone.to_owned());
    }
    if let Some(day) = criteria.ended_to {
        sql.push(" AND t.ended_at < (").push_bind(day).push("::date + 1)::timestamp AT TIME ZONE ");
        sql.push_bind(time_zone.to_owned());
    }
}

fn contents(sql: &mut QueryBuilder<Postgres>, texts: &Texts) {
    if let Some(candidates) = &texts.candidates {
        sql.push(" AND t.interaction_id = ANY(").push_bind(candidates.clone()).push(")");
    }
    for word in &texts.words {
        // Word by word: a long thread has its words in several parts, and two words may stand in different ones.
        sql.push(" AND t.interaction_id IN (SELECT w.interaction_id FROM thread_words w WHERE w.words @@ ");
        sql.push_bind(word.clone()).push("::tsquery)");
    }
    if let Some(part) = &texts.customer {
        sql.push(" AND t.customer_folded LIKE ").push_bind(part.clone());
    }
    if let Some(part) = &texts.subject {
        sql.push(" AND t.subject_folded LIKE ").push_bind(part.clone());
    }
    if !texts.form_entries.is_empty() {
        sql.push(" AND t.form_entries @> ").push_bind(texts.form_entries.clone());
    }
    if let Some(value) = &texts.form_value {
        sql.push(" AND form_values_of(t.form_entries) @> ").push_bind(vec![value.clone()]);
    }
}

fn tags(sql: &mut QueryBuilder<Postgres>, request: &PageRequest, texts: &Texts) {
    if let Some(tag) = &texts.tag {
        let mut any = request.tag_keys.clone();
        any.push(tag.clone());
        sql.push(" AND t.tags_folded && ").push_bind(any);
    }
}

/// A LIKE pattern for texts that hold `part` as it is.
fn pattern(part: &str) -> String {
    let mut pattern = String::from("%");
    for c in part.chars() {
        if matches!(c, '\\' | '%' | '_') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn wildcards_are_taken_literally() {
        assert_eq!(pattern(r"50%_a\b"), r"%50\%\_a\\b%");
    }
}
