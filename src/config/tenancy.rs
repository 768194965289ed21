//! The tables `[tenancy]` and `[neutron_defaults]`: namespaces that belong to projects. Without `[tenancy]`, namespaces belong to
//! nobody.

use serde::Deserialize;

use crate::config::ConfigError;
use crate::domain::ids::ProjectId;
use crate::domain::tenancy::{PROJECT_ANNOTATION, TenancyRules};

/// The longest key of an annotation: a DNS name of 253 characters, a slash and a name of 63.
const LONGEST_KEY: usize = 317;

/// The table `[tenancy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenancyOptions {
    /// The annotation of a Namespace with the id of its project.
    #[serde(default = "project_annotation")]
    pub project_annotation: String,
    #[serde(default)]
    pub verify_project: VerifyProject,
}

fn project_annotation() -> String {
    PROJECT_ANNOTATION.to_owned()
}

/// Who says whether a project exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyProject {
    /// The Keystone of `[auth.keystone]`.
    #[default]
    Keystone,
    /// Nobody.
    Off,
}

/// The table `[neutron_defaults]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeutronDefaults {
    /// The project of namespaces without annotation.
    pub project: Option<String>,
}

/// Namespaces belong to projects.
#[derive(Clone, Debug)]
pub struct TenancyConfig {
    pub rules: TenancyRules,
    pub verify_project: VerifyProject,
}

/// What the tables say together, with what else is configured.
///
/// # Errors
/// [`ConfigError::Inconsistent`], which names the options and what to do.
pub fn resolve(
    tenancy: Option<TenancyOptions>,
    defaults: NeutronDefaults,
    has_keystone: bool,
) -> Result<Option<TenancyConfig>, ConfigError> {
    let inconsistent = |text: &str| Err(ConfigError::Inconsistent(text.to_owned()));
    let default_project = defaults.project.filter(|project| !project.is_empty());
    let Some(tenancy) = tenancy else {
        return match default_project {
            Some(_) => {
                inconsistent("neutron_defaults.project has no effect without a table [tenancy]: set both or none")
            }
            None => Ok(None),
        };
    };
    let key = tenancy.project_annotation;
    if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return inconsistent(
            "tenancy.project_annotation must be the key of an annotation, such as openstack.org/kuryr-project",
        );
    }
    if tenancy.verify_project == VerifyProject::Keystone && !has_keystone {
        return inconsistent(
            "tenancy.verify_project = \"keystone\", the default, needs a table [auth.keystone]: add it, or set \"off\"",
        );
    }
    let rules = TenancyRules { annotation: key, default_project: default_project.map(ProjectId) };
    Ok(Some(TenancyConfig { rules, verify_project: tenancy.verify_project }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    const KEYSTONE: &str = "[auth.keystone]\nauth_url = 'https://keystone'\nusername = 'gybe'\n";

    #[test]
    fn is_off_without_its_table() {
        assert!(config(&[], "").unwrap().tenancy.is_none());
        let tenancy =
            config(&[], &format!("[tenancy]\n[neutron_defaults]\nproject = 'p'\n{KEYSTONE}")).unwrap().tenancy;
        let tenancy = tenancy.unwrap();
        assert_eq!(tenancy.rules.annotation, "openstack.org/kuryr-project");
        assert_eq!(tenancy.rules.default_project, Some(ProjectId("p".to_owned())));
        assert_eq!(tenancy.verify_project, VerifyProject::Keystone);
        assert!(config(&[], "[tenancy]\nverify_project = 'off'").unwrap().tenancy.is_some());
    }

    #[test]
    fn refuses_inconsistent_tables_and_says_what_to_do() {
        for (file, expected) in [
            ("[tenancy]".to_owned(), "needs a table [auth.keystone]"),
            ("[neutron_defaults]\nproject = 'p'".to_owned(), "without a table [tenancy]"),
            ("[tenancy]\nverify_project = 'maybe'".to_owned(), "line 2"),
            ("[tenancy]\nproject_annotation = 'a b'\nverify_project = 'off'".to_owned(), "the key of an annotation"),
        ] {
            let error = config(&[], &file).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
    }
}
