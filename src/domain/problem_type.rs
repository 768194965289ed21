//! The closed list of problem types (RFC 9457 clause 3.1.1). [`super::problem`] makes problems of them; the API serves their
//! documentation at `/problems`.

use std::fmt::Write as _;

/// Whether a client may send the request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The same request may succeed later.
    Later,
    /// The same request may succeed later. It may also have taken effect already: read the resource first.
    AfterReading,
    /// The same request fails again until the caller or the operator changes something.
    AfterChange,
}

impl Repeat {
    const fn text(self) -> &'static str {
        match self {
            Self::Later => "yes, later",
            Self::AfterReading => "yes, after reading the resource: the request may have taken effect",
            Self::AfterChange => "only after a change",
        }
    }
}

/// The documentation of a problem type.
struct Definition {
    name: &'static str,
    urn: &'static str,
    status: u16,
    title: &'static str,
    repeat: Repeat,
    meaning: &'static str,
    action: &'static str,
}

macro_rules! problem_types {
    ($($variant:ident, $name:literal, $status:literal, $title:literal, $repeat:ident, $meaning:literal, $action:literal;)*) => {
        /// The type of a problem: one HTTP status, one title and one URN each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemType {
            $(#[doc = $meaning] $variant,)*
        }

        impl ProblemType {
            /// All types, by status and name.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            const fn definition(self) -> Definition {
                match self {
                    $(Self::$variant => Definition {
                        name: $name,
                        urn: concat!("urn:gybe:problem:", $name),
                        status: $status,
                        title: $title,
                        repeat: Repeat::$repeat,
                        meaning: $meaning,
                        action: $action,
                    },)*
                }
            }
        }
    };
}

