//! `hilo.contact.v1.ContactService`: customers, for those who have an attention of theirs in a campaign.

use hilo_kit::db::Db;
use hilo_kit::nats::Subjects;
use hilo_proto::contact::v1::contact_service_server::ContactService;
use hilo_proto::contact::v1::{
    CreateContactRequest, CreateContactResponse, GetContactRequest, GetContactResponse, ListMatchesRequest,
    ListMatchesResponse, MergeContactsRequest, MergeContactsResponse, SearchContactsRequest,
    SearchContactsResponse, UpdateContactRequest, UpdateContactResponse,
};
use tonic::{Request, Response, Status};

use crate::contact::change::Contacts;
use crate::contact::{matches, search};
use crate::identity::caller;

/// The service.
pub(crate) struct ContactRpc {
    db: Db,
    contacts: Contacts,
}

impl ContactRpc {
    /// Reads and writes by `db`, announces under `subjects`.
    pub(crate) fn new(db: Db, subjects: Subjects) -> Self {
        Self { contacts: Contacts::new(db.clone(), subjects), db }
    }
}

#[tonic::async_trait]
impl ContactService for ContactRpc {
    async fn get_contact(
        &self,
        request: Request<GetContactRequest>,
    ) -> Result<Response<GetContactResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(search::get(&self.db, access, request.into_inner()).await?))
    }

    async fn search_contacts(
        &self,
        request: Request<SearchContactsRequest>,
    ) -> Result<Response<SearchContactsResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(search::search(&self.db, access, request.into_inner()).await?))
    }

    async fn create_contact(
        &self,
        request: Request<CreateContactRequest>,
    ) -> Result<Response<CreateContactResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.contacts.create(access, request.into_inner()).await?))
    }

    async fn update_contact(
        &self,
        request: Request<UpdateContactRequest>,
    ) -> Result<Response<UpdateContactResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.contacts.update(access, request.into_inner()).await?))
    }

    async fn merge_contacts(
        &self,
        request: Request<MergeContactsRequest>,
    ) -> Result<Response<MergeContactsResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.contacts.merge(access, request.into_inner()).await?))
    }

    async fn list_matches(
        &self,
        request: Request<ListMatchesRequest>,
    ) -> Result<Response<ListMatchesResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(matches::list(&self.db, access, request.into_inner()).await?))
    }
}
