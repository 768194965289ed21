//! Which role a request needs: one table of methods and routes. A request without a row is refused.
//!
//! `api` asks here before each handler; the OpenAPI documents and `docs/security.md` are made from the table.

use crate::domain::caller::Role;

/// Who may send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Everybody, without a credential.
    Public,
    /// Callers with this role or a more powerful one.
    Needs(Role),
}

use Permission::{Needs, Public};
use Role::{Admin, Member, Reader};

/// A row: the methods, the route and the permission. `{version}` stands for `v1` and `v2`.
pub type Row = (&'static [&'static str], &'static str, Permission);

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];
const PUT: &[&str] = &["PUT"];
const DELETE: &[&str] = &["DELETE"];
const PATCH_DELETE: &[&str] = &["PATCH", "DELETE"];
const PUT_DELETE: &[&str] = &["PUT", "DELETE"];

/// The whole policy.
pub const ROWS: &[Row] = &[
    (GET, "/", Public),
    (GET, "/openapi", Public),
    (GET, "/openapi/{name}", Public),
    (GET, "/problems", Public),
    (GET, "/problems/{name}", Public),
    (GET, "/healthz", Public),
    (GET, "/readyz", Public),
    (POST, "/oauth/token", Public),
    (GET, "/ui", Public),
    (GET, "/ui/assets/{name}", Public),
    (POST, "/ui/session", Public),
    (GET, "/ui/session", Public),
    (DELETE, "/ui/session", Needs(Reader)),
    (GET, "/metrics", Needs(Admin)),
    (GET, "/audit/v1/records", Needs(Reader)),
    (GET, "/events/v1", Needs(Reader)),
    (GET, "/tenancy/v1/namespaces", Needs(Reader)),
    (POST, "/tenancy/v1/namespaces", Needs(Admin)),
    (GET, "/tenancy/v1/namespaces/{id}", Needs(Reader)),
    (DELETE, "/tenancy/v1/namespaces/{id}", Needs(Admin)),
    (POST, "/tenancy/v1/namespaces/{id}/resync", Needs(Admin)),
    (GET, "/tenancy/v1/projects/{id}/usage", Needs(Reader)),
    (GET, "/tenancy/v1/projects/{id}/metering", Needs(Reader)),
    (GET, "/tenancy/v1/projects/{id}/quotas", Needs(Reader)),
    (PUT, "/tenancy/v1/projects/{id}/quotas", Needs(Admin)),
    (GET, "/vnflcm/api_versions", Public),
    (GET, "/vnflcm/{version}/api_versions", Public),
    (GET, "/vnflcm/{version}/vnf_instances", Needs(Reader)),
    (POST, "/vnflcm/{version}/vnf_instances", Needs(Member)),
    (GET, "/vnflcm/{version}/vnf_instances/{id}", Needs(Reader)),
    (PATCH_DELETE, "/vnflcm/{version}/vnf_instances/{id}", Needs(Member)),
    (GET, "/vnflcm/{version}/vnf_instances/{id}/drift", Needs(Reader)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/instantiate", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/instantiate/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/scale", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/scale/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/scale_to_level", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/scale_to_level/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/heal", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/sync", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/heal/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/operate", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/operate/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/terminate", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/terminate/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/change_flavour", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/change_ext_conn", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/change_vnfpkg", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/change_vnfpkg/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/change_current_vnfpkg", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/change_current_vnfpkg/preview", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/create_snapshot", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_instances/{id}/revert_to_snapshot", Needs(Member)),
    (GET, "/vnflcm/{version}/vnf_lcm_op_occs", Needs(Reader)),
    (GET, "/vnflcm/{version}/vnf_lcm_op_occs/{id}", Needs(Reader)),
    (GET, "/vnflcm/{version}/vnf_lcm_op_occs/{id}/steps", Needs(Reader)),
    (POST, "/vnflcm/{version}/vnf_lcm_op_occs/{id}/retry", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_lcm_op_occs/{id}/rollback", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_lcm_op_occs/{id}/fail", Needs(Member)),
    (POST, "/vnflcm/{version}/vnf_lcm_op_occs/{id}/cancel", Needs(Member)),
    (GET, "/vnflcm/{version}/vnf_snapshots", Needs(Reader)),
    (POST, "/vnflcm/{version}/vnf_snapshots", Needs(Member)),
    (GET, "/vnflcm/{version}/vnf_snapshots/{id}", Needs(Reader)),
    (PATCH_DELETE, "/vnflcm/{version}/vnf_snapshots/{id}", Needs(Member)),
    (GET, "/vnflcm/{version}/vnf_snapshots/{id}/vnf_state_snapshot", Needs(Reader)),
    (GET, "/vnflcm/{version}/subscriptions", Needs(Reader)),
    (POST, "/vnflcm/{version}/subscriptions", Needs(Member)),
    (GET, "/vnflcm/{version}/subscriptions/{id}", Needs(Reader)),
    (DELETE, "/vnflcm/{version}/subscriptions/{id}", Needs(Member)),
    (GET, "/vnflcm/{version}/subscriptions/{id}/notifications", Needs(Reader)),
    (POST, "/vnflcm/{version}/subscriptions/{id}/notifications/resend", Needs(Member)),
    (GET, "/vnfpkgm/api_versions", Public),
    (GET, "/vnfpkgm/{version}/api_versions", Public),
    (GET, "/vnfpkgm/{version}/vnf_packages", Needs(Reader)),
    (POST, "/vnfpkgm/{version}/vnf_packages", Needs(Member)),
    (GET, "/vnfpkgm/{version}/vnf_packages/{id}", Needs(Reader)),
    (PATCH_DELETE, "/vnfpkgm/{version}/vnf_packages/{id}", Needs(Member)),
    (GET, "/vnfpkgm/{version}/vnf_packages/{id}/package_content", Needs(Reader)),
    (PUT, "/vnfpkgm/{version}/vnf_packages/{id}/package_content", Needs(Member)),
    (POST, "/vnfpkgm/{version}/vnf_packages/{id}/package_content/upload_from_uri", Needs(Member)),
    (GET, "/vnfpkgm/{version}/vnf_packages/{id}/vnfd", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/vnf_packages/{id}/manifest", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/vnf_packages/{id}/artifacts", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/vnf_packages/{id}/artifacts/{path:.*}", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages/{vnfdId}", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages/{vnfdId}/package_content", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages/{vnfdId}/vnfd", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages/{vnfdId}/manifest", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages/{vnfdId}/artifacts", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/onboarded_vnf_packages/{vnfdId}/artifacts/{path:.*}", Needs(Reader)),
    (GET, "/vnfpkgm/{version}/subscriptions", Needs(Reader)),
    (POST, "/vnfpkgm/{version}/subscriptions", Needs(Member)),
    (GET, "/vnfpkgm/{version}/subscriptions/{id}", Needs(Reader)),
    (DELETE, "/vnfpkgm/{version}/subscriptions/{id}", Needs(Member)),
    (GET, "/vnfpkgm/{version}/subscriptions/{id}/notifications", Needs(Reader)),
    (POST, "/vnfpkgm/{version}/subscriptions/{id}/notifications/resend", Needs(Member)),
    (GET, "/v1.0/vims", Needs(Reader)),
    (POST, "/v1.0/vims", Needs(Member)),
    (GET, "/v1.0/vims/{id}", Needs(Reader)),
    (PUT_DELETE, "/v1.0/vims/{id}", Needs(Member)),
    (GET, "/tenancy/v1/vims/{id}/shares", Needs(Admin)),
    (PUT_DELETE, "/tenancy/v1/vims/{id}/shares", Needs(Admin)),
    (GET, "/tenancy/v1/vnf_packages/{id}/shares", Needs(Admin)),
    (PUT_DELETE, "/tenancy/v1/vnf_packages/{id}/shares", Needs(Admin)),
];

/// The permission for requests with `method` to `route`, which is a pattern such as `/vnflcm/v1/vnf_instances/{id}`; `None`: nobody
/// may send them.
pub fn permission(method: &str, route: &str) -> Option<Permission> {
    // Tacker's clients of VIMs add a suffix.
    let route = route.strip_suffix(".json").unwrap_or(route);
    let row = ROWS.iter().find(|(methods, row, _)| methods.contains(&method) && is_route(row, route));
    row.map(|(_, _, permission)| *permission)
}

fn is_route(row: &str, route: &str) -> bool {
    match row.split_once("{version}") {
        Some((before, after)) => {
            let version = route.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            matches!(version, Some("v1" | "v2"))
        }
        None => row == route,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_and_both_spellings_have_the_same_permission() {
        for (method, route, expected) in [
            ("GET", "/vnflcm/v1/vnf_instances/{id}", Some(Needs(Reader))),
            ("DELETE", "/vnflcm/v2/vnf_instances/{id}", Some(Needs(Member))),
            ("PUT", "/v1.0/vims/{id}.json", Some(Needs(Member))),
            ("GET", "/vnflcm/v1/api_versions", Some(Public)),
            ("PUT", "/vnflcm/v1/vnf_instances/{id}", None),
            ("GET", "/vnflcm/v3/vnf_instances", None),
            ("GET", "/vnflcm/v1/v1/vnf_instances", None),
            ("GET", "", None),
        ] {
            assert_eq!(permission(method, route), expected, "{method} {route}");
        }
    }

    #[test]
    fn whoever_writes_is_at_least_a_member() {
        for (methods, route, permission) in ROWS {
            // These two carry their own credential, or change a session alone.
            let is_read = *methods == GET || ["/oauth/token", "/ui/session"].contains(route);
            let allowed = matches!(permission, Needs(role) if *role >= Member);
            assert!(is_read || allowed, "{methods:?} {route}");
        }
    }

    #[test]
    fn a_request_has_one_row() {
        for (methods, route, _) in ROWS {
            for method in *methods {
                let rows = ROWS.iter().filter(|(methods, row, _)| methods.contains(method) && row == route);
                assert_eq!(rows.count(), 1, "{method} {route}");
            }
        }
    }
}
