//! The statement behind every check.

use std::cmp::Ordering;

use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{read_object, read_type, read_types, read_word};
use super::dialect::replica::leads_to_replica;
use super::dialect::{Conn, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::history::Heads;
use crate::decision::{
    AssignmentFacts, ConditionFacts, ConditionOwner, Facts, PrincipalFacts, Question, ResourceFacts,
};
use crate::domain::principal::PrincipalStatus;
use crate::domain::{Incarnation, JsonObject, Moment, Revision};
use crate::ledger::chain::Head;
use crate::store::continuity::{self, WrongServer};
use crate::store::{ReadAt, Result, StoreError};

/// [`facts_statement`] without its third kind of rows: the questions of a batch share resources and principals, which
/// are read once.
macro_rules! undescribed_facts_statement {
    ($when:tt, $resource_id:literal, $principal_id:literal, $principal_type:literal, $action:literal) => {
        concat!(
            "WITH RECURSIVE lineage(id, parent_id, type) AS ( \
               SELECT e.id, e.parent_id, e.type",
            from_entity!($when, "e", $resource_id),
            " UNION \
               SELECT e.id, e.parent_id, e.type FROM lineage l ",
            join_entity!($when, "e", "l.parent_id"),
            " \
             ), reached(id) AS ( \
               SELECT id FROM lineage UNION ALL SELECT ",
            uuid_value!("'00000000-0000-0000-0000-000000000000'"),
            " \
             ), asked(id) AS MATERIALIZED ( \
               ",
            from_action!($when, $action),
            " \
             ), assigned AS MATERIALIZED ( \
               SELECT reached.id AS reached_id, a.entity_id, a.id, a.role_id, a.effective_at, a.expires_at, \
                      CAST(r.scope_types AS TEXT) AS scope_types, a.condition, \
                      (SELECT COALESCE('=' || rp.condition, '-')",
            from_permission!($when, "r", "(SELECT id FROM asked)"),
            ") AS role_condition \
               FROM reached ",
            join_assignments!(
                $when,
                "a",
                "a.principal_id = ",
                $principal_id,
                " AND a.principal_type = ",
                $principal_type,
                " AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = ",
                index_value!("reached.id")
            ),
            " ",
            join_role!($when, "r", "a.role_id"),
            " \
             ) \
             SELECT l.id AS reached_id, l.type AS resource_type, \
                    (SELECT p.status",
            from_principal!($when, "p", $principal_type, $principal_id),
            ") AS principal_status, NULL AS entity_id, NULL AS assignment_id, NULL AS role_id, \
                    NULL AS effective_at, NULL AS expires_at, NULL AS scope_types, NULL AS condition, \
                    NULL AS role_condition, NULL AS resource_attributes, NULL AS resource_external_id, \
                    NULL AS principal_attributes, NULL AS principal_external_id, \
                    CAST(NULL AS boolean) AS recovering, CAST(NULL AS bigint) AS decisive, NULL AS decisive_hash, \
                    CAST(NULL AS bigint) AS registry_sequence, NULL AS incarnation \
             FROM lineage l WHERE l.id = ",
            $resource_id,
            " \
             UNION ALL \
             SELECT reached_id, NULL, NULL, entity_id, id, role_id, effective_at, expires_at, scope_types, condition, \
                    role_condition, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
             FROM assigned"
        )
    };
}

/// The statement for one question; the four parameters are SQL expressions. `$when` is `now` or the sequence of an
/// entry, `(at "$5")`: one text for the present and the past ([`super::sources`]).
///
/// It returns three kinds of rows:
/// - the resource (with `resource_type`), with the status of the principal if it is registered;
/// - the principal's assignments that are global or on the resource or an ancestor, each with the entity where it was
///   found. Ancestors without an assignment are left out: they would be most of the answer. `UNION` in the recursion
///   makes it end even in a cycle, which no write can create;
/// - the attributes and external ids of resource and principal (with `resource_attributes`), only if one of those
///   assignments has a condition. Few checks need them, and they can be large.
///
/// The key of the join is the unique index of `role_assignments`, in which a global assignment has the nil UUID: one
/// index probe an entity, however many other assignments the principal has. The statement forces that plan, because the
/// planner knows only how many assignments principals have on average. The action is looked up once. `role_condition`
/// says with one probe whether the role has the action (it is null if not) and on which condition: `-` if on none, else
/// `=` and the stored text. So an empty text, which no program stores, is a condition that does not compile.
macro_rules! facts_statement {
    ($when:tt, $resource_id:literal, $principal_id:literal, $principal_type:literal, $action:literal) => {
        concat!(
            undescribed_facts_statement!($when, $resource_id, $principal_id, $principal_type, $action),
            " \
             UNION ALL \
             SELECT e.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                    CAST(e.attributes AS TEXT), e.external_id, CAST(p.attributes AS TEXT), p.external_id, \
                    NULL, NULL, NULL, NULL, NULL \
             FROM (SELECT *",
            from_entity!($when, "described", $resource_id),
            ") e LEFT JOIN ",
            principal_source!($when, $principal_type, $principal_id),
            " p ON TRUE \
             WHERE EXISTS (SELECT 1 FROM assigned WHERE condition IS NOT NULL OR role_condition <> '-')"
        )
    };
}

/// One more row of the same snapshot, about its origin: whether the server is in recovery, the newest entry that
/// changed what decisions depend on, and the revision.
macro_rules! facts_origin {
    ($before:literal) => {
        concat!(
            " UNION ALL SELECT ",
            $before,
            "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ",
            in_recovery!(),
            ", o.sequence, o.entry_hash, o.registry_sequence, CAST(o.incarnation AS TEXT) \
             FROM registry_head o WHERE o.id = 1"
        )
    };
}

pub(in super::super) const FACTS: &str = concat!(facts_statement!(now, "$1", "$2", "$3", "$4"), facts_origin!(""));

/// The same without attributes and external ids.
pub(in super::super) const UNDESCRIBED_FACTS: &str =
    concat!(undescribed_facts_statement!(now, "$1", "$2", "$3", "$4"), facts_origin!(""));

/// The same among the versions after the entry `$5`, and one more row of the same snapshot, about its origin and the
/// moment: the time `$6`, and the revision `$7`. One statement, so that no rebuild of history can be between them.
pub(in super::super) const PAST_FACTS: &str = concat!(
    "SELECT f.*, CAST(NULL AS bigint) AS head, CAST(NULL AS bigint) AS complete_to, CAST(NULL AS bigint) AS began, \
     CAST(NULL AS boolean) AS filled, CAST(NULL AS bigint) AS of_time, CAST(NULL AS bigint) AS first_timed, ",
    time_value!("NULL"),
    " AS entry_time FROM (",
    facts_statement!((at "$5"), "$1", "$2", "$3", "$4"),
    ") f UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ",
    in_recovery!(),
    ", o.sequence, o.entry_hash, o.registry_sequence, CAST(o.incarnation AS TEXT), ",
    moment_columns!("$6", "$7"),
    " FROM registry_head o CROSS JOIN audit_chain_head h CROSS JOIN history_head x \
     WHERE o.id = 1 AND h.id = 1 AND x.id = 1"
);

/// Returns the facts of `question` and their origin; an error unless `known` is an entry of this database's ledger.
pub(in super::super) async fn read(
    conn: &mut Conn,
    question: &Question,
    known: Option<&Head>,
) -> Result<(Option<Facts>, Accepted)> {
    let (found, accepted) = found(conn, FACTS, question, known).await?;
    Ok((found.facts(), accepted))
}

/// What [`read`] makes facts of, without attributes and external ids.
pub(in super::super) async fn undescribed<'a>(
    conn: &mut Conn,
    question: &'a Question,
    known: Option<&Head>,
) -> Result<(Found<'a>, Accepted)> {
    found(conn, UNDESCRIBED_FACTS, question, known).await
}

