//! Client profiles: what Gybe does differently for a client whose behaviour contradicts the standard or other clients
//! (docs/clients.md).
//!
//! The configuration file has a `[[client]]` table for each such client: how requests are matched to it, its profile, and
//! settings that differ from the profile. `crate::api::clients` matches requests and applies the settings.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values::base_url;
use super::{CallbackTest, ConfigError, Options, PAGE_SIZES};
use crate::domain::op_occ::{Remedy, Unattended};
use crate::domain::secret::Secret;

/// A `[[client]]` table. A missing setting follows the profile; if the profile has none, it follows the options of the process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientOptions {
    name: String,
    profile: ProfileName,
    header: Option<Header>,
    user: Option<String>,
    network: Option<IpNet>,
    public_url: Option<String>,
    #[serde(deserialize_with = "page_size")]
    page_size: Option<usize>,
    callback_test: Option<CallbackTest>,
    version_required: Option<bool>,
    error_type: Option<ErrorType>,
    full_v1_lists: Option<bool>,
    vims_by_name: Option<bool>,
    unattended_after: Option<SecondsOrNever>,
    unattended_remedy: Option<UnattendedRemedy>,
    orphan_subscriptions_after: Option<SecondsOrNever>,
}

/// A header that identifies a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    /// The exact value. A secret: only the proxy may know it.
    pub value: Secret,
}

/// The known profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProfileName {
    /// Clients that follow the standard, such as Itential's adapter or etsi-mano.
    #[default]
    Standard,
    /// Clients written for OpenStack Tacker.
    Tacker,
    /// ONAP SO with its SOL003 adapter.
    Onap,
    /// IBM CP4NA with its SOL003 driver.
    Ibm,
    /// The workflows of openmsa.
    Openmsa,
}

/// A number of seconds, or `"never"`, which disables the setting of the profile.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number of seconds or \"never\"")]
enum SecondsOrNever {
    After(u32),
    Never(Never),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Never {
    Never,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnattendedRemedy {
    Rollback,
    Fail,
}

/// `Content-Type` of error responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ErrorType {
    /// The standard's type.
    #[default]
    #[serde(rename = "application/problem+json")]
    ProblemJson,
    /// For clients that read only this type.
    #[serde(rename = "application/json")]
    Json,
}

/// A client with a profile or with settings of its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub name: String,
    /// A request matches if it meets all criteria that are set: this header …
    pub header: Option<Header>,
    /// … this user name of HTTP Basic …
    pub user: Option<String>,
    /// … and a connection from this network.
    pub network: Option<IpNet>,
    /// The start of links for this client; `None`: the same as for all clients.
    pub public_url: Option<String>,
    /// Elements of a list in one page.
    pub page_size: usize,
    pub callback_test: CallbackTest,
    pub profile: Profile,
}

/// What Gybe does differently for a client. The default follows the standard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Refuse requests without a `Version` header with 400.
    pub version_required: bool,
    pub error_type: ErrorType,
    /// Lists at `/vnflcm/v1` contain all attributes unless the request has a selector.
    pub full_v1_lists: bool,
    /// A `vimId` may also be the name of a registered VIM.
    pub vims_by_name: bool,
    /// What to do with an operation of this client that stays in FAILED_TEMP; `None`: wait for a decision.
    pub unattended: Option<Unattended>,
    /// How long to keep a subscription after all VNF instances that it names are gone; `None`: until it is deleted.
    pub orphan_grace: Option<Duration>,
}

/// ONAP waits three hours for a final state. An hour for a person to decide leaves enough time to roll back.
const ONAP_UNATTENDED: u32 = 3600;
/// IBM's driver and openmsa treat FAILED_TEMP as a final state. So Gybe must end the operation before their next request.
const UNATTENDED_SHORT: u32 = 300;
/// Keep an orphan subscription for a day: by then every notification is delivered or parked.
const ORPHAN_GRACE: u32 = 24 * 3600;

