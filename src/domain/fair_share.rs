//! How projects and VIMs share what a process has a limited number of, such as the places for operations that work (`places`).
//!
//! Each project, each VIM, and each project within each VIM may take one more while it has less than seven times as many as stay free for
//! it. So a project with one VIM gets three quarters of all, however many of its operations are stuck; another project and another VIM
//! find room at once.

use std::collections::HashMap;
use std::hash::Hash;

use crate::domain::ids::ProjectId;

/// A project in a VIM, or a project with what has to do with no VIM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sharer {
    pub project: ProjectId,
    /// As [`crate::domain::op_occ::VnfLcmOpOcc::vim`].
    pub vim: Option<String>,
}

impl Sharer {
    /// The project, with what has to do with no VIM.
    pub fn of(project: &ProjectId) -> Self {
        Self { project: project.clone(), vim: None }
    }
}

/// Who may take nothing more for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowded {
    pub projects: Vec<ProjectId>,
    /// VIMs, for all projects.
    pub vims: Vec<String>,
    /// Projects, each in a VIM.
    pub sharers: Vec<Sharer>,
}

impl Crowded {
    /// Nobody is crowded.
    pub const fn is_empty(&self) -> bool {
        self.projects.is_empty() && self.vims.is_empty() && self.sharers.is_empty()
    }

    /// Adds those of `other`.
    pub fn extend(&mut self, other: Self) {
        self.projects.extend(other.projects);
        self.vims.extend(other.vims);
        self.sharers.extend(other.sharers);
    }
}

/// What is free, and what projects and VIMs have.
#[derive(Debug)]
pub struct FairShare {
    free: usize,
    projects: Used<ProjectId>,
    vims: Used<String>,
    sharers: Used<Sharer>,
}

impl FairShare {
    /// `free` for all.
    pub fn new(free: usize) -> Self {
        Self { free, projects: Used::default(), vims: Used::default(), sharers: Used::default() }
    }

    /// What nobody has.
    pub const fn free(&self) -> usize {
        self.free
    }

    /// Whether the sharer may take one more.
    pub fn may_take(&self, sharer: &Sharer) -> bool {
        self.room(sharer, self.free) > 0
    }

    /// How much the sharer's project and the sharer have: of two that wait, the one with less is next.
    pub fn used(&self, sharer: &Sharer) -> (usize, usize) {
        (self.projects.of(&sharer.project), self.sharers.of(sharer))
    }

    /// Who may not take one more of what is free and of the `reserved`.
    pub fn crowded(&self, reserved: usize) -> Crowded {
        let free = self.free + reserved;
        let projects = self.projects.crowded(free).cloned().collect();
        let vims = self.vims.crowded(free).cloned().collect();
        // Those of a crowded project or VIM are left out with it.
        let full = |sharer: &&Sharer| {
            let Some(vim) = &sharer.vim else { return false };
            let for_both = self.room_for_both(&sharer.project, vim, free);
            for_both > 0 && self.sharers.room(sharer, for_both) == 0
        };
        Crowded { projects, vims, sharers: self.sharers.0.keys().filter(full).cloned().collect() }
    }

    /// Takes `count` for sharers that are not known yet.
    pub const fn reserve(&mut self, count: usize) {
        self.free = self.free.saturating_sub(count);
    }

    /// Gives back what was reserved and is not needed.
    pub const fn release(&mut self, count: usize) {
        self.free += count;
    }

    /// Gives one that was reserved to the sharer.
    pub fn assign(&mut self, sharer: &Sharer) {
        self.projects.add(&sharer.project);
        sharer.vim.iter().for_each(|vim| self.vims.add(vim));
        self.sharers.add(sharer);
    }

    /// The sharer gives one back.
    pub fn give_back(&mut self, sharer: &Sharer) {
        if self.sharers.remove(sharer) {
            self.projects.remove(&sharer.project);
            sharer.vim.iter().for_each(|vim| _ = self.vims.remove(vim));
            self.free += 1;
        }
    }

    fn room(&self, sharer: &Sharer, free: usize) -> usize {
        match &sharer.vim {
            None => self.projects.room(&sharer.project, free),
            Some(vim) => self.sharers.room(sharer, self.room_for_both(&sharer.project, vim, free)),
        }
    }

    /// What both the project and the VIM may still take.
    fn room_for_both(&self, project: &ProjectId, vim: &String, free: usize) -> usize {
        self.projects.room(project, free).min(self.vims.room(vim, free))
    }
}

/// How much each has. Who has nothing is not in it.
#[derive(Debug)]
struct Used<K>(HashMap<K, usize>);

impl<K> Default for Used<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Used<K> {
    fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn room(&self, key: &K, free: usize) -> usize {
        room(self.of(key), free)
    }

