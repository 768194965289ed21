//! The real Kubernetes control plane that the run started.
