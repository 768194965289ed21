//! Limits the size of answers. kube's client reads an answer to its end, and a server at the address of a VIM may never end it.

use std::cell::RefCell;

use super::answer_budget::{AnswerShare, BudgetSpent};

/// Bytes of an answer that is one object: etcd takes 1.5 MiB by default.
pub(super) const OBJECT_BYTES: usize = 8 << 20;
/// Bytes of a list of kinds. The longest ones of a large cluster have some 100 KiB.
pub(super) const DISCOVERY_BYTES: usize = 4 << 20;
/// Bytes of one page of a list of objects.
pub(super) const LIST_BYTES: usize = 32 << 20;

/// The answer to one call: how long it may be, and its share of the memory for answers.
#[derive(Debug)]
pub(super) struct Answer {
    max: usize,
    share: AnswerShare,
}

tokio::task_local! {
    /// The answer to the call that the task has under way. The body of an answer is read by the task of its call.
    static ANSWER: RefCell<Answer>;
}

/// Runs a call whose answer may have `max` bytes. Returns what the answer has of the memory, to be kept until the answer is parsed.
pub(super) async fn within<T>(max: usize, call: impl Future<Output = T>) -> (T, AnswerShare) {
    let answer = RefCell::new(Answer { max, share: AnswerShare::default() });
    ANSWER
        .scope(answer, async {
            let result = call.await;
            (result, ANSWER.with(|answer| std::mem::take(&mut answer.borrow_mut().share)))
        })
        .await
}

/// Counts the bytes of one answer.
pub(super) enum ResponseLimit {
    /// The answer to a call.
    Whole {
        /// The bytes so far.
        read: usize,
    },
    /// A watch: it is read line by line.
    PerLine {
        /// The bytes of the present line so far.
        read: usize,
        /// Its share of the memory.
        share: AnswerShare,
    },
}

/// The answer is longer than it may be.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseTooLong {
    /// The whole answer.
    #[error("answers with more than {} MiB", .0 >> 20)]
    Whole(usize),
    /// A line of a watch.
    #[error("answers with more than {} MiB at once", .0 >> 20)]
    Line(usize),
    /// Together with others.
    #[error(transparent)]
    Together(#[from] BudgetSpent),
}

impl ResponseLimit {
    /// Limits the whole answer.
    pub const fn whole() -> Self {
        Self::Whole { read: 0 }
    }

    /// Limits each line of an answer that is read line by line.
    pub fn per_line() -> Self {
        Self::PerLine { read: 0, share: AnswerShare::default() }
    }

    /// Counts a piece of the answer.
    pub fn count(&mut self, data: &[u8]) -> Result<(), ResponseTooLong> {
        match self {
            Self::Whole { read } => {
                *read = read.saturating_add(data.len());
                let counted = ANSWER.try_with(|answer| answer.borrow_mut().grow_to(*read));
                // Every call is within a limit; one that is not has that of an object.
                let is_short = *read <= OBJECT_BYTES;
                counted.unwrap_or(if is_short { Ok(()) } else { Err(ResponseTooLong::Whole(OBJECT_BYTES)) })
            }
            Self::PerLine { read, share } => {
                *read = match data.iter().rposition(|byte| *byte == b'\n') {
                    Some(end) => {
                        *share = AnswerShare::default();
                        data.len() - end - 1
                    }
                    None => read.saturating_add(data.len()),
                };
                if *read > OBJECT_BYTES {
                    return Err(ResponseTooLong::Line(OBJECT_BYTES));
                }
                Ok(share.grow_to(*read)?)
            }
        }
    }
}

impl Answer {
    fn grow_to(&mut self, read: usize) -> Result<(), ResponseTooLong> {
        if read > self.max {
            return Err(ResponseTooLong::Whole(self.max));
        }
        Ok(self.share.grow_to(read)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn limits_an_answer_as_a_whole() {
        let read = async {
            let half = vec![b'\n'; DISCOVERY_BYTES / 2];
            let mut all = ResponseLimit::whole();
            assert!(all.count(&half).is_ok() && all.count(&half).is_ok());
            all.count(b"x").unwrap_err().to_string()
        };
        assert_eq!(within(DISCOVERY_BYTES, read).await.0, "answers with more than 4 MiB");
    }

    #[test]
    fn limits_a_watch_by_line() {
        let mut lines = ResponseLimit::per_line();
        let line = vec![b'x'; OBJECT_BYTES];
        for _ in 0..3 {
            assert!(lines.count(&line).is_ok() && lines.count(b"\n").is_ok());
        }
        assert!(lines.count(b"end\nx").is_ok());
        assert_eq!(lines.count(&line).unwrap_err().to_string(), "answers with more than 8 MiB at once");
    }
}
