//! From a request to an op occurrence: everything that can be checked without the cluster is checked here, before the 202.
//!
//! Called by `crate::api`. What is accepted is written with [`Store::begin_operation`] in one transaction; after that
//! the operation can't be lost.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::clock::{Clock, Ids};
use crate::domain::ids::{ProjectId, VimId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::{InstantiatedVnfInfo, NAMESPACE_KEY, VnfInstance, VnfMetadata};
use crate::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use crate::domain::problem::Problem;
use crate::domain::scale::{ScaleDirection, initial_levels, scaled};
use crate::domain::vim::VimConnection;
use crate::domain::{heal, namespace, render};
use crate::error::ApiError;
use crate::lcm::params::{InstantiateParams, manifests};
use crate::sol003::common::{HealVnfRequest, ScaleType, ScaleVnfRequest, TerminateVnfRequest, TerminationType};
use crate::sol003::v2::{InstantiateVnfRequest, VimConnectionInfo, VnfInfoModificationRequest};
use crate::store::{OnboardedVnfd, Store, StoreError};

/// Turns requests into op occurrences.
pub struct Acceptor<'a> {
    /// Where they are written.
    pub store: &'a dyn Store,
    /// Tells `startTime`.
    pub clock: &'a dyn Clock,
    /// Draws their ids.
    pub ids: &'a dyn Ids,
    /// The caller's tenant.
    pub project: &'a ProjectId,
}

