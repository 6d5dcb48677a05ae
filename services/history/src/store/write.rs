//! Storing a version of a thread: one guarded upsert of the head decides, the rest follows only when it took effect.

use hilo_kit::error::Error;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::gathering::Gathering;
use super::{Stored, large, read, rows, staging};
use crate::domain::people::{self, People};
use crate::domain::thread::{FilledForm, InteractionId, Message, Note, Thread};
use crate::domain::{criteria, merge, words};

/// A stored thread with more bytes of bodies than this is merged by the database, never in memory.
const LARGE: i64 = 16 * 1024 * 1024;

/// Keeps `thread` unless its interaction is there at the same or a newer version.
pub(super) async fn put(tx: &mut PgConnection, thread: &Thread) -> Result<Stored, Error> {
    let id = thread.head.interaction_id;
    let Some(before) = read::lock(tx, id).await? else {
        return match upsert_head(tx, thread, &people(thread).folded()).await? {
            Some(false) => write_contents(tx, thread).await.map(|()| Stored::New),
            None => Ok(Stored::Known),
            Some(true) => Err(lost_race()),
        };
    };
    if before.has(thread.version) {
        return Ok(Stored::Known);
    }
    if read::body_bytes(tx, id).await? > LARGE {
        return put_onto_large(tx, thread).await;
    }
    // The row's lock is ours, so nobody else changes the contents meanwhile.
    let merged = merge::keep_contents(thread.clone(), read::contents(tx, id).await?);
    if upsert_head(tx, &merged, &people(&merged).folded()).await?.is_none() {
        return Ok(Stored::Known);
    }
    delete_contents(tx, id).await?;
    write_contents(tx, &merged).await?;
    Ok(Stored::Replaced)
}

/// A version that came whole, of a thread that is stored large.
async fn put_onto_large(tx: &mut PgConnection, thread: &Thread) -> Result<Stored, Error> {
    let mut gathering = Gathering::new(thread);
    staging::add(tx, gathering.fetch, 0, &thread.messages).await?;
    gathering.add(&thread.messages);
    let head = Thread { messages: Vec::new(), ..thread.clone() };
    large::put(tx, &head, &gathering.done()).await
}

/// Another version came between two statements, and its contents were not looked at: once more.
pub(super) fn lost_race() -> Error {
    Error::conflict("SERIALIZATION_FAILURE", "two first versions of a thread at the same time")
}

fn people(thread: &Thread) -> People {
    let mut people = People::new(&thread.head.customer);
    thread.messages.iter().for_each(|message| people.add(message));
    people
}

