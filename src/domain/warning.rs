//! Warnings: what Gybe accepts although it is probably not what the caller meant. `gybe:warnings` of packages, VNF instances and op
//! occurrences shows them.
//!
//! A package has those of its onboarding. An op occurrence has those of its request, its plan and its steps. A VNF instance has those
//! of the INSTANTIATE or CHANGE_VNFPKG that created its present objects.

use serde::{Deserialize, Serialize};

/// The most warnings of one resource.
const MAX_WARNINGS: usize = 32;
/// The most characters of a warning.
const MAX_CHARS: usize = 500;
/// Replaces the warnings beyond [`MAX_WARNINGS`].
const MORE: &str = "there are more warnings, which are left out";

/// Plain texts, each once, in the order in which they were added. They must not contain secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Warnings(Vec<String>);

impl Warnings {
    /// Adds a warning. A long text is cut, and a text that exists or is beyond the limit is not added. Returns whether anything changed.
    pub fn add(&mut self, text: impl AsRef<str>) -> bool {
        let text = text.as_ref();
        let mut kept: String = text.chars().take(MAX_CHARS).collect();
        if kept.len() < text.len() {
            kept.pop();
            kept.push('…');
        }
        if self.0.contains(&kept) || self.0.len() >= MAX_WARNINGS {
            return false;
        }
        self.0.push(if self.0.len() + 1 == MAX_WARNINGS { MORE.to_owned() } else { kept });
        true
    }

    /// Adds those of `others`.
    pub fn merge(&mut self, others: &Self) {
        self.extend(&others.0);
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<T: AsRef<str>> FromIterator<T> for Warnings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut warnings = Self::default();
        warnings.extend(texts);
        warnings
    }
}

impl<T: AsRef<str>> Extend<T> for Warnings {
    fn extend<I: IntoIterator<Item = T>>(&mut self, texts: I) {
        for text in texts {
            self.add(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_each_text_once_and_cuts_long_ones() {
        let mut warnings = Warnings::default();
        assert!(warnings.is_empty());
        assert!(warnings.add("a") && !warnings.add("a") && warnings.add("ü".repeat(MAX_CHARS + 1)));
        let long = warnings.iter().nth(1).unwrap();
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_CHARS, true));
    }

    #[test]
    fn keeps_a_bounded_number_and_says_that_there_are_more() {
        let mut warnings: Warnings = (0..MAX_WARNINGS * 2).map(|number| number.to_string()).collect();
        assert_eq!((warnings.iter().count(), warnings.iter().last()), (MAX_WARNINGS, Some(MORE)));
        assert!(!warnings.add("another"));
        let text = serde_json::to_string(&warnings).unwrap();
        assert_eq!(serde_json::from_str::<Warnings>(&text).unwrap(), warnings);
    }
}
