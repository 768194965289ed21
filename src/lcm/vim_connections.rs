//! `vimConnectionInfo` of requests: which registered VIM an entry means, whether it can be used, and where a VNF lives.

use std::collections::BTreeMap;

use crate::domain::ids::{ProjectId, VimId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::vim::{SIMULATED, Vim, VimConnection};
use crate::domain::warning::Warnings;
use crate::error::ApiError;
use crate::lcm::modify;
use crate::sol003::v2::VimConnectionInfo;
use crate::store::{Store, StoreError};

/// Key of the `vimConnectionInfo` entry for the default VIM.
const DEFAULT_CONNECTION: &str = "default";

/// The status of a connection that can't be used.
const UNPROCESSABLE: u16 = 422;

/// The requested connection that a VNF lives in: the first, unless that is of another kind of VIM and one of Kubernetes is there.
fn home_of(requested: &BTreeMap<String, VimConnectionInfo>, first: Option<String>) -> Option<String> {
    let first = first.or_else(|| requested.keys().next().cloned())?;
    let is_kubernetes = |wire: &VimConnectionInfo| VimConnection::from(wire.clone()).is_kubernetes();
    if requested.get(&first).is_some_and(is_kubernetes) {
        return Some(first);
    }
    let other = requested.iter().find(|(_, wire)| is_kubernetes(wire)).map(|(key, _)| key.clone());
    Some(other.unwrap_or(first))
}

/// The connection to a simulated VIM says so, whatever its request says, and no other one does.
fn name_simulated(connection: &mut VimConnection, vim: &Vim) {
    if vim.is_simulated() || connection.vim_type == SIMULATED {
        connection.vim_type.clone_from(&vim.vim_type);
    }
}

/// Reads and checks the VIM connections of requests.
pub(super) struct VimConnections<'a> {
    /// Has the registered VIMs.
    pub store: &'a dyn Store,
    /// The caller's tenant.
    pub project: &'a ProjectId,
    /// Whether an NFVO grants operations: it may name the VIM.
    pub granting: bool,
    /// Whether a `vimId` may also be the name of a registered VIM.
    pub vims_by_name: bool,
}