/// `None`: not newer than what is there. `Some(true)`: it replaced an older version.
///
/// The version in the WHERE clause is the guard: of two versions the newer one stays, in whatever order they come and
/// however often. The same version replaces one that an earlier release stored without what this one keeps.
pub(super) async fn upsert_head(
    tx: &mut PgConnection,
    thread: &Thread,
    customer_folded: &str,
) -> Result<Option<bool>, Error> {
    let head = &thread.head;
    let folded = Folded::of(thread);
    let row = sqlx::query!(
        r#"
        INSERT INTO thread (
            interaction_id, version, attention_id, attention_number, ordinal, campaign_key, account_key, agent_key,
            channel, direction, customer_name, customer_address, subject, contact_id, linked_attention_id,
            waiting_since, opened_at, ended_at, attention_closed, message_count, tags, form_key, form_version,
            customer_folded, subject_folded, tags_folded, form_entries, vip
        ) VALUES (
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            public.unaccent($24), public.unaccent($25),
            ARRAY(SELECT public.unaccent(tag) FROM unnest($26::text[]) AS tag),
            ARRAY(SELECT public.unaccent(entry) FROM unnest($27::text[]) AS entry), $28
        )
        ON CONFLICT (interaction_id) DO UPDATE SET
            version = EXCLUDED.version, attention_id = EXCLUDED.attention_id,
            attention_number = EXCLUDED.attention_number, ordinal = EXCLUDED.ordinal,
            campaign_key = EXCLUDED.campaign_key, account_key = EXCLUDED.account_key, agent_key = EXCLUDED.agent_key,
            channel = EXCLUDED.channel, direction = EXCLUDED.direction, customer_name = EXCLUDED.customer_name,
            customer_address = EXCLUDED.customer_address, subject = EXCLUDED.subject,
            contact_id = EXCLUDED.contact_id, linked_attention_id = EXCLUDED.linked_attention_id,
            waiting_since = EXCLUDED.waiting_since, opened_at = EXCLUDED.opened_at, ended_at = EXCLUDED.ended_at,
            attention_closed = EXCLUDED.attention_closed, message_count = EXCLUDED.message_count,
            tags = EXCLUDED.tags, form_key = EXCLUDED.form_key, form_version = EXCLUDED.form_version,
            customer_folded = EXCLUDED.customer_folded, subject_folded = EXCLUDED.subject_folded,
            tags_folded = EXCLUDED.tags_folded, form_entries = EXCLUDED.form_entries,
            vip = EXCLUDED.vip, stored_at = now()
        WHERE thread.version < EXCLUDED.version OR (thread.version = EXCLUDED.version AND EXISTS (
            SELECT 1 FROM message m
            WHERE m.interaction_id = EXCLUDED.interaction_id AND m.direction = 2 AND m.hidden_copies IS NULL))
        RETURNING (xmax <> 0) AS "replaced!"
        "#,
        head.interaction_id.uuid(),
        thread.version,
        head.attention_id.uuid(),
        head.attention_number,
        head.ordinal,
        head.campaign_key,
        thread.account_key,
        head.agent_key,
        head.channel,
        rows::direction_number(head.direction),
        head.customer.name,
        head.customer.address,
        head.subject,
        thread.contact_id.map(|id| id.uuid()),
        thread.linked_attention_id.map(|id| id.uuid()),
        thread.waiting_since,
        thread.opened_at,
        head.ended_at,
        head.attention_closed,
        head.message_count,
        &head.tags,
        thread.form.as_ref().map(|form| form.key.as_str()),
        thread.form.as_ref().map(|form| form.version),
        customer_folded,
        folded.subject,
        &folded.tags,
        &folded.form_entries,
        head.vip,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| row.replaced))
}

/// What searches compare with: lower case, no accents.
struct Folded {
    subject: String,
    tags: Vec<String>,
    form_entries: Vec<String>,
}

impl Folded {
    fn of(thread: &Thread) -> Self {
        let head = &thread.head;
        let entries = thread.form.iter().flat_map(|form| &form.fields).flat_map(|(field, value)| {
            let whole = value.value.iter().flat_map(move |text| criteria::form_entry(field, text));
            let lines = value
                .value
                .iter()
                .flat_map(move |text| text.lines().flat_map(move |line| criteria::form_entry(field, line)));
            whole.chain(lines)
        });
        let mut form_entries: Vec<String> = entries.collect();
        form_entries.sort();
        form_entries.dedup();
        let tags = head
            .tags
            .iter()
            .map(|tag| words::fold(tag).chars().take(criteria::MAX_VALUE).collect())
            .collect();
        Self { subject: cut(words::fold(&head.subject)), tags, form_entries }
    }
}

fn cut(text: String) -> String {
    text.chars().take(people::MAX_FOLDED).collect()
}

async fn delete_contents(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM message WHERE interaction_id = $1", id.uuid()).execute(&mut *tx).await?;
    delete_form_and_notes(tx, id).await?;
    delete_words(tx, id).await
}

async fn delete_form_and_notes(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM form_value WHERE interaction_id = $1", id.uuid()).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM note WHERE interaction_id = $1", id.uuid()).execute(tx).await?;
    Ok(())
}

pub(super) async fn delete_words(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM thread_words WHERE interaction_id = $1", id.uuid()).execute(tx).await?;
    Ok(())
}

