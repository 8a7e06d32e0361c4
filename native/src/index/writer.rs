//! Writes rows that come in order as segments, in memory that depends on the number of packs alone.
//!
//! Pages go out as they fill. The filter needs the number of rows, so it is made in a second pass over the
//! pages just written; the header comes last. A segment is named when all of it is in its file, and durable
//! before anyone hears of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::device;
use crate::digest::{Digest, hex};
use crate::error::{NativeError, Result};
use crate::object::{Object, TempFile, TempName};
use crate::pack::Entry;

use super::layout::{Counts, HEADER_BYTES, Header, Layout};
use super::row::{
    PAGE_BYTES, PAGE_CHECKSUM_AT, PackRecord, Page, ROW_BYTES, ROWS_PER_PAGE, Row, digest_of,
    page_checksum, prefix_of, rows_of,
};
use super::{Output, ROWS_PER_DIGEST_MAX, SegmentFile, filter};

const BUFFER_BYTES: usize = 1 << 20;

/// An entry and the pack it is in, wherever that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedEntry {
    pub entry: Entry,
    pub pack: PackRecord,
}

/// A segment in its file, which goes away again unless it is kept.
pub struct Written {
    name: TempName,
    id: Digest,
    bytes: u64,
    entries: u64,
}

impl Written {
    pub fn keep(self) -> SegmentFile {
        let Self {
            name,
            id,
            bytes,
            entries,
        } = self;
        SegmentFile {
            id,
            path: name.keep(),
            bytes,
            entries,
        }
    }

    pub fn path(&self) -> &Path {
        self.name.path()
    }

    pub fn id(&self) -> Digest {
        self.id
    }
}

/// Takes groups of entries in the order of their digests, and begins another segment where one is full.
pub struct SegmentWriter<'a> {
    output: &'a Output<'a>,
    draft: Option<Draft>,
    written: Vec<Written>,
}

impl<'a> SegmentWriter<'a> {
    pub fn new(output: &'a Output<'a>) -> Self {
        Self {
            output,
            draft: None,
            written: Vec::new(),
        }
    }

    /// Adds all entries of one digest, which is higher than those before. The same entry twice is one; what
    /// is beyond `ROWS_PER_DIGEST_MAX` is left out, since no one needs so many copies and memory has a bound.
    pub fn push(&mut self, group: &[PlacedEntry]) -> Result<()> {
        if let Some(draft) = self
            .draft
            .take_if(|draft| !draft.has_room(group.len(), self.output))
        {
            self.written.push(draft.finish(self.output, &[])?);
        }
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(Draft::begin(self.output)?),
        };
        draft.push(group)
    }

    /// Completes the last segment. It alone names those that are replaced: once it is published, so are all
    /// the others. With nothing to write and nothing to replace there is none.
    ///
    /// A segment that is not the last depends on its rows alone, so that it may come out as one that was there
    /// before: that one stays, and is not named.
    pub fn finish(mut self) -> Result<Vec<Written>> {
        let draft = match self.draft.take() {
            None if self.output.replaces.is_empty() => return Ok(self.written),
            None => Draft::begin(self.output)?,
            Some(draft) => draft,
        };
        let is_made_again = |id: &Digest| self.written.iter().any(|segment| segment.id == *id);
        let replaces = self.output.replaces.iter().copied();
        let replaces: Vec<Digest> = replaces.filter(|id| !is_made_again(id)).collect();
        self.written.push(draft.finish(self.output, &replaces)?);
        Ok(self.written)
    }
}

/// A segment of which the header, the filter and the tables are still missing.
struct Draft {
    file: TempFile,
    buffered: BufWriter<File>,
    page: Box<Page>,
    entries: u64,
    first: Digest,
    last: Digest,
    fan_out: Vec<u64>,
    packs: PackTable,
    /// The rows of one digest, here so that their memory is used again.
    group: Vec<Row>,
}

impl Draft {
    fn begin(output: &Output<'_>) -> Result<Self> {
        let file = TempFile::create(output.temp_prefix, "segment")?;
        let handle = file
            .file()
            .try_clone()
            .map_err(|cause| file.failed(cause))?;
        let mut draft = Self {
            file,
            buffered: BufWriter::with_capacity(BUFFER_BYTES, handle),
            page: Box::new([0; PAGE_BYTES]),
            entries: 0,
            first: Digest::default(),
            last: Digest::default(),
            fan_out: Vec::new(),
            packs: PackTable::default(),
            group: Vec::new(),
        };
        draft.write(&[0; HEADER_BYTES])?;
        Ok(draft)
    }

    /// Whether this many more rows fit. The first rows always do.
    fn has_room(&self, rows: usize, output: &Output<'_>) -> bool {
        let packs = self.packs.records.len() + rows;
        let counts = Counts::of(
            self.entries + rows as u64,
            packs as u64,
            output.replaces.len() as u64,
        );
        self.entries == 0 || Layout::of(&counts).total_bytes <= output.segment_bytes_max
    }

