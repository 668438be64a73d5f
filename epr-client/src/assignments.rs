//! `/api/v1/assignments`

use epr_core::domain::{Assignment, AssignmentFilter, AssignmentRequest, Moment, NewAssignment};
use reqwest::Method;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::list::List;
use crate::retry::Repeat;
use crate::transport::Request;
use crate::wire;

const PATH: &str = "api/v1/assignments";

impl Client {
    /// Assigns a role. The same principal, type, role and entity again returns the existing assignment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the role does not exist, [`Error::Invalid`] when the entity does not exist or the
    /// role is not meant for its type.
    pub async fn assign(&self, new: &NewAssignment) -> Result<Assignment, Error> {
        self.create(PATH, new.to_body(), Repeat::Safe, Assignment::from_json).await
    }

    /// Assigns a role to a principal that is named by its id or by its external id. An unknown external id registers
    /// the principal in the same transaction.
    ///
    /// # Errors
    /// Those of [`Client::assign`].
    pub async fn assign_to(&self, request: &AssignmentRequest) -> Result<Assignment, Error> {
        self.create(PATH, request.to_body(), Repeat::Safe, Assignment::from_json).await
    }

    /// Reads an assignment, in force or not.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none: it was revoked, or never existed.
    pub async fn assignment(&self, id: Uuid) -> Result<Assignment, Error> {
        self.get(&wire::object(PATH, id), Assignment::from_json).await
    }

    /// Reads an assignment as it was at a moment. The read is recorded as a review.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there was none; [`Error::Invalid`] or [`Error::Conflict`] when the moment cannot be
    /// asked.
    pub async fn assignment_at(&self, id: Uuid, moment: Moment) -> Result<Assignment, Error> {
        self.get_at(&wire::object(PATH, id), moment, Assignment::from_json).await
    }

    /// Lists assignments, newest first.
    pub fn assignments(&self, filter: &AssignmentFilter) -> List<Assignment> {
        List::new(self, PATH, filter.to_pairs(), 500, Assignment::from_json)
    }

    /// Revokes an assignment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none: it was revoked before, or never existed.
    pub async fn revoke(&self, id: Uuid) -> Result<(), Error> {
        let url = self.at(&wire::object(PATH, id));
        // Repeated after it was carried out, it would answer that there is none.
        self.send(Request { method: Method::DELETE, url, body: None, repeat: Repeat::Unsafe }).await.map(|_| ())
    }
}
