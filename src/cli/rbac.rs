//! `gybe vim rbac`: the rights that a credential needs in a namespace, as manifests to be applied by an administrator.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::needs::{PolicyRule, general_rules};
use crate::cli::output::{OutputFormat, print};
use crate::cli::package::report;
use crate::cli::{CliError, Exit, yaml};
use crate::domain::namespace::Namespace;

const GROUP: &str = "rbac.authorization.k8s.io";

/// `gybe vim rbac`.
#[derive(Args)]
pub struct Rbac {
    /// The namespace of the VNFs
    #[arg(short, long)]
    namespace: String,
    /// A CSAR, the folder of one, or of plain manifests: only the rights that it needs. Repeatable. Default: all namespaced kinds of
    /// Kubernetes that packages usually have
    #[arg(long, value_name = "PATH")]
    package: Vec<PathBuf>,
    /// Name of the ServiceAccount, the Role and the RoleBinding
    #[arg(long, default_value = "gybe")]
    name: String,
    /// Output: yaml or json
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: OutputFormat,
}

impl Rbac {
    /// Prints the manifests. Needs no server.
    ///
    /// # Errors
    /// The names are none; a package can't be read.
    pub fn run(&self) -> Result<Exit, CliError> {
        for name in [&self.namespace, &self.name] {
            Namespace::try_from(name.clone()).map_err(|error| CliError::usage(error.to_string()))?;
        }
        let (mut rules, mut cluster_rules) = (Vec::new(), Vec::new());
        for package in &self.package {
            let needs = report(package)?.needs.ok_or_else(|| {
                let shown = package.display();
                CliError::new(
                    Exit::Failed,
                    format!("the objects of {shown} can't be read; see: gybe package lint {shown}"),
                )
            })?;
            rules.extend(needs.rules);
            cluster_rules.extend(needs.cluster_rules);
        }
        if self.package.is_empty() {
            rules = general_rules();
        }
        let objects = self.objects(&unique(rules), &unique(cluster_rules));
        if self.output == OutputFormat::Json {
            print(&format!("{:#}\n", json!({ "apiVersion": "v1", "kind": "List", "items": objects })))?;
        } else {
            let documents: Vec<String> = objects.iter().map(yaml::text).collect();
            print(&documents.join("---\n"))?;
        }
        Ok(Exit::Done)
    }

    fn objects(&self, rules: &[PolicyRule], cluster_rules: &[PolicyRule]) -> Vec<Value> {
        let (name, namespace) = (&self.name, &self.namespace);
        let metadata = json!({ "name": name, "namespace": namespace });
        let mut objects = vec![json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })];
        let mut grant = |role: &str, metadata: Value, rules: &[PolicyRule]| {
            let version = format!("{GROUP}/v1");
            objects.push(json!({ "apiVersion": version, "kind": role, "metadata": metadata, "rules": rules }));
            objects.push(json!({
                "apiVersion": version, "kind": format!("{role}Binding"), "metadata": metadata,
                "roleRef": { "apiGroup": GROUP, "kind": role, "name": metadata["name"] },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
            }));
        };
        grant("Role", metadata, rules);
        if !cluster_rules.is_empty() {
            grant("ClusterRole", json!({ "name": format!("{namespace}-{name}") }), cluster_rules);
        }
        objects
    }
}

fn unique(mut rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    rules.sort();
    rules.dedup();
    rules
}
