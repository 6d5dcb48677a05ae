//! What the statements of attention-state cost on a large database: every plan that PostgreSQL used (`auto_explain`, with the rows it
//! really touched) while messages were taken in, offered, opened, answered and ended.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use hilo_end_to_end::Installation;
use hilo_end_to_end::Service;
use hilo_end_to_end::installation::Part;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// A table with fewer rows may be read as a whole.
const SMALL: f64 = 5_000.0;
/// Rows that a statement may touch, whatever the table holds: more than a batch with all it refers to, a page of a snapshot or of the
/// outbox, or what a range of a BRIN index has (128 pages).
const TOUCHED: f64 = 10_000.0;
/// Statements of an installation that serves; without each of them the run proves nothing.
const SERVING: [&str; 8] = [
    "INSERT INTO attention.interaction",
    "INSERT INTO attention.message",
    "INSERT INTO assignment.decision",
    "UPDATE attention.interaction",
    "assignment.agent_load",
    "kit.outbox_pending",
    "attention.message_key",
    "contact.identity",
];

/// A statement, over all its executions.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// Executions.
    pub calls: usize,
    /// Most rows that one touched in tables and indexes.
    pub touched: f64,
    /// Large tables that were read as a whole.
    pub whole: Vec<String>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Plans {
    /// By text.
    pub statements: BTreeMap<String, Statement>,
    /// Items that waited: who counts or shows all that wait touches as many.
    pub waiting: f64,
}

/// From now on every plan of attention-state is written down: its process is started anew, so that all its sessions do. So is routing,
/// so that it reads all that waits.
///
/// # Errors
/// When the server refuses, or a process does not come up again.
pub async fn watch(installation: &Installation) -> Result<()> {
    let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_format = json",
    ] {
        session.execute(AssertSqlSafe(format!("ALTER DATABASE hilo_attention SET {setting}"))).await?;
    }
    for service in [Service::AttentionState, Service::Routing] {
        installation.kill(Part::Service(service)).await?;
        installation.start_part(Part::Service(service)).await?;
    }
    installation.all_ready().await
}

impl Plans {
    /// Reads what was written down.
    ///
    /// # Errors
    /// When the log cannot be read or a plan is none.
    pub async fn read(installation: &Installation) -> Result<Self> {
        let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
        let sizes: Vec<(String, f32)> =
            sqlx::query_as("SELECT relname::text, reltuples FROM pg_class WHERE relkind = 'r'")
                .fetch_all(&mut session)
                .await?;
        let sizes: BTreeMap<String, f64> =
            sizes.into_iter().map(|(name, rows)| (name, f64::from(rows))).collect();
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM attention.interaction WHERE state <> 'ended'")
                .fetch_one(&mut session)
                .await?;
        let mut plans = Self { waiting: waiting as f64, ..Self::default() };
        for text in logged(&installation.database_log()?) {
            let entry: Value = serde_json::from_str(&text).context("a logged plan")?;
            let query = entry.get("Query Text").and_then(Value::as_str).context("its text")?;
            let plan = entry.get("Plan").context("its plan")?;
            let known = plans.statements.entry(one_line(query)).or_default();
            known.calls += 1;
            let mut touched = 0.0;
            walk(plan, &sizes, &mut touched, &mut known.whole);
            known.touched = known.touched.max(touched);
        }
        Ok(plans)
    }

    /// Statements that read a large table as a whole, or touch more rows than what they are about, and hot ones that were not seen.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (text, statement) in &self.statements {
            if !statement.whole.is_empty() {
                faults.push(format!("reads all of {}: {text}", statement.whole.join(", ")));
            }
            // Lengths of queues and what a snapshot holds grow with what waits, and with nothing else.
            let most = if waits(text) { TOUCHED + self.waiting * 2.0 } else { TOUCHED };
            if statement.touched > most {
                faults.push(format!("touches {} rows: {text}", statement.touched));
            }
        }
        let seen = |part: &&str| self.statements.keys().any(|text| text.contains(*part));
        faults.extend(SERVING.iter().filter(|part| !seen(part)).map(|part| format!("not seen: {part}")));
        faults
    }
}

/// True for what is about all that waits and says so.
fn waits(text: &str) -> bool {
    text.contains("state = 'queued'") || text.contains("state <> 'ended'")
}

