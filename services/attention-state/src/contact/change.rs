//! `CreateContact` and `UpdateContact`: by hand, against a version, one transaction each.

use std::sync::Arc;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_kit::nats::Subjects;
use hilo_proto::contact::v1::{
    Contact, CreateContactRequest, CreateContactResponse, UpdateContactRequest, UpdateContactResponse,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{self, Data, Identity};
use super::store::{self, What};
use super::{fields, keys, rights};
use crate::attention::customer::{self, Change};
use crate::attention::domain::{ContactId, UserKey};
use crate::attention::work::Actor;
use crate::desk::once::Once;
use crate::directory::Access;

/// Attentions of a renamed contact whose ended threads history fetches again: the newest, so that one contact with a
/// life of mails does not hold the database.
const RENAMED: i64 = 2_000;

/// Changes contacts.
#[derive(Clone, Debug)]
pub(crate) struct Contacts {
    pub(super) db: Db,
    pub(super) subjects: Arc<Subjects>,
}

impl Contacts {
    /// Writes to `db`, announces under `subjects`.
    pub(crate) fn new(db: Db, subjects: Subjects) -> Self {
        Self { db, subjects: Arc::new(subjects) }
    }

    /// A contact that has not written yet.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `IDENTITY_TAKEN`, `AGENT_REQUIRED`, `REQUEST_ID_REUSED`; database errors.
    pub(crate) async fn create(
        &self,
        access: Access,
        mut request: CreateContactRequest,
    ) -> Result<CreateContactResponse, Error> {
        rights::check_change(&access)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "CreateContact", &request_id, &request)?;
        let given = request.contact.unwrap_or_default();
        let (identities, bad) = domain::identities(&given.identities, "contact.identities", malformed());
        let is_reachable = !given.identities.is_empty();
        let (data, mut bad) = Data::of(given, bad);
        if data.name.is_empty() && !is_reachable {
            bad = bad.field("contact.name", "a name, an address or a number is required");
        }
        checked(bad)?;
        once.answered(&self.db, move |tx| {
            let (access, data) = (access.clone(), data.clone());
            let identities = identities.clone();
            Box::pin(async move {
                let contact = create(tx, &access, &data, &identities).await?;
                Ok(CreateContactResponse { contact: Some(contact) })
            })
        })
        .await
    }

    /// Changes a contact that is at the version given.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `CONTACT_NOT_FOUND`, `STALE_VERSION`, `IDENTITY_TAKEN`, `AGENT_REQUIRED`;
    /// database errors.
    pub(crate) async fn update(
        &self,
        access: Access,
        request: UpdateContactRequest,
    ) -> Result<UpdateContactResponse, Error> {
        let given = request.contact.unwrap_or_default();
        let id = ids::parse(&given.contact_id, "contact.contact_id")?;
        let version = given.version;
        let (add, bad) = domain::identities(&request.add_identities, "add_identities", malformed());
        let (remove, bad) = domain::identities(&request.remove_identities, "remove_identities", bad);
        let (data, mut bad) = Data::of(given, bad);
        if version < 1 {
            bad = bad.field("contact.version", "must be the version it was read at");
        }
        checked(bad)?;
        rights::check_change(&access)?;
        let update = Update { id, version, data, add, remove };
        let subjects = self.subjects.clone();
        self.db
            .transaction(move |tx| {
                let (access, subjects, update) = (access.clone(), subjects.clone(), update.clone());
                Box::pin(async move {
                    let contact = update.apply(tx, &subjects, &access).await?;
                    Ok(UpdateContactResponse { contact: Some(contact) })
                })
            })
            .await
    }
}

pub(super) fn malformed() -> Error {
    Error::invalid("INVALID_REQUEST", "the contact is malformed")
}

pub(super) fn checked(bad: Error) -> Result<(), Error> {
    if bad.violations().is_empty() { Ok(()) } else { Err(bad) }
}

pub(super) fn stale() -> Error {
    Error::rejected("STALE_VERSION", "the contact was changed meanwhile")
}

async fn create(
    tx: &mut PgConnection,
    access: &Access,
    data: &Data,
    identities: &[Identity],
) -> Result<Contact, Error> {
    let stored = std::collections::BTreeMap::new();
    checked(fields::check(tx, &stored, &data.extra, malformed()).await?)?;
    keys::lock(tx, identities).await?;
    let id = Uuid::now_v7();
    store::insert(tx, id, data, &access.user_key).await?;
    own(tx, id, identities).await?;
    store::note(tx, id, &access.user_key, What::Created).await?;
    store::contact(tx, id).await?.ok_or_else(rights::not_found)
}

/// Gives the identities to the contact, all or none.
async fn own(tx: &mut PgConnection, id: Uuid, identities: &[Identity]) -> Result<(), Error> {
    if identities.is_empty() || store::add_identities(tx, id, identities).await? == identities.len() {
        return Ok(());
    }
    // Whose it is stays unsaid: it may be a contact the caller knows nothing of.
    Err(Error::rejected("IDENTITY_TAKEN", "an address or number belongs to another contact"))
}

#[derive(Clone, Debug)]
struct Update {
    id: Uuid,
    version: i64,
    data: Data,
    add: Vec<Identity>,
    remove: Vec<Identity>,
}

impl Update {
    async fn apply(
        &self,
        tx: &mut PgConnection,
        subjects: &Subjects,
        access: &Access,
    ) -> Result<Contact, Error> {
        let before = rights::visible(tx, access, self.id).await?;
        if before.contact_id != self.id.to_string() {
            // Merged into another: what the caller read is no more.
            return Err(stale());
        }
        // With these locks no mail of this customer is being taken in while his attentions are looked for.
        let known = store::identities(tx, &[self.id]).await?;
        keys::lock(tx, known.iter().chain(&self.add)).await?;
        let stored = before.extra.into_iter().collect();
        checked(fields::check(tx, &stored, &self.data.extra, malformed()).await?)?;
        if !store::update(tx, self.id, self.version, &self.data).await? {
            return Err(stale());
        }
        store::remove_identities(tx, self.id, &self.remove).await?;
        own(tx, self.id, &self.add).await?;
        store::note(tx, self.id, &access.user_key, What::Updated).await?;
        let renamed = before.name != self.data.name;
        let change = Change {
            live: customer::live_of(tx, self.id).await?,
            stored: if renamed { customer::newest_of(tx, self.id, RENAMED).await? } else { Vec::new() },
            moved: Vec::new(),
        };
        let actor = Actor::User(UserKey::new(&access.user_key));
        customer::changed(tx, subjects, ContactId(self.id), &change, &actor).await?;
        store::contact(tx, self.id).await?.ok_or_else(rights::not_found)
    }
}
