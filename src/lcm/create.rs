//! Creation of VNF instance identifiers.

use std::collections::BTreeMap;

use serde_json::Map;

use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::{VnfInstance, VnfMetadata};
use crate::domain::problem::{ProblemType, problem};
use crate::domain::warning::Warnings;
use crate::error::ApiError;
use crate::lcm::accept::Acceptor;
use crate::lcm::modify;
use crate::sol003::common::CreateVnfRequest;
use crate::store::StoreError;

impl Acceptor<'_> {
    /// Creates a VNF instance identifier (SOL003 clause 5.4.2.3.1).
    ///
    /// # Errors
    /// 422 if no enabled package has the VNFD, or the metadata uses the reserved key.
    pub async fn create(&self, request: CreateVnfRequest) -> Result<VnfInstance, ApiError> {
        modify::refuse_namespace(request.metadata.as_ref())?;
        modify::refuse_excess("metadata", request.metadata.as_ref())?;
        modify::refuse_long_texts(request.vnf_instance_name.as_deref(), request.vnf_instance_description.as_deref())?;
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
        match self.store.create_instance(&instance).await {
            Err(StoreError::Stale) => Err(unusable().into()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(instance),
        }
    }
}
