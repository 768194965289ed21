//! Which claim of which operation wrote an object last: an annotation of the object. A conductor that wakes up late, and does not know
//! yet that its lease is lost, finds the annotation of a later writer and changes nothing (`docs/adr/0029-fence-on-the-object.md`).

use std::fmt;
use std::str::FromStr;

/// The annotation, on each object that an operation writes.
pub const WRITTEN_BY_ANNOTATION: &str = "gybe.dev/written-by";

/// A claim of an operation. Of two claims that work on the same VNF instance, the later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// The start time of the operation, in milliseconds since the epoch. A VNF instance has one operation at a time.
    pub started: i64,
    /// The lease epoch: which claim of the operation it is.
    pub epoch: i64,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.started, self.epoch)
    }
}

/// The annotation has another form.
#[derive(Debug, thiserror::Error)]
#[error("not <milliseconds>.<epoch>")]
pub struct NotAWriter;

impl FromStr for Writer {
    type Err = NotAWriter;

    fn from_str(text: &str) -> Result<Self, NotAWriter> {
        let (started, epoch) = text.split_once('.').ok_or(NotAWriter)?;
        let number = |text: &str| text.parse().map_err(|_| NotAWriter);
        Ok(Self { started: number(started)?, epoch: number(epoch)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_operation_and_a_later_claim_are_greater() {
        let writer = |started, epoch| Writer { started, epoch };
        assert!(writer(1, 9) < writer(2, 1) && writer(2, 1) < writer(2, 2));
        assert_eq!(writer(1_700_000_000_000, 3).to_string().parse::<Writer>().unwrap(), writer(1_700_000_000_000, 3));
        for wrong in ["", "1", "a.b", "1.2.3"] {
            assert!(wrong.parse::<Writer>().is_err(), "{wrong}");
        }
    }
}
