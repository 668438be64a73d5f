//! A merge of ordered ranges: the assignments of one principal at a time, in the order of the list.
//!
//! Owns how many rows are read of each range at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use uuid::Uuid;

use super::super::dialect::{Conn, access_batch};
use super::super::sources::AsOf;
use super::rows::{RangeRow, RangeStart};
use crate::store::{PrincipalKey, Result};

/// The fewest and the most rows that are read of a range at a time.
const MIN_ROWS: usize = 4;
const MAX_ROWS: usize = 1024;

/// The most rows that one statement reads of all ranges, unless there are more ranges than a quarter of it.
const MAX_READ: usize = 16_384;

/// The assignments of one role on one entity that are still to be merged.
struct Range {
    /// Where the rows after those of `rows` begin.
    start: RangeStart,
    rows: VecDeque<RangeRow>,
    is_read: bool,
}

/// The ranges, and which of them has the next principal.
pub(super) struct Merge {
    ranges: Vec<Range>,
    /// The first principal of each range that has rows.
    heads: BinaryHeap<Reverse<(PrincipalKey, usize)>>,
    /// Ranges whose rows have all been taken and which may have more.
    drained: Vec<usize>,
    /// The number of rows that the next read takes of a range, if the ranges are few.
    rows: usize,
    when: AsOf,
    /// The number of rows that the last read took of a range.
    last_rows: usize,
}

impl Merge {
    /// Begins after the principal `after`. `pairs` are the entities (the nil UUID for global assignments) and roles of
    /// the ranges, and `expected` is about how many principals will be taken.
    pub(super) fn new(
        pairs: impl Iterator<Item = (Uuid, Uuid)>,
        after: &PrincipalKey,
        expected: usize,
        when: AsOf,
    ) -> Self {
        let range = |(entity_id, role_id)| Range {
            start: RangeStart { entity_id, role_id, after: after.clone() },
            rows: VecDeque::new(),
            is_read: false,
        };
        let ranges: Vec<_> = pairs.map(range).collect();
        // If the principals are spread evenly, one read is enough.
        let rows = expected.div_ceil(ranges.len().max(1)).clamp(MIN_ROWS, MAX_ROWS);
        Self {
            drained: (0..ranges.len()).collect(),
            heads: BinaryHeap::with_capacity(ranges.len()),
            ranges,
            rows,
            when,
            last_rows: 0,
        }
    }

    /// Takes the assignments of the next principal; an empty list at the end. Each has the index of its role's range.
    pub(super) async fn next(&mut self, conn: &mut Conn) -> Result<Option<(PrincipalKey, Vec<(Uuid, RangeRow)>)>> {
        if !self.drained.is_empty() {
            self.read(conn).await?;
        }
        let Some(Reverse((principal, _))) = self.heads.peek() else { return Ok(None) };
        let principal = principal.clone();
        let mut taken = Vec::new();
        while let Some(Reverse((key, _))) = self.heads.peek()
            && *key == principal
            && let Some(Reverse((_, at))) = self.heads.pop()
            && let Some(range) = self.ranges.get_mut(at)
        {
            taken.extend(range.rows.pop_front().map(|row| (range.start.role_id, row)));
            match range.rows.front() {
                Some(row) => self.heads.push(Reverse((row.principal.clone(), at))),
                None if range.is_read => {}
                None => self.drained.push(at),
            }
        }
        Ok(Some((principal, taken)))
    }

    /// Reads on in every range that has no rows left, and in those that will soon have none.
    async fn read(&mut self, conn: &mut Conn) -> Result<()> {
        let low = self.last_rows / 4;
        let wanted = |(_, range): &(usize, &Range)| !range.is_read && range.rows.len() <= low;
        let wanted: Vec<usize> = self.ranges.iter().enumerate().filter(wanted).map(|(at, _)| at).collect();
        let starts: Vec<_> = wanted.iter().filter_map(|at| self.ranges.get(*at)).map(|one| one.start.clone()).collect();
        let limit = self.rows.min((MAX_READ / wanted.len().max(1)).max(MIN_ROWS));
        let found = access_batch::ranges(conn, &starts, limit, self.when).await?;
        for (at, rows) in wanted.into_iter().zip(found) {
            let Some(range) = self.ranges.get_mut(at) else { continue };
            range.is_read = rows.len() < limit;
            if let Some(last) = rows.last() {
                range.start.after = last.principal.clone();
            }
            let had_rows = !range.rows.is_empty();
            range.rows.extend(rows);
            if let Some(first) = range.rows.front()
                && !had_rows
            {
                self.heads.push(Reverse((first.principal.clone(), at)));
            }
        }
        self.drained.clear();
        self.last_rows = limit;
        self.rows = (self.rows * 2).min(MAX_ROWS);
        Ok(())
    }
}
