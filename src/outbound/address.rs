//! Which addresses may be connected to on a caller's word: for callbacks, for packages that are fetched, and for the API
//! servers of VIMs. Asked with the address that is about to be connected to, so that a name that first leads elsewhere does
//! not help.
//!
//! Link-local addresses and those of cloud platforms' metadata services are refused unless the operator allows them: they
//! hand out credentials to whoever asks from the right machine. Loopback is not: an NFVO may be on the same host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower::util::{BoxCloneSyncService, service_fn};

/// Metadata services that are at no link-local address: of Alibaba, Azure and Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// As above: of Google.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
/// How the addresses of all that AWS has within its machines begin: metadata, EKS Pod Identity, DNS, time.
const AWS_V6: [u16; 2] = [0xfd00, 0xec2];

/// What turns names into addresses that may be connected to.
pub type Resolver = BoxCloneSyncService<Name, std::vec::IntoIter<SocketAddr>, io::Error>;

/// Whether nothing is to be sent there unless the operator allows it.
pub fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_refused_v4(v4),
        IpAddr::V6(v6) => {
            // What gateways make of it: of NAT64 with the well-known prefix and the local one, of 6to4; and what is left
            // of IPv4-compatible addresses.
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

/// Why `address` is not connected to.
fn refusal(address: IpAddr) -> String {
    format!(
        "{address} is link-local or a metadata service: nothing is sent there (--outbound-link-local allows it for subscribers, token endpoints and the NFVO)"
    )
}

/// Refuses a URI whose host is an address that is refused, unless `allow`: the resolver is asked for names only.
///
/// # Errors
/// Why.
pub fn check(uri: &Uri, allow: bool) -> Result<(), String> {
    let literal = uri.host().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok());
    match literal.filter(|address| !allow && is_refused(*address)) {
        Some(address) => Err(refusal(address)),
        None => Ok(()),
    }
}

/// Asks the system, and leaves out what is refused unless `allow`.
pub fn resolver(allow: bool) -> Resolver {
    resolver_of(allow, |name| async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
}

/// As [`resolver`], asking `look_up`. The addresses that are looked at here are the very ones that are connected to: what a
/// name led to before, or would lead to next, is of no meaning.
pub(super) fn resolver_of<F>(allow: bool, look_up: impl Fn(Name) -> F + Clone + Send + Sync + 'static) -> Resolver
where
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    BoxCloneSyncService::new(service_fn(move |name: Name| {
        let found = look_up(name);
        async move {
            let found = found.await?;
            let allowed: Vec<_> = found.iter().copied().filter(|found| allow || !is_refused(found.ip())).collect();
            match found.first() {
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
    fn link_local_and_metadata_addresses_are_refused_however_they_are_written() {
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
        for fine in [
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
            assert!(!is_refused(fine.parse().unwrap()), "{fine}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_leads_to_each_time_it_is_asked_for() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        use tower::ServiceExt as _;
        // Harmless when it was checked, of both kinds when it is used, and then the metadata service alone.
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
    async fn a_name_that_leads_to_a_refused_address_is_not_connected_to() {
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
