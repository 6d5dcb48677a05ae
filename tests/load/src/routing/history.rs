//! Fills attention-state's database with what years leave behind and with what waits, by copying one attention that was served and one that
//! waits as often as asked: whatever columns there are, the copies have them.

use anyhow::{Context as _, Result};
use hilo_end_to_end::Installation;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// Copies of a statement.
const AT_ONCE: i64 = 50_000;

/// An attention that is copied, and its parts.
struct Template {
    attention: Uuid,
    /// First digit of the ids of its copies.
    family: char,
}

/// Copies the newest ended attention and the newest waiting one so many times each.
///
/// # Errors
/// When there is none to copy, or the database refuses.
pub async fn fill(installation: &Installation, ended: i64, waiting: i64) -> Result<()> {
    let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
    // The copies refer to copies; checking each would take most of the time.
    session.execute("SET session_replication_role = replica").await?;
    for (state, family, many) in [("ended", '1', ended), ("queued", '2', waiting)] {
        let attention: Option<Uuid> = sqlx::query_scalar(
            "SELECT attention_id FROM attention.interaction WHERE state = $1 ORDER BY interaction_id DESC LIMIT 1",
        )
        .bind(state)
        .fetch_optional(&mut session)
        .await?;
        let template =
            Template { attention: attention.with_context(|| format!("nothing is {state}"))?, family };
        let mut from = 1;
        while from <= many {
            let to = (from + AT_ONCE - 1).min(many);
            for copy in copies(&template) {
                let statement = copy.statement(&mut session, from, to).await?;
                session.execute(AssertSqlSafe(statement)).await?;
            }
            eprintln!("{to} of {many} {state}");
            from = to + 1;
        }
    }
    session.execute("VACUUM (ANALYZE)").await?;
    Ok(())
}

/// Rows that are copied, and what differs in each copy.
struct Copy {
    table: &'static str,
    /// A query of one column, `line`: the rows as composites.
    rows: String,
    /// Columns and their new values.
    changes: Vec<(&'static str, String)>,
}

impl Copy {
    /// Makes the copies `from` to `to`.
    async fn statement(&self, session: &mut PgConnection, from: i64, to: i64) -> Result<String> {
        // What the database computes cannot be given.
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(attname) FROM pg_attribute
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        )
        .bind(self.table)
        .fetch_all(session)
        .await?;
        let changes: Vec<String> =
            self.changes.iter().map(|(column, value)| format!("'{column}', {value}")).collect();
        Ok(format!(
            "INSERT INTO {table} ({into}) SELECT r.{values} FROM generate_series({from}, {to}) AS n CROSS JOIN ({rows}) AS t
             CROSS JOIN LATERAL jsonb_populate_record(t.line, jsonb_build_object({changes})) AS r",
            table = self.table,
            into = columns.join(", "),
            values = columns.join(", r."),
            rows = self.rows,
            changes = changes.join(", ")
        ))
    }
}

/// All rows of an attention. Ids begin with the family and grow with the copy's number, as those of a UUID of version 7 grow with time.
fn copies(template: &Template) -> Vec<Copy> {
    let (attention, family) = (template.attention, template.family);
    let id = |kind: &str| {
        format!(
            "('{family}' || lpad(to_hex(n), 11, '0') || '70008000' || lpad(to_hex(({kind})::bigint), 12, '0'))::uuid"
        )
    };
    let copy = |table: &'static str, rows: &str, changes: &[(&'static str, String)]| Copy {
        table,
        rows: rows.to_owned(),
        changes: changes.to_vec(),
    };
    let of = |table: &str| {
        format!("SELECT one AS line FROM {table} AS one WHERE one.attention_id = '{attention}'")
    };
    let contact = format!("(SELECT contact_id FROM attention.attention WHERE attention_id = '{attention}')");
    let own = [("attention_id", id("2")), ("interaction_id", id("3"))];
    let with = |more: &[(&'static str, String)]| [own.as_slice(), more].concat();
    let address = format!("'historia-{family}-' || n || '@cliente.example'");
    // A message's id and those of its keys come from its place in the thread.
    let message = id("16 + (t.line).position");
    let key = "'\\x' || md5((t.line).kind || (t.line).key::text || n)".to_owned();
    let key_of =
        id("16 + (SELECT position FROM attention.message m WHERE m.message_id = (t.line).message_id)");
    vec![
        copy(
            "contact.contact",
            &format!("SELECT one AS line FROM contact.contact AS one WHERE contact_id = {contact}"),
            &[("contact_id", id("1"))],
        ),
        copy(
            "contact.identity",
            &format!("SELECT one AS line FROM contact.identity AS one WHERE contact_id = {contact}"),
            &[("contact_id", id("1")), ("value", address.clone())],
        ),
        copy(
            "attention.attention",
            &of("attention.attention"),
            &[
                ("attention_id", id("2")),
                ("lineage_id", id("2")),
                ("contact_id", id("1")),
                ("number", format!("{family}000000000 + n")),
                ("customer_address", address),
            ],
        ),
        copy("attention.interaction", &of("attention.interaction"), &own),
        copy(
            "attention.message",
            &of("attention.message"),
            &with(&[
                ("message_id", message),
                // A message of ours has none.
                (
                    "conversation_key",
                    format!("CASE WHEN (t.line).conversation_key IS NOT NULL THEN {} END", id("4")),
                ),
            ]),
        ),
        copy(
            "attention.message_key",
            &of("attention.message_key"),
            &with(&[("key", key), ("message_id", key_of)]),
        ),
        copy(
            "assignment.decision",
            &format!(
                "SELECT one AS line FROM assignment.decision AS one WHERE interaction_id IN
                   (SELECT interaction_id FROM attention.interaction WHERE attention_id = '{attention}')"
            ),
            &[("interaction_id", id("3"))],
        ),
        copy(
            "kit.outbox_log",
            &format!("SELECT one AS line FROM kit.outbox_log AS one WHERE key = '{attention}'"),
            &[
                // An attention has rows of several streams, each numbered by itself.
                ("id", id("256 + (t.line).sequence + 65536 * (hashtext((t.line).stream)::bigint & 65535)")),
                ("key", id("2")),
                ("position", "nextval('kit.outbox_position')".to_owned()),
            ],
        ),
        copy("kit.inbox", "SELECT one AS line FROM kit.inbox AS one LIMIT 1", &[("id", id("5"))]),
    ]
}