// Names are stable: clients compare them. A row whose meaning or status has to change becomes two rows.
problem_types! {
    BadRequest, "bad-request", 400, "Bad request", AfterChange,
        "The request cannot be read: its syntax is wrong, a value has the wrong type, or a member or parameter is missing or unknown.",
        "Correct the request as `detail` says.";
    Unauthenticated, "unauthenticated", 401, "Unauthenticated", AfterChange,
        "The request carries no credential, or one that is wrong, expired or revoked. `WWW-Authenticate` names the schemes that are allowed.",
        "Send a valid credential: get a new token if the old one has expired.";
    CrossSiteRequest, "cross-site-request", 403, "Cross-site request", AfterChange,
        "A page of another web site sends the request through a browser, the request names a host that is not this server, or Gybe itself sends it because a caller named Gybe as a peer.",
        "Send the request from a program, without `Origin`, to a host that `detail` names. The operator sets the host that clients use with `--public-url`.";
    FetchNotAllowed, "fetch-not-allowed", 403, "Fetch not allowed", AfterChange,
        "The operator does not allow Gybe to fetch packages from this address.",
        "Upload the content with PUT, or ask the operator to allow the address with `--package-sources`.";
    GrantRefused, "grant-refused", 403, "Grant refused", AfterChange,
        "The NFVO refused the grant for the operation.",
        "Find the reason at the NFVO, then start the operation again.";
    NamespaceNotOwned, "namespace-not-owned", 403, "Namespace not owned", AfterChange,
        "The namespace belongs to another project than the caller's. The annotation of the Namespace, or `neutron_defaults.project`, says to which.",
        "Use a namespace of your project, or ask an administrator for one.";
    RoleMissing, "role-missing", 403, "Role missing", AfterChange,
        "The caller is known, and its role in the project does not allow the request.",
        "Ask for the role that `detail` names, or send the request as somebody who has it.";
    SharedReadOnly, "shared-read-only", 403, "Shared by another project", AfterChange,
        "The resource belongs to another project, which shares it with the caller's. Only its owner may change or delete it.",
        "Use the resource as it is, or ask its owner.";
    VimDenied, "vim-denied", 403, "VIM denied", AfterChange,
        "The credential of the VIM may not do what the request needs. `detail` names verb, kind, namespace and user as Kubernetes does.",
        "Give the user the missing right, or register another credential, then repeat the request or retry the operation.";
    VimPolicy, "vim-policy", 403, "Refused by the policy of the VIM", AfterChange,
        "The policy of the VIM, or the share through which the project uses it, does not allow VNFs to use the namespace or the kinds of objects that `detail` names. Without an entry that allows them, cluster-scoped kinds and `kube-*` namespaces are refused.",
        "Use what the policy allows (`policy` of the VIM), or ask a manager of the VIM's project to change it.";
    NotFound, "not-found", 404, "Not found", AfterChange,
        "The resource does not exist, or it belongs to another project.",
        "Check the identifier and the path.";
    NotSupported, "not-supported", 404, "Not supported", AfterChange,
        "The VNF or this VNFM does not support the task (SOL003 answers 404 in this case).",
        "Use a task that the VNFD and the VNFM support.";
    MethodNotAllowed, "method-not-allowed", 405, "Method not allowed", AfterChange,
        "The resource does not have this method.",
        "Use a method that the `Allow` header lists.";
    NotAcceptable, "not-acceptable", 406, "Not acceptable", AfterChange,
        "The resource has no representation that the `Accept` header allows.",
        "Accept one of the media types that `detail` names.";
    VersionNotSupported, "version-not-supported", 406, "Version not supported", AfterChange,
        "The `Version` header names a version of the API that is not served at this root.",
        "Send the version that `detail` names, or use the other root.";
    RequestTimeout, "request-timeout", 408, "Request timeout", Later,
        "The body of the request did not arrive in time.",
        "Send the request again over a connection that is fast enough.";
    AlreadyExists, "already-exists", 409, "Already exists", AfterChange,
        "Another resource has the same unique value.",
        "Choose another value, or use the resource that has it.";
    Cancelled, "cancelled", 409, "Cancelled", AfterChange,
        "The operation stopped because a client cancelled it.",
        "In FAILED_TEMP: retry the operation, roll it back or fail it.";
    ConcurrentChange, "concurrent-change", 409, "Concurrent change", AfterReading,
        "Another client changed the resource while Gybe processed the request.",
        "Read the resource again, then repeat the request if it still applies.";
    Conflict, "conflict", 409, "Conflict", AfterChange,
        "The resource is not in a state that allows the request.",
        "Bring the resource into a state that `detail` names, then repeat the request.";
    InUse, "in-use", 409, "In use", AfterChange,
        "Other resources still use the resource, so that it can be neither deleted nor replaced.",
        "Delete or change the users first.";
    NamespaceGone, "namespace-gone", 409, "Namespace gone", AfterChange,
        "The namespace of the VNF instance does not exist, or Kubernetes is deleting it.",
        "Create the namespace, or wait until it is deleted, then start the operation again. Terminating the VNF instance is possible.";
    ObjectConflict, "object-conflict", 409, "Object conflict", AfterChange,
        "A Kubernetes object of this name belongs to somebody else. Gybe never takes over an object.",
        "Use another namespace or name, or remove the object, then retry the operation.";
    ObjectGone, "object-gone", 409, "Object gone", Later,
        "A Kubernetes object of the VNF instance was deleted by somebody else.",
        "Retry the operation, or heal the VNF instance: both create the object again.";
    OperationInProgress, "operation-in-progress", 409, "Operation in progress", Later,
        "Another operation of the VNF instance has not ended (`vnfLcmOpOccId`).",
        "Wait until it ends. In FAILED_TEMP, retry it, roll it back or fail it.";
    PlanStale, "plan-stale", 409, "Plan stale", AfterChange,
        "The plan that `gybe:planId` names cannot be run: it does not exist any more, was run before, or was made of something else than what the request meets now (`changed`).",
        "Preview the task again, and run the new plan.";
    QuotaExceeded, "quota-exceeded", 409, "Quota exceeded", AfterChange,
        "The project has as much as its quota allows. `resource` names what, `limit`, `used` and `needed` how much.",
        "Delete what is not used, or wait until operations have ended. An administrator sets quotas at `/tenancy/v1/projects/{id}/quotas`.";
    RequestInProgress, "request-in-progress", 409, "Request in progress", Later,
        "The first request with this `Idempotency-Key` has no answer yet.",
        "Repeat the request later: it gets the answer to the first one.";
    PreconditionFailed, "precondition-failed", 412, "Precondition failed", AfterReading,
        "The resource does not have the entity tag that `If-Match` names.",
        "Read the resource again, and repeat the request with its present entity tag.";
    TooLarge, "too-large", 413, "Too large", AfterChange,
        "The body of the request is larger than Gybe takes.",
        "Send less. The operator sets the largest package with `--max-package-size`.";
    UnsupportedMediaType, "unsupported-media-type", 415, "Unsupported media type", AfterChange,
        "The resource does not take a body of this `Content-Type`.",
        "Send one of the media types that `detail` names.";
    RangeNotSatisfiable, "range-not-satisfiable", 416, "Range not satisfiable", AfterChange,
        "The content does not have the bytes that the `Range` header asks for.",
        "Ask for a range within the size that `Content-Range` gives.";
    FilterTooSlow, "filter-too-slow", 422, "Filter too slow", AfterChange,
        "The filter of a list reads so many resources that it was stopped.",
        "Add a condition on an attribute that is not in JSON, as `detail` says.";
    IdempotencyKeyReused, "idempotency-key-reused", 422, "Idempotency key reused", AfterChange,
        "The `Idempotency-Key` was used within the last 24 hours with another request.",
        "Send a new key for a new request.";
    InvalidPackage, "invalid-package", 422, "Invalid package", AfterChange,
        "The CSAR, its VNFD or its manifest is wrong. `detail` names the file and the line if there is one.",
        "Correct the package and upload it again.";
    ObjectRefused, "object-refused", 422, "Object refused", AfterChange,
        "The cluster refuses a Kubernetes object of the package, or does not know its kind.",
        "Correct the manifest in the package, or install what the cluster lacks.";
    Unprocessable, "unprocessable", 422, "Unprocessable", AfterChange,
        "Gybe understands the request, but cannot carry it out as it is.",
        "Correct the request, the package or the VNF instance as `detail` says.";
    VimUnusable, "vim-unusable", 422, "VIM unusable", AfterChange,
        "Gybe cannot use the VIM with the address, certificate authority and credential that it has.",
        "Correct the VIM or the `vimConnectionInfo` as `detail` says.";
    TooManyAttempts, "too-many-attempts", 429, "Too many attempts", Later,
        "Too many requests with a wrong password came from this address in a short time.",
        "Correct the password, and repeat the request after the time in `Retry-After`.";
    Internal, "internal", 500, "Internal error", Later,
        "Gybe has a defect, or the store holds something that Gybe cannot read.",
        "Give the operator the `errorId`: the log has the cause under it.";
    Interrupted, "interrupted", 500, "Interrupted", Later,
        "Gybe stopped while it read the package.",
        "Upload the package again.";
    PackageUnreadable, "package-unreadable", 500, "Package unreadable", AfterChange,
        "Gybe cannot read the package from its own storage.",
        "Tell the operator, who finds the cause on the disk. Delete and upload the package if it is damaged.";
    VnfNotReady, "vnf-not-ready", 500, "VNF not ready", AfterChange,
        "Kubernetes objects of the VNF did not become ready. `evidence` has conditions, events and log lines.",
        "Remove the cause, then retry the operation, or roll it back.";
    WorkersLost, "workers-lost", 500, "Workers lost", AfterChange,
        "Each process that worked on the operation ended at the same step.",
        "Find the cause in the logs, then retry the operation.";
    FetchFailed, "fetch-failed", 502, "Fetch failed", Later,
        "The server that has the package did not deliver it.",
        "Check the address and the credentials, then upload again.";
    GrantFailed, "grant-failed", 502, "Grant failed", AfterChange,
        "The NFVO answered the request for a grant with an error.",
        "Find the cause at the NFVO, then start the operation again.";
    GrantIncomplete, "grant-incomplete", 502, "Grant incomplete", AfterChange,
        "The grant does not answer for all resources that it was asked for.",
        "Correct the NFVO, then start the operation again.";
    GrantInvalid, "grant-invalid", 502, "Grant invalid", AfterChange,
        "The answer of the NFVO is not a grant that Gybe can use.",
        "Correct the NFVO, then start the operation again.";
    AuthenticationUnavailable, "authentication-unavailable", 503, "Authentication unavailable", Later,
        "The service that checks credentials, such as Keystone, does not answer. The credential may be valid.",
        "Repeat the request later. If it lasts, tell the operator.";
    DatabaseUnreachable, "database-unreachable", 503, "Database unreachable", AfterReading,
        "The database cannot be reached at the moment.",
        "Read the resource, then repeat the request later.";
    Overloaded, "overloaded", 503, "Overloaded", Later,
        "Gybe has more requests than it can serve at once. Nothing was changed.",
        "Repeat the request after the time in `Retry-After`.";
    ProjectUnverified, "project-unverified", 503, "Project unverified", Later,
        "Keystone does not say whether the project of a namespace exists. Nothing was changed.",
        "Repeat the request later. If it lasts, tell the operator: the log has the reason.";
    ServerNotReady, "server-not-ready", 503, "Server not ready", Later,
        "The process is stopping, or its database does not answer (`reasons`).",
        "Send requests to another process, or wait.";
    GrantTimeout, "grant-timeout", 504, "Grant timeout", AfterChange,
        "The NFVO did not decide on the grant in time.",
        "Find the cause at the NFVO, then start the operation again.";
    NfvoUnreachable, "nfvo-unreachable", 504, "NFVO unreachable", Later,
        "The NFVO does not answer, or answers that it is overloaded.",
        "Gybe retries by itself. When the operation has ended, start it again.";
    VimUnreachable, "vim-unreachable", 504, "VIM unreachable", Later,
        "The cluster does not answer. An operation may have changed it.",
        "Gybe retries operations by itself. In FAILED_TEMP, retry the operation when the cluster answers.";
    StorageFailed, "storage-failed", 507, "Storage failed", AfterChange,
        "Gybe cannot write the package to its disk.",
        "Tell the operator, who finds the cause in the log.";
    StorageFull, "storage-full", 507, "Storage full", AfterChange,
        "The disk, or the space that the operator gives to packages, has no room for a further package.",
        "Delete packages that no VNF instance uses. The operator sets the limits with `--min-free-space` and `--max-packages-size`.";
}

