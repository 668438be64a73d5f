//! Lists of assignments that are not in force: the statements of their search.
//!
//! Must never leave out an assignment whose process had a clock ahead of this one's.

use std::sync::LazyLock;

use sqlx::QueryBuilder;

use super::assignments::{self, SELECTED, conditions, is_in_force, is_of_type};
use super::dialect::{Db, Row, bind_time};
use super::listing::after;
use super::searched::{FOUND, NEWEST, NEWEST_ROWS, OF_NEWEST, SearchIn, Searched, count_newest};
use crate::domain::{Assignment, AssignmentFilter, InForce, Timestamp};
use crate::store::{Page, Result};

/// The rows with the ids in a JSON list, newest first.
static ROWS: LazyLock<String> = LazyLock::new(|| {
    let joined = concat!(
        " FROM ",
        json_items!("$1"),
        " ",
        join_probing!("role_assignments", "a", "a.id = ", uuid_value!("item.value")),
        " ORDER BY a.created_at DESC, a.id DESC"
    );
    format!("SELECT {}{joined}", *SELECTED)
});

/// An index, and the condition by which it finds assignments that are not in force; the present time follows. Two of
/// the indexes are partial, so that assignments without an end, and those that begin when they are made, cost nothing.
const PARTS: [(&str, &str); 3] = [
    ("a.expires_at", "a.expires_at <= "),
    ("a.effective_at", "a.effective_at > a.created_at AND a.effective_at > "),
    // Made by a process whose clock is ahead: it begins when it was made, and that is later than now.
    ("a.created_at", "a.effective_at <= a.created_at AND a.created_at > "),
];

/// The search for assignments that are not in force.
#[derive(Debug, Clone, Copy)]
pub struct AssignmentSearch<'a> {
    filter: &'a AssignmentFilter,
    now: Timestamp,
}

impl<'a> AssignmentSearch<'a> {
    /// The search that `filter` needs in a call at `now`; `None` when it has another condition by which an index finds
    /// the rows. Assignments in force are most of the newest and need no search.
    #[must_use]
    pub fn of(filter: &'a AssignmentFilter, now: Timestamp) -> Option<Self> {
        let narrow = filter.principal_id.is_some() || filter.role_id.is_some() || filter.entity_id.is_some();
        (filter.in_force == Some(InForce::NotNow) && !narrow).then_some(Self { filter, now })
    }
}

impl Searched<Assignment> for AssignmentSearch<'_> {
    /// At most `most` from each index.
    fn count(&self, most: i64) -> QueryBuilder<Db> {
        let mut query = QueryBuilder::<Db>::new("SELECT 0");
        for (column, condition) in PARTS {
            query.push(" + (SELECT COUNT(*) FROM (SELECT 1 FROM role_assignments a WHERE ").push(condition);
            query.push_bind(bind_time(self.now)).push(" ORDER BY ").push(column);
            query.push(" LIMIT ").push_bind(most).push(") t)");
        }
        query
    }

    fn positions(&self, among: SearchIn, page: Page) -> QueryBuilder<Db> {
        let mut query = QueryBuilder::<Db>::new("");
        match among {
            SearchIn::Candidates => {
                query.push("WITH ended AS MATERIALIZED (");
                for (number, (_, condition)) in PARTS.into_iter().enumerate() {
                    query.push(if number == 0 { "SELECT " } else { " UNION SELECT " });
                    query.push("a.id, a.created_at, a.effective_at, a.expires_at, a.principal_type ");
                    query.push("FROM role_assignments a WHERE ").push(condition).push_bind(bind_time(self.now));
                }
                query.push(") SELECT a.created_at, a.id FROM ended a WHERE 1 = 1");
                // The third part has a few that have begun: the clock of their start is not that of their creation.
                conditions(&mut query, self.filter, self.now);
                after(&mut query, "a", page);
            }
            SearchIn::NewestRows => {
                query.push(NEWEST).push("SELECT a.created_at, a.id, a.effective_at, a.expires_at ");
                query.push("FROM role_assignments a WHERE 1 = 1");
                is_of_type(&mut query, self.filter);
                let limit = u32::try_from(NEWEST_ROWS).unwrap_or(u32::MAX);
                after(&mut query, "a", Page { limit, after: page.after });
                query.push(OF_NEWEST).push("SELECT a.created_at, a.id FROM newest a WHERE 1 = 1");
                is_in_force(&mut query, self.filter, self.now);
                after(&mut query, "a", Page { limit: page.limit, after: None });
                query.push(FOUND);
                count_newest(&mut query, page.limit);
            }
        }
        query
    }

    fn rows(&self) -> &'static str {
        &ROWS
    }

    fn read(&self, row: &Row) -> Result<Assignment> {
        assignments::read(row)
    }

    fn admits(&self, row: &Assignment) -> bool {
        self.filter.admits(row, self.now)
    }
}