    fn push(&mut self, group: &[PlacedEntry]) -> Result<()> {
        let mut rows = std::mem::take(&mut self.group);
        rows.clear();
        for placed in group {
            rows.push(Row {
                pack: self.packs.number_of(placed.pack)?,
                entry: placed.entry,
            });
        }
        rows.sort_unstable_by(Row::order);
        rows.dedup();
        rows.truncate(ROWS_PER_DIGEST_MAX);
        rows.iter().try_for_each(|row| self.push_row(row))?;
        self.group = rows;
        Ok(())
    }

    fn push_row(&mut self, row: &Row) -> Result<()> {
        let digest = row.entry.digest;
        let place = (self.entries % ROWS_PER_PAGE as u64) as usize;
        if place == 0 {
            self.fan_out.push(prefix_of(&digest));
        }
        if self.entries == 0 {
            self.first = digest;
        }
        self.page[place * ROW_BYTES..][..ROW_BYTES].copy_from_slice(&row.to_bytes());
        self.last = digest;
        self.entries += 1;
        if place == ROWS_PER_PAGE - 1 {
            self.write_page()
        } else {
            Ok(())
        }
    }

    fn write_page(&mut self) -> Result<()> {
        let checksum = page_checksum(&self.page);
        self.page[PAGE_CHECKSUM_AT..].copy_from_slice(&checksum);
        let page = std::mem::replace(&mut *self.page, [0; PAGE_BYTES]);
        self.write(&page)
    }

    fn finish(mut self, output: &Output<'_>, replaces: &[Digest]) -> Result<Written> {
        if !self.entries.is_multiple_of(ROWS_PER_PAGE as u64) {
            self.write_page()?;
        }
        let counts = Counts::of(
            self.entries,
            self.packs.records.len() as u64,
            replaces.len() as u64,
        );
        self.flush()?;
        let filter = self.filter(&counts)?;
        for prefix in std::mem::take(&mut self.fan_out) {
            self.write(&prefix.to_le_bytes())?;
        }
        self.write(&filter)?;
        for record in std::mem::take(&mut self.packs.records) {
            self.write(&record.to_bytes())?;
        }
        self.write(replaces.as_flattened())?;
        self.flush()?;
        let header = Header {
            repository_id: output.repository_id,
            counts,
            first: self.first,
            last: self.last,
        };
        self.seal(header)
    }

    /// Second pass over the pages, of which only the number was known in the first.
    fn filter(&self, counts: &Counts) -> Result<Vec<u8>> {
        let mut filter = vec![0; counts.filter_bytes as usize];
        let map = device::map_file(self.file.path()).map_err(|cause| self.file.failed(cause))?;
        let (pages, _) = map[HEADER_BYTES..].as_chunks::<PAGE_BYTES>();
        for (number, page) in pages.iter().enumerate() {
            for row in &rows_of(page)[..counts.rows_on(number as u64)] {
                filter::insert(&mut filter, &digest_of(row));
            }
        }
        Ok(filter)
    }

    fn seal(self, header: Header) -> Result<Written> {
        let Self { file, entries, .. } = self;
        let sync = || {
            file.file().write_all_at(&header.to_bytes(), 0)?;
            file.file().sync_data()
        };
        sync().map_err(|cause| file.failed(cause))?;
        let object = Object::open(file.path())?;
        if object.bytes() != Layout::of(&header.counts).total_bytes {
            return Err(NativeError::internal(format!(
                "a segment of {entries} rows has {} bytes",
                object.bytes()
            )));
        }
        Ok(Written {
            id: object.digest()?,
            bytes: object.bytes(),
            entries,
            name: file.close(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffered
            .write_all(bytes)
            .map_err(|cause| self.file.failed(cause))
    }

    fn flush(&mut self) -> Result<()> {
        self.buffered
            .flush()
            .map_err(|cause| self.file.failed(cause))
    }
}

/// The packs of one segment, numbered in the order in which they come up.
///
/// Numbers are found by the first 8 bytes of the id, which keeps a map of a million packs at some 20 MiB; two
/// packs that share them live at neighbouring keys.
#[derive(Default)]
struct PackTable {
    records: Vec<PackRecord>,
    numbers: HashMap<u64, u32>,
}

impl PackTable {
    fn number_of(&mut self, pack: PackRecord) -> Result<u32> {
        let mut key = prefix_of(&pack.id);
        while let Some(&number) = self.numbers.get(&key) {
            if self.records[number as usize] == pack {
                return Ok(number);
            }
            key = key.wrapping_add(1);
        }
        let number = u32::try_from(self.records.len()).map_err(|_| {
            NativeError::internal(format!("too many packs for a segment at {}", hex(&pack.id)))
        })?;
        self.records.push(pack);
        self.numbers.insert(key, number);
        Ok(number)
    }
}
