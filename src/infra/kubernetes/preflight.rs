//! Asks the cluster what would stop a plan: [`crate::infra::Previewer::preflight`]. What the credential may not read is unknown, never a
//! failure.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

use super::client::Cluster;
use super::drift::MAX_CONCURRENT;
use crate::domain::namespace::Namespace;
use crate::domain::preflight::{
    Check, Questions, Reference, ReferencedKind, Right, SamplePod, Subject, Verdict, refused_pod,
};
use crate::domain::preview::{Brought, PlannedObject};
use crate::domain::resource::{KindInfo, ObjectKey};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// The checks that `questions` ask for. Those that are all right are one check of each sort.
pub(super) async fn preflight(
    cluster: &Cluster,
    scope: &Scope,
    objects: &[PlannedObject],
    questions: &Questions,
) -> Result<Vec<Check>, InfraError> {
    let asker = &Asker { cluster, scope, brought: Brought::of(objects) };
    let rights: Vec<_> = questions.rights.iter().map(|right| asker.right(right)).collect();
    let references: Vec<_> =
        questions.references.iter().map(|(reference, by)| asker.reference(reference, by)).collect();
    let pods: Vec<_> = questions.pods.iter().map(|pod| asker.pod(pod)).collect();
    let rights = stream::iter(rights).buffered(MAX_CONCURRENT).try_collect::<Vec<_>>();
    let references = stream::iter(references).buffered(MAX_CONCURRENT).try_collect::<Vec<_>>();
    let pods = stream::iter(pods).buffered(MAX_CONCURRENT).try_collect::<Vec<_>>();
    let (rights, references, pods) = futures::try_join!(rights, references, pods)?;
    let mut checks = Vec::new();
    for (subject, found, what) in [
        (Subject::Rights, rights, "rights that the plan needs are granted"),
        (Subject::Reference, references, "classes and networks that objects refer to exist"),
        (Subject::Pods, pods, "workloads have pods that the cluster accepts"),
    ] {
        let found: Vec<Option<Check>> = found;
        let number = found.iter().filter(|check| check.is_none()).count();
        if number > 0 {
            checks.push(Check::new(subject, Verdict::Ok, format!("{number} {what}"), None));
        }
        checks.extend(found.into_iter().flatten());
    }
    Ok(checks)
}

struct Asker<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    brought: Brought<'a>,
}

/// Each method returns `None` if all is right.
impl Asker<'_> {
    async fn right(&self, right: &Right) -> Result<Option<Check>, InfraError> {
        let Right { group, plural, namespaced, verb } = right;
        let namespace = namespaced.then(|| self.scope.namespace.as_str());
        let place = namespace.map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": { "resourceAttributes": { "namespace": namespace, "group": group, "resource": plural, "verb": verb } },
        });
        let review: SelfSubjectAccessReview = serde_json::from_value(review)
            .map_err(|error| InfraError::invalid(format!("the review is not a Kubernetes object: {error}")))?;
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.cluster.client.clone());
        let resource = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
        let check = |verdict, detail| Ok(Some(Check::new(Subject::Rights, verdict, detail, None)));
        let status = match self.cluster.call(reviews.create(&PostParams::default(), &review)).await {
            Ok(review) => review.status,
            Err(failed) if is_of_all(&failed.error) => return Err(failed.error),
            Err(failed) => {
                return check(
                    Verdict::Unknown,
                    format!("may the credential {verb} {resource}{place}: {}", failed.error),
                );
            }
        };
        match status {
            Some(status) if status.allowed => Ok(None),
            Some(status) if status.evaluation_error.is_none() => {
                check(Verdict::Failed, format!("the credential may not {verb} {resource}{place}"))
            }
            status => {
                let reason = status.and_then(|status| status.evaluation_error).unwrap_or_default();
                check(
                    Verdict::Unknown,
                    format!("the cluster does not say whether the credential may {verb} {resource}{place}: {reason}"),
                )
            }
        }
    }

    async fn reference(&self, reference: &Reference, by: &ObjectKey) -> Result<Option<Check>, InfraError> {
        let (api_version, kind, plural, namespaced) = reference.target.api();
        let name = &reference.name;
        let check = |verdict, detail| Ok(Some(Check::new(Subject::Reference, verdict, detail, Some(by.clone()))));
        let namespace = match &reference.namespace {
            None => self.scope.namespace.clone(),
            Some(other) => match Namespace::try_from(other.clone()) {
                Ok(namespace) => namespace,
                Err(_) => {
                    return check(
                        Verdict::Failed,
                        format!("{by} refers to {kind} {name} in '{other:.64}', which is no namespace"),
                    );
                }
            },
        };
        if !is_object_name(name) {
            return check(
                Verdict::Failed,
                format!("{by} refers to {kind} '{name:.256}', which is no name of an object"),
            );
        }
        let info = KindInfo { plural: plural.to_owned(), namespaced };
        let api = self.cluster.api(api_version, kind, &info, &namespace);
        let place = if namespaced { format!(" in namespace {namespace}") } else { String::new() };
        match self.cluster.find_metadata(&api, name).await {
            Ok(Some(_)) => Ok(None),
            Ok(None) if reference.target == ReferencedKind::StorageClass => check(
                Verdict::Unknown,
                format!(
                    "{by} refers to StorageClass {name}, which does not exist: its claims bind only to volumes that somebody makes for this class"
                ),
            ),
            Ok(None) => check(Verdict::Failed, format!("{by} refers to {kind} {name}, which does not exist{place}")),
            Err(error) if is_of_all(&error) => Err(error),
            Err(error) => check(Verdict::Unknown, format!("{by} refers to {kind} {name}{place}: {error}")),
        }
    }

    async fn pod(&self, pod: &SamplePod) -> Result<Option<Check>, InfraError> {
        let workload = &pod.workload;
        let object: DynamicObject = serde_json::from_value(Value::Object(pod.manifest.clone())).map_err(|error| {
            InfraError::invalid(format!("the pod of {workload} is not a Kubernetes object: {error}"))
        })?;
        let params = PostParams { dry_run: true, field_manager: None };
        let api = self.cluster.pods(&self.scope.namespace);
        let error = match self.cluster.call(api.create(&params, &object)).await {
            Ok(_) => return Ok(None),
            Err(failed) => failed.error,
        };
        let check = |subject, verdict, detail| Ok(Some(Check::new(subject, verdict, detail, Some(workload.clone()))));
        // A controller makes the pod later, with rights of its own; the account of the pod may be an object of the plan.
        let is_later =
            matches!(error.kind, InfraErrorKind::Denied | InfraErrorKind::Waiting | InfraErrorKind::NamespaceGone)
                || error.detail.contains("service account")
                || self.brought.is_named_in(&error.detail, workload);
        if is_later {
            return check(
                Subject::Pods,
                Verdict::Unknown,
                format!("the pods of {workload} cannot be checked: {error}"),
            );
        }
        if is_of_all(&error) {
            return Err(error);
        }
        let subject = refused_pod(&error.detail);
        // Old pods may make room for the new ones.
        let verdict = if subject == Subject::Quota && !pod.is_first { Verdict::Unknown } else { Verdict::Failed };
        check(subject, verdict, format!("the cluster refuses the pods of {workload}: {error}"))
    }
}

/// Whether the error concerns all questions.
const fn is_of_all(error: &InfraError) -> bool {
    matches!(error.kind, InfraErrorKind::Transient | InfraErrorKind::Unauthorized)
}

/// Whether the text may be part of a URL as the name of an object.
fn is_object_name(name: &str) -> bool {
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
    name.len() <= 253 && name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && name.chars().all(is_valid)
}