impl Acceptor<'_> {
    /// Accepts INSTANTIATE: decides the namespace and stores it in the instance with the operation.
    ///
    /// # Errors
    /// 404, 409 (wrong state, other operation, leftovers elsewhere), 400 and 422 as the parts of the request are wrong.
    pub async fn instantiate(
        &self,
        id: VnfInstanceId,
        request: InstantiateVnfRequest,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let mut instance = self.instance(id).await?;
        if instance.instantiated.is_some() {
            return Err(Problem::conflict(format!("VNF instance {id} is INSTANTIATED already")).into());
        }
        let onboarded = self.vnfd(&instance).await?;
        let flavour = onboarded.vnfd.flavour(&request.flavour_id)?;
        initial_levels(flavour, request.instantiation_level_id.as_deref())?;

        let additional = request.additional_params.unwrap_or_default();
        let params = InstantiateParams::read(&additional)?;
        let files = self.store.definition_files(onboarded.package_id).await?;
        let (_, manifests) = manifests(files, params.definition_files.as_deref())?;
        render::check(&manifests, flavour)?;
        let namespace = namespace::decide(params.namespace.as_ref(), &manifests)?;
        if let Some(former) = instance.metadata.namespace.as_ref().filter(|former| **former != namespace) {
            return Err(Problem::conflict(format!(
                "an earlier instantiation was failed and may have left objects in namespace '{former}': instantiate there, and terminate or roll back, before another namespace is used"
            ))
            .into());
        }

        let requested = request.vim_connection_info.unwrap_or_default();
        self.connect(&mut instance, &requested).await?;
        let connections: BTreeMap<&String, VimConnectionInfo> =
            requested.keys().filter_map(|key| Some((key, instance.vim_connections.get(key)?.into()))).collect();
        let record = json!({
            "flavourId": request.flavour_id,
            "instantiationLevelId": request.instantiation_level_id,
            "vimConnectionInfo": connections,
            "additionalParams": additional,
            "extensions": request.extensions,
            "vnfConfigurableProperties": request.vnf_configurable_properties,
        });
        merge(&mut instance.extensions, request.extensions);
        merge(&mut instance.configurable_properties, request.vnf_configurable_properties);
        instance.metadata.namespace = Some(namespace);
        self.begin(LcmOperation::Instantiate, OpState::Starting, without_nulls(record), None, &instance).await
    }

    /// Accepts SCALE.
    ///
    /// # Errors
    /// 404 (also if the VNF has no scaling aspects), 409, 422 (unknown aspect, level out of range).
    pub async fn scale(&self, id: VnfInstanceId, request: &ScaleVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        let info = instantiated(&instance)?;
        let onboarded = self.vnfd(&instance).await?;
        let flavour = onboarded.vnfd.flavour(&info.flavour_id)?;
        if flavour.aspects.is_empty() {
            return Err(
                Problem::new(404, "not-supported", "the VNFD has no scaling aspects: this VNF can't scale").into()
            );
        }
        let steps = request.number_of_steps.unwrap_or(1);
        if steps == 0 {
            return Err(Problem::malformed("numberOfSteps must be at least 1").into());
        }
        scaled(flavour, &info.scale_levels, direction(request.scale_type), &request.aspect_id, steps)?;
        self.begin(LcmOperation::Scale, OpState::Starting, record(request)?, None, &instance).await
    }

    /// Accepts HEAL.
    ///
    /// # Errors
    /// 404, 409, 422 (unknown VNFC).
    pub async fn heal(&self, id: VnfInstanceId, request: &HealVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        heal::select(&instantiated(&instance)?.vnfcs, request.vnfc_instance_id.as_deref().unwrap_or_default())?;
        self.begin(LcmOperation::Heal, OpState::Starting, record(request)?, None, &instance).await
    }

    /// Accepts TERMINATE.
    ///
    /// # Errors
    /// 404, 409, 422 (a time-out with FORCEFUL).
    pub async fn terminate(&self, id: VnfInstanceId, request: &TerminateVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        instantiated(&instance)?;
        let timed = request.graceful_termination_timeout.is_some();
        if timed && request.termination_type == TerminationType::Forceful {
            return Err(
                Problem::impossible("gracefulTerminationTimeout goes with terminationType GRACEFUL only").into()
            );
        }
        self.begin(LcmOperation::Terminate, OpState::Starting, record(request)?, None, &instance).await
    }

    /// Accepts MODIFY_INFO: the new values are in the instance from now on; the operation reports them.
    ///
    /// `patch` is the request as it was sent, for the record; `if_match` the version the caller saw.
    ///
    /// # Errors
    /// 404, 409, 412, 422 (`metadata.namespace`).
    pub async fn modify(
        &self,
        id: VnfInstanceId,
        request: VnfInfoModificationRequest,
        if_match: Option<i64>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let mut instance = self.instance(id).await?;
        if if_match.is_some_and(|version| version != instance.version) {
            return Err(Problem::new(412, "precondition-failed", "the VNF instance changed: GET it again").into());
        }
        refuse_namespace(request.metadata.as_ref())?;
        let mut changed = json!({
            "vnfInstanceName": request.vnf_instance_name,
            "vnfInstanceDescription": request.vnf_instance_description,
            "metadata": request.metadata,
            "extensions": request.extensions,
            "vnfConfigurableProperties": request.vnf_configurable_properties,
        });
        instance.name = request.vnf_instance_name.or(instance.name);
        instance.description = request.vnf_instance_description.or(instance.description);
        merge(&mut instance.metadata.user, request.metadata);
        merge(&mut instance.extensions, request.extensions);
        merge(&mut instance.configurable_properties, request.vnf_configurable_properties);
        if let Some(patch) = request.vim_connection_info {
            changed["vimConnectionInfo"] = self.patch_connections(&mut instance, patch).await?;
        }
        let changed = without_nulls(changed);
        self.begin(LcmOperation::ModifyInfo, OpState::Processing, changed.clone(), Some(changed), &instance).await
    }

    /// Makes a VNF instance identifier.
    ///
    /// # Errors
    /// 422 if no enabled package has the VNFD, or the metadata uses the reserved key.
    pub async fn create(&self, request: crate::sol003::common::CreateVnfRequest) -> Result<VnfInstance, ApiError> {
        refuse_namespace(request.metadata.as_ref())?;
        let unusable = || {
            Problem::impossible(format!("no onboarded and ENABLED VNF package has the vnfdId '{}'", request.vnfd_id))
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
            version: 0,
            created_at: self.clock.now(),
        };
        match self.store.create_instance(&instance).await {
            Err(StoreError::Stale) => Err(unusable().into()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(instance),
        }
    }

    async fn instance(&self, id: VnfInstanceId) -> Result<VnfInstance, ApiError> {
        match self.store.instance(self.project, id).await {
            Err(StoreError::NotFound) => Err(Problem::not_found("VNF instance", &id.to_string()).into()),
            other => Ok(other?),
        }
    }

    async fn vnfd(&self, instance: &VnfInstance) -> Result<OnboardedVnfd, ApiError> {
        Ok(self.store.vnfd(self.project, &instance.vnfd_id).await?)
    }

    /// Puts the requested connections into the instance, or the default VIM if there is none at all.
    async fn connect(
        &self,
        instance: &mut VnfInstance,
        requested: &BTreeMap<String, VimConnectionInfo>,
    ) -> Result<(), ApiError> {
        for (key, wire) in requested {
            let connection = VimConnection::from(wire.clone());
            self.check_connection(key, &connection).await?;
            instance.vim_connections.insert(key.clone(), connection);
        }
        if !instance.vim_connections.is_empty() {
            return Ok(());
        }
        let vim = match self.store.default_vim(self.project).await {
            Err(StoreError::NotFound) => {
                return Err(Problem::impossible(
                    "the request has no vimConnectionInfo and no default VIM is registered: give one, or register a VIM with is_default",
                )
                .into());
            }
            other => other?,
        };
        let connection = VimConnectionInfo { vim_id: Some(vim.id.to_string()), ..VimConnectionInfo::default() };
        instance.vim_connections.insert(DEFAULT_CONNECTION.to_owned(), connection.into());
        Ok(())
    }

    async fn check_connection(&self, key: &str, connection: &VimConnection) -> Result<(), ApiError> {
        let wrong = |text: String| Problem::impossible(format!("vimConnectionInfo '{key}': {text}"));
        if !["ETSINFV.KUBERNETES.V_1", "kubernetes"].contains(&connection.vim_type.as_str()) {
            return Err(wrong(format!(
                "vimType '{}' is not supported; use ETSINFV.KUBERNETES.V_1",
                connection.vim_type
            ))
            .into());
        }
        if connection.inline_access().map_err(wrong)?.is_some() {
            return Ok(());
        }
        let id = connection.vim_id.as_deref();
        let id = id.ok_or_else(|| wrong("give a vimId, or interfaceInfo.endpoint with accessInfo".to_owned()))?;
        let unknown = || wrong(format!("there is no VIM '{id}'; GET /v1.0/vims lists them"));
        let vim_id: VimId = id.parse().map_err(|_| unknown())?;
        match self.store.vim(self.project, vim_id).await {
            Err(StoreError::NotFound) => Err(unknown().into()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Applies a patch of connections; gives back its public form for the record.
    async fn patch_connections(
        &self,
        instance: &mut VnfInstance,
        patch: BTreeMap<String, Option<VimConnectionInfo>>,
    ) -> Result<Value, ApiError> {
        let mut public = Map::new();
        for (key, entry) in patch {
            let Some(wire) = entry else {
                instance.vim_connections.remove(&key);
                public.insert(key, Value::Null);
                continue;
            };
            let connection = VimConnection::from(wire);
            self.check_connection(&key, &connection).await?;
            public.insert(key.clone(), record(&VimConnectionInfo::from(&connection))?);
            instance.vim_connections.insert(key, connection);
        }
        Ok(Value::Object(public))
    }

    async fn begin(
        &self,
        operation: LcmOperation,
        state: OpState,
        params: Value,
        changed_info: Option<Value>,
        instance: &VnfInstance,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let now = self.clock.now();
        let op = VnfLcmOpOcc {
            id: VnfLcmOpOccId(self.ids.uuid()),
            project_id: self.project.clone(),
            vnf_instance_id: instance.id,
            operation,
            state,
            state_entered_time: now,
            start_time: now,
            is_automatic_invocation: false,
            params,
            cancel: None,
            error: None,
            resource_changes: None,
            changed_info,
        };
        let mut fresh = None;
        let mut attempt = 1;
        loop {
            match self.store.begin_operation(&op, fresh.as_ref().unwrap_or(instance)).await {
                // These leave the instance as it is; the view may have brought it up to date since we looked.
                Err(StoreError::Stale) if attempt < ATTEMPTS && leaves_instance(operation) => {
                    let again = self.instance(instance.id).await?;
                    instantiated(&again)?;
                    fresh = Some(again);
                    attempt += 1;
                }
                begun => break begun?,
            }
        }
        tracing::info!(op.id = %op.id, vnf_instance.id = %instance.id, operation = operation.as_str(), "operation {} accepted", op.id);
        Ok(op.id)
    }
}

/// How often an instance may change while an operation that leaves it as it is is accepted.
const ATTEMPTS: u32 = 4;

/// Whether accepting the operation changes nothing of the instance.
const fn leaves_instance(operation: LcmOperation) -> bool {
    matches!(operation, LcmOperation::Scale | LcmOperation::Heal | LcmOperation::Terminate)
}

/// Key of the `vimConnectionInfo` entry that stands for the default VIM.
pub const DEFAULT_CONNECTION: &str = "default";

/// The direction of a scale request.
pub const fn direction(scale_type: ScaleType) -> ScaleDirection {
    match scale_type {
        ScaleType::ScaleOut => ScaleDirection::Out,
        ScaleType::ScaleIn => ScaleDirection::In,
    }
}

fn instantiated(instance: &VnfInstance) -> Result<&InstantiatedVnfInfo, Problem> {
    instance
        .instantiated
        .as_ref()
        .ok_or_else(|| Problem::conflict(format!("VNF instance {} is NOT_INSTANTIATED", instance.id)))
}

fn refuse_namespace(metadata: Option<&Map<String, Value>>) -> Result<(), Problem> {
    match metadata.and_then(|metadata| metadata.get(NAMESPACE_KEY)) {
        None => Ok(()),
        Some(_) => Err(Problem::impossible(
            "metadata.namespace is reserved: the namespace is given by additionalParams.namespace when the VNF is instantiated, and stays",
        )),
    }
}

fn merge(into: &mut Map<String, Value>, patch: Option<Map<String, Value>>) {
    if let Some(patch) = patch {
        let mut document = Value::Object(std::mem::take(into));
        json_patch::merge(&mut document, &Value::Object(patch));
        if let Value::Object(merged) = document {
            *into = merged;
        }
    }
}

fn record(request: &impl serde::Serialize) -> Result<Value, Problem> {
    serde_json::to_value(request).map_err(|error| crate::error::internal(&error))
}

fn without_nulls(record: Value) -> Value {
    match record {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
