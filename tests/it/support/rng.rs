//! What is drawn by chance and can be drawn again: the numbers that follow from a seed, which is printed.

use std::time::Duration;

/// Numbers that follow from a seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// One of `choice`.
    pub fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }

    /// From nothing to below `end`, in milliseconds.
    pub fn span(&mut self, end: Duration) -> Duration {
        Duration::from_millis(self.next() % u64::try_from(end.as_millis()).unwrap())
    }

    /// Others, that are independent of what this one decides later.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The seeds of `cases` cases: one after the other from `GYBE_MATRIX_SEED`, or from one that is always the same, so that a
/// change is judged by the cases that its predecessor passed.
pub fn seeds(cases: u64) -> Vec<u64> {
    let chosen = std::env::var("GYBE_MATRIX_SEED").ok().map(|seed| seed.parse().unwrap());
    let first = chosen.unwrap_or(26_821_727_707_007);
    println!("GYBE_MATRIX_SEED={first}");
    (first..first + cases).collect()
}
