//! VNF packages: reading them, and the API `/vnfpkgm`.

mod csar;
mod management;
mod onboarding;
mod schemas;
mod sources;
mod subscriptions;
