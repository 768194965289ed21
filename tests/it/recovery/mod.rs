//! Operations continue after crashes, restarts and outages.

mod chaos;
mod matrix;
mod outages;
mod outcome_persistence;
mod restart;
mod vim_faults;