impl ProfileName {
    fn options(self) -> ClientOptions {
        let standard = ClientOptions::default();
        match self {
            Self::Standard => standard,
            Self::Tacker => ClientOptions { full_v1_lists: Some(true), ..standard },
            Self::Onap => ClientOptions {
                callback_test: Some(CallbackTest::Lenient),
                vims_by_name: Some(true),
                unattended_after: Some(SecondsOrNever::After(ONAP_UNATTENDED)),
                orphan_subscriptions_after: Some(SecondsOrNever::After(ORPHAN_GRACE)),
                ..standard
            },
            Self::Ibm => ClientOptions {
                callback_test: Some(CallbackTest::Lenient),
                error_type: Some(ErrorType::Json),
                unattended_after: Some(SecondsOrNever::After(UNATTENDED_SHORT)),
                ..standard
            },
            Self::Openmsa => ClientOptions {
                page_size: Some(*PAGE_SIZES.end()),
                full_v1_lists: Some(true),
                unattended_after: Some(SecondsOrNever::After(UNATTENDED_SHORT)),
                ..standard
            },
        }
    }
}

impl ErrorType {
    /// The media type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProblemJson => "application/problem+json",
            Self::Json => "application/json",
        }
    }
}

impl SecondsOrNever {
    fn duration(self) -> Option<Duration> {
        match self {
            Self::After(seconds) => Some(Duration::from_secs(seconds.into())),
            Self::Never(Never::Never) => None,
        }
    }
}

impl ClientOptions {
    /// Takes missing settings from the profile.
    fn with_profile(self) -> Self {
        let profile = self.profile.options();
        Self {
            page_size: self.page_size.or(profile.page_size),
            callback_test: self.callback_test.or(profile.callback_test),
            version_required: self.version_required.or(profile.version_required),
            error_type: self.error_type.or(profile.error_type),
            full_v1_lists: self.full_v1_lists.or(profile.full_v1_lists),
            vims_by_name: self.vims_by_name.or(profile.vims_by_name),
            unattended_after: self.unattended_after.or(profile.unattended_after),
            unattended_remedy: self.unattended_remedy.or(profile.unattended_remedy),
            orphan_subscriptions_after: self.orphan_subscriptions_after.or(profile.orphan_subscriptions_after),
            ..self
        }
    }

    /// Completes the client with its profile and with `process`, the options of the process.
    ///
    /// # Errors
    /// [`ConfigError::Inconsistent`], naming the client.
    pub fn resolve(self, process: &Options) -> Result<Client, ConfigError> {
        let options = self.with_profile();
        let inconsistent = |text: &str| ConfigError::Inconsistent(format!("client '{}': {text}", options.name));
        if options.name.is_empty() {
            return Err(inconsistent("every [[client]] table needs a name"));
        }
        if options.header.as_ref().is_some_and(|header| header.name.parse::<http::HeaderName>().is_err()) {
            return Err(inconsistent("header.name must be the name of an HTTP header"));
        }
        let unattended = options.unattended_after.and_then(SecondsOrNever::duration);
        let remedy = match options.unattended_remedy {
            Some(_) if unattended.is_none() => {
                return Err(inconsistent(
                    "unattended_remedy has no effect without unattended_after: set unattended_after too, or remove unattended_remedy",
                ));
            }
            Some(UnattendedRemedy::Fail) => Remedy::Fail,
            Some(UnattendedRemedy::Rollback) | None => Remedy::Rollback,
        };
        let public_url = options.public_url.as_deref().map(base_url).transpose();
        Ok(Client {
            public_url: public_url.map_err(|allowed| inconsistent(&format!("public_url {allowed}")))?,
            page_size: options.page_size.unwrap_or(process.page_size),
            callback_test: options.callback_test.unwrap_or(process.callback_test),
            profile: Profile {
                version_required: options.version_required.unwrap_or_default(),
                error_type: options.error_type.unwrap_or_default(),
                full_v1_lists: options.full_v1_lists.unwrap_or_default(),
                vims_by_name: options.vims_by_name.unwrap_or_default(),
                unattended: unattended.map(|after| Unattended { after, remedy }),
                orphan_grace: options.orphan_subscriptions_after.and_then(SecondsOrNever::duration),
            },
            name: options.name,
            header: options.header,
            user: options.user,
            network: options.network,
        })
    }
}

