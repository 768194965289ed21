//! Causes of faults: which of them pass by themselves, and how long each may last.

use std::time::Duration;

/// Whether a fault usually passes without anybody changing something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Cause {
    /// It lasts until somebody acts: a wrong image name, an exhausted quota.
    Lasting,
    /// It passes: a container crashes until its database answers, a node or a volume is on its way, a registry is overloaded.
    Passing,
}

use Cause::{Lasting, Passing};

/// How many times longer a fault may last that passes by itself. With the default grace of 30 s that is five minutes: Kubernetes
/// restarts a crashing container after 10, 30, 70, 150 and 310 s, a 5G core needs up to four restarts, and an autoscaler
/// brings a node within two to four minutes.
const PASSING_FACTOR: u32 = 10;

impl Cause {
    /// How long a fault of this cause may last.
    pub fn patience(self, grace: Duration) -> Duration {
        match self {
            Lasting => grace,
            Passing => grace.saturating_mul(PASSING_FACTOR),
        }
    }

    /// The cause of a container that waits. `None`: the text does not tell, and the cause is as before.
    pub fn of_waiting_container(reason: &str, message: &str, last_end: &str) -> Option<Self> {
        Some(match reason {
            // The runtime could not start the process at all: its command does not exist.
            "CrashLoopBackOff" if matches!(last_end, "StartError" | "ContainerCannotRun") => Lasting,
            // A Secret or ConfigMap that an operator makes may be missing for a while.
            "CrashLoopBackOff" | "CreateContainerConfigError" => Passing,
            "ImagePullBackOff" if !message.contains("ErrImagePull") && !is_unanswered(message) => return None,
            "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" if is_unanswered(message) => Passing,
            _ => Lasting,
        })
    }

    /// The cause of a controller's failure to make pods or volumes, or of an object's own fault.
    pub fn of_message(message: &str) -> Self {
        let passes = is_webhook_failure(message)
            || message.contains("error looking up service account")
            || message.contains("status unknown for quota");
        if passes { Passing } else { Lasting }
    }

    /// The cause of an event about a claim that has no volume.
    pub fn of_claim(message: &str) -> Self {
        // The class of the claim does not exist.
        if message.contains("storageclass") && message.contains("not found") { Lasting } else { Passing }
    }
}

/// Whether the text of an API server or of a controller says that a webhook does not answer.
pub(in super::super) fn is_webhook_failure(message: &str) -> bool {
    ["failed calling webhook", "failed calling admission webhook", "conversion webhook for "]
        .iter()
        .any(|text| message.contains(text))
}

/// Whether a registry did not answer, or asked for patience: the name of the image may be right.
fn is_unanswered(message: &str) -> bool {
    const SIGNS: [&str; 10] = [
        "timeout",
        "timed out",
        "deadline exceeded",
        "connection refused",
        "connection reset",
        "unexpected EOF",
        "toomanyrequests",
        "Too Many Requests",
        "Service Unavailable",
        "Bad Gateway",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_of_a_waiting_container_differ() {
        for (reason, message, last_end, cause) in [
            ("CrashLoopBackOff", "back-off 20s", "Error", Some(Passing)),
            ("CrashLoopBackOff", "back-off 20s", "StartError", Some(Lasting)),
            ("CreateContainerConfigError", "secret \"tls\" not found", "", Some(Passing)),
            ("InvalidImageName", "couldn't parse image name", "", Some(Lasting)),
            ("ErrImagePull", "dial tcp: lookup registry.invalid: no such host", "", Some(Lasting)),
            ("ErrImagePull", "not found", "", Some(Lasting)),
            ("ErrImagePull", "dial tcp 192.0.2.1:443: i/o timeout", "", Some(Passing)),
            ("ErrImagePull", "toomanyrequests: You have reached your pull rate limit", "", Some(Passing)),
            ("ImagePullBackOff", "Back-off pulling image \"x\"", "", None),
            ("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: not found", "", Some(Lasting)),
            ("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: i/o timeout", "", Some(Passing)),
            ("RunContainerError", "exec: \"/no/such\": no such file", "", Some(Lasting)),
        ] {
            assert_eq!(Cause::of_waiting_container(reason, message, last_end), cause, "{reason}: {message}");
        }
    }

    #[test]
    fn a_quota_lasts_and_a_webhook_that_does_not_answer_passes() {
        assert_eq!(Cause::of_message("pods \"x\" is forbidden: exceeded quota: few"), Lasting);
        assert_eq!(Cause::of_message("Internal error occurred: failed calling webhook \"a.b\": no endpoints"), Passing);
        assert_eq!(Cause::of_claim("storageclass.storage.k8s.io \"x\" not found"), Lasting);
        assert_eq!(Cause::of_claim("no persistent volumes available for this claim"), Passing);
        assert_eq!(Lasting.patience(Duration::from_secs(30)), Duration::from_secs(30));
        assert_eq!(Passing.patience(Duration::from_secs(30)), Duration::from_secs(300));
    }
}