async fn write_contents(tx: &mut PgConnection, thread: &Thread) -> Result<(), Error> {
    let id = thread.head.interaction_id;
    insert_messages(tx, id.uuid(), &thread.messages).await?;
    insert_attachments(tx, id.uuid(), &thread.messages).await?;
    insert_form_and_notes(tx, thread).await?;
    let mut gathering = Gathering::new(thread);
    gathering.add(&thread.messages);
    append_words(tx, id, &gathering.done().words).await
}

/// Writes form and notes as they are in `thread`.
pub(super) async fn replace_form_and_notes(tx: &mut PgConnection, thread: &Thread) -> Result<(), Error> {
    delete_form_and_notes(tx, thread.head.interaction_id).await?;
    insert_form_and_notes(tx, thread).await
}

async fn insert_form_and_notes(tx: &mut PgConnection, thread: &Thread) -> Result<(), Error> {
    let id = thread.head.interaction_id.uuid();
    if let Some(form) = &thread.form {
        insert_form(tx, id, form).await?;
        note_fields(tx, &thread.head.campaign_key, form).await?;
    }
    insert_notes(tx, id, &thread.notes).await
}

async fn insert_messages(tx: &mut PgConnection, id: Uuid, messages: &[Message]) -> Result<(), Error> {
    let column =
        |of: fn(&Message) -> &str| messages.iter().map(|one| of(one).to_owned()).collect::<Vec<String>>();
    let ids: Vec<Uuid> = messages.iter().map(|one| one.id.uuid()).collect();
    let directions: Vec<i16> = messages.iter().map(|one| rows::direction_number(one.direction)).collect();
    let to = messages.iter().map(|one| rows::mailboxes(&one.to)).collect::<Result<Vec<_>, _>>()?;
    let cc = messages.iter().map(|one| rows::mailboxes(&one.cc)).collect::<Result<Vec<_>, _>>()?;
    let bcc = messages.iter().map(|one| rows::mailboxes(&one.bcc)).collect::<Result<Vec<_>, _>>()?;
    let states =
        messages.iter().map(|one| rows::recipients(&one.recipients)).collect::<Result<Vec<_>, _>>()?;
    let at: Vec<_> = messages.iter().map(|one| one.occurred_at).collect();
    let items: Vec<Option<Vec<u8>>> = messages.iter().map(|one| one.whatsapp.clone()).collect();
    let verified: Vec<bool> = messages.iter().map(|one| one.sender_verified).collect();
    sqlx::query!(
        r#"
        INSERT INTO message (
            interaction_id, message_id, position, direction, from_address, from_name, recipients, copies, subject,
            body_text, body_html, occurred_at, delivery_state, delivery_detail, agent_key, mail_class,
            sender_verified, internet_message_id, hidden_copies, recipient_states, whatsapp, delivery_reason
        )
        SELECT $1, m.id, m.position, m.direction, m.from_address, m.from_name, m.recipients, m.copies, m.subject,
            m.body_text, m.body_html, m.occurred_at, m.delivery_state, m.delivery_detail, m.agent_key, m.mail_class,
            m.sender_verified, m.internet_message_id, m.hidden_copies, m.recipient_states,
            m.whatsapp, m.delivery_reason
        FROM unnest(
            $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[], $8::text[], $9::text[],
            $10::text[], $11::timestamptz[], $12::text[], $13::text[], $14::text[], $15::text[], $16::boolean[],
            $17::text[], $18::jsonb[], $19::jsonb[], $20::bytea[], $21::text[]
        ) WITH ORDINALITY AS m(
            id, direction, from_address, from_name, recipients, copies, subject, body_text, body_html, occurred_at,
            delivery_state, delivery_detail, agent_key, mail_class, sender_verified, internet_message_id,
            hidden_copies, recipient_states, whatsapp, delivery_reason, position
        )
        "#,
        id,
        &ids,
        &directions,
        &column(|one| &one.from.address),
        &column(|one| &one.from.name),
        &to,
        &cc,
        &column(|one| &one.subject),
        &column(|one| &one.text),
        &column(|one| &one.html),
        &at,
        &column(|one| &one.delivery_state),
        &column(|one| &one.delivery_detail),
        &column(|one| &one.agent_key),
        &column(|one| &one.mail_class),
        &verified,
        &column(|one| &one.internet_message_id),
        &bcc,
        &states,
        &items as _,
        &column(|one| &one.delivery_reason),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_attachments(tx: &mut PgConnection, id: Uuid, messages: &[Message]) -> Result<(), Error> {
    let mut owners: Vec<Uuid> = Vec::new();
    let mut places: Vec<i32> = Vec::new();
    let mut files = Vec::new();
    for message in messages {
        for (place, file) in (1_i32..).zip(&message.attachments) {
            owners.push(message.id.uuid());
            places.push(place);
            files.push(file);
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        INSERT INTO attachment (
            interaction_id, message_id, position, sha256, file_name, media_type, size_bytes, content_id, inline
        )
        SELECT $1, * FROM unnest(
            $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::boolean[]
        )
        "#,
        id,
        &owners,
        &places,
        &files.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>(),
        &files.iter().map(|file| file.file_name.clone()).collect::<Vec<_>>(),
        &files.iter().map(|file| file.media_type.clone()).collect::<Vec<_>>(),
        &files.iter().map(|file| file.size_bytes).collect::<Vec<_>>(),
        &files.iter().map(|file| file.content_id.clone()).collect::<Vec<_>>(),
        &files.iter().map(|file| file.inline).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_form(tx: &mut PgConnection, id: Uuid, form: &FilledForm) -> Result<(), Error> {
    let keys: Vec<String> = form.fields.keys().cloned().collect();
    let labels: Vec<String> = form.fields.values().map(|field| field.label.clone()).collect();
    let values: Vec<Option<String>> = form.fields.values().map(|field| field.value.clone()).collect();
    sqlx::query!(
        "INSERT INTO form_value (interaction_id, field_key, label, value)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])",
        id,
        &keys,
        &labels,
        &values as &[Option<String>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The fields are known to searches from now on. Sorted, so that two threads of a campaign cannot lock each other.
async fn note_fields(tx: &mut PgConnection, campaign: &str, form: &FilledForm) -> Result<(), Error> {
    let keys: Vec<String> = form.fields.keys().cloned().collect();
    sqlx::query!(
        "INSERT INTO form_field (campaign_key, field_key)
         SELECT $1, field FROM unnest($2::text[]) AS field
         WHERE NOT EXISTS (SELECT 1 FROM form_field f WHERE f.campaign_key = $1 AND f.field_key = field)
         ORDER BY field
         ON CONFLICT DO NOTHING",
        campaign,
        &keys,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_notes(tx: &mut PgConnection, id: Uuid, notes: &[Note]) -> Result<(), Error> {
    if notes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = notes.iter().map(|note| note.id.uuid()).collect();
    let authors: Vec<String> = notes.iter().map(|note| note.author_key.clone()).collect();
    let texts: Vec<String> = notes.iter().map(|note| note.text.clone()).collect();
    let at: Vec<_> = notes.iter().map(|note| note.created_at).collect();
    sqlx::query!(
        "INSERT INTO note (interaction_id, note_id, author_key, body_text, created_at)
         SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[]) ON CONFLICT DO NOTHING",
        id,
        &ids,
        &authors,
        &texts,
        &at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds words behind those that are there.
pub(super) async fn append_words(
    tx: &mut PgConnection,
    id: InteractionId,
    parts: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO thread_words (interaction_id, part, words)
         SELECT $1, p.part + coalesce((SELECT max(part) FROM thread_words WHERE interaction_id = $1), 0),
           search_vector(p.words)
         FROM unnest($2::text[]) WITH ORDINALITY AS p(words, part)",
        id.uuid(),
        parts,
    )
    .execute(tx)
    .await?;
    Ok(())
}
