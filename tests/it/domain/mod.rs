//! The pure decisions of `gybe::domain`, as far as they need more than a unit test.

mod change;
mod namespace;
mod op_occ;
mod operate;
mod render;
mod scale;
