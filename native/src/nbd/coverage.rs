//! Which bytes of a read have arrived: a server may send them in any order, but all of them, and once.

use std::collections::BTreeMap;

/// Disjoint runs of bytes that were said, joined where they touch: a reply in order is one run.
#[derive(Debug, Default)]
pub struct Coverage {
    ends: BTreeMap<u64, u64>,
}

impl Coverage {
    /// Adds `begin..end`; false, and nothing changes, where it is empty or some of it was said before.
    pub fn add(&mut self, begin: u64, end: u64) -> bool {
        if begin >= end {
            return false;
        }
        let before = self.ends.range(..=begin).next_back();
        let before = before.map(|(&begin, &end)| (begin, end));
        if before.is_some_and(|(_, before_end)| before_end > begin) {
            return false;
        }
        let after = self.ends.range(begin..).next();
        let after = after.map(|(&begin, &end)| (begin, end));
        if after.is_some_and(|(after_begin, _)| after_begin < end) {
            return false;
        }
        let (mut joined_begin, mut joined_end) = (begin, end);
        if let Some((before_begin, before_end)) = before
            && before_end == begin
        {
            joined_begin = before_begin;
        }
        if let Some((after_begin, after_end)) = after
            && after_begin == end
        {
            self.ends.remove(&after_begin);
            joined_end = after_end;
        }
        self.ends.insert(joined_begin, joined_end);
        true
    }

    /// Whether all of `begin..end`, and nothing else, was said.
    pub fn is_exactly(&self, begin: u64, end: u64) -> bool {
        self.ends.len() == 1 && self.ends.first_key_value() == Some((&begin, &end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    /// Against a flag for each byte.
    #[test]
    fn no_byte_counts_twice_and_none_is_left_out_in_any_order() {
        let mut seeded = Seeded::new(7);
        for _ in 0..2000 {
            let (mut coverage, mut flags) = (Coverage::default(), [false; 24]);
            for _ in 0..20 {
                let begin = seeded.below(24);
                let end = begin + seeded.below(25 - begin);
                let is_new = begin < end && !flags[begin..end].contains(&true);
                assert_eq!(coverage.add(begin as u64, end as u64), is_new);
                if is_new {
                    flags[begin..end].fill(true);
                }
                assert_eq!(coverage.is_exactly(0, 24), !flags.contains(&false));
            }
        }
    }
}
