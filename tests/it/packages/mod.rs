//! VNF packages: reading them, and the API `/vnfpkgm`.

mod csar;
mod kubectl;
mod management;
mod onboarding;
mod schemas;
mod sloppy;
mod sources;
mod subscriptions;
