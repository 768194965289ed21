//! Addresses that Gybe may connect to when a client names the host: subscribers, package sources and API servers of VIMs. The
//! resolver checks the addresses that are used for the connection, so a name that changes its address in between gains nothing.
//!
//! Link-local addresses and those of cloud metadata services are refused unless the operator allows them, because these services
//! give credentials to every process on the machine. Loopback is refused where callers are on other machines. The operator can name
//! the networks that are permitted. Gybe's own address is always refused ([`NotToSelf`]): a caller could act through Gybe itself
//! ([ADR 21](../../docs/adr/0021-no-requests-to-itself.md)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tower::Service;
use tower::util::{BoxCloneSyncService, service_fn};

/// Metadata services outside of link-local addresses: Alibaba, Azure and Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// The metadata services of Google, Oracle and Scaleway.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];
/// Prefix of the services inside machines of AWS: metadata, EKS Pod Identity, DNS, time.
const AWS_V6: [u16; 2] = [0xfd00, 0xec2];

/// Resolves names to permitted addresses.
pub type Resolver = BoxCloneSyncService<Name, std::vec::IntoIter<SocketAddr>, io::Error>;

/// The rules of the operator.
#[derive(Clone, Debug, Default)]
pub struct AddressRules {
    /// Link-local addresses and metadata services are permitted.
    pub allow_link_local: bool,
    /// Loopback is refused.
    pub refuse_loopback: bool,
    /// If there are any, only addresses in these networks are permitted.
    pub networks: Vec<IpNet>,
    /// The address on which this process listens.
    pub own: Option<SocketAddr>,
}

impl AddressRules {
    /// Why Gybe does not connect to `address`, as a text for the caller; `None` if it does.
    pub fn refusal(&self, address: IpAddr) -> Option<String> {
        let canonical = address.to_canonical();
        if !self.allow_link_local && is_refused(canonical) {
            return Some(format!(
                "{address} is link-local or a metadata service, which Gybe does not connect to (--outbound-link-local allows it for subscribers, token endpoints and the NFVO)"
            ));
        }
        if self.refuse_loopback && is_loopback(canonical) {
            return Some(format!(
                "{address} is loopback, which Gybe does not connect to (--outbound-loopback allows it for subscribers and token endpoints)"
            ));
        }
        if !self.networks.is_empty() && !self.networks.iter().any(|network| network.contains(&canonical)) {
            return Some(format!("{address} is in no network that --outbound-networks names"));
        }
        None
    }

    /// Checks a URI whose host is an address, as the resolver only sees names.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn check(&self, uri: &Uri) -> Result<(), String> {
        let literal = uri.host().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok());
        literal.and_then(|address| self.refusal(address)).map_or(Ok(()), Err)
    }

    /// A resolver that uses that of the system, and leaves out refused addresses.
    pub fn resolver(&self) -> Resolver {
        self.resolver_of(|name| async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
    }

    /// As [`AddressRules::resolver`], with `look_up` instead of the system's. The connection uses exactly the addresses returned here;
    /// earlier and later resolutions of the name do not matter.
    fn resolver_of<F>(&self, look_up: impl Fn(Name) -> F + Clone + Send + Sync + 'static) -> Resolver
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let rules = self.clone();
        BoxCloneSyncService::new(service_fn(move |name: Name| {
            let (addresses, rules) = (look_up(name), rules.clone());
            async move {
                let addresses = addresses.await?;
                let allowed: Vec<_> = addresses.iter().copied().filter(|it| rules.refusal(it.ip()).is_none()).collect();
                match addresses.first().and_then(|first| rules.refusal(first.ip())) {
                    Some(refusal) if allowed.is_empty() => Err(io::Error::other(RefusedAddress(refusal))),
                    _ => Ok(allowed.into_iter()),
                }
            }
        }))
    }

    /// Whether `peer` is the address on which this process listens.
    fn is_own(&self, peer: SocketAddr) -> bool {
        let Some(own) = self.own.filter(|own| own.port() == peer.port()) else { return false };
        let (own, peer) = (own.ip().to_canonical(), peer.ip().to_canonical());
        // Only an address of this machine can be bound.
        own == peer || (own.is_unspecified() && UdpSocket::bind((peer, 0)).is_ok())
    }
}

/// An address that the rules refuse. The text is for the caller.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RefusedAddress(pub String);

/// The refusal among the causes of an error, if there is one.
pub fn refusal_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a RefusedAddress> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|cause| {
        // The cause in an I/O error is none of its sources.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.downcast_ref().or_else(|| inner?.downcast_ref())
    })
}

/// A connector that gives no connection to the address on which this process listens.
#[derive(Clone)]
pub struct NotToSelf {
    connector: HttpConnector<Resolver>,
    rules: AddressRules,
}

impl NotToSelf {
    pub fn new(connector: HttpConnector<Resolver>, rules: AddressRules) -> Self {
        Self { connector, rules }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for NotToSelf {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, rules) = (self.connector.call(uri), self.rules.clone());
        Box::pin(async move {
            let stream = connecting.await?;
            let peer = stream.inner().peer_addr()?;
            if rules.is_own(peer) {
                return Err(RefusedAddress(format!("{peer} is the address of Gybe itself")).into());
            }
            Ok(stream)
        })
    }
}

