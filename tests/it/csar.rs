//! Tests of the csar.
