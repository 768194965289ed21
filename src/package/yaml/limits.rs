//! The bounds of what is read, and the errors of it.

use super::node::{Data, Node};
use crate::domain::problem::{Problem, ProblemType, problem};

/// Mappings and sequences within each other. Kubernetes' deepest CustomResourceDefinitions have about 40; what is
/// accepted here must stay below the 128 levels that `serde_json` reads back from the database.
pub const MAX_DEPTH: usize = 64;
/// Scalars, mappings and sequences of all files read together, with what aliases repeat.
const MAX_NODES: usize = 500_000;
/// Bytes of their scalars, with what aliases repeat.
const MAX_SCALAR_BYTES: usize = 32 * 1024 * 1024;

/// What was read so far. Use one budget for all files whose trees are in memory at the same time.
#[derive(Debug, Default)]
pub struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    /// Adds a value of that size, which is within `depth` collections. `false` if that is beyond the bounds.
    pub(super) const fn spend(&mut self, size: Size, depth: usize) -> bool {
        self.nodes += size.nodes;
        self.bytes += size.bytes;
        self.nodes <= MAX_NODES && self.bytes <= MAX_SCALAR_BYTES && depth + size.depth <= MAX_DEPTH
    }
}

/// The size of a value with all that is in it.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub nodes: usize,
    pub bytes: usize,
    pub depth: usize,
}

pub(super) fn size(node: &Node) -> Size {
    let (own, within): (usize, Vec<Size>) = match &node.data {
        Data::List(items) => (0, items.iter().map(size).collect()),
        Data::Map(map) => (map.keys().map(String::len).sum(), map.values().map(size).collect()),
        Data::Text(text) => return Size { nodes: 1, bytes: text.len(), depth: 0 },
        _ => return Size { nodes: 1, bytes: 0, depth: 0 },
    };
    within.into_iter().fold(Size { nodes: 1, bytes: own, depth: 1 }, |sum, item| Size {
        nodes: sum.nodes + item.nodes,
        bytes: sum.bytes + item.bytes,
        depth: sum.depth.max(item.depth + 1),
    })
}

pub(super) fn too_much(file: &str, line: usize) -> Problem {
    let what = format!(
        "files are not read beyond {MAX_DEPTH} levels, {MAX_NODES} values and {MAX_SCALAR_BYTES} bytes of text in all, \
         counting what aliases (*) repeat; use less, and no aliases"
    );
    problem(file, line, &what)
}

/// 422: `file:line: reason`.
pub fn problem(file: &str, line: usize, reason: &str) -> Problem {
    problem!(ProblemType::InvalidPackage, "{file}:{line}: {reason}", file = file, line = line, reason = reason)
}
