//! Types of option values, and the parsers that check them. Each option's declaration names its parser with the allowed range.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use ipnet::IpNet;

/// Seconds of a week: the longest time that an option can set.
pub const WEEK: u64 = 7 * 24 * 3600;

/// `sqlite://…` or `postgres://…`. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

impl DatabaseUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self(text.to_owned()));
        }
        Err("must begin with sqlite:// or postgres://".to_owned())
    }

    /// Whether it names an SQLite file, which serves one process.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    /// The URL without password and without parameters, which may hold one.
    pub fn without_secrets(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let rest = rest.split('?').next().unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((user, host)) => format!("{scheme}://{}:***@{host}", user.split(':').next().unwrap_or_default()),
            None => format!("{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_secrets())
    }
}

/// A parser whose error does not repeat the value, which may hold a password.
#[derive(Clone)]
pub struct Confidential<T>(fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Confidential<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "must be UTF-8".to_owned()).and_then(self.0);
        parsed.map_err(|allowed| {
            let option = arg.and_then(Arg::get_long).unwrap_or_default();
            clap::Error::raw(ErrorKind::ValueValidation, format!("--{option} {allowed}\n")).with_cmd(command)
        })
    }
}

/// The parser of the database's URL.
pub fn database_url() -> Confidential<DatabaseUrl> {
    Confidential(DatabaseUrl::parse)
}

/// A parser of http(s) URLs that can be shown: without user, password and query. Removes slashes at the end.
pub fn plain_url() -> Confidential<String> {
    Confidential(|text| {
        let is_plain = |uri: http::Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        if text.parse().is_ok_and(is_plain) {
            return Ok(text.trim_end_matches('/').to_owned());
        }
        Err("must be an http:// or https:// URL without user, password and query".to_owned())
    })
}

/// Parses the scheme, host and port that links begin with. Removes slashes at the end.
pub fn base_url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("must begin with http:// or https://".to_owned())
}

/// A parser of whole numbers within `allowed`.
pub fn number<T>(allowed: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + fmt::Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", allowed.start(), allowed.end()))
    }
}

/// A parser of whole numbers of seconds within `allowed`.
pub fn seconds(
    allowed: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let number = number(allowed);
    move |text| number(text).map(Duration::from_secs)
}

/// Parses a host that packages may come from: `host`, `host:port` or `*`. In lower case, as names of hosts are compared.
pub fn package_source(text: &str) -> Result<String, String> {
    let host = text.trim().to_ascii_lowercase();
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err("must be a host such as repository.example or repository.example:8443".to_owned());
    }
    Ok(host)
}

/// Parses a network, or an address as a network of its own.
pub fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "must be a network such as 10.1.0.0/16 or 2001:db8::/48".to_owned())
}

/// Parses a version of three numbers.
pub fn version(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.parse::<u16>().is_err()) {
        return Err("must be three numbers, such as 1.4.0".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_the_password_of_the_database() {
        for (url, shown) in [
            ("postgres://gybe:s3cret@db/gybe", "postgres://gybe:***@db/gybe"),
            ("postgres://gybe:s3c@ret@db/gybe", "postgres://gybe:***@db/gybe"),
            ("postgres://db/gybe?password=s3cret", "postgres://db/gybe"),
            ("sqlite://gybe.db", "sqlite://gybe.db"),
        ] {
            assert_eq!(format!("{:?}", DatabaseUrl(url.to_owned())), shown);
        }
    }

    #[test]
    fn says_which_numbers_are_allowed() {
        let parse = number(1..=10);
        assert_eq!(parse("10"), Ok(10));
        for wrong in ["0", "11", "-1", "ten", ""] {
            assert_eq!(parse(wrong).unwrap_err(), "must be a whole number from 1 to 10");
        }
    }
}
