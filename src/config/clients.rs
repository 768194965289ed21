//! Client profiles: what is done otherwise for a caller whose habits contradict the standard, or those of others
//! (docs/clients.md).
//!
//! The configuration file has a `[[client]]` table for each such caller: how it is recognised, which profile it has, and the
//! settings that differ from that. `crate::api::clients` recognises callers and applies the settings; this file says what
//! they are.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::{CallbackTest, ConfigError, PAGE_LIMIT, public_url};
use crate::domain::op_occ::{Remedy, Unattended};
use crate::domain::secret::Secret;

/// A `[[client]]` table. What is not set is as the profile has it, and else as for all callers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientOptions {
    name: String,
    profile: Preset,
    header: Option<Header>,
    user: Option<String>,
    network: Option<IpNet>,
    public_url: Option<String>,
    page_size: Option<usize>,
    callback_test: Option<CallbackTest>,
    version_required: Option<bool>,
    error_type: Option<ErrorType>,
    full_v1_lists: Option<bool>,
    vims_by_name: Option<bool>,
    unattended_after: Option<Seconds>,
    unattended_remedy: Option<UnattendedRemedy>,
    orphan_subscriptions_after: Option<Seconds>,
}

/// A header by which a client is recognised.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its whole value; hidden, as it may be known to the proxy alone.
    pub value: Secret,
}

/// The clients that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Preset {
    /// One that does as the standard says, such as Itential's adapter or etsi-mano.
    #[default]
    Standard,
    /// One that was written for OpenStack Tacker.
    Tacker,
    /// ONAP SO with its SOL003 adapter.
    Onap,
    /// IBM CP4NA with its SOL003 driver.
    Ibm,
    /// The workflows of openmsa.
    Openmsa,
}

/// A number of seconds, or `"never"`: what a profile would do by itself is not done.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number of seconds or \"never\"")]
enum Seconds {
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

/// `Content-Type` of answers other than success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ErrorType {
    /// As the standard has it.
    #[default]
    #[serde(rename = "application/problem+json")]
    ProblemJson,
    /// For clients that read nothing else.
    #[serde(rename = "application/json")]
    Json,
}

/// A caller that is treated otherwise.
#[derive(Clone, Debug)]
pub struct Client {
    /// What the operator calls it.
    pub name: String,
    /// How it is recognised: whatever is given must hold.
    pub header: Option<Header>,
    /// As above.
    pub user: Option<String>,
    /// As above.
    pub network: Option<IpNet>,
    /// Beginning of every link, for this client; `None`: as for all.
    pub public_url: Option<String>,
    /// The most elements of a list, for this client.
    pub page_size: usize,
    /// How its callback URIs are tested.
    pub callback_test: CallbackTest,
    /// The rest.
    pub profile: Profile,
}

/// What is done otherwise for a client; the default is what the standard says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Requests without a `Version` header are refused with 400.
    pub version_required: bool,
    /// What errors are sent as.
    pub error_type: ErrorType,
    /// Lists at `/vnflcm/v1` leave nothing out unless there is a selector.
    pub full_v1_lists: bool,
    /// A `vimId` may also be the name of a registered VIM.
    pub vims_by_name: bool,
    /// What becomes of its operations in FAILED_TEMP if nobody decides.
    pub unattended: Option<Unattended>,
    /// How long its subscriptions are kept once all VNF instances that they name are gone; `None`: until they are removed.
    pub orphan_grace: Option<Duration>,
}

/// ONAP waits for a final state for three hours: an hour for people, and time enough to roll back.
const ONAP_UNATTENDED: u32 = 3600;
/// IBM's driver and openmsa take FAILED_TEMP for the end: what they do next is to find the operation over.
const SOON: u32 = 300;
/// By then what was to be told is delivered or given up.
const DAY: u32 = 24 * 3600;

impl Preset {
    /// What it sets.
    fn options(self) -> ClientOptions {
        let standard = ClientOptions::default();
        match self {
            Self::Standard => standard,
            Self::Tacker => ClientOptions { full_v1_lists: Some(true), ..standard },
            Self::Onap => ClientOptions {
                callback_test: Some(CallbackTest::Lenient),
                vims_by_name: Some(true),
                unattended_after: Some(Seconds::After(ONAP_UNATTENDED)),
                orphan_subscriptions_after: Some(Seconds::After(DAY)),
                ..standard
            },
            Self::Ibm => ClientOptions {
                callback_test: Some(CallbackTest::Lenient),
                error_type: Some(ErrorType::Json),
                unattended_after: Some(Seconds::After(SOON)),
                ..standard
            },
            Self::Openmsa => ClientOptions {
                page_size: Some(PAGE_LIMIT),
                full_v1_lists: Some(true),
                unattended_after: Some(Seconds::After(SOON)),
                ..standard
            },
        }
    }
}

impl Seconds {
    fn duration(self) -> Option<Duration> {
        match self {
            Self::After(seconds) => Some(Duration::from_secs(seconds.into())),
            Self::Never(Never::Never) => None,
        }
    }
}

