//! Creation of VNF instance identifiers.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Map;

use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::{VnfInstance, VnfMetadata};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::warning::Warnings;
use crate::error::{ApiError, internal};
use crate::lcm::accept::Acceptor;
use crate::lcm::modify;
use crate::sol003::common::CreateVnfRequest;
use crate::store::{CreateOutcome, IdempotencyKey, StoreError};

impl Acceptor<'_> {
    /// Creates a VNF instance identifier (SOL003 clause 5.4.2.3.1).
    ///
    /// A request with the `key` of an earlier request returns the instance of that request, while the instance exists, and creates no
    /// second one.
    ///
    /// # Errors
    /// 422 if no enabled package has the VNFD, the metadata uses the reserved key, or `key` was that of another request.
    pub async fn create(&self, request: CreateVnfRequest, key: Option<String>) -> Result<VnfInstance, ApiError> {
        modify::refuse_namespace(request.metadata.as_ref())?;
        modify::refuse_excess("metadata", request.metadata.as_ref())?;
        modify::refuse_long_texts(request.vnf_instance_name.as_deref(), request.vnf_instance_description.as_deref())?;
        let key = key.map(|key| idempotency_key(key, &request)).transpose()?;
        let unusable = || {
            problem!(
                ProblemType::Unprocessable,
                "no onboarded and ENABLED VNF package has the vnfdId '{vnfdId}'",
                vnfdId = request.vnfd_id,
            )
        };
        let onboarded = match self.store.vnfd(self.project, &request.vnfd_id).await {
            Err(StoreError::NotFound) => return Err(unusable().into()),
            other => other?,
        };
        let instance = VnfInstance {
            id: VnfInstanceId(self.ids.uuid()),
            project_id: self.project.clone(),
            name: request.vnf_instance_name,
            description: request.vnf_instance_description,
            vnfd_id: request.vnfd_id.clone(),
            vnf_pkg_id: onboarded.package_id,
            provider: onboarded.vnfd.provider,
            product_name: onboarded.vnfd.product_name,
            software_version: onboarded.vnfd.software_version,
            vnfd_version: onboarded.vnfd.version,
            metadata: VnfMetadata { namespace: None, user: request.metadata.unwrap_or_default() },
            extensions: Map::new(),
            configurable_properties: Map::new(),
            vim_connections: BTreeMap::new(),
            instantiated: None,
            warnings: Warnings::default(),
            version: 0,
            created_at: self.clock.now(),
        };
        let created = match key {
            None => self.store.create_instance(&instance).await.map(|()| CreateOutcome::Created),
            Some(key) => self.store.create_instance_once(&instance, &key).await,
        };
        match created {
            Err(StoreError::Stale) => Err(unusable().into()),
            Err(error) => Err(error.into()),
            Ok(CreateOutcome::Created) => Ok(instance),
            Ok(CreateOutcome::Existing(id)) => self.instance(id).await,
            Ok(CreateOutcome::KeyConflict) => {
                let text = "another request had this Idempotency-Key: a new request needs a new key, a repeated one the same body";
                Err(Problem::new(ProblemType::IdempotencyKeyReused, text).into())
            }
        }
    }
}

/// The key with a fingerprint of the request, which distinguishes a repetition from another request with the same key.
fn idempotency_key(key: String, request: &CreateVnfRequest) -> Result<IdempotencyKey, Problem> {
    let text = serde_json::to_string(request).map_err(|error| internal(&error))?;
    Ok(IdempotencyKey { key, fingerprint: hex::encode(digest(&SHA256, text.as_bytes()).as_ref()) })
}
