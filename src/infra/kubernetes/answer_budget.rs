//! The memory for answers of VIMs. A server at the address of a VIM may send as much as it is read, to each of many calls at once.
//! All answers of the process share one budget, from their first bytes until they are parsed.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of answers that are in memory at a time. Parsed, JSON takes several times as much.
const BUDGET: usize = 128 << 20;
/// The beginning of each answer is free: most answers are short, and the number of calls is limited.
const FREE: usize = 64 << 10;
/// What is counted: permits of a semaphore are 32 bits.
const UNIT: usize = 1 << 10;

static LEFT: Semaphore = Semaphore::const_new(BUDGET / UNIT);

/// The part of the budget that one answer has, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct AnswerShare {
    permit: Option<SemaphorePermit<'static>>,
    units: usize,
}

/// Other answers have the whole budget.
#[derive(Debug, thiserror::Error)]
#[error("is asked again later: answers of VIMs take {} MiB of memory already", BUDGET >> 20)]
pub(super) struct BudgetSpent;

impl AnswerShare {
    /// Grows to an answer of this many bytes.
    ///
    /// # Errors
    /// [`BudgetSpent`]. It does not wait: answers that wait for each other would all time out.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetSpent> {
        let units = bytes.saturating_sub(FREE).div_ceil(UNIT);
        let more = units.saturating_sub(self.units);
        if more > 0 {
            let count = u32::try_from(more).map_err(|_| BudgetSpent)?;
            let permit = LEFT.try_acquire_many(count).map_err(|_| BudgetSpent)?;
            self.units = units;
            match &mut self.permit {
                Some(first) => first.merge(permit),
                None => self.permit = Some(permit),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_share_the_budget() {
        let (mut one, mut other) = (AnswerShare::default(), AnswerShare::default());
        assert!(one.grow_to(FREE).is_ok() && one.permit.is_none(), "most answers are short");
        assert!(one.grow_to(BUDGET / 2).is_ok() && one.grow_to(BUDGET * 3 / 4).is_ok());
        assert!(one.grow_to(FREE).is_ok(), "it keeps what it has");
        assert_eq!(one.units, (BUDGET * 3 / 4 - FREE) / UNIT);
        assert!(other.grow_to(FREE).is_ok());
        let text = other.grow_to(BUDGET / 2).unwrap_err().to_string();
        assert!(text.contains("128 MiB"), "{text}");
        drop(one);
        other.grow_to(BUDGET / 2).unwrap();
    }
}