impl ClientOptions {
    /// These options, and where they say nothing those of their profile.
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

    /// The client; `page_size` and `callback_test` are what holds for all callers.
    ///
    /// # Errors
    /// [`ConfigError::Unsound`], naming the client.
    pub fn resolve(self, page_size: usize, callback_test: CallbackTest) -> Result<Client, ConfigError> {
        let options = self.with_profile();
        let unsound = |text: &str| ConfigError::Unsound(format!("client '{}': {text}", options.name));
        if options.name.is_empty() {
            return Err(unsound("it needs a name"));
        }
        if options.header.as_ref().is_some_and(|header| header.name.parse::<http::HeaderName>().is_err()) {
            return Err(unsound("header.name is no name of a header"));
        }
        let page_size = options.page_size.unwrap_or(page_size);
        if !(1..=PAGE_LIMIT).contains(&page_size) {
            return Err(unsound("page_size must be from 1 to 10000"));
        }
        let unattended = options.unattended_after.and_then(Seconds::duration);
        let remedy = match options.unattended_remedy {
            Some(_) if unattended.is_none() => return Err(unsound("unattended_remedy goes with unattended_after")),
            Some(UnattendedRemedy::Fail) => Remedy::Fail,
            Some(UnattendedRemedy::Rollback) | None => Remedy::Rollback,
        };
        Ok(Client {
            public_url: options.public_url.clone().map(public_url).transpose().map_err(unsound)?,
            page_size,
            callback_test: options.callback_test.unwrap_or(callback_test),
            profile: Profile {
                version_required: options.version_required.unwrap_or_default(),
                error_type: options.error_type.unwrap_or_default(),
                full_v1_lists: options.full_v1_lists.unwrap_or_default(),
                vims_by_name: options.vims_by_name.unwrap_or_default(),
                unattended: unattended.map(|after| Unattended { after, remedy }),
                orphan_grace: options.orphan_subscriptions_after.and_then(Seconds::duration),
            },
            name: options.name,
            header: options.header,
            user: options.user,
            network: options.network,
        })
    }
}

impl Client {
    /// Whether a request is of this client. `header` looks the values of a header up; `user` is the name of HTTP Basic.
    ///
    /// A header that is there twice recognises nobody: the caller may have added to what the proxy said.
    pub fn is<'a>(&self, headers: impl Fn(&str) -> Vec<&'a [u8]>, user: Option<&str>, peer: Option<IpAddr>) -> bool {
        self.header.as_ref().is_none_or(|header| headers(&header.name) == [header.value.expose().as_bytes()])
            && self.user.as_deref().is_none_or(|wanted| user == Some(wanted))
            && self.network.is_none_or(|network| peer.is_some_and(|peer| network.contains(&peer.to_canonical())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn clients(text: &str) -> Result<Vec<Client>, ConfigError> {
        let options: Options = toml::from_str(text).map_err(|error| ConfigError::Unsound(error.to_string()))?;
        options.resolve().map(|config| config.clients)
    }

    #[test]
    fn a_client_has_its_profile_and_what_it_sets_itself() {
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
        assert_eq!((msa.page_size, msa.profile.unattended), (PAGE_LIMIT, None));
        assert_eq!((others.page_size, others.callback_test), (7, CallbackTest::Off));
        assert_eq!(others.profile, Profile::default());
    }

    #[test]
    fn what_a_client_can_not_be_is_refused() {
        for wrong in [
            "profile = 'onap'",
            "name = 'a'\nsettings = {}",
            "name = 'a'\nprofile = 'unknown'",
            "name = 'a'\nunknown = 1",
            "name = 'a'\nnetwork = '10.0.0.0/33'",
            "name = 'a'\nheader = { name = 'a b', value = 'c' }",
            "name = 'a'\npage_size = 0",
            "name = 'a'\npublic_url = 'gybe'",
            "name = 'a'\nunattended_after = 'soon'",
            "name = 'a'\nunattended_remedy = 'fail'",
        ] {
            assert!(clients(&format!("[[client]]\n{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_client_is_recognised_by_all_that_is_given() {
        let text = "[[client]]\nname = 'a'\nheader = { name = 'X-Client', value = 'onap' }\nuser = 'so'\nnetwork = '10.0.0.0/8'";
        let client = clients(text).unwrap().remove(0);
        let inside = Some("::ffff:10.1.2.3".parse().unwrap());
        let is = |values: &[&'static str], user, peer| {
            client.is(|_| values.iter().map(|it| it.as_bytes()).collect(), user, peer)
        };
        assert!(is(&["onap"], Some("so"), inside));
        assert!(!is(&["onap"], Some("so"), Some("192.0.2.1".parse().unwrap())));
        assert!(!is(&["onap"], Some("so"), None));
        assert!(!is(&["onap"], None, inside));
        assert!(!is(&["ibm"], Some("so"), inside));
        assert!(!is(&["onap", "onap"], Some("so"), inside), "the caller added one");
        assert!(!is(&[], Some("so"), inside));
        assert!(!format!("{client:?}").contains("onap"), "what recognises a client may be a secret");
    }
}
