//! What a simulated object is to do wrong, by its annotation or by the names of its images: `docs/simulated.md` has the table.

use std::time::Duration;

use serde_json::Value;

/// The annotation of an object, or of a pod template, with one of [`ALLOWED`].
pub(super) const ANNOTATION: &str = "gybe.dev/simulate";
/// The same in the last part of the name of an image, or in its tag: `registry.example/amf:simulate-crash`.
const IMAGE_PREFIX: &str = "simulate-";
/// The values of the annotation, for error messages.
pub(super) const ALLOWED: &str = "pull-failure, crash, quota, denied, slow, slow-SECONDS, never-ready";
/// How long a pod takes to become ready that is `slow` and does not say.
const SLOW: Duration = Duration::from_secs(20);
/// The longest time of `slow-SECONDS`: an hour.
const LONGEST: u64 = 3600;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The image cannot be pulled.
    PullFailure,
    /// The container ends again and again.
    Crash,
    /// A quota is used up: by the object, or by the pods of a workload.
    Quota,
    /// The credential may not write the object.
    Denied,
    /// The pods become ready, and take this long.
    Slow(Duration),
    /// The containers run, and never become ready.
    NeverReady,
}

impl Fault {
    /// Reads a value of the annotation; `None` if it is not one of [`ALLOWED`].
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "pull-failure" => Self::PullFailure,
            "crash" => Self::Crash,
            "quota" => Self::Quota,
            "denied" => Self::Denied,
            "slow" => Self::Slow(SLOW),
            "never-ready" => Self::NeverReady,
            _ => {
                let seconds = text.strip_prefix("slow-")?.parse().ok().filter(|seconds| *seconds <= LONGEST)?;
                Self::Slow(Duration::from_secs(seconds))
            }
        })
    }

    /// What the annotation of an object, or of a pod template, says.
    ///
    /// # Errors
    /// The value, if it is not allowed.
    pub fn of_annotation(object: &Value) -> Result<Option<Self>, &str> {
        let value = object.get("metadata").and_then(|metadata| metadata.get("annotations")?.get(ANNOTATION)?.as_str());
        value.map(|value| Self::parse(value).ok_or(value)).transpose()
    }

    /// What a pod is to do, by its own annotation, else by its images.
    pub fn of_pod(pod: &Value) -> Option<Self> {
        Self::of_annotation(pod).ok().flatten().or_else(|| {
            let lists =
                ["initContainers", "containers"].into_iter().filter_map(|list| pod.get("spec")?.get(list)?.as_array());
            lists.flatten().find_map(|container| Self::of_image(container.get("image")?.as_str()?))
        })
    }

    /// Whether an image asks for a fault of a pod. A registry under `.invalid`, which is no domain (RFC 2606), has no images.
    fn of_image(image: &str) -> Option<Self> {
        let (registry, rest) = image.split_once('/').unwrap_or(("", image));
        let host = registry.split(':').next().unwrap_or_default();
        if host == "invalid" || host.ends_with(".invalid") {
            return Some(Self::PullFailure);
        }
        let last = rest.rsplit('/').next().unwrap_or_default();
        let last = last.split('@').next().unwrap_or_default();
        let words = last.split(':').filter_map(|part| part.strip_prefix(IMAGE_PREFIX));
        words.filter_map(Self::parse).find(|fault| *fault != Self::Denied)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_annotation_or_an_image_scripts_a_pod() {
        let pod = |annotation: &str, image: &str| {
            let annotations = if annotation.is_empty() { json!({}) } else { json!({ ANNOTATION: annotation }) };
            Fault::of_pod(&json!({
                "metadata": { "annotations": annotations }, "spec": { "containers": [{ "image": image }] },
            }))
        };
        for (annotation, image, expected) in [
            ("", "registry.k8s.io/pause:3.10", None),
            ("", "amf:simulate-crash", Some(Fault::Crash)),
            ("", "registry.example:5000/core/simulate-never-ready", Some(Fault::NeverReady)),
            ("", "amf:simulate-slow-3@sha256:00", Some(Fault::Slow(Duration::from_secs(3)))),
            ("", "registry.invalid/amf:1", Some(Fault::PullFailure)),
            ("", "amf:simulate-denied", None),
            ("", "amf:simulate-nonsense", None),
            ("slow", "amf:simulate-crash", Some(Fault::Slow(SLOW))),
        ] {
            assert_eq!(pod(annotation, image), expected, "{annotation} {image}");
        }
        for wrong in ["", "boom", "slow-", "slow-3601", "slow--1"] {
            let object = json!({ "metadata": { "annotations": { ANNOTATION: wrong } } });
            assert_eq!(Fault::of_annotation(&object), Err(wrong));
        }
    }
}