impl VimConnections<'_> {
    /// Adds the requested connections to the instance, or the default VIM if it has none at all, and chooses the home of the
    /// VNF: the first Kubernetes connection of the request, else the home it has, else its first connection.
    ///
    /// A connection that can't be used and is not the home, such as one of another kind of VIM, is kept without its credentials.
    /// Returns a warning of each.
    ///
    /// # Errors
    /// 422 if the home can't be used or if there is none.
    pub(super) async fn add(
        &self,
        instance: &mut VnfInstance,
        requested: &BTreeMap<String, VimConnectionInfo>,
        first: Option<String>,
        op: VnfLcmOpOccId,
    ) -> Result<Warnings, ApiError> {
        let mut warnings = Warnings::default();
        let former_home = instance.home().map(|(key, _)| key.clone());
        let requested_home = home_of(requested, first);
        for (key, wire) in requested {
            let mut connection = VimConnection::from(wire.clone());
            self.look_up_name(&mut connection).await?;
            match self.check_connection(key, &mut connection).await {
                Err(error) if requested_home.as_ref() != Some(key) && error.0.status == UNPROCESSABLE => {
                    warnings.add(format!("{}; it is not used, and kept without its credentials", error.0.detail));
                    connection = connection.without_credentials();
                }
                checked => checked?,
            }
            let known = instance.vim_connections.get(key);
            connection.added_by = known.map_or(Some(op), |known| known.added_by);
            instance.vim_connections.insert(key.clone(), connection);
        }
        modify::refuse_excess_connections(&instance.vim_connections)?;
        if instance.vim_connections.is_empty() {
            let Some(vim) = self.default_vim().await? else { return Ok(warnings) };
            vim.account_of(self.project).map_err(Problem::unprocessable)?;
            let wire = VimConnectionInfo { vim_id: Some(vim.id.to_string()), ..VimConnectionInfo::default() };
            let mut connection = VimConnection { added_by: Some(op), ..wire.into() };
            name_simulated(&mut connection, &vim);
            instance.vim_connections.insert(DEFAULT_CONNECTION.to_owned(), connection);
        }
        let chosen = requested_home.or(former_home);
        let chosen = chosen.or_else(|| instance.vim_connections.keys().next().cloned());
        for (key, connection) in &mut instance.vim_connections {
            connection.home = Some(key) == chosen.as_ref();
        }
        Ok(warnings)
    }

    /// `None` if there is none and the grant may name a VIM.
    async fn default_vim(&self) -> Result<Option<Vim>, ApiError> {
        match self.store.default_vim(self.project).await {
            Err(StoreError::NotFound) if self.granting => Ok(None),
            Err(StoreError::NotFound) => Err(Problem::unprocessable(
                "the request has no vimConnectionInfo and no default VIM is registered: give one, or register a VIM with is_default",
            )
            .into()),
            other => Ok(Some(other?)),
        }
    }

    /// Refuses to move a VNF that has objects to another cluster or namespace: nothing would remove them from the old one.
    ///
    /// # Errors
    /// 409.
    pub(super) async fn refuse_to_leave(&self, former: &VnfInstance, instance: &VnfInstance) -> Result<(), ApiError> {
        let (Some((key, home)), Some(namespace)) = (former.home(), &former.metadata.namespace) else { return Ok(()) };
        let stays = instance.home().is_some_and(|(_, now)| now.same_cluster(home));
        if (stays && instance.metadata.namespace.as_ref() == Some(namespace))
            || self.store.resources(former.id).await?.is_empty()
        {
            return Ok(());
        }
        Err(problem!(
            ProblemType::Conflict,
            "the VNF has, or may have, objects in namespace '{namespace}' of the VIM of vimConnectionInfo '{key}': it stays \
             there until it is terminated or its instantiation is rolled back; credentials may change",
            namespace = namespace.as_str(),
            key = key,
        )
        .into())
    }

    /// Checks the connections that `former` does not have, and that the VNF stays where it is. Replaces names of VIMs by ids.
    ///
    /// # Errors
    /// 422 for a connection that can't be used; 409 as [`VimConnections::refuse_to_leave`].
    pub(super) async fn check(&self, former: &VnfInstance, instance: &mut VnfInstance) -> Result<(), ApiError> {
        for (key, connection) in &mut instance.vim_connections {
            if former.vim_connections.get(key) != Some(&*connection) {
                self.look_up_name(connection).await?;
                self.check_connection(key, connection).await?;
            }
        }
        self.refuse_to_leave(former, instance).await
    }

    /// Replaces the name of a registered VIM by its id. Type and access of the connection are then those of the registration.
    async fn look_up_name(&self, connection: &mut VimConnection) -> Result<(), ApiError> {
        let Some(name) = connection.vim_id.clone().filter(|id| self.vims_by_name && id.parse::<VimId>().is_err())
        else {
            return Ok(());
        };
        match self.store.vim_named(self.project, &name).await {
            // [`Self::check_connection`] refuses it as it does an unknown id.
            Err(StoreError::NotFound) => {}
            found => {
                let vim = found?;
                connection.vim_id = Some(vim.id.to_string());
                connection.vim_name = Some(name);
                connection.vim_type = vim.vim_type;
            }
        }
        Ok(())
    }

    /// Checks that the project can use the connection, and notes whose VIM it is.
    async fn check_connection(&self, key: &str, connection: &mut VimConnection) -> Result<(), ApiError> {
        connection.lender = None;
        let wrong = |reason: String| {
            problem!(ProblemType::Unprocessable, "vimConnectionInfo '{key}': {reason}", key = key, reason = reason,)
        };
        if connection.vim_type.to_ascii_uppercase().contains("HELM") {
            let reason = format!(
                "vimType '{}': Helm charts are not supported yet; use ETSINFV.KUBERNETES.V_1",
                connection.vim_type
            );
            return Err(wrong(reason).into());
        }
        if !connection.is_kubernetes() {
            return Err(wrong(format!(
                "vimType '{}' is not supported; use ETSINFV.KUBERNETES.V_1",
                connection.vim_type
            ))
            .into());
        }
        if connection.inline_access().map_err(wrong)?.is_some() {
            if connection.vim_type == SIMULATED {
                return Err(wrong("a simulated VIM has no endpoint: give its vimId".to_owned()).into());
            }
            return Ok(());
        }
        let id = connection.vim_id.as_deref();
        let id = id.ok_or_else(|| wrong("give a vimId, or interfaceInfo.endpoint with accessInfo".to_owned()))?;
        let unknown = || wrong(format!("there is no VIM '{id}'; GET /v1.0/vims lists them"));
        // Only the canonical spelling: the deletion of a VIM searches the instances for it.
        let vim_id: VimId = id.parse().ok().filter(|parsed: &VimId| parsed.to_string() == id).ok_or_else(unknown)?;
        match self.store.visible_vim(self.project, vim_id).await {
            Err(StoreError::NotFound) => Err(unknown().into()),
            other => {
                let vim = other?;
                vim.account_of(self.project).map_err(wrong)?;
                name_simulated(connection, &vim);
                connection.lender = (vim.project_id != *self.project).then_some(vim.project_id);
                Ok(())
            }
        }
    }
}