impl ProblemType {
    /// The last part of the URN, in kebab case; also the last segment of the path of its documentation.
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// `urn:gybe:problem:<name>`: what programs compare.
    pub const fn urn(self) -> &'static str {
        self.definition().urn
    }

    /// The HTTP status code.
    pub const fn status(self) -> u16 {
        self.definition().status
    }

    /// A short text, the same for each problem of the type.
    pub const fn title(self) -> &'static str {
        self.definition().title
    }

    /// Whether a client may send the request again.
    pub const fn repeat(self) -> Repeat {
        self.definition().repeat
    }

    /// The type with that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }

    /// The type with that URN; `None` for types of other releases.
    pub fn by_urn(urn: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.urn() == urn)
    }

    /// The documentation in Markdown: a heading, the facts, the meaning, what to do.
    pub fn documentation(self) -> String {
        let Definition { name, urn, status, title, repeat, meaning, action } = self.definition();
        format!(
            "## {name}\n\n- type: `{urn}`\n- title: {title}\n- status: {status}\n- repeat the request: {}\n\n{meaning}\n\n{action}\n",
            repeat.text()
        )
    }

    /// The documentation of all types in Markdown.
    pub fn all_documentation() -> String {
        let mut text = "# Problem types\n\n\
            Each error is an `application/problem+json` (RFC 9457). Programs compare `type`; `help` leads to the section below. \
            Values that `detail` quotes are also members of the problem.\n"
            .to_owned();
        for one in Self::ALL {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{}", one.documentation());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_sorted_and_unique() {
        let keys: Vec<_> = ProblemType::ALL.iter().map(|one| (one.status(), one.name())).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for one in ProblemType::ALL {
            assert_eq!((ProblemType::by_name(one.name()), ProblemType::by_urn(one.urn())), (Some(*one), Some(*one)));
            assert!(one.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", one.name());
        }
    }

    #[test]
    fn checked_in_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/problems.md");
        let current = ProblemType::all_documentation();
        if std::env::var_os("GYBE_UPDATE_DOCS").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(checked_in == current, "docs/problems.md is out of date: run the test with GYBE_UPDATE_DOCS=1");
    }
}
