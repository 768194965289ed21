//! Reproducible random numbers from a seed, which is printed.

use std::time::Duration;

/// A random number generator with a seed (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A number from 0 to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// One element of `choice`.
    pub fn choose<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }

    /// A duration from 0 to below `end`, in whole milliseconds.
    pub fn duration(&mut self, end: Duration) -> Duration {
        Duration::from_millis(self.next() % u64::try_from(end.as_millis()).unwrap())
    }

    /// A generator that is independent of later numbers of this one.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The seeds of `cases` cases: consecutive numbers from `GYBE_MATRIX_SEED`, or from a fixed default, so that each
/// change is tested with the cases that its predecessor passed.
pub fn seeds(cases: u64) -> Vec<u64> {
    let chosen = std::env::var("GYBE_MATRIX_SEED").ok().map(|seed| seed.parse().unwrap());
    let first = chosen.unwrap_or(26_821_727_707_007);
    println!("GYBE_MATRIX_SEED={first}");
    (first..first + cases).collect()
}
