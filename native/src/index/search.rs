//! Finding a place among sorted numbers that are spread evenly, as the first bytes of digests are.

/// The first of `count` ascending numbers that is not below `wanted`, or `count`. `range` are the lowest and
/// the highest of them, as far as is known: a guess by proportion is nearly there, and steps that double bound
/// the place around it. Numbers that do not ascend give some place, and no more steps than others.
pub fn first_from(
    count: usize,
    range: (u64, u64),
    wanted: u64,
    number_at: impl Fn(usize) -> u64,
) -> usize {
    let is_below = |place: usize| number_at(place) < wanted;
    let guess = proportion(count, range, wanted);
    let (mut low, mut high, mut step) = (guess, guess, 1);
    while low > 0 && !is_below(low - 1) {
        high = low - 1;
        low = high.saturating_sub(step);
        step *= 2;
    }
    while high < count && is_below(high) {
        low = high + 1;
        high = (low + step).min(count);
        step *= 2;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if is_below(middle) {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

fn proportion(count: usize, (lowest, highest): (u64, u64), wanted: u64) -> usize {
    let span = u128::from(highest.saturating_sub(lowest)) + 1;
    let distance = u128::from(wanted.saturating_sub(lowest));
    (distance * count as u128 / span).min(count as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn finds_what_a_plain_search_finds_whatever_the_spread_and_the_guess() {
        let mut random = Seeded::new(1);
        for round in 0..2000 {
            let shift = [0, 32, 60, 62][round % 4];
            let mut numbers: Vec<u64> = (0..random.below(90))
                .map(|_| random.next() >> shift)
                .collect();
            numbers.sort_unstable();
            let range = (
                *numbers.first().unwrap_or(&0),
                *numbers.last().unwrap_or(&0),
            );
            let odd_range = (random.next(), random.next());
            for wanted in numbers
                .iter()
                .copied()
                .chain([0, 1, u64::MAX, random.next() >> shift])
            {
                let expected = numbers.partition_point(|&number| number < wanted);
                for range in [range, odd_range, (0, 0), (0, u64::MAX), (u64::MAX, 0)] {
                    assert_eq!(
                        first_from(numbers.len(), range, wanted, |place| numbers[place]),
                        expected
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_in_disorder_end_the_search_too() {
        let mut random = Seeded::new(2);
        for count in 0..200 {
            let numbers: Vec<u64> = (0..count).map(|_| random.next()).collect();
            assert!(
                first_from(count, (0, u64::MAX), random.next(), |place| numbers[place]) <= count
            );
        }
    }
}
