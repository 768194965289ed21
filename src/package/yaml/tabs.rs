//! Finds tabs where `kubectl` refuses them: in the indentation of block style. The parser, which follows YAML 1.2, takes such lines if
//! nothing else is on them, or only a comment.

use granit_parser::{Event, ScalarStyle, Span, StructureStyle};

/// The lines of one part of a definition file, from 1, on which a tab may stand in the indentation.
#[derive(Default)]
pub(super) struct Tabs {
    /// The flow collections that are not complete.
    flow_depth: usize,
    /// The line on which the outermost of them begins.
    flow_begin: usize,
    nodes: Vec<Node>,
}

/// A node of several lines: it continues on the lines after `begin`, up to `end`.
struct Node {
    begin: usize,
    end: usize,
    style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A quoted scalar or a flow collection.
    Free,
    /// A plain scalar.
    Plain,
    /// A literal or folded scalar.
    Block,
}

impl Tabs {
    /// A check of `text`; `None` if no line has a tab in its indentation.
    pub fn of(text: &str) -> Option<Self> {
        text.lines().any(|line| tab(line).is_some()).then(Self::default)
    }

    /// Takes the next event of the part.
    pub fn take(&mut self, event: &Event<'_>, span: &Span) {
        match event {
            Event::SequenceStart(StructureStyle::Flow, ..) | Event::MappingStart(StructureStyle::Flow, ..) => {
                if self.flow_depth == 0 {
                    self.flow_begin = span.start.line();
                }
                self.flow_depth += 1;
            }
            // In a flow collection, all others are, too.
            Event::SequenceStart(..) | Event::MappingStart(..) if self.flow_depth > 0 => self.flow_depth += 1,
            Event::SequenceEnd | Event::MappingEnd if self.flow_depth > 0 => {
                self.flow_depth -= 1;
                if self.flow_depth == 0 {
                    self.nodes.push(Node { begin: self.flow_begin, end: span.end.line(), style: Style::Free });
                }
            }
            Event::Scalar(_, style, ..) if self.flow_depth == 0 && span.start.line() < span.end.line() => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Free,
                    _ => Style::Block,
                };
                self.nodes.push(Node { begin: span.start.line(), end: span.end.line(), style });
            }
            _ => {}
        }
    }

    /// The first line, from 1, with a tab where `kubectl` refuses it.
    pub fn misplaced(&self, text: &str) -> Option<usize> {
        let mut nodes = self.nodes.iter().peekable();
        // Of the block scalar that a line is in.
        let mut indent = None;
        for (number, line) in (1..).zip(text.lines()) {
            while nodes.next_if(|node| node.end < number).is_some() {
                indent = None;
            }
            let style = nodes.peek().filter(|node| node.begin < number).map(|node| node.style);
            let is_blank = line.trim().is_empty();
            if style == Some(Style::Block) && !is_blank {
                indent.get_or_insert_with(|| line.len() - line.trim_start_matches(' ').len());
            }
            let Some(column) = tab(line) else { continue };
            let allowed = match style {
                Some(Style::Free) => true,
                Some(Style::Plain) => !is_blank,
                Some(Style::Block) => indent.is_some_and(|indent| column >= indent),
                None => false,
            };
            if !allowed {
                return Some(number);
            }
        }
        None
    }
}

/// The column, from 0, of the first tab in the indentation of a line. The indicators of entries and keys, `-`, `?` and `:`, belong to it.
fn tab(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let is_blank = |at: usize| bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let indents = |at: &usize| is_blank(*at) || (matches!(bytes[*at], b'-' | b'?' | b':') && is_blank(at + 1));
    (0..bytes.len()).take_while(indents).find(|at| bytes[*at] == b'\t')
}

#[cfg(test)]
mod tests {
    use granit_parser::Parser;

    use super::*;

    /// The first line of `text` with a misplaced tab.
    fn misplaced(text: &str) -> Option<usize> {
        let mut tabs = Tabs::of(text)?;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.unwrap();
            tabs.take(&event, &span);
        }
        tabs.misplaced(text)
    }

    #[test]
    fn tabs_are_refused_where_kubectl_refuses_them() {
        for (text, line) in [
            ("a: 1\n\t\nb: 2\n", 2),
            ("a:\n  b: 1\n\t# comment\n", 3),
            ("a:\n-\tb: 1\n", 2),
            ("a:\n- \tb\n", 2),
            ("a: |\n  x\n\t\nb: 1\n", 3),
            ("a: x\n \t\n  y\n", 2),
            ("a: [1,\n\t2]\n\t\nb: 1\n", 3),
        ] {
            assert_eq!(misplaced(text), Some(line), "{text:?}");
        }
    }

    #[test]
    fn tabs_are_taken_elsewhere() {
        for text in [
            "a:\t1\t# c\nb: \t2\n",
            "a: |\n  x\n  \ty\n   \t\n",
            "a: 'x\n\ty'\nb: \"x\n \t\n\ty\"\n",
            "a: [1,\n\t{b: 2,\n\tc: 3}\n\t]\n",
            "{\n\t\"a\": 1\n}\n",
        ] {
            assert_eq!(misplaced(text), None, "{text:?}");
        }
    }
}
