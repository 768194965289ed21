//! Which changes a subscription is notified of: `LifecycleChangeNotificationsFilter` (SOL003 clause 5.5.3.12) and
//! `PkgmNotificationsFilter` (clause 10.5.3.2).
//!
//! The store calls [`NotificationFilter::matches`] for each change, and [`NotificationFilter::is_orphaned`] when a VNF
//! instance is deleted. There is no other place that interprets a filter.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::ids::VnfInstanceId;
use crate::domain::notification::{
    Change, FilteredAttributes, InstanceAttributes, NotificationContent, OperationChange, PackageAttributes,
    PackageChange, ProductVersion,
};
use crate::domain::package::OperationalState;

const INSTANCE_FILTER: &str = "vnfInstanceSubscriptionFilter";
const PRODUCTS: &str = "vnfProductsFromProviders";

/// The filter of a subscription as JSON, without empty members and with sorted lists: equal filters are equal JSON.
///
/// All members that are present must match; of a list, one entry must.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationFilter(pub Map<String, Value>);

impl NotificationFilter {
    /// Whether a subscription with this filter is notified of `change`. The subscription must be to the API that the
    /// changed resource belongs to.
    pub fn matches(&self, change: &Change) -> bool {
        allows(&self.0, "notificationTypes", change.content.notification_type())
            && match (&change.content, &change.attributes) {
                (NotificationContent::Operation(operation), FilteredAttributes::Instance(instance)) => {
                    self.allows_operation(operation) && self.allows_instance(operation.vnf_instance_id, instance)
                }
                (
                    NotificationContent::InstanceCreated(id) | NotificationContent::InstanceDeleted(id),
                    FilteredAttributes::Instance(instance),
                ) => self.allows_instance(*id, instance),
                (NotificationContent::Package(change), FilteredAttributes::Package(package)) => {
                    self.allows_package(change, package)
                }
                (NotificationContent::Package(_), FilteredAttributes::Instance(_))
                | (_, FilteredAttributes::Package(_)) => false,
            }
    }

    /// The VNF instances that the filter names. Empty if it does not filter by identifier.
    pub fn instance_ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.0.get(INSTANCE_FILTER).and_then(|filter| filter.get("vnfInstanceIds"));
        ids.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether the deletion of `deleted` leaves none of the instances that the filter names; `exists` tells which are
    /// left. False if the filter does not name `deleted`.
    pub fn is_orphaned(&self, deleted: VnfInstanceId, exists: impl Fn(&str) -> bool) -> bool {
        let deleted = deleted.to_string();
        self.instance_ids().any(|id| id == deleted) && !self.instance_ids().any(exists)
    }

    fn allows_operation(&self, operation: &OperationChange) -> bool {
        allows(&self.0, "operationTypes", operation.operation.as_str())
            && allows(&self.0, "operationStates", operation.state.as_str())
    }

    fn allows_instance(&self, id: VnfInstanceId, instance: &InstanceAttributes) -> bool {
        let Some(filter) = self.0.get(INSTANCE_FILTER).and_then(Value::as_object) else { return true };
        let allows_name = match &instance.name {
            Some(name) => allows(filter, "vnfInstanceNames", name),
            None => !filter.contains_key("vnfInstanceNames"),
        };
        allows_name
            && allows(filter, "vnfInstanceIds", &id.to_string())
            && allows(filter, "vnfdIds", &instance.vnfd_id)
            && allows_product(filter, &instance.product)
    }

    fn allows_package(&self, change: &PackageChange, package: &PackageAttributes) -> bool {
        let operational_state = match package.operational_state {
            OperationalState::Enabled => "ENABLED",
            OperationalState::Disabled => "DISABLED",
        };
        let usage_state = if package.is_in_use { "IN_USE" } else { "NOT_IN_USE" };
        allows(&self.0, "vnfPkgId", &change.package.to_string())
            && allows(&self.0, "vnfdId", &change.vnfd_id)
            && allows(&self.0, "operationalState", operational_state)
            && allows(&self.0, "usageState", usage_state)
            && (!self.0.contains_key("vnfmInfo")
                || change.vnfm_info.iter().any(|vnfm| allows(&self.0, "vnfmInfo", vnfm)))
            && allows_product(&self.0, &package.product)
    }
}

