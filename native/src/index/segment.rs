//! One immutable sorted segment, mapped: opening reads its header, a lookup touches a line of the filter, a
//! line or two of the fan-out and one page.
//!
//! Pages are checked when they are first touched, pack records whenever they are used. The fan-out has no
//! checksum of its own: it is held against the pages it led to, and before a "not here" also against the one
//! it did not, so that a damaged fan-out cannot hide a row. Only a damaged filter can, from `may_hold`.

use std::cmp::Ordering;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::{Advice, Mmap};

use crate::device;
use crate::digest::{self, DIGEST_BYTES, Digest};
use crate::error::{NativeError, Result};
use crate::fields::{array_at, u64_at};
use crate::pack::EntryType;

use super::filter;
use super::layout::{HEADER_BYTES, Header, Layout};
use super::row::{
    PACK_RECORD_BYTES, PAGE_BYTES, PAGE_CHECKSUM_AT, PackRecord, Page, ROWS_PER_PAGE, Row,
    RowBytes, digest_of, page_checksum, prefix_of, rows_of,
};
use super::search::first_from;
use super::{Located, ROWS_PER_DIGEST_MAX, SEGMENT_BYTES_READ_MAX};

/// A row found, with its number in the segment.
pub type Ranked = (u64, Row);

pub struct Segment {
    id: Digest,
    path: PathBuf,
    map: Mmap,
    header: Header,
    layout: Layout,
    /// One bit a page: its checksum held.
    checked: Box<[AtomicU64]>,
}

