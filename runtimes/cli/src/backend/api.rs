//! A running API, over HTTP. Owns what is sent and what an operator is told when the answer is not the one hoped for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use epr_core::decision::Question;
use epr_core::domain::fields::Choice as _;
use epr_core::domain::json::object;
use epr_core::domain::role::Action;
use epr_core::domain::{
    Assignment, AssignmentFilter, BulkStep, Entity, EntityFilter, EntityPatch, EntityType, Invalid, Json, JsonObject,
    NamedAssignment, NewAssignment, NewEntity, NewRole, Role, RolePatch,
};
use epr_core::error::chain;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use uuid::Uuid;

use super::{Fault, Take, read};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Until an answer is there.
const CALL: Duration = Duration::from_mins(1);

/// An API at an address.
pub(crate) struct Api {
    client: Client,
    base: Url,
    has_token: bool,
}

impl Api {
    pub(crate) fn new(base: &Url, token: Option<&str>, actor: Option<Uuid>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| "the token holds characters that no token has".to_owned())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some(actor) = actor.and_then(|actor| HeaderValue::from_str(&actor.to_string()).ok()) {
            headers.insert("x-actor-id", actor);
        }
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("epr/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(CALL)
            // A redirect would carry the token to somewhere else.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|fault| chain(&fault))?;
        let mut base = base.clone();
        // What is joined to it replaces everything after the last slash.
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self { client, base, has_token: token.is_some() })
    }

    pub(super) fn address(&self) -> String {
        self.base.to_string()
    }

    fn at(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(|fault| Fault::Answer(format!("`{path}` is no path: {fault}")))
    }

    /// Sends, and gives the answer if it is a success.
    async fn send(&self, method: Method, url: Url, body: Option<&Json>) -> Result<Response, Fault> {
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|fault| self.unreachable(&fault))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    async fn json(&self, answer: Response) -> Result<Json, Fault> {
        let bytes = answer.bytes().await.map_err(|fault| self.unreachable(&fault))?;
        Json::parse(&bytes).map_err(|_| self.foreign())
    }

    async fn call<T>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
        read: fn(&Json) -> Result<T, Invalid>,
    ) -> Result<T, Fault> {
        let answer = self.send(method, self.at(path)?, body).await?;
        read(&self.json(answer).await?).map_err(|_| self.foreign())
    }

    fn unreachable(&self, fault: &reqwest::Error) -> Fault {
        let base = &self.base;
        Fault::Answer(if fault.is_timeout() {
            format!(
                "{base} did not answer in time; it may have carried out what was asked, so look before trying again"
            )
        } else if fault.is_connect() {
            let why = std::error::Error::source(fault).map(chain).unwrap_or_default();
            format!("{base} cannot be reached ({why}): check the address, and that the service runs there")
        } else {
            format!(
                "the connection to {base} broke: {}",
                std::error::Error::source(fault).map_or_else(|| fault.to_string(), chain)
            )
        })
    }

    fn foreign(&self) -> Fault {
        Fault::Answer(format!("{} answered, but not as an EPR API does: check the address", self.base))
    }

    /// What an operator is told about an answer that is no success.
    async fn refused(&self, answer: Response) -> Fault {
        let status = answer.status();
        let text_of = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (wait, request, place) = (text_of("retry-after"), text_of("x-request-id"), text_of("location"));
        let body = answer.bytes().await.unwrap_or_default();
        let detail = detail(&body);
        let said = detail.clone().map(|detail| format!(": {detail}")).unwrap_or_default();
        let request = request.map(|id| format!(" under request id {id}")).unwrap_or_default();
        let wait = wait.map(|seconds| format!(" in {seconds} s")).unwrap_or_default();
        match status {
            StatusCode::UNAUTHORIZED if self.has_token => {
                Fault::Answer(format!("the API does not accept this token{said}; it may have expired or been revoked"))
            }
            StatusCode::UNAUTHORIZED => Fault::Answer(
                "the API wants a token: put it into a file and name that with --token-file, or set EPR_API_TOKEN"
                    .into(),
            ),
            StatusCode::FORBIDDEN => Fault::Answer(format!("this token may not do that{said}")),
            StatusCode::CONFLICT => Fault::Taken(detail.unwrap_or_else(|| "the name is taken".into())),
            StatusCode::NOT_FOUND if detail.as_deref().is_none_or(|said| said == "Not Found") => self.foreign(),
            StatusCode::NOT_FOUND => Fault::Missing(detail.unwrap_or_default()),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Fault::Answer(format!("the API cannot answer at the moment ({status}{said}): try again{wait}"))
            }
            _ if status.is_server_error() => {
                Fault::Answer(format!("the API failed ({status}): its log tells why{request}"))
            }
            _ if status.is_redirection() => Fault::Answer(format!(
                "{} sends elsewhere, to {}: use the right address, so that no token goes astray",
                self.base,
                place.unwrap_or_else(|| "an unnamed place".into())
            )),
            _ => Fault::Answer(detail.unwrap_or_else(|| format!("the API answered {status}"))),
        }
    }

    pub(super) async fn check(&self, question: &Question) -> Result<bool, Fault> {
        let body = Json::Object(object([
            ("user_id", question.principal_id.into()),
            ("principal_type", question.principal_type.as_str().into()),
            ("action", question.action.as_str().into()),
            ("resource_id", question.resource_id.into()),
        ]));
        let answer = self.send(Method::POST, self.at("api/v1/authorize")?, Some(&body)).await?;
        match self.json(answer).await?.as_object().and_then(|members| members.get("authorized")) {
            Some(Json::Bool(allowed)) => Ok(*allowed),
            _ => Err(self.foreign()),
        }
    }

    pub(super) async fn entity(&self, id: Uuid) -> Result<Entity, Fault> {
        self.call(Method::GET, &format!("api/v1/entities/{id}"), None, read::entity).await
    }

    pub(super) async fn create_entity(&self, new: &NewEntity) -> Result<Entity, Fault> {
        let body = object([
            ("name", new.name.as_str().into()),
            ("type", new.entity_type.word().into()),
            ("status", new.status.word().into()),
            ("parent_id", new.parent_id.into()),
            ("attributes", new.attributes.clone().into()),
        ]);
        self.call(Method::POST, "api/v1/entities", Some(&Json::Object(body)), read::entity).await
    }

    pub(super) async fn update_entity(&self, id: Uuid, patch: &EntityPatch) -> Result<Entity, Fault> {
        let mut body = JsonObject::new();
        if let Some(name) = &patch.name {
            body.insert("name".into(), name.as_str().into());
        }
        if let Some(status) = patch.status {
            body.insert("status".into(), status.word().into());
        }
        if let Some(parent_id) = patch.parent_id {
            body.insert("parent_id".into(), parent_id.into());
        }
        if let Some(attributes) = &patch.attributes {
            body.insert("attributes".into(), attributes.clone().into());
        }
        self.call(Method::PATCH, &format!("api/v1/entities/{id}"), Some(&Json::Object(body)), read::entity).await
    }

    pub(super) async fn archive_entity(&self, id: Uuid) -> Result<Entity, Fault> {
        self.call(Method::POST, &format!("api/v1/entities/{id}/archive"), None, read::entity).await
    }

    pub(super) async fn role(&self, id: Uuid) -> Result<Role, Fault> {
        self.call(Method::GET, &format!("api/v1/roles/{id}"), None, read::role).await
    }

    pub(super) async fn create_role(&self, new: &NewRole) -> Result<Role, Fault> {
        let body = object([
            ("name", new.name.as_str().into()),
            ("description", new.description.as_ref().map(|text| text.as_str().to_owned()).into()),
            ("scope_types", type_words(&new.scope_types)),
            ("permissions", new.permissions.iter().map(Action::as_str).collect::<Vec<_>>().into()),
            ("is_system", new.is_system.into()),
        ]);
        self.call(Method::POST, "api/v1/roles", Some(&Json::Object(body)), read::role).await
    }

    pub(super) async fn update_role(&self, id: Uuid, patch: &RolePatch) -> Result<Role, Fault> {
        let mut body = JsonObject::new();
        if let Some(description) = &patch.description {
            // The API takes `null` for no change: over it a description can be emptied, not removed.
            let text = description.as_ref().map_or_else(String::new, |text| text.as_str().to_owned());
            body.insert("description".into(), text.into());
        }
        if let Some(types) = &patch.scope_types {
            body.insert("scope_types".into(), type_words(types));
        }
        if let Some(permissions) = &patch.permissions {
            let actions: Vec<_> = permissions.iter().map(Action::as_str).collect();
            body.insert("permissions".into(), actions.into());
        }
        self.call(Method::PATCH, &format!("api/v1/roles/{id}"), Some(&Json::Object(body)), read::role).await
    }

    pub(super) async fn assign(&self, new: &NewAssignment) -> Result<Assignment, Fault> {
        let mut body = object([
            ("principal_id", new.principal_id.into()),
            ("principal_type", new.principal_type.as_str().into()),
            ("role_id", new.role_id.into()),
            ("entity_id", new.entity_id.into()),
            ("expires_at", new.expires_at.map(|end| end.to_string()).into()),
        ]);
        if let Some(start) = new.effective_at {
            body.insert("effective_at".into(), start.to_string().into());
        }
        self.call(Method::POST, "api/v1/assignments", Some(&Json::Object(body)), read::assignment).await
    }

    pub(super) async fn revoke(&self, id: Uuid) -> Result<(), Fault> {
        self.send(Method::DELETE, self.at(&format!("api/v1/assignments/{id}"))?, None).await.map(|_| ())
    }

    pub(super) async fn apply(&self, step: &BulkStep) -> Result<(), Fault> {
        match step {
            BulkStep::CreateRole(new) => self.create_role(new).await.map(|_| ()),
            BulkStep::UpdateRole(id, patch) => self.update_role(*id, patch).await.map(|_| ()),
            BulkStep::Assign(new) => self.assign(new).await.map(|_| ()),
            BulkStep::Reassign(old, new) => {
                self.revoke(*old).await?;
                self.assign(new).await.map(|_| ()).map_err(|why| {
                    Fault::Answer(format!("assignment {old} is revoked and the one in its place is not made: {why}"))
                })
            }
        }
    }

    pub(super) async fn each_entity(&self, filter: &EntityFilter, take: Take<'_, Entity>) -> Result<(), Fault> {
        let mut url = self.at("api/v1/entities")?;
        for entity_type in &filter.types {
            url.query_pairs_mut().append_pair("type", entity_type.word());
        }
        if let Some(parent) = filter.parent_id {
            url.query_pairs_mut().append_pair("parent_id", &parent.to_string());
        }
        let mut pages = Pages::from(url);
        while let Some(rows) = pages.next(self, read::entity).await? {
            if !rows.into_iter().all(&mut *take) {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn each_role(&self, take: Take<'_, Role>) -> Result<(), Fault> {
        let mut pages = Pages::from(self.at("api/v1/roles")?);
        while let Some(rows) = pages.next(self, read::role).await? {
            if !rows.into_iter().all(&mut *take) {
                break;
            }
        }
        Ok(())
    }

    fn assignments(&self, filter: AssignmentFilter) -> Result<Pages, Fault> {
        let mut url = self.at("api/v1/assignments")?;
        for (name, id) in [("principal_id", filter.principal_id), ("entity_id", filter.entity_id)] {
            if let Some(id) = id {
                url.query_pairs_mut().append_pair(name, &id.to_string());
            }
        }
        Ok(Pages::from(url))
    }

    pub(super) async fn each_assignment(
        &self,
        filter: AssignmentFilter,
        take: Take<'_, Assignment>,
    ) -> Result<(), Fault> {
        let mut pages = self.assignments(filter)?;
        while let Some(rows) = pages.next(self, read::assignment).await? {
            if !rows.into_iter().all(&mut *take) {
                break;
            }
        }
        Ok(())
    }

    /// The names are asked for one by one, each once.
    pub(super) async fn each_named(
        &self,
        filter: AssignmentFilter,
        take: Take<'_, NamedAssignment>,
    ) -> Result<(), Fault> {
        let mut roles: HashMap<Uuid, String> = HashMap::new();
        let mut places: HashMap<Uuid, (EntityType, String)> = HashMap::new();
        let mut pages = self.assignments(filter)?;
        while let Some(rows) = pages.next(self, read::assignment).await? {
            for assignment in rows {
                let role_name = match roles.entry(assignment.role_id) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(place) => place.insert(self.role(assignment.role_id).await?.name).clone(),
                };
                let place = match assignment.entity_id.map(|id| (id, places.entry(id))) {
                    None => None,
                    Some((_, Entry::Occupied(known))) => Some(known.get().clone()),
                    Some((id, Entry::Vacant(place))) => {
                        let entity = self.entity(id).await?;
                        Some(place.insert((entity.entity_type, entity.name)).clone())
                    }
                };
                let (entity_type, entity_name) = place.unzip();
                if !take(NamedAssignment { assignment, role_name, entity_type, entity_name }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A list, page by page, along the links that the API gives.
struct Pages {
    next: Option<Url>,
}

impl Pages {
    fn from(mut first: Url) -> Self {
        first.query_pairs_mut().append_pair("limit", "500");
        Self { next: Some(first) }
    }

    async fn next<T>(&mut self, api: &Api, read: fn(&Json) -> Result<T, Invalid>) -> Result<Option<Vec<T>>, Fault> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        let answer = api.send(Method::GET, url.clone(), None).await?;
        self.next = match answer.headers().get(header::LINK).and_then(|link| link.to_str().ok()).and_then(next_in) {
            None => None,
            Some(reference) => Some(next_page(&url, reference).ok_or_else(|| api.foreign())?),
        };
        let Json::List(rows) = api.json(answer).await? else {
            return Err(api.foreign());
        };
        rows.iter().map(|row| read(row).map_err(|_| api.foreign())).collect::<Result<_, _>>().map(Some)
    }
}

/// The reference in `Link: <…>; rel="next"`.
fn next_in(link: &str) -> Option<&str> {
    let (reference, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then_some(reference)
}

/// What `reference` means in an answer to a request for `url` (RFC 3986); `None` when that is another server, which must not
/// get the token.
fn next_page(url: &Url, reference: &str) -> Option<Url> {
    url.join(reference).ok().filter(|next| next.origin() == url.origin())
}

fn type_words(types: &[EntityType]) -> Json {
    types.iter().map(|entity_type| entity_type.word()).collect::<Vec<_>>().into()
}

/// The `detail` of an error: a sentence, or the failing fields in one.
fn detail(body: &[u8]) -> Option<String> {
    let body = Json::parse(body).ok()?;
    match body.as_object()?.get("detail")? {
        Json::Text(sentence) => Some(sentence.clone()),
        Json::List(faults) => {
            let told = faults.iter().filter_map(|fault| {
                let members = fault.as_object()?;
                let Json::List(steps) = members.get("loc")? else { return None };
                let steps =
                    steps.iter().skip(1).map(|step| step.as_text().map_or_else(|| step.to_string(), str::to_owned));
                Some(format!("{}: {}", steps.collect::<Vec<_>>().join("."), members.get("msg")?.as_text()?))
            });
            Some(told.collect::<Vec<_>>().join("; "))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_behind_a_proxy_too() {
        let asked = Url::parse("https://proxy/epr/api/v1/roles?limit=500&cursor=old").unwrap();
        let next = |link: &str| next_in(link).and_then(|reference| next_page(&asked, reference)).map(String::from);
        let behind = "https://proxy/epr/api/v1/roles?limit=500&cursor=AbC%2D_";
        for reference in ["?limit=500&cursor=AbC%2D_", "roles?limit=500&cursor=AbC%2D_", behind] {
            assert_eq!(next(&format!("<{reference}>; rel=\"next\"")).as_deref(), Some(behind));
        }
        assert_eq!(next("<?cursor=a>; rel=\"prev\""), None);
        for elsewhere in ["//evil.test/?cursor=a", "http://proxy/epr", "https://proxy:8443/", "file:///etc"] {
            assert_eq!(next(&format!("<{elsewhere}>; rel=\"next\"")), None, "{elsewhere}");
        }
    }

    #[test]
    fn errors_become_sentences() {
        assert_eq!(detail(br#"{"detail": "Role 'x' already exists"}"#).as_deref(), Some("Role 'x' already exists"));
        let fields = br#"{"detail": [{"loc": ["body", "permissions", 0], "msg": "too short", "type": "x"}]}"#;
        assert_eq!(detail(fields).as_deref(), Some("permissions.0: too short"));
        assert_eq!(detail(b"<html>"), None);
    }
}