/// Whether the member `name` of a filter is absent, equal to `value`, or a list with `value` in it.
fn allows(filter: &Map<String, Value>, name: &str, value: &str) -> bool {
    match filter.get(name) {
        None => true,
        Some(Value::Array(list)) => list.iter().any(|entry| entry == value),
        Some(one) => one == value,
    }
}

/// Whether `vnfProductsFromProviders` is absent or names the product. A provider without products stands for all of
/// them, a product without versions for all versions, a software version without VNFD versions for all of those.
fn allows_product(filter: &Map<String, Value>, product: &ProductVersion) -> bool {
    any_entry(filter, PRODUCTS, |provider| {
        names(provider, "vnfProvider", &product.provider)
            && any_entry(provider, "vnfProducts", |entry| {
                names(entry, "vnfProductName", &product.name)
                    && any_entry(entry, "versions", |version| {
                        names(version, "vnfSoftwareVersion", &product.software_version)
                            && allows(version, "vnfdVersions", &product.vnfd_version)
                    })
            })
    })
}

/// Whether the list `name` is absent or has an entry that passes `test`.
fn any_entry(object: &Map<String, Value>, name: &str, test: impl Fn(&Map<String, Value>) -> bool) -> bool {
    let Some(list) = object.get(name) else { return true };
    list.as_array().into_iter().flatten().filter_map(Value::as_object).any(test)
}

