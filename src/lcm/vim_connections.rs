//! `vimConnectionInfo` of requests: which registered VIM an entry means, whether it can be used, and where a VNF lives.

use std::collections::BTreeMap;

use crate::domain::ids::{ProjectId, VimId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::vim::{Vim, VimConnection};
use crate::error::ApiError;
use crate::lcm::modify;
use crate::sol003::v2::VimConnectionInfo;
use crate::store::{Store, StoreError};

/// Key of the `vimConnectionInfo` entry for the default VIM.
const DEFAULT_CONNECTION: &str = "default";

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
    /// VNF: the first connection of the request, else the home it has, else its first connection.
    ///
    /// # Errors
    /// 422 if a connection can't be used or if there is none.
    pub(super) async fn add(
        &self,
        instance: &mut VnfInstance,
        requested: &BTreeMap<String, VimConnectionInfo>,
        first: Option<String>,
        op: VnfLcmOpOccId,
    ) -> Result<(), ApiError> {
        let former_home = instance.home().map(|(key, _)| key.clone());
        for (key, wire) in requested {
            let mut connection = VimConnection::from(wire.clone());
            self.look_up_name(&mut connection).await?;
            self.check_connection(key, &connection).await?;
            let known = instance.vim_connections.get(key);
            connection.added_by = known.map_or(Some(op), |known| known.added_by);
            instance.vim_connections.insert(key.clone(), connection);
        }
        modify::refuse_excess_connections(&instance.vim_connections)?;
        if instance.vim_connections.is_empty() {
            let Some(vim) = self.default_vim().await? else { return Ok(()) };
            let wire = VimConnectionInfo { vim_id: Some(vim.id.to_string()), ..VimConnectionInfo::default() };
            let connection = VimConnection { added_by: Some(op), ..wire.into() };
            instance.vim_connections.insert(DEFAULT_CONNECTION.to_owned(), connection);
        }
        let chosen = first.or_else(|| requested.keys().next().cloned()).or(former_home);
        let chosen = chosen.or_else(|| instance.vim_connections.keys().next().cloned());
        for (key, connection) in &mut instance.vim_connections {
            connection.home = Some(key) == chosen.as_ref();
        }
        Ok(())
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

    async fn check_connection(&self, key: &str, connection: &VimConnection) -> Result<(), ApiError> {
        let wrong = |reason: String| {
            problem!(ProblemType::Unprocessable, "vimConnectionInfo '{key}': {reason}", key = key, reason = reason,)
        };
        if !connection.is_kubernetes() {
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
        // Only the canonical spelling: the deletion of a VIM searches the instances for it.
        let vim_id: VimId = id.parse().ok().filter(|parsed: &VimId| parsed.to_string() == id).ok_or_else(unknown)?;
        match self.store.vim(self.project, vim_id).await {
            Err(StoreError::NotFound) => Err(unknown().into()),
            other => Ok(other.map(drop)?),
        }
    }
}