async fn found<'a>(
    conn: &mut Conn,
    statement: &'static str,
    question: &'a Question,
    known: Option<&Head>,
) -> Result<(Found<'a>, Accepted)> {
    let rows = sqlx::query(statement)
        .bind(bind_id(question.resource_id))
        .bind(bind_id(question.principal_id))
        .bind(question.principal_type.as_str())
        .bind(question.action.as_str())
        .fetch_all(&mut *conn)
        .await
        .map_err(classify)?;
    let mut found = Found::new(question);
    let mut origin = Origin::default();
    for row in &rows {
        if !origin.add(row)? {
            found.add(row)?;
        }
    }
    Ok((found, origin.accept(conn, known).await?))
}

/// Returns the facts of `question` after entry `at`, and what `moment` is resolved by, in one snapshot.
pub(super) async fn read_past(
    conn: &mut Conn,
    question: &Question,
    (at, moment): (i64, Moment),
    known: Option<&Head>,
) -> Result<(Option<Facts>, Heads)> {
    let rows = sqlx::query(PAST_FACTS)
        .bind(bind_id(question.resource_id))
        .bind(bind_id(question.principal_id))
        .bind(question.principal_type.as_str())
        .bind(question.action.as_str())
        .bind(at)
        .bind(moment.at.map(bind_time))
        .bind(moment.revision.map(|revision| revision.sequence))
        .fetch_all(&mut *conn)
        .await
        .map_err(classify)?;
    let mut found = Found::new(question);
    let mut heads = None;
    for row in &rows {
        if row.try_get::<Option<bool>, _>("recovering").map_err(classify)?.is_some() {
            heads = Some(Heads::read(&mut *conn, row, known).await?);
        } else {
            found.add(row)?;
        }
    }
    let heads = heads.ok_or_else(|| StoreError::corrupt("history_head", "its row is missing"))?;
    // Read afterwards: fields that are erased in between are missing, too.
    if found.assignments.iter().any(|one| !one.conditions.is_empty()) {
        found.principal.is_erased = is_erased(conn, question, at).await?;
    }
    Ok((found.facts(), heads))
}