impl fmt::Display for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let executions: usize = self.statements.values().map(|one| one.calls).sum();
        let others = self.statements.iter().filter(|one| !waits(one.0)).map(|one| one.1.touched);
        write!(
            f,
            "{executions} executions of {} statements, none but those about what waits touches more than {:.0} rows",
            self.statements.len(),
            others.fold(0.0, f64::max)
        )
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The plans of a server's log: behind the line that announces one all lines that begin with a tab.
fn logged(log: &str) -> Vec<String> {
    let (mut all, mut current): (Vec<String>, Option<String>) = (Vec::new(), None);
    for line in log.lines() {
        match (&mut current, line.strip_prefix('\t')) {
            (Some(text), Some(more)) => {
                text.push_str(more);
                text.push('\n');
            }
            (_, _) => {
                all.extend(current.take());
                let begins = line.contains("duration: ") && line.ends_with("plan:");
                current = begins.then(String::new);
            }
        }
    }
    all.extend(current);
    all
}

fn number(node: &Value, name: &str) -> f64 {
    node.get(name).and_then(Value::as_f64).unwrap_or_default()
}

/// Rows that the scans below a node touched, and large tables that were read as a whole.
fn walk(node: &Value, sizes: &BTreeMap<String, f64>, touched: &mut f64, whole: &mut Vec<String>) {
    let kind = node.get("Node Type").and_then(Value::as_str).unwrap_or_default();
    if kind.ends_with("Scan") {
        let removed = number(node, "Rows Removed by Filter") + number(node, "Rows Removed by Index Recheck");
        *touched += (number(node, "Actual Rows") + removed) * number(node, "Actual Loops");
    }
    let relation = node.get("Relation Name").and_then(Value::as_str).unwrap_or_default();
    let large = sizes.get(relation).is_some_and(|rows| *rows > SMALL);
    if kind == "Seq Scan"
        && large
        && number(node, "Actual Loops") > 0.0
        && !whole.iter().any(|one| one == relation)
    {
        whole.push(relation.to_owned());
    }
    for below in node.get("Plans").and_then(Value::as_array).into_iter().flatten() {
        walk(below, sizes, touched, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-22 20:00:00.000 UTC [7] LOG:  duration: 0.026 ms  plan:\n\t{\n\t  \"Query Text\": \"SELECT\\n 1\",\n\t  \
        \"Plan\": {\"Node Type\": \"Limit\", \"Plans\": [{\"Node Type\": \"Seq Scan\", \"Relation Name\": \"message\", \"Actual Rows\": 2, \
        \"Actual Loops\": 3, \"Rows Removed by Filter\": 10}]}\n\t}\n2026-11-22 20:00:00.001 UTC [7] LOG:  something else\n\twith more\n";

    #[test]
    fn a_plan_is_read_from_the_log_with_what_it_touched() -> Result<()> {
        let texts = logged(LOG);
        assert_eq!(texts.len(), 1, "{texts:?}");
        let entry: Value = serde_json::from_str(texts.first().context("one")?)?;
        let (mut touched, mut whole) = (0.0, Vec::new());
        let sizes = BTreeMap::from([("message".to_owned(), SMALL + 1.0)]);
        walk(entry.get("Plan").context("plan")?, &sizes, &mut touched, &mut whole);
        assert!((touched - 36.0).abs() < 1e-9, "{touched}");
        assert_eq!(whole, ["message"]);
        walk(entry.get("Plan").context("plan")?, &BTreeMap::new(), &mut touched, &mut Vec::new());
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_told() {
        let bad = Statement { calls: 1, touched: TOUCHED + 1.0, whole: vec!["message".to_owned()] };
        let mut statements: BTreeMap<String, Statement> =
            SERVING.iter().map(|text| ((*text).to_owned(), Statement::default())).collect();
        let plans = |statements| Plans { statements, waiting: 10.0 };
        assert_eq!(plans(statements.clone()).faults(), Vec::<String>::new());
        statements.insert("SELECT".to_owned(), bad);
        assert_eq!(plans(statements.clone()).faults().len(), 2);
        statements.remove("SELECT");
        statements.insert(
            "state = 'queued'".to_owned(),
            Statement { touched: TOUCHED + 15.0, ..Statement::default() },
        );
        assert!(plans(statements.clone()).faults().is_empty());
        statements.remove("UPDATE attention.interaction");
        assert_eq!(plans(statements).faults(), ["not seen: UPDATE attention.interaction"]);
    }
}
