//! The table `[quotas]`: how much a project may have that no administrator gave quotas of its own.

use serde::Deserialize;

use crate::config::ConfigError;
use crate::domain::quota::{Limit, Quotas};

/// The options of the table, in the order of [`Quotas`].
pub const OPTIONS: [&str; 6] = ["vnf_instances", "packages", "package_bytes", "operations", "subscriptions", "vims"];

/// The table `[quotas]`. -1 is unlimited, as is a key that is not given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaOptions {
    vnf_instances: Option<i64>,
    packages: Option<i64>,
    package_bytes: Option<i64>,
    operations: Option<i64>,
    subscriptions: Option<i64>,
    vims: Option<i64>,
}

impl QuotaOptions {
    /// The quotas.
    ///
    /// # Errors
    /// [`ConfigError::Inconsistent`], for a number below -1.
    pub fn resolve(&self) -> Result<Quotas, ConfigError> {
        let mut quotas = Quotas::default();
        let numbers =
            [self.vnf_instances, self.packages, self.package_bytes, self.operations, self.subscriptions, self.vims];
        for (limit, (name, number)) in quotas.0.iter_mut().zip(OPTIONS.into_iter().zip(numbers)) {
            *limit = number
                .map_or(Ok(Limit::Unlimited), Limit::try_from)
                .map_err(|error| ConfigError::Inconsistent(format!("quotas.{name}: {error}")))?;
        }
        Ok(quotas)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::config;
    use crate::domain::quota::{Limit, QuotaResource, Quotas};

    #[test]
    fn quotas_are_unlimited_unless_the_table_says_otherwise() {
        assert_eq!(config(&[], "").unwrap().quotas, Quotas::default());
        let quotas = config(&[], "[quotas]\nvims = 3\npackages = -1\n").unwrap().quotas;
        assert_eq!(quotas.limit(QuotaResource::Vims), Limit::AtMost(3));
        assert_eq!(quotas.limit(QuotaResource::Packages), Limit::Unlimited);
        let error = config(&[], "[quotas]\noperations = -2\n").unwrap_err();
        assert!(error.contains("quotas.operations: -2 is not a limit"), "{error}");
        assert!(config(&[], "[quotas]\nvnfs = 1\n").is_err());
    }
}
