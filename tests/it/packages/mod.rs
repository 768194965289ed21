//! VNF packages: reading them, and `/vnfpkgm`.

mod csar;
mod management;
mod schemas;
mod sources;
mod subscriptions;