/// Whether the fields that the principal had after entry `at` have been erased since.
async fn is_erased(conn: &mut Conn, question: &Question, at: i64) -> Result<bool> {
    const ERASED: &str = concat!("SELECT ", erased_since!((at "$3"), "v"), from_principal!((at "$3"), "v", "$1", "$2"));
    let erased: Option<bool> = sqlx::query_scalar(ERASED)
        .bind(question.principal_type.as_str())
        .bind(bind_id(question.principal_id))
        .bind(at)
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    Ok(erased == Some(true))
}

/// The origin of facts: the server and its newest registry change.
#[derive(Default)]
pub(in super::super) struct Origin {
    recovering: Option<bool>,
    read: Option<Accepted>,
}

/// The state of a server from which facts may be used.
#[derive(Debug, Clone)]
pub(in super::super) struct Accepted {
    /// The newest entry that changed what decisions depend on.
    pub(in super::super) decisive: Head,
    pub(in super::super) revision: Revision,
}

impl Accepted {
    pub(in super::super) fn read_at(&self) -> ReadAt {
        ReadAt { revision: self.revision, decisive: self.decisive.sequence }
    }
}

impl Origin {
    /// Reads `row` if it is the row about the origin; returns whether it is.
    pub(in super::super) fn add(&mut self, row: &Row) -> Result<bool> {
        let Some(recovering) = row.try_get::<Option<bool>, _>("recovering").map_err(classify)? else {
            return Ok(false);
        };
        self.recovering = Some(recovering);
        let decisive = Head {
            sequence: row.try_get("decisive").map_err(classify)?,
            entry_hash: row.try_get("decisive_hash").map_err(classify)?,
        };
        self.read = Some(Accepted { decisive, revision: read_revision(row)? });
        Ok(true)
    }

    /// Returns the state. INVARIANT: facts from a server in recovery, or whose ledger lacks the change that this
    /// process knows, are never used. A read from a replica has verified its server before.
    pub(in super::super) async fn accept(self, conn: &mut Conn, known: Option<&Head>) -> Result<Accepted> {
        if self.recovering == Some(true) && !leads_to_replica(conn) {
            return Err(WrongServer::error("it is in recovery (a standby)"));
        }
        let accepted = self.read.ok_or_else(|| StoreError::corrupt("registry_head", "its row is missing"))?;
        let Some(known) = known else { return Ok(accepted) };
        let stored = match accepted.decisive.sequence.cmp(&known.sequence) {
            Ordering::Less => None,
            Ordering::Equal => Some(accepted.decisive.entry_hash.clone()),
            // Another process has made a change. Entries never change, so a later statement may read the known one.
            Ordering::Greater => sqlx::query_scalar("SELECT entry_hash FROM audit_logs WHERE sequence = $1")
                .bind(known.sequence)
                .fetch_optional(conn)
                .await
                .map_err(classify)?,
        };
        continuity::verify(Some(known), stored.as_deref())?;
        Ok(accepted)
    }
}

/// Reads the revision in the columns `registry_sequence` and `incarnation`, which is text.
pub(in super::super) fn read_revision(row: &Row) -> Result<Revision> {
    let incarnation: &str = row.try_get("incarnation").map_err(classify)?;
    let incarnation = Uuid::try_parse(incarnation).map_err(|error| StoreError::corrupt("incarnation", error))?;
    let sequence = row.try_get("registry_sequence").map_err(classify)?;
    Ok(Revision { incarnation: Incarnation(incarnation), sequence })
}

/// The facts of one question, collected row by row.
pub(in super::super) struct Found<'a> {
    question: &'a Question,
    principal: PrincipalFacts,
    resource: Option<ResourceFacts>,
    /// Attributes and external id of the resource, if conditions may read them.
    described: Option<(JsonObject, Option<String>)>,
    assigned_entities: Vec<Uuid>,
    assignments: Vec<AssignmentFacts>,
}