    fn crowded(&self, free: usize) -> impl Iterator<Item = &K> {
        self.0.iter().filter(move |(_, used)| room(**used, free) == 0).map(|(key, _)| key)
    }

    fn add(&mut self, key: &K) {
        match self.0.get_mut(key) {
            Some(used) => *used += 1,
            None => drop(self.0.insert(key.clone(), 1)),
        }
    }

    /// Whether there was one to take away.
    fn remove(&mut self, key: &K) -> bool {
        let Some(used) = self.0.get_mut(key) else { return false };
        *used -= 1;
        if *used == 0 {
            self.0.remove(key);
        }
        true
    }
}

/// How many more one may take that has `used`, while `free` are free: each while it has less than seven times as many as stay free
/// afterwards. Who has nothing may always take one.
const fn room(used: usize, free: usize) -> usize {
    if free == 0 {
        return 0;
    }
    // used + taken < 7 * (free - taken - 1)
    let room = (7 * (free - 1)).saturating_sub(used).div_ceil(8);
    if used == 0 && room == 0 { 1 } else { room }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharer(project: &str, vim: &str) -> Sharer {
        Sharer { project: ProjectId(project.to_owned()), vim: Some(vim.to_owned()) }
    }

    /// What the sharers get that take in turns as much as they may.
    fn shares(all: usize, sharers: &[(&str, &str)]) -> Vec<usize> {
        let sharers: Vec<_> = sharers.iter().map(|(project, vim)| sharer(project, vim)).collect();
        let mut share = FairShare::new(all);
        while let Some(next) = sharers.iter().filter(|it| share.may_take(it)).min_by_key(|it| share.used(it)) {
            share.reserve(1);
            share.assign(next);
        }
        sharers.iter().map(|sharer| share.sharers.of(sharer)).collect()
    }

    #[test]
    fn projects_and_vims_get_equal_shares_and_leave_room_for_others() {
        assert_eq!(shares(64, &[("a", "1")]), [49]);
        assert_eq!(shares(64, &[("a", "1"), ("a", "2")]), [26, 26], "VIMs of a project");
        assert_eq!(shares(64, &[("a", "1"), ("b", "2")]), [28, 27], "projects");
        assert_eq!(shares(64, &[("a", "1"), ("b", "1")]), [26, 26], "projects in a VIM");
        assert_eq!(
            shares(64, &[("a", "1"), ("a", "2"), ("b", "3")]),
            [15, 14, 27],
            "a project gets no more with two VIMs"
        );
        assert_eq!(shares(1, &[("a", "1")]), [1]);
        assert_eq!(shares(2, &[("a", "1"), ("b", "2")]), [1, 1]);
        assert_eq!(shares(4, &[("a", "1")]), [2]);
    }

    #[test]
    fn a_stuck_project_leaves_room_in_its_own_vim_and_elsewhere() {
        let stuck = sharer("a", "1");
        let mut share = FairShare::new(64);
        while share.may_take(&stuck) {
            share.reserve(1);
            share.assign(&stuck);
        }
        let crowded = Crowded { sharers: vec![stuck.clone()], ..Crowded::default() };
        assert_eq!((share.crowded(0), share.free()), (crowded.clone(), 15));
        for other in [sharer("b", "1"), sharer("a", "2"), sharer("b", "2"), Sharer::of(&stuck.project)] {
            assert!(share.may_take(&other), "{other:?}");
        }
        share.reserve(8);
        assert_eq!(share.crowded(8), crowded, "what a claim has reserved is for those that it will find");
        share.release(8);
        share.give_back(&stuck);
        assert!(share.may_take(&stuck) && share.crowded(0).is_empty());
        share.give_back(&sharer("nobody", "1"));
        assert_eq!(share.free(), 16);
    }

    #[test]
    fn many_projects_with_a_stuck_vim_leave_room_in_others() {
        let mut share = FairShare::new(64);
        let stuck = |project: usize| sharer(&project.to_string(), "1");
        for project in (0..100).cycle().take(1_000) {
            if share.may_take(&stuck(project)) {
                share.reserve(1);
                share.assign(&stuck(project));
            }
        }
        assert!(share.may_take(&sharer("b", "2")), "{share:?}");
        assert_eq!(share.crowded(0).vims, ["1"]);
    }

    #[test]
    fn a_project_leaves_an_eighth_of_what_needs_no_vim() {
        let [a, b] = ["a", "b"].map(|project| Sharer::of(&ProjectId(project.to_owned())));
        let mut share = FairShare::new(64);
        let mut taken = 0;
        while share.may_take(&a) {
            share.reserve(1);
            share.assign(&a);
            taken += 1;
        }
        assert_eq!((taken, share.may_take(&b)), (56, true));
        let crowded = share.crowded(0);
        assert_eq!((crowded.projects, crowded.sharers), (vec![a.project], vec![]));
    }
}