impl Segment {
    /// Maps a segment whose file name is its id. OBJECT_NOT_FOUND, or SEGMENT_CORRUPT where its header, its
    /// length or its repository is not as it should be.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        Self::open_as(path, digest::parse_hex(name)?)
    }

    /// The same for a file of any name.
    pub fn open_as(path: &Path, id: Digest) -> Result<Self> {
        let refused = |message: &str| NativeError::segment(path, None, message);
        let map = device::map_file(path).map_err(|cause| NativeError::backend(path, cause))?;
        if map.len() as u64 > SEGMENT_BYTES_READ_MAX {
            return Err(refused("is longer than any index segment"));
        }
        let header = map
            .first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| refused("is shorter than its header"))?;
        let header = Header::from_bytes(header, map.len() as u64).map_err(refused)?;
        let layout = Layout::of(&header.counts);
        // Lookups touch pages at random, where reading ahead is in vain. It is advice: a refusal changes nothing.
        let pages_bytes = layout.fan_out_at as usize - HEADER_BYTES;
        let _ = map.advise_range(Advice::Random, HEADER_BYTES, pages_bytes);
        let words = header.counts.pages().div_ceil(u64::from(u64::BITS));
        let checked = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            id,
            path: path.to_owned(),
            map,
            header,
            layout,
            checked,
        })
    }

    pub fn id(&self) -> Digest {
        self.id
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn bytes(&self) -> u64 {
        self.layout.total_bytes
    }

    pub fn page_count(&self) -> usize {
        self.header.counts.pages() as usize
    }

    pub fn replaces(&self) -> Vec<Digest> {
        let ids = &self.map[self.layout.replaced_at as usize..];
        ids.as_chunks::<DIGEST_BYTES>().0.to_vec()
    }

    pub fn filter(&self) -> &[u8] {
        &self.map[self.layout.filter_at as usize..self.layout.packs_at as usize]
    }

    /// Whether the digest may be here, without touching a page.
    pub fn may_hold(&self, digest: &Digest) -> bool {
        self.is_in_range(digest) && filter::may_hold(self.filter(), digest)
    }

    fn is_in_range(&self, digest: &Digest) -> bool {
        self.header.counts.entries > 0 && (&self.header.first..=&self.header.last).contains(&digest)
    }

    /// The rows of a digest, whatever the filter says: all that a writer keeps, and no more of a stranger's.
    pub fn rows(&self, kind: EntryType, digest: &Digest) -> Result<Vec<Ranked>> {
        let mut found = Vec::new();
        if !self.is_in_range(digest) {
            return Ok(found);
        }
        let candidates = self.candidates(prefix_of(digest));
        for page in candidates.clone() {
            self.rows_on(page, kind, digest, &mut found)?;
        }
        if found.is_empty() {
            self.check_absence(digest, &candidates)?;
        }
        Ok(found)
    }

    fn rows_on(
        &self,
        number: usize,
        kind: EntryType,
        digest: &Digest,
        found: &mut Vec<Ranked>,
    ) -> Result<()> {
        let rows = self.page_by_fan_out(number)?;
        for (place, bytes) in rows.iter().enumerate().skip(first_place(rows, digest)) {
            match digest_of(bytes).cmp(digest) {
                Ordering::Less => continue,
                Ordering::Equal => {}
                Ordering::Greater => break,
            }
            if found.len() == ROWS_PER_DIGEST_MAX {
                break;
            }
            let row = self.row(number, place, bytes)?;
            if row.entry.kind == kind {
                found.push(((number * ROWS_PER_PAGE + place) as u64, row));
            }
        }
        Ok(())
    }

    /// The pages that can hold a digest with this prefix: from the last that begins below it to the last that
    /// begins with it. That is one page, or two if a page begins with this very prefix.
    fn candidates(&self, prefix: u64) -> Range<usize> {
        let range = (prefix_of(&self.header.first), prefix_of(&self.header.last));
        let first = first_from(self.page_count(), range, prefix, |page| self.fan_out(page));
        let same = (first..self.page_count())
            .take_while(|&page| self.fan_out(page) <= prefix)
            .count();
        first.saturating_sub(1)..first + same
    }

    fn fan_out(&self, page: usize) -> u64 {
        let row_at = self.layout.fan_out_at as usize + page * size_of::<u64>();
        u64_at(&self.map, row_at)
    }

    /// A miss is believed only if the rows on both sides of the gap are known: the last candidate ends behind
    /// the digest, or the page after it begins behind it.
    fn check_absence(&self, digest: &Digest, candidates: &Range<usize>) -> Result<()> {
        if let Some(page) = candidates.clone().next_back()
            && let Some(last) = self.page_rows(page)?.last()
            && digest_of(last) > *digest
        {
            return Ok(());
        }
        if candidates.end < self.page_count() {
            self.page_by_fan_out(candidates.end)?;
        }
        Ok(())
    }

    /// The rows of a page that the fan-out led to, which has to lead there rightly.
    pub fn page_by_fan_out(&self, number: usize) -> Result<&[RowBytes]> {
        let rows = self.page_rows(number)?;
        let prefix = rows.first().map(|row| prefix_of(&digest_of(row)));
        if prefix != Some(self.fan_out(number)) {
            let message = format!("its fan-out is wrong about page {number}");
            return Err(self.corrupt(self.layout.fan_out_at, message));
        }
        Ok(rows)
    }

    /// The rows of a page, checked if that was not done before.
    pub fn page_rows(&self, number: usize) -> Result<&[RowBytes]> {
        let page = self.page(number)?;
        Ok(&rows_of(page)[..self.header.counts.rows_on(number as u64)])
    }

    pub fn page(&self, number: usize) -> Result<&Page> {
        let page_at = HEADER_BYTES + number * PAGE_BYTES;
        let (pages, _) = self.map[HEADER_BYTES..].as_chunks::<PAGE_BYTES>();
        let page = &pages[number];
        let (word, bit) = (&self.checked[number / 64], 1 << (number % 64));
        if word.load(Relaxed) & bit == 0 {
            if page[PAGE_CHECKSUM_AT..] != page_checksum(page) {
                return Err(self.corrupt(page_at as u64, format!("its page {number} is damaged")));
            }
            word.fetch_or(bit, Relaxed);
        }
        Ok(page)
    }

    /// Reads a row of a checked page; one that cannot be true was written by a broken writer.
    pub fn row(&self, page: usize, place: usize, bytes: &RowBytes) -> Result<Row> {
        let has_pack = |row: &Row| u64::from(row.pack) < self.header.counts.packs;
        Row::from_bytes(bytes).filter(has_pack).ok_or_else(|| {
            let page_at = (HEADER_BYTES + page * PAGE_BYTES) as u64;
            self.corrupt(
                page_at,
                format!("row {place} of its page {page} cannot be true"),
            )
        })
    }

    /// The pack of a row.
    pub fn pack(&self, number: u32) -> Result<PackRecord> {
        PackRecord::from_bytes(&self.pack_bytes(number)).ok_or_else(|| {
            let record_at = self.layout.packs_at + u64::from(number) * PACK_RECORD_BYTES as u64;
            self.corrupt(record_at, format!("its record of pack {number} is damaged"))
        })
    }

    /// The pack of a row in a segment whose records were all checked before.
    pub fn checked_pack(&self, number: u32) -> PackRecord {
        PackRecord::unchecked_from_bytes(&self.pack_bytes(number))
    }

    pub fn check_packs(&self) -> Result<()> {
        (0..self.header.counts.packs as u32).try_for_each(|number| self.pack(number).map(drop))
    }

    fn pack_bytes(&self, number: u32) -> [u8; PACK_RECORD_BYTES] {
        let record_at = self.layout.packs_at as usize + number as usize * PACK_RECORD_BYTES;
        array_at(&self.map, record_at)
    }

    /// Tells where a row says its entry is, if that can be so.
    pub fn locate(&self, segment: u32, (rank, row): Ranked) -> Result<Located> {
        let PackRecord {
            id: pack_id,
            bytes: pack_bytes,
        } = self.pack(row.pack)?;
        if row.entry.end() > pack_bytes {
            let message = format!("its row {rank} points behind the end of a pack");
            return Err(self.corrupt(None, message));
        }
        Ok(Located {
            segment,
            rank,
            pack_id,
            pack_bytes,
            entry: row.entry,
        })
    }

    /// Asks for pages that will be read in order soon; advice, so that a refusal changes nothing.
    pub fn prefetch(&self, pages: Range<usize>) {
        let pages_at = HEADER_BYTES + pages.start * PAGE_BYTES;
        let _ = self
            .map
            .advise_range(Advice::WillNeed, pages_at, pages.len() * PAGE_BYTES);
    }

    /// SEGMENT_CORRUPT, naming this segment.
    pub fn corrupt(
        &self,
        offset: impl Into<Option<u64>>,
        message: impl Into<String>,
    ) -> NativeError {
        NativeError::segment(&self.path, offset, message)
    }
}

/// Where the rows of a digest begin on a page, or somewhat before.
fn first_place(rows: &[RowBytes], digest: &Digest) -> usize {
    let prefix_at = |place: usize| prefix_of(&digest_of(&rows[place]));
    let [first, .., last] = rows else { return 0 };
    let range = (prefix_of(&digest_of(first)), prefix_of(&digest_of(last)));
    first_from(rows.len(), range, prefix_of(digest), prefix_at)
}