fn names(object: &Map<String, Value>, member: &str, value: &str) -> bool {
    object.get(member).is_some_and(|named| named == value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::{VnfLcmOpOccId, VnfPkgId};
    use crate::domain::notification::PackageEvent;
    use crate::domain::op_occ::{LcmOperation, OpState};

    const INSTANCE: &str = "11111111-1111-4111-8111-111111111111";
    const OTHER: &str = "22222222-2222-4222-8222-222222222222";
    const PACKAGE: &str = "33333333-3333-4333-8333-333333333333";

    fn filter(json: Value) -> NotificationFilter {
        serde_json::from_value(json).unwrap()
    }

    fn product() -> ProductVersion {
        ProductVersion {
            provider: "Company".to_owned(),
            name: "Sample".to_owned(),
            software_version: "2.0".to_owned(),
            vnfd_version: "1.0".to_owned(),
        }
    }

    fn change(content: NotificationContent, attributes: FilteredAttributes) -> Change {
        Change { time_stamp: OffsetDateTime::UNIX_EPOCH, content, attributes }
    }

    fn of_instance(content: NotificationContent, name: Option<&str>) -> Change {
        let instance =
            InstanceAttributes { name: name.map(str::to_owned), vnfd_id: "vnfd".to_owned(), product: product() };
        change(content, FilteredAttributes::Instance(instance))
    }

    fn operation(operation: LcmOperation, state: OpState) -> Change {
        let change = OperationChange {
            vnf_instance_id: INSTANCE.parse().unwrap(),
            op: VnfLcmOpOccId(Uuid::nil()),
            operation,
            state,
            is_automatic_invocation: false,
            error: None,
            resource_changes: None,
            changed_info: None,
        };
        of_instance(NotificationContent::Operation(Box::new(change)), Some("core"))
    }

    fn created() -> Change {
        of_instance(NotificationContent::InstanceCreated(INSTANCE.parse().unwrap()), Some("core"))
    }

    fn deleted() -> Change {
        of_instance(NotificationContent::InstanceDeleted(INSTANCE.parse().unwrap()), Some("core"))
    }

    fn package(event: PackageEvent, operational_state: OperationalState, is_in_use: bool) -> Change {
        let content = PackageChange {
            package: PACKAGE.parse::<VnfPkgId>().unwrap(),
            vnfd_id: "vnfd".to_owned(),
            vnfm_info: vec!["Gybe".to_owned(), "Other".to_owned()],
            event,
        };
        let attributes = PackageAttributes { operational_state, is_in_use, product: product() };
        change(NotificationContent::Package(Box::new(content)), FilteredAttributes::Package(attributes))
    }

    fn all_changes() -> Vec<Change> {
        let mut changes = vec![created(), deleted()];
        for state in OpState::ALL {
            changes.push(operation(LcmOperation::Heal, state));
        }
        for event in [
            PackageEvent::Onboarded,
            PackageEvent::OperationalState(OperationalState::Enabled),
            PackageEvent::OperationalState(OperationalState::Disabled),
            PackageEvent::Deleted,
        ] {
            changes.push(package(event, OperationalState::Enabled, false));
        }
        changes
    }

    #[test]
    fn empty_filter_matches_every_change() {
        for change in all_changes() {
            assert!(NotificationFilter::default().matches(&change), "{change:?}");
        }
    }

    #[test]
    fn notification_types_select_exactly_their_changes() {
        for change in all_changes() {
            let own = change.content.notification_type();
            for wanted in [
                "VnfLcmOperationOccurrenceNotification",
                "VnfIdentifierCreationNotification",
                "VnfIdentifierDeletionNotification",
                "VnfPackageOnboardingNotification",
                "VnfPackageChangeNotification",
            ] {
                let one = filter(json!({ "notificationTypes": [wanted] }));
                assert_eq!(one.matches(&change), wanted == own, "{wanted}: {change:?}");
                assert!(filter(json!({ "notificationTypes": [own, wanted] })).matches(&change));
            }
        }
    }

    #[test]
    fn operation_types_and_states_restrict_operations_only() {
        for state in OpState::ALL {
            let change = operation(LcmOperation::Heal, state);
            for wanted in OpState::ALL {
                let states = filter(json!({ "operationStates": [wanted.as_str()] }));
                assert_eq!(states.matches(&change), state == wanted);
                let both = filter(json!({ "operationStates": [wanted.as_str()], "operationTypes": ["HEAL"] }));
                assert_eq!(both.matches(&change), state == wanted);
            }
            assert!(filter(json!({ "operationTypes": ["HEAL", "SCALE"] })).matches(&change));
            assert!(!filter(json!({ "operationTypes": ["SCALE"] })).matches(&change));
        }
        for change in [created(), deleted()] {
            let filter = filter(json!({ "operationTypes": ["SCALE"], "operationStates": ["FAILED"] }));
            assert!(filter.matches(&change));
        }
    }

    #[test]
    fn every_member_of_the_instance_filter_must_match() {
        let cases = [
            (json!({}), true),
            (json!({ "vnfInstanceIds": [INSTANCE] }), true),
            (json!({ "vnfInstanceIds": [INSTANCE, OTHER] }), true),
            (json!({ "vnfInstanceIds": [OTHER] }), false),
            (json!({ "vnfInstanceNames": ["core", "edge"] }), true),
            (json!({ "vnfInstanceNames": ["edge"] }), false),
            (json!({ "vnfdIds": ["vnfd", "another"] }), true),
            (json!({ "vnfdIds": ["another"] }), false),
            (json!({ "vnfdIds": ["vnfd"], "vnfInstanceNames": ["edge"] }), false),
            (json!({ "vnfdIds": ["another"], "vnfInstanceIds": [INSTANCE] }), false),
            (
                json!({ "vnfdIds": ["vnfd"], "vnfInstanceIds": [INSTANCE], "vnfInstanceNames": ["core"],
                "vnfProductsFromProviders": [{ "vnfProvider": "Company" }] }),
                true,
            ),
        ];
        for (instances, matches) in cases {
            let filter = filter(json!({ "vnfInstanceSubscriptionFilter": instances }));
            for change in [created(), deleted(), operation(LcmOperation::Heal, OpState::Completed)] {
                assert_eq!(filter.matches(&change), matches, "{filter:?} {change:?}");
            }
        }
    }

    #[test]
    fn instance_without_a_name_matches_no_name() {
        let change = of_instance(NotificationContent::InstanceCreated(INSTANCE.parse().unwrap()), None);
        let by_name = json!({ "vnfInstanceSubscriptionFilter": { "vnfInstanceNames": [""] } });
        assert!(!filter(by_name).matches(&change));
        assert!(filter(json!({ "vnfInstanceSubscriptionFilter": { "vnfdIds": ["vnfd"] } })).matches(&change));
    }

    #[test]
    fn products_match_down_to_the_given_level() {
        let company =
            |products: Value| json!([{ "vnfProvider": "X" }, { "vnfProvider": "Company", "vnfProducts": products }]);
        let versions = |versions: Value| company(json!([{ "vnfProductName": "Sample", "versions": versions }]));
        let cases = [
            (json!([{ "vnfProvider": "Company" }]), true),
            (json!([{ "vnfProvider": "X" }]), false),
            (json!([{ "vnfProvider": "X", "vnfProducts": [{ "vnfProductName": "Sample" }] }]), false),
            (company(json!([{ "vnfProductName": "Another" }, { "vnfProductName": "Sample" }])), true),
            (company(json!([{ "vnfProductName": "Another" }])), false),
            (versions(json!([{ "vnfSoftwareVersion": "3.0" }, { "vnfSoftwareVersion": "2.0" }])), true),
            (versions(json!([{ "vnfSoftwareVersion": "3.0" }])), false),
            (versions(json!([{ "vnfSoftwareVersion": "2.0", "vnfdVersions": ["0.9", "1.0"] }])), true),
            (versions(json!([{ "vnfSoftwareVersion": "2.0", "vnfdVersions": ["0.9"] }])), false),
            (versions(json!([{ "vnfSoftwareVersion": "3.0", "vnfdVersions": ["1.0"] }])), false),
        ];
        for (products, matches) in cases {
            let of_instances = json!({ "vnfInstanceSubscriptionFilter": { "vnfProductsFromProviders": products } });
            assert_eq!(filter(of_instances).matches(&created()), matches, "{products}");
            let of_packages = filter(json!({ "vnfProductsFromProviders": products }));
            let change = package(PackageEvent::Onboarded, OperationalState::Enabled, false);
            assert_eq!(of_packages.matches(&change), matches, "{products}");
        }
    }

    #[test]
    fn members_of_the_package_filter_must_all_match() {
        let (enabled, disabled) = (OperationalState::Enabled, OperationalState::Disabled);
        let cases = [
            (json!({ "vnfPkgId": [PACKAGE, OTHER] }), true),
            (json!({ "vnfPkgId": [OTHER] }), false),
            (json!({ "vnfdId": ["another", "vnfd"] }), true),
            (json!({ "vnfdId": ["another"] }), false),
            (json!({ "vnfmInfo": ["Other", "Third"] }), true),
            (json!({ "vnfmInfo": ["Third"] }), false),
            (json!({ "vnfmInfo": ["Gybe"], "vnfdId": ["another"] }), false),
        ];
        for (json, matches) in cases {
            let change = package(PackageEvent::Deleted, disabled, false);
            assert_eq!(filter(json.clone()).matches(&change), matches, "{json}");
        }
        for state in [enabled, disabled] {
            for is_in_use in [true, false] {
                let change = package(PackageEvent::OperationalState(state), state, is_in_use);
                for (json, matches) in [
                    (json!({ "operationalState": "ENABLED" }), state == enabled),
                    (json!({ "operationalState": "DISABLED" }), state == disabled),
                    (json!({ "operationalState": ["DISABLED", "ENABLED"] }), true),
                    (json!({ "usageState": "IN_USE" }), is_in_use),
                    (json!({ "usageState": "NOT_IN_USE" }), !is_in_use),
                    (json!({ "usageState": ["IN_USE", "NOT_IN_USE"] }), true),
                    (json!({ "usageState": "IN_USE", "operationalState": "ENABLED" }), is_in_use && state == enabled),
                ] {
                    assert_eq!(filter(json.clone()).matches(&change), matches, "{json} {change:?}");
                }
            }
        }
    }

    #[test]
    fn package_without_vnfm_info_matches_no_vnfm() {
        let mut change = package(PackageEvent::Onboarded, OperationalState::Enabled, false);
        if let NotificationContent::Package(content) = &mut change.content {
            content.vnfm_info.clear();
        }
        assert!(!filter(json!({ "vnfmInfo": ["Gybe"] })).matches(&change));
        assert!(filter(json!({})).matches(&change));
    }

    #[test]
    fn subscription_is_orphaned_by_the_last_instance_that_it_names() {
        let deleted: VnfInstanceId = INSTANCE.parse().unwrap();
        let named = |ids: Value| filter(json!({ "vnfInstanceSubscriptionFilter": { "vnfInstanceIds": ids } }));
        assert!(named(json!([INSTANCE])).is_orphaned(deleted, |_| false));
        assert!(named(json!([INSTANCE, OTHER])).is_orphaned(deleted, |_| false));
        assert!(!named(json!([INSTANCE, OTHER])).is_orphaned(deleted, |id| id == OTHER));
        assert!(!named(json!([OTHER])).is_orphaned(deleted, |_| false), "another instance");
        assert!(!filter(json!({})).is_orphaned(deleted, |_| false), "names none");
    }
}
