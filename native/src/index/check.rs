//! Everything that can be known of a segment without its packs.

use std::path::Path;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{MoveError, Result};
use crate::object::Object;
use crate::zero::is_zero;

use super::SEGMENT_BYTES_READ_MAX;
use super::filter;
use super::layout::Header;
use super::merge::Cursor;
use super::row::{PAGE_CHECKSUM_AT, ROW_BYTES, prefix_of};
use super::segment::Segment;

/// Whether a segment is sound: its name, checksums, order, bounds, fan-out and filter. SEGMENT_CORRUPT says
/// what is not.
pub fn check_segment(path: &Path, id: &Digest) -> Result<()> {
    let object = Object::open(path)?;
    if object.bytes() > SEGMENT_BYTES_READ_MAX {
        return Err(MoveError::segment(
            path,
            None,
            "is longer than any index segment",
        ));
    }
    // Read before it is mapped, so that a bad sector is met where it is an error.
    if object.digest()? != *id {
        return Err(MoveError::segment(
            path,
            None,
            "its bytes are not those that its name names",
        ));
    }
    let segment = Arc::new(Segment::open_as(path, *id)?);
    check_rows(&segment)?;
    check_pages(&segment)
}

fn check_rows(segment: &Arc<Segment>) -> Result<()> {
    let Header {
        counts,
        first,
        last,
        ..
    } = *segment.header();
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
    if rows != counts.entries || range.unwrap_or_default() != (first, last) {
        return Err(segment.corrupt(0, "its header is wrong about its rows"));
    }
    Ok(())
}

fn check_pages(segment: &Segment) -> Result<()> {
    for number in 0..segment.page_count() {
        let rows = segment.page_rows(number)?;
        if rows
            .first()
            .map(|row| prefix_of(&super::row::digest_of(row)))
            != Some(segment.fan_out(number))
        {
            return Err(segment.corrupt(None, format!("its fan-out is wrong about page {number}")));
        }
        if !is_zero(&segment.page(number)?[rows.len() * ROW_BYTES..PAGE_CHECKSUM_AT]) {
            return Err(segment.corrupt(
                None,
                format!("its page {number} has something behind its rows"),
            ));
        }
    }
    Ok(())
}