/// Whether Gybe refuses to connect to `address` unless the operator allows it.
pub fn is_refused(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_refused_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || METADATA_V6.contains(&v6)
                || v6.segments().starts_with(&AWS_V6)
                || embedded(v6).into_iter().any(is_refused_v4)
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || embedded(v6).iter().any(Ipv4Addr::is_loopback),
    }
}

/// The IPv4 addresses to which gateways and tunnels may forward packets to `v6`.
fn embedded(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        // NAT64 with the well-known prefix; SIIT (RFC 7915); the obsolete IPv4-compatible addresses.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => vec![v4(high, low)],
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => vec![v4(high, low)],
        // NAT64 with a prefix of 48 to 96 bits below the local one (RFC 8215). Bits 64 to 71 are zero (RFC 6052).
        [0x64, 0xff9b, 1, a, b, c, d, e] => {
            let of_48 = v4(a, b << 8 | c >> 8);
            let of_56 = v4(a << 8 | b & 0xff, c);
            let of_64 = v4(b << 8 | c >> 8, c << 8 | d >> 8);
            // Of the shorter prefixes, zeros are more likely no address at all.
            [of_48, of_56, of_64, v4(d, e)].into_iter().filter(|v4| !v4.is_unspecified()).collect()
        }
        // 6to4.
        [0x2002, high, low, ..] => vec![v4(high, low)],
        // Teredo: the server, and the client with its bits inverted.
        [0x2001, 0, a, b, _, _, c, d] => vec![v4(a, b), v4(!c, !d)],
        // ISATAP, with a universal or a local identifier.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => vec![v4(high, low)],
        _ => Vec::new(),
    }
}

fn is_refused_v4(v4: Ipv4Addr) -> bool {
    v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || METADATA_V4.contains(&v4)
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
            "fd00:42::42",
            "fd00:c1::a9fe:a9fe",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:0:a9:fea9:fe00:0",
            "2001:0:a9fe:a9fe::",
            "2001:0:1::5601:5601",
            "2001:db8::5efe:169.254.169.254",
            "2001:db8::200:5efe:169.254.169.254",
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
            "2001:db8::5efe:10.0.0.1",
            "64:ff9b:1::a00:1",
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
        let rebound = AddressRules::default().resolver_of(move |_| {
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
        let rules = AddressRules::default();
        let refused = rules.resolver().oneshot(name()).await.unwrap_err();
        assert!(refused.to_string().contains("169.254.169.254"), "{refused}");
        let all = AddressRules { allow_link_local: true, ..AddressRules::default() };
        let allowed: Vec<_> = all.resolver().oneshot(name()).await.unwrap().collect();
        assert_eq!(allowed[0].ip().to_string(), "169.254.169.254");
        assert_ne!(rules.resolver().oneshot("localhost".parse().unwrap()).await.unwrap().count(), 0);
        let none = AddressRules { refuse_loopback: true, ..AddressRules::default() };
        let refused = none.resolver().oneshot("localhost".parse().unwrap()).await.unwrap_err();
        assert!(refused.to_string().contains("is loopback"), "{refused}");
    }

    #[test]
    fn operator_refuses_loopback_and_names_networks() {
        let rules = AddressRules {
            refuse_loopback: true,
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()],
            ..AddressRules::default()
        };
        for (uri, refusal) in [
            ("http://127.0.0.1/", Some("is loopback")),
            ("http://[::1]:80/", Some("is loopback")),
            ("http://[::ffff:127.0.0.1]/", Some("is loopback")),
            ("http://[::ffff:0:127.0.0.1]/", Some("is loopback")),
            ("http://192.168.0.1/", Some("in no network")),
            ("http://[2001:db8::1]/", Some("in no network")),
            ("http://[fd00:ec2::254]/", Some("metadata service")),
            ("http://10.1.2.3/", None),
            ("http://[::ffff:10.1.2.3]/", None),
            ("http://[fd00:1::7]/", None),
            ("http://nfvo.example/", None),
        ] {
            let checked = rules.check(&uri.parse().unwrap());
            assert_eq!(
                checked.as_ref().err().map(|text| refusal.is_some_and(|it| text.contains(it))),
                refusal.map(|_| true),
                "{uri}: {checked:?}"
            );
        }
    }

    #[test]
    fn own_address_is_recognised_behind_every_address_of_the_machine() {
        let rules = |own: &str| AddressRules { own: Some(own.parse().unwrap()), ..AddressRules::default() };
        for (own, peer, is_own) in [
            ("127.0.0.1:9890", "127.0.0.1:9890", true),
            ("127.0.0.1:9890", "[::ffff:127.0.0.1]:9890", true),
            ("127.0.0.1:9890", "127.0.0.1:9891", false),
            ("127.0.0.1:9890", "192.0.2.1:9890", false),
            ("0.0.0.0:9890", "127.0.0.1:9890", true),
            ("[::]:9890", "127.0.0.2:9890", true),
            ("0.0.0.0:9890", "192.0.2.1:9890", false),
        ] {
            assert_eq!(rules(own).is_own(peer.parse().unwrap()), is_own, "{own} {peer}");
        }
    }
}
