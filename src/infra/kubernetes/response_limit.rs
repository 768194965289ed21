//! Limits the size of answers. kube's client reads an answer to its end, and a server at the address of a VIM may never end it.

/// Bytes of an answer: the longest lists of a large cluster have some 10 MiB.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of one line of a watch, which is one object: etcd takes 1.5 MiB by default.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Counts the bytes of one answer.
pub(super) struct ResponseLimit {
    max: usize,
    by_line: bool,
    read: usize,
}

/// The answer is longer than the limit.
#[derive(Debug, thiserror::Error)]
#[error("answers with more than {} MiB{}", max >> 20, if *by_line { " at once" } else { "" })]
pub(super) struct ResponseTooLong {
    max: usize,
    by_line: bool,
}

impl ResponseLimit {
    /// Limits the whole answer.
    pub const fn whole() -> Self {
        Self { max: MAX_BYTES, by_line: false, read: 0 }
    }

    /// Limits each line of an answer that is read line by line.
    pub const fn per_line() -> Self {
        Self { max: MAX_LINE_BYTES, by_line: true, read: 0 }
    }

    /// Counts a piece of the answer.
    pub fn count(&mut self, data: &[u8]) -> Result<(), ResponseTooLong> {
        let end_of_line = data.iter().rposition(|byte| *byte == b'\n').filter(|_| self.by_line);
        self.read = match end_of_line {
            Some(end) => data.len() - end - 1,
            None => self.read.saturating_add(data.len()),
        };
        if self.read > self.max {
            return Err(ResponseTooLong { max: self.max, by_line: self.by_line });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_an_answer_as_a_whole_and_a_watch_by_line() {
        let half = vec![b'\n'; MAX_BYTES / 2];
        let mut all = ResponseLimit::whole();
        assert!(all.count(&half).is_ok() && all.count(&half).is_ok());
        assert_eq!(all.count(b"x").unwrap_err().to_string(), "answers with more than 64 MiB");
        let mut lines = ResponseLimit::per_line();
        let line = vec![b'x'; MAX_LINE_BYTES];
        for _ in 0..3 {
            assert!(lines.count(&line).is_ok() && lines.count(b"\n").is_ok());
        }
        assert!(lines.count(b"end\nx").is_ok());
        assert_eq!(lines.count(&line).unwrap_err().to_string(), "answers with more than 16 MiB at once");
    }
}
