//! `POST …/vnf_instances/{id}/sync`, an extension of Gybe: the same at both API roots.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::sync::IgnoreRule as Domain;
use crate::sol003::common::or_default;

/// What a sync leaves alone.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SyncVnfRequest {
    /// Differences that are no drift, because somebody else owns the fields.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<Vec<IgnoreRule>>)]
    pub ignore: Vec<Domain>,
}

// For the OpenAPI documents only: requests use the domain's type.
/// Fields of objects.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what requests contain; never constructed")]
pub struct IgnoreRule {
    /// `kind` of the objects.
    kind: String,
    /// `metadata.name`; all of the kind if absent.
    name: Option<String>,
    /// JSON pointers into the object, such as `/spec/replicas`: what is there or below is ignored.
    paths: Vec<String>,
}
