//! `hilo.contact.v1.ContactService`: customers, for those who have an attention of theirs in a campaign.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::contact::v1::contact_service_server::ContactService;
use hilo_proto::contact::v1::{
    Contact, GetContactRequest, GetContactResponse, UpdateContactRequest, UpdateContactResponse,
};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::contact;
use crate::directory::{Access, Role};
use crate::identity::caller;

/// Longest name and company.
const MAX_TEXT: usize = 200;
/// Most extra fields, and the longest value.
const MAX_EXTRA: usize = 50;
const MAX_EXTRA_VALUE: usize = 1_000;

/// The service.
pub(crate) struct ContactRpc {
    db: Db,
}

impl ContactRpc {
    /// Reads and writes by `db`.
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

fn not_found() -> Error {
    Error::missing("CONTACT_NOT_FOUND", "there is no such contact")
}

/// The contact, when the caller may see it.
async fn visible(tx: &mut PgConnection, access: &Access, id: Uuid) -> Result<Contact, Error> {
    let found = contact::contact(tx, id).await?.ok_or_else(not_found)?;
    let campaigns: Vec<String> = access.campaigns.iter().cloned().collect();
    let sees = access.has(Role::Coordinator) || contact::is_known_in(tx, id, &campaigns).await?;
    if sees { Ok(found) } else { Err(not_found()) }
}

fn check(contact: &Contact) -> Result<Uuid, Error> {
    let id = ids::parse(&contact.contact_id, "contact.contact_id")?;
    let mut bad = Error::invalid("INVALID_REQUEST", "the contact is malformed");
    for (field, text) in [("contact.name", &contact.name), ("contact.company", &contact.company)] {
        if text.chars().count() > MAX_TEXT || text.contains(char::is_control) {
            bad = bad.field(field, format!("at most {MAX_TEXT} characters in one line"));
        }
    }
    let fits = |(key, value): (&String, &String)| {
        (1..=MAX_TEXT).contains(&key.chars().count())
            && value.chars().count() <= MAX_EXTRA_VALUE
            && !value.contains('\0')
    };
    if contact.extra.len() > MAX_EXTRA || !contact.extra.iter().all(fits) {
        bad =
            bad.field("contact.extra", format!("at most {MAX_EXTRA} fields of {MAX_EXTRA_VALUE} characters"));
    }
    if contact.version < 1 {
        bad = bad.field("contact.version", "must be the version it was read at");
    }
    if bad.violations().is_empty() { Ok(id) } else { Err(bad) }
}

#[tonic::async_trait]
impl ContactService for ContactRpc {
    async fn get_contact(
        &self,
        request: Request<GetContactRequest>,
    ) -> Result<Response<GetContactResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        let id = ids::parse(&request.into_inner().contact_id, "contact_id")?;
        let found =
            self.db.snapshot(move |tx| Box::pin(async move { visible(tx, &access, id).await })).await?;
        Ok(Response::new(GetContactResponse { contact: Some(found) }))
    }

    async fn update_contact(
        &self,
        request: Request<UpdateContactRequest>,
    ) -> Result<Response<UpdateContactResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        let wanted = request.into_inner().contact.unwrap_or_default();
        let id = check(&wanted)?;
        if !access.has(Role::Agent) && !access.has(Role::Coordinator) {
            return Err(Error::denied("AGENT_REQUIRED", "only an agent may change a contact").into());
        }
        let updated = self
            .db
            .transaction(move |tx| {
                let (access, wanted) = (access.clone(), wanted.clone());
                Box::pin(async move {
                    visible(tx, &access, id).await?;
                    let stale = || Error::rejected("STALE_VERSION", "the contact was changed meanwhile");
                    contact::update(tx, id, &wanted).await?.ok_or_else(stale)
                })
            })
            .await?;
        Ok(Response::new(UpdateContactResponse { contact: Some(updated) }))
    }
}