impl Client {
    /// Whether a request comes from this client. `headers` returns the values of a header; `user` is the user name of HTTP
    /// Basic.
    ///
    /// A header with several values matches no client: the caller may have sent one in addition to the proxy's.
    pub fn matches<'a>(
        &self,
        headers: impl Fn(&str) -> Vec<&'a [u8]>,
        user: Option<&str>,
        peer: Option<IpAddr>,
    ) -> bool {
        self.header.as_ref().is_none_or(|header| headers(&header.name) == [header.value.expose().as_bytes()])
            && self.user.as_deref().is_none_or(|wanted| user == Some(wanted))
            && self.network.is_none_or(|network| peer.is_some_and(|peer| network.contains(&peer.to_canonical())))
    }
}

/// A whole number in [`PAGE_SIZES`]. serde's own messages name Rust types.
fn page_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
    let allowed = number.filter(|number| PAGE_SIZES.contains(number));
    let (first, last) = (PAGE_SIZES.start(), PAGE_SIZES.end());
    let refused = || D::Error::custom(format!("page_size must be a whole number from {first} to {last}"));
    allowed.map(Some).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn clients(text: &str) -> Result<Vec<Client>, String> {
        config(&[], text).map(|config| config.clients)
    }

    #[test]
    fn client_settings_override_the_profile_which_overrides_process_options() {
        let all = clients(
            r#"
            page_size = 7
            callback_test = "off"
            [[client]]
            name = "core"
            profile = "onap"
            unattended_after = 60
            unattended_remedy = "fail"
            public_url = "http://inside:9890/"
            [[client]]
            name = "msa"
            profile = "openmsa"
            unattended_after = "never"
            [[client]]
            name = "all others"
            "#,
        )
        .unwrap();
        let [onap, msa, others] = &all[..] else { panic!("{all:?}") };
        assert_eq!(onap.profile.unattended, Some(Unattended { after: Duration::from_secs(60), remedy: Remedy::Fail }));
        assert_eq!((onap.page_size, onap.callback_test), (7, CallbackTest::Lenient));
        assert_eq!(onap.public_url.as_deref(), Some("http://inside:9890"));
        assert!(onap.profile.vims_by_name && onap.profile.orphan_grace.is_some());
        assert_eq!((msa.page_size, msa.profile.unattended), (10_000, None));
        assert_eq!((others.page_size, others.callback_test), (7, CallbackTest::Off));
        assert_eq!(others.profile, Profile::default());
    }

    #[test]
    fn refuses_invalid_tables() {
        for wrong in [
            "profile = 'onap'",
            "name = 'a'\nsettings = {}",
            "name = 'a'\nprofile = 'unknown'",
            "name = 'a'\nunknown = 1",
            "name = 'a'\nnetwork = '10.0.0.0/33'",
            "name = 'a'\nheader = { name = 'a b', value = 'c' }",
            "name = 'a'\npage_size = 0",
            "name = 'a'\npage_size = '7'",
            "name = 'a'\npublic_url = 'gybe'",
            "name = 'a'\nunattended_after = 'soon'",
            "name = 'a'\nunattended_remedy = 'fail'",
        ] {
            assert!(clients(&format!("[[client]]\n{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn matches_only_if_all_criteria_are_met() {
        let text = "[[client]]\nname = 'a'\nheader = { name = 'X-Client', value = 'onap' }\nuser = 'so'\nnetwork = '10.0.0.0/8'";
        let client = clients(text).unwrap().remove(0);
        let inside = Some("::ffff:10.1.2.3".parse().unwrap());
        let matches = |values: &[&'static str], user, peer| {
            client.matches(|_| values.iter().map(|it| it.as_bytes()).collect(), user, peer)
        };
        assert!(matches(&["onap"], Some("so"), inside));
        assert!(!matches(&["onap"], Some("so"), Some("192.0.2.1".parse().unwrap())));
        assert!(!matches(&["onap"], Some("so"), None));
        assert!(!matches(&["onap"], None, inside));
        assert!(!matches(&["ibm"], Some("so"), inside));
        assert!(!matches(&["onap", "onap"], Some("so"), inside), "the caller added one");
        assert!(!matches(&[], Some("so"), inside));
        assert!(!format!("{client:?}").contains("onap"), "the value of the header may be a secret");
    }
}
