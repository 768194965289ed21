//! Addresses that Gybe may connect to when a client names the host: subscribers, package sources and API servers of VIMs. The
//! resolver checks the addresses that are used for the connection, so a name that changes its address in between gains nothing.
//!
//! Link-local addresses and those of cloud metadata services are refused unless the operator allows them, because these services
//! give credentials to every process on the machine. Loopback is permitted, as an NFVO may run on the same host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower::util::{BoxCloneSyncService, service_fn};

/// Metadata services outside of link-local addresses: Alibaba, Azure and Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// The metadata service of Google.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
/// Prefix of the services inside machines of AWS: metadata, EKS Pod Identity, DNS, time.
const AWS_V6: [u16; 2] = [0xfd00, 0xec2];

/// Resolves names to permitted addresses.
pub type Resolver = BoxCloneSyncService<Name, std::vec::IntoIter<SocketAddr>, io::Error>;

/// Whether Gybe refuses to connect to `address` unless the operator allows it.
pub fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_refused_v4(v4),
        IpAddr::V6(v6) => {
            // Gateways forward these to the embedded IPv4 address: NAT64 with the well-known and the local prefix, 6to4, and
            // the obsolete IPv4-compatible addresses.
            let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
            let embedded = match v6.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
                [0x2002, high, low, ..] => v4(high, low),
                [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
                _ => None,
            };
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || v6 == METADATA_V6
                || v6.segments().starts_with(&AWS_V6)
                || embedded.is_some_and(is_refused_v4)
        }
    }
}

fn is_refused_v4(v4: Ipv4Addr) -> bool {
    v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || METADATA_V4.contains(&v4)
}

/// Why Gybe does not connect to `address`.
fn refusal(address: IpAddr) -> String {
    format!(
        "{address} is link-local or a metadata service, which Gybe does not connect to (--outbound-link-local allows it for subscribers, token endpoints and the NFVO)"
    )
}

/// Checks a URI whose host is an address, as the resolver only sees names. `allow` permits all addresses.
///
/// # Errors
/// The reason for the refusal.
pub fn check(uri: &Uri, allow: bool) -> Result<(), String> {
    let literal = uri.host().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok());
    match literal.filter(|address| !allow && is_refused(*address)) {
        Some(address) => Err(refusal(address)),
        None => Ok(()),
    }
}

/// The resolver of the system, without refused addresses unless `allow`.
pub fn resolver(allow: bool) -> Resolver {
    resolver_of(allow, |name| async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}

/// As [`resolver`], with `look_up` instead of the system's. The connection uses exactly the addresses returned here; earlier
/// and later resolutions of the name do not matter.
pub(super) fn resolver_of<F>(allow: bool, look_up: impl Fn(Name) -> F + Clone + Send + Sync + 'static) -> Resolver
where
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    BoxCloneSyncService::new(service_fn(move |name: Name| {
        let addresses = look_up(name);
        async move {
            let addresses = addresses.await?;
            let allowed: Vec<_> = addresses.iter().copied().filter(|it| allow || !is_refused(it.ip())).collect();
            match addresses.first() {
                Some(refused) if allowed.is_empty() => Err(io::Error::other(refusal(refused.ip()))),
                _ => Ok(allowed.into_iter()),
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_link_local_and_metadata_addresses_in_every_notation() {
        for refused in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "100.100.100.200",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(is_refused(refused.parse().unwrap()), "{refused}");
        }
        for permitted in [
            "127.0.0.1",
            "::1",
            "2002:a00:1::1",
            "10.0.0.1",
            "192.168.1.1",
            "203.0.113.7",
            "2001:db8::1",
            "64:ff9b::a00:1",
            "fd00:ec3::1",
        ] {
            assert!(!is_refused(permitted.parse().unwrap()), "{permitted}");
        }
    }

    #[tokio::test]
    async fn checks_every_resolution_of_a_name() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        use tower::ServiceExt as _;
        // First a permitted address, then both kinds, then the metadata service alone.
        let turns: Arc<[&[&str]]> =
            [&["10.0.0.1"][..], &["169.254.169.254", "10.0.0.1", "fd00:ec2::254"], &["169.254.169.254"]].into();
        let asked = Arc::new(AtomicUsize::new(0));
        let rebound = resolver_of(false, move |_| {
            let turn = turns[asked.fetch_add(1, Ordering::Relaxed)];
            let addresses = turn.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
            std::future::ready(Ok(addresses))
        });
        let ask = || rebound.clone().oneshot("nfvo.example".parse::<Name>().unwrap());
        for _ in 0..2 {
            let addresses: Vec<String> = ask().await.unwrap().map(|address| address.ip().to_string()).collect();
            assert_eq!(addresses, ["10.0.0.1"]);
        }
        assert!(ask().await.unwrap_err().to_string().contains("169.254.169.254 is link-local or a metadata service"));
    }

    #[tokio::test]
    async fn refuses_name_that_resolves_to_a_refused_address() {
        use tower::ServiceExt as _;
        // In decimal, as the system's resolver takes it.
        let name = || "2852039166".parse::<Name>().unwrap();
        let refused = resolver(false).oneshot(name()).await.unwrap_err();
        assert!(refused.to_string().contains("169.254.169.254"), "{refused}");
        let allowed: Vec<_> = resolver(true).oneshot(name()).await.unwrap().collect();
        assert_eq!(allowed[0].ip().to_string(), "169.254.169.254");
        assert_ne!(resolver(false).oneshot("localhost".parse().unwrap()).await.unwrap().count(), 0);
    }
}
