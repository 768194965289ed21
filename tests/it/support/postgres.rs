//! The real PostgreSQL that the run started.
