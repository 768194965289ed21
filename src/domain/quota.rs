//! Quotas: how much of what Gybe keeps a project may have. `store` counts and asks [`check`] in the transaction that adds something.

use crate::domain::problem::{Problem, ProblemType, problem};

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaResource {
    /// VNF instances, instantiated or not.
    VnfInstances,
    /// VNF packages, with or without content.
    Packages,
    /// Bytes of the content of onboarded packages.
    PackageBytes,
    /// Operations in STARTING, PROCESSING or ROLLING_BACK.
    Operations,
    /// Subscriptions of both APIs.
    Subscriptions,
    /// Registered VIMs.
    Vims,
}

impl QuotaResource {
    /// All, in the order of [`Quotas`].
    pub const ALL: [Self; 6] =
        [Self::VnfInstances, Self::Packages, Self::PackageBytes, Self::Operations, Self::Subscriptions, Self::Vims];

    /// The name of its member in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VnfInstances => "vnfInstances",
            Self::Packages => "packages",
            Self::PackageBytes => "packageBytes",
            Self::Operations => "operations",
            Self::Subscriptions => "subscriptions",
            Self::Vims => "vims",
        }
    }

    /// What a caller can do when there is no room.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Operations => "wait until some have ended",
            _ => "delete some that are not used",
        }
    }
}

/// The most that a project may have of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// As much as it wants.
    #[default]
    Unlimited,
    /// Not more than this.
    AtMost(u64),
}

/// The number is not a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a limit; allowed: -1 (unlimited), or a number that is not below 0")]
pub struct InvalidLimit(pub i64);

impl TryFrom<i64> for Limit {
    type Error = InvalidLimit;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match number {
            -1 => Ok(Self::Unlimited),
            number => u64::try_from(number).map(Self::AtMost).map_err(|_| InvalidLimit(number)),
        }
    }
}

impl From<Limit> for i64 {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Unlimited => -1,
            Limit::AtMost(most) => Self::try_from(most).unwrap_or(Self::MAX),
        }
    }
}

/// The limits of a project, one for each of [`QuotaResource::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas(pub [Limit; QuotaResource::ALL.len()]);

impl Quotas {
    /// The limit of `resource`.
    pub const fn limit(&self, resource: QuotaResource) -> Limit {
        self.0[resource as usize]
    }
}

/// The limits that an administrator has set for a project; `None`: as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnQuotas(pub [Option<Limit>; QuotaResource::ALL.len()]);

impl OwnQuotas {
    /// The limits that hold, where `configured` are those of projects without their own.
    #[must_use]
    pub fn over(&self, configured: &Quotas) -> Quotas {
        let mut quotas = *configured;
        for (limit, own) in quotas.0.iter_mut().zip(self.0) {
            *limit = own.unwrap_or(*limit);
        }
        quotas
    }
}

/// What a project has of each of [`QuotaResource::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage(pub [u64; QuotaResource::ALL.len()]);

impl QuotaUsage {
    /// What it has of `resource`.
    pub const fn of(&self, resource: QuotaResource) -> u64 {
        self.0[resource as usize]
    }
}

/// Something does not fit into a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota of {} is {limit}, {used} are used, {needed} more are needed", .resource.as_str())]
pub struct QuotaExceeded {
    /// What does not fit.
    pub resource: QuotaResource,
    /// The limit.
    pub limit: u64,
    /// What the project has. It is above the limit if the limit was lowered.
    pub used: u64,
    /// What the request would add.
    pub needed: u64,
}

/// Whether `needed` more fit, where `used` are there.
///
/// # Errors
/// [`QuotaExceeded`].
pub fn check(resource: QuotaResource, limit: Limit, used: u64, needed: u64) -> Result<(), QuotaExceeded> {
    match limit {
        Limit::AtMost(limit) if used.saturating_add(needed) > limit => {
            Err(QuotaExceeded { resource, limit, used, needed })
        }
        _ => Ok(()),
    }
}

impl From<QuotaExceeded> for Problem {
    fn from(exceeded: QuotaExceeded) -> Self {
        problem!(
            ProblemType::QuotaExceeded,
            "the quota of {resource} of this project is {limit}, of which {used} are used, and the request needs {needed} more: {remedy}, or ask an administrator for a higher quota",
            resource = exceeded.resource.as_str(),
            limit = exceeded.limit,
            used = exceeded.used,
            needed = exceeded.needed,
            remedy = exceeded.resource.remedy(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_allowed_and_nothing_more() {
        let resource = QuotaResource::Packages;
        for (limit, used, needed, fits) in [
            (Limit::Unlimited, u64::MAX, u64::MAX, true),
            (Limit::AtMost(0), 0, 0, true),
            (Limit::AtMost(0), 0, 1, false),
            (Limit::AtMost(2), 1, 1, true),
            (Limit::AtMost(2), 2, 1, false),
            // The limit was lowered.
            (Limit::AtMost(2), 5, 1, false),
            (Limit::AtMost(u64::MAX - 1), u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(check(resource, limit, used, needed).is_ok(), fits, "{limit:?} {used} {needed}");
        }
        let problem = Problem::from(check(resource, Limit::AtMost(2), 5, 1).unwrap_err());
        assert_eq!((problem.status, &problem.extra["resource"]), (409, &"packages".into()));
        assert_eq!([&problem.extra["limit"], &problem.extra["used"], &problem.extra["needed"]], [2, 5, 1]);
    }

    #[test]
    fn minus_one_is_unlimited_and_own_limits_precede_configured_ones() {
        for (number, limit) in [(-1, Some(Limit::Unlimited)), (0, Some(Limit::AtMost(0))), (-2, None), (i64::MIN, None)]
        {
            assert_eq!(Limit::try_from(number).ok(), limit);
            assert!(limit.is_none_or(|limit| i64::from(limit) == number));
        }
        let mut configured = Quotas::default();
        configured.0[1] = Limit::AtMost(7);
        configured.0[5] = Limit::AtMost(3);
        let mut own = OwnQuotas::default();
        own.0[5] = Some(Limit::Unlimited);
        let quotas = own.over(&configured);
        assert_eq!(quotas.limit(QuotaResource::Packages), Limit::AtMost(7));
        assert_eq!(quotas.limit(QuotaResource::Vims), Limit::Unlimited);
        assert_eq!(quotas.limit(QuotaResource::VnfInstances), Limit::Unlimited);
    }
}
