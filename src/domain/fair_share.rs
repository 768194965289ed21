//! How VIMs share what a process has a limited number of, such as the places for operations that work.
//!
//! A VIM may take one more while it has at most three times as many as stay free. So one VIM alone gets three quarters, however
//! many of its operations are stuck, and another one finds room at once.

use std::collections::HashMap;

/// What is free, and what the VIMs have. The key of a VIM is that of [`crate::domain::op_occ::VnfLcmOpOcc::vim`].
#[derive(Debug)]
pub struct FairShare {
    free: usize,
    used: HashMap<String, usize>,
}

impl FairShare {
    /// `free` for all VIMs.
    pub fn new(free: usize) -> Self {
        Self { free, used: HashMap::new() }
    }

    /// What nobody has.
    pub const fn free(&self) -> usize {
        self.free
    }

    /// Whether the VIM may take one more.
    pub fn may_take(&self, vim: &str) -> bool {
        allows(self.used.get(vim).copied().unwrap_or(0), self.free)
    }

    /// The VIMs that may not take one more although some are free.
    pub fn crowded(&self) -> Vec<String> {
        let crowded = self.used.iter().filter(|(_, used)| !allows(**used, self.free));
        crowded.map(|(vim, _)| vim.clone()).collect()
    }

    /// Takes `count` for VIMs that are not known yet.
    pub const fn reserve(&mut self, count: usize) {
        self.free = self.free.saturating_sub(count);
    }

    /// Gives back what was reserved and is not needed.
    pub const fn release(&mut self, count: usize) {
        self.free += count;
    }

    /// Gives one that was reserved to the VIM.
    pub fn assign(&mut self, vim: &str) {
        *self.used.entry(vim.to_owned()).or_default() += 1;
    }

    /// The VIM gives one back.
    pub fn give_back(&mut self, vim: &str) {
        if let Some(used) = self.used.get_mut(vim) {
            *used -= 1;
            self.free += 1;
            if *used == 0 {
                self.used.remove(vim);
            }
        }
    }
}

const fn allows(used: usize, free: usize) -> bool {
    free > 0 && (used == 0 || used < 3 * (free - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the VIMs get that take in turns as much as they may.
    fn shares(all: usize, vims: &[&str]) -> Vec<usize> {
        let mut share = FairShare::new(all);
        while let Some(vim) = vims.iter().filter(|vim| share.may_take(vim)).min_by_key(|vim| share.used.get(**vim)) {
            share.reserve(1);
            share.assign(vim);
        }
        vims.iter().map(|vim| share.used[*vim]).collect()
    }

    #[test]
    fn vims_get_equal_shares_and_leave_room_for_another() {
        assert_eq!(shares(64, &["a"]), [48]);
        assert_eq!(shares(64, &["a", "b"]), [27, 27]);
        assert_eq!(shares(64, &["a", "b", "c"]), [19, 19, 19]);
        assert_eq!(shares(1, &["a"]), [1]);
        assert_eq!(shares(2, &["a"]), [1]);
        assert_eq!(shares(2, &["a", "b"]), [1, 1]);
        assert_eq!(shares(4, &["a"]), [3]);
    }

    #[test]
    fn a_vim_is_crowded_until_something_is_given_back() {
        let mut share = FairShare::new(4);
        share.reserve(4);
        share.assign("a");
        share.assign("a");
        share.release(2);
        assert!(share.may_take("a") && share.crowded().is_empty());
        share.reserve(1);
        share.assign("a");
        assert_eq!((share.crowded(), share.free()), (vec!["a".to_owned()], 1));
        assert!(share.may_take("b"));
        share.give_back("a");
        assert!(share.may_take("a"));
        share.give_back("nobody");
        assert_eq!(share.free(), 2);
    }
}