impl<'a> Found<'a> {
    pub(in super::super) fn new(question: &'a Question) -> Self {
        Self {
            question,
            principal: PrincipalFacts::default(),
            resource: None,
            described: None,
            assigned_entities: Vec::new(),
            assignments: Vec::new(),
        }
    }

    pub(in super::super) fn add(&mut self, row: &Row) -> Result<()> {
        let reached: Uuid = row.try_get("reached_id").map(read_id).map_err(classify)?;
        if let Some(word) = row.try_get::<Option<&str>, _>("resource_type").map_err(classify)? {
            self.resource = Some(ResourceFacts::of(read_type(word)?));
            let status = row.try_get::<Option<&str>, _>("principal_status").map_err(classify)?;
            let status: Option<PrincipalStatus> = status.map(read_word).transpose()?;
            self.principal.is_suspended = status == Some(PrincipalStatus::Suspended);
        } else if let Some(text) = row.try_get("resource_attributes").map_err(classify)? {
            self.described =
                Some((read_object("attributes", text)?, row.try_get("resource_external_id").map_err(classify)?));
            let attributes: Option<&str> = row.try_get("principal_attributes").map_err(classify)?;
            self.principal.attributes =
                attributes.map(|text| read_object("attributes", text)).transpose()?.unwrap_or_default().into();
            self.principal.external_id = row.try_get("principal_external_id").map_err(classify)?;
            return Ok(());
        } else {
            self.assignments.push(read_assignment(row, self.question)?);
        }
        // The nil UUID of a global assignment is not an entity.
        if !reached.is_nil() && !self.assigned_entities.contains(&reached) {
            self.assigned_entities.push(reached);
        }
        Ok(())
    }

    /// Returns the question.
    pub(in super::super) fn question(&self) -> &'a Question {
        self.question
    }

    /// Whether the resource is registered.
    pub(in super::super) fn is_registered(&self) -> bool {
        self.resource.is_some()
    }

    /// Whether conditions may read attributes and external ids.
    pub(in super::super) fn has_conditions(&self) -> bool {
        self.assignments.iter().any(|one| !one.conditions.is_empty())
    }

    /// Returns the facts of an unknown resource, which `resource` describes: the global assignments.
    pub(in super::super) fn facts_of(self, resource: ResourceFacts, principal: PrincipalFacts) -> Facts {
        Facts { principal, resource, assigned_entities: Vec::new(), assignments: self.assignments }
    }

    /// Returns the facts with the principal and the resource as conditions see them; `None` when the resource is
    /// unknown.
    pub(in super::super) fn described(
        self,
        principal: Option<&PrincipalFacts>,
        resource: ResourceFacts,
    ) -> Option<Facts> {
        let facts = self.facts()?;
        Some(Facts { principal: principal.cloned().unwrap_or_default(), resource, ..facts })
    }

    /// Returns the facts; `None` when the resource is unknown.
    pub(in super::super) fn facts(self) -> Option<Facts> {
        let Self { principal, described, assigned_entities, assignments, .. } = self;
        let mut resource = self.resource?;
        if let Some((attributes, external_id)) = described {
            (resource.attributes, resource.external_id) = (attributes.into(), external_id);
        }
        Some(Facts { principal, resource, assigned_entities, assignments })
    }
}

fn read_assignment(row: &Row, question: &Question) -> Result<AssignmentFacts> {
    let own: Option<&str> = row.try_get("condition").map_err(classify)?;
    let of_role: Option<&str> = row.try_get("role_condition").map_err(classify)?;
    let conditions =
        [(ConditionOwner::Assignment, own), (ConditionOwner::Role, of_role.and_then(|text| text.strip_prefix('=')))];
    let conditions =
        conditions.into_iter().filter_map(|(owner, text)| text.map(|text| ConditionFacts::of(owner, text)));
    Ok(AssignmentFacts {
        assignment_id: row.try_get("assignment_id").map(read_id).map_err(classify)?,
        principal_id: question.principal_id,
        principal_type: question.principal_type.as_str().into(),
        role_id: row.try_get("role_id").map(read_id).map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        effective_at: read_time(row.try_get::<SqlTime, _>("effective_at").map_err(classify)?)?,
        expires_at: row.try_get::<Option<SqlTime>, _>("expires_at").map_err(classify)?.map(read_time).transpose()?,
        scope_types: read_types(row.try_get("scope_types").map_err(classify)?)?.into(),
        held_action: of_role.map(|_| question.action.as_str().into()),
        conditions: conditions.collect(),
    })
}
