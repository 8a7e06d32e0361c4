//! Merges sorted sources into one stream of segments: a row of each source in memory, no more.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Result;

use super::row::{PackRecord, Row, prefix_of};
use super::segment::Segment;
use super::writer::{PlacedEntry, SegmentWriter, Written};
use super::{Output, ROWS_PER_DIGEST_MAX};

/// Pages asked for at a time: 1 MiB.
const PREFETCH_PAGES: usize = 256;

/// Walks the rows of a segment in order and holds it to that order.
pub struct Cursor {
    segment: Arc<Segment>,
    page: usize,
    place: usize,
    before: Option<Row>,
}

impl Cursor {
    pub fn new(segment: Arc<Segment>) -> Result<Self> {
        segment.check_packs()?;
        Ok(Self {
            segment,
            page: 0,
            place: 0,
            before: None,
        })
    }

    pub fn next_row(&mut self) -> Result<Option<Row>> {
        if self.page == self.segment.page_count() {
            return Ok(None);
        }
        if self.place == 0 && self.page.is_multiple_of(PREFETCH_PAGES) {
            let end = (self.page + PREFETCH_PAGES).min(self.segment.page_count());
            self.segment.prefetch(self.page..end);
        }
        let rows = self.segment.page_rows(self.page)?;
        let row = self.segment.row(self.page, self.place, &rows[self.place])?;
        self.check(&row)?;
        self.place += 1;
        if self.place == rows.len() {
            (self.page, self.place) = (self.page + 1, 0);
        }
        self.before = Some(row);
        Ok(Some(row))
    }

    fn check(&self, row: &Row) -> Result<()> {
        let is_ordered = |before: Row| before.order(row) == Ordering::Less;
        let fault = if !self.before.is_none_or(is_ordered) {
            "is out of order"
        } else if !self.pack(row).holds(&row.entry) {
            "points behind the end of a pack"
        } else {
            return Ok(());
        };
        let message = format!("row {} of its page {} {fault}", self.place, self.page);
        Err(self.segment.corrupt(None, message))
    }

    fn pack(&self, row: &Row) -> PackRecord {
        self.segment.checked_pack(row.pack)
    }

    fn next_entry(&mut self) -> Result<Option<PlacedEntry>> {
        let row = self.next_row()?;
        Ok(row.map(|row| PlacedEntry {
            entry: row.entry,
            pack: self.pack(&row),
        }))
    }
}

/// Writes the rows of all segments, in order and none twice.
pub fn merge_segments(segments: &[Arc<Segment>], output: &Output<'_>) -> Result<Vec<Written>> {
    let mut streams = Streams::open(segments)?;
    let mut writer = SegmentWriter::new(output);
    let mut group = Vec::new();
    while streams.next_group(&mut group)? {
        writer.push(&group)?;
    }
    writer.finish()
}

/// Cursors, each with the entry it is at, and the order of their digests; the first bytes of a digest stand
/// before it, where comparing them costs no call.
struct Streams {
    cursors: Vec<Cursor>,
    heads: Vec<Option<PlacedEntry>>,
    order: BinaryHeap<Reverse<(u64, Digest, usize)>>,
}

impl Streams {
    fn open(segments: &[Arc<Segment>]) -> Result<Self> {
        let cursors = segments
            .iter()
            .cloned()
            .map(Cursor::new)
            .collect::<Result<Vec<_>>>()?;
        let heads = vec![None; cursors.len()];
        let mut streams = Self {
            cursors,
            heads,
            order: BinaryHeap::new(),
        };
        (0..segments.len()).try_for_each(|source| streams.advance(source))?;
        Ok(streams)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        self.heads[source] = self.cursors[source].next_entry()?;
        if let Some(head) = self.heads[source] {
            let digest = head.entry.digest;
            self.order
                .push(Reverse((prefix_of(&digest), digest, source)));
        }
        Ok(())
    }

    /// Fills `group` with the entries of the lowest digest left; false when there is none.
    fn next_group(&mut self, group: &mut Vec<PlacedEntry>) -> Result<bool> {
        group.clear();
        let Some(&Reverse((_, lowest, _))) = self.order.peek() else {
            return Ok(false);
        };
        while let Some(&Reverse((_, digest, source))) = self.order.peek()
            && digest == lowest
        {
            self.order.pop();
            group.extend(self.heads[source].filter(|head| is_wanted(group, head)));
            self.advance(source)?;
        }
        Ok(true)
    }
}

/// An entry that is there already is not wanted, nor one more than a digest may have.
fn is_wanted(group: &[PlacedEntry], head: &PlacedEntry) -> bool {
    group.len() < ROWS_PER_DIGEST_MAX && !group.contains(head)
}
