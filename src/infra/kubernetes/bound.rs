//! How much of an answer is taken. kube's client takes all there is, and what answers at a VIM's address may have no end.

/// The most of an answer: the longest lists of a large cluster have some 10 MiB.
const MOST: usize = 64 << 20;
/// The most of one line of a watch, which is one object: etcd takes 1.5 MiB, unless it was told to take more.
const MOST_OF_A_LINE: usize = 16 << 20;

/// What an answer may still come to.
pub(super) struct Bound {
    most: usize,
    by_line: bool,
    taken: usize,
}

/// The answer is longer than what is taken.
#[derive(Debug, thiserror::Error)]
#[error("answers with more than {} MiB{}", most >> 20, if *by_line { " at once" } else { "" })]
pub(super) struct TooLong {
    most: usize,
    by_line: bool,
}

impl Bound {
    /// For an answer that is kept until it has ended.
    pub const fn of_all() -> Self {
        Self { most: MOST, by_line: false, taken: 0 }
    }

    /// For one of lines, of which each is forgotten before the next.
    pub const fn of_lines() -> Self {
        Self { most: MOST_OF_A_LINE, by_line: true, taken: 0 }
    }

    /// Counts what has come.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn take(&mut self, data: &[u8]) -> Result<(), TooLong> {
        let end_of_line = data.iter().rposition(|byte| *byte == b'\n').filter(|_| self.by_line);
        self.taken = match end_of_line {
            Some(end) => data.len() - end - 1,
            None => self.taken.saturating_add(data.len()),
        };
        if self.taken > self.most {
            return Err(TooLong { most: self.most, by_line: self.by_line });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_bounded_as_a_whole_a_watch_by_its_lines() {
        let half = vec![b'\n'; MOST / 2];
        let mut all = Bound::of_all();
        assert!(all.take(&half).is_ok() && all.take(&half).is_ok());
        assert_eq!(all.take(b"x").unwrap_err().to_string(), "answers with more than 64 MiB");
        let mut lines = Bound::of_lines();
        let line = vec![b'x'; MOST_OF_A_LINE];
        for _ in 0..3 {
            assert!(lines.take(&line).is_ok() && lines.take(b"\n").is_ok());
        }
        assert!(lines.take(b"end\nx").is_ok());
        assert_eq!(lines.take(&line).unwrap_err().to_string(), "answers with more than 16 MiB at once");
    }
}
