//! Everything that can be known of a segment without its packs.

use std::path::Path;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{NativeError, Result};
use crate::object::Object;
use crate::zero::is_zero;

use super::SEGMENT_BYTES_READ_MAX;
use super::filter;
use super::merge::Cursor;
use super::row::{PAGE_CHECKSUM_AT, ROW_BYTES};
use super::segment::Segment;

/// Whether a segment is sound: its name, checksums, order, bounds, fan-out and filter. SEGMENT_CORRUPT says
/// what is not.
pub fn check_segment(path: &Path, id: &Digest) -> Result<()> {
    let refused = |message: &str| Err(NativeError::segment(path, None, message));
    let object = Object::open(path)?;
    if object.bytes() > SEGMENT_BYTES_READ_MAX {
        return refused("is longer than any index segment");
    }
    // Read before it is mapped, so that a bad sector is met where it is an error.
    if object.digest()? != *id {
        return refused("its bytes are not those that its name names");
    }
    let segment = Arc::new(Segment::open_as(path, *id)?);
    check_rows(&segment)?;
    check_pages(&segment)
}

fn check_rows(segment: &Arc<Segment>) -> Result<()> {
    let header = segment.header();
    let mut cursor = Cursor::new(Arc::clone(segment))?;
    let mut range: Option<(Digest, Digest)> = None;
    let mut rows = 0;
    while let Some(row) = cursor.next_row()? {
        let digest = row.entry.digest;
        if !filter::may_hold(segment.filter(), &digest) {
            return Err(segment.corrupt(None, format!("its filter denies its row {rows}")));
        }
        range = Some((range.map_or(digest, |(first, _)| first), digest));
        rows += 1;
    }
    if rows != header.counts.entries || range.unwrap_or_default() != (header.first, header.last) {
        return Err(segment.corrupt(0, "its header is wrong about its rows"));
    }
    Ok(())
}

fn check_pages(segment: &Segment) -> Result<()> {
    for number in 0..segment.page_count() {
        let rows = segment.page_by_fan_out(number)?.len();
        if !is_zero(&segment.page(number)?[rows * ROW_BYTES..PAGE_CHECKSUM_AT]) {
            let message = format!("its page {number} has something behind its rows");
            return Err(segment.corrupt(None, message));
        }
    }
    Ok(())
}
