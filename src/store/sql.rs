//! stub
/// stub
pub fn connect() {}
/// stub
pub fn migrate() {}
/// stub
pub struct Migrated;
