//! Reading CSARs.
