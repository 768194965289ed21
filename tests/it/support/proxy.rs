//! A TCP proxy, for losing connections on purpose: before an API server, or before PostgreSQL.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Forwards connections until it is told otherwise.
pub struct Proxy {
    address: SocketAddr,
    open: watch::Receiver<usize>,
    accepted: watch::Receiver<u64>,
    cuts: watch::Sender<()>,
    rule: watch::Sender<Rule>,
}

/// What becomes of connections, which are numbered as they come.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Whether further ones are made: to be refused, or to wait until they are taken.
    further: Further,
    /// Those with a lower number are silent: open, and nothing goes through.
    silent_below: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Further {
    Forwarded,
    Refused,
    Ignored,
}

const OPEN: Rule = Rule { further: Further::Forwarded, silent_below: 0 };

#[derive(Clone)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

impl Proxy {
    /// A proxy before the server of this URL.
    pub async fn before(url: &str) -> Self {
        Self::to(Target::Tcp(url.split("//").nth(1).unwrap().to_owned())).await
    }

    /// A proxy before the server that listens on this socket.
    pub async fn before_socket(path: PathBuf) -> Self {
        Self::to(Target::Unix(path)).await
    }

    async fn to(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, open) = watch::channel(0);
        let (number, accepted) = watch::channel(0);
        let (cuts, rule) = (watch::Sender::new(()), watch::Sender::new(OPEN));
        let (cut, mut rules) = (cuts.clone(), rule.subscribe());
        tokio::spawn(async move {
            while rules.wait_for(|rule| rule.further != Further::Ignored).await.is_ok() {
                let inside = tokio::select! {
                    Ok((inside, _)) = listener.accept() => inside,
                    Ok(()) = rules.changed() => continue,
                    else => break,
                };
                number.send_modify(|number| *number += 1);
                if rules.borrow().further == Further::Refused {
                    continue;
                }
                let (target, count, mut cut, rule) = (target.clone(), count.clone(), cut.subscribe(), rules.clone());
                let number = *number.borrow();
                tokio::spawn(async move {
                    count.send_modify(|open| *open += 1);
                    tokio::select! {
                        () = forward(inside, target, number, rule) => {}
                        _ = cut.changed() => {}
                    }
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, open, accepted, cuts, rule }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to use in place of the server's.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Waits until at least `number` connections are open.
    pub async fn until_connections(&self, number: usize) {
        self.open.clone().wait_for(|open| *open >= number).await.unwrap();
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Cuts all connections; new ones may be made.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Cuts all connections, and new ones as soon as they are made.
    pub fn refuse(&self) {
        self.rule.send_replace(Rule { further: Further::Refused, ..OPEN });
        self.cut();
    }

    /// From now on nothing goes through, and nobody is told: connections stay open, further ones are made and hang.
    pub fn fall_silent(&self) {
        self.rule.send_replace(Rule { further: Further::Ignored, silent_below: u64::MAX });
    }

    /// Everything goes through again, also what was held back.
    pub fn restore(&self) {
        self.rule.send_replace(OPEN);
    }

    /// New connections go through again; those there are stay silent for ever, as when a firewall has forgotten them.
    pub fn forget(&self) {
        let silent_below = *self.accepted.borrow() + 1;
        self.rule.send_replace(Rule { silent_below, ..OPEN });
    }
}

async fn forward(inside: TcpStream, target: Target, number: u64, rule: watch::Receiver<Rule>) {
    let (inside_read, inside_write) = inside.into_split();
    // Nobody there is a lost connection, as it is without a proxy.
    match target {
        Target::Tcp(address) => {
            let Ok(outside) = TcpStream::connect(address).await else { return };
            let (read, write) = outside.into_split();
            tokio::join!(pump(inside_read, write, number, rule.clone()), pump(read, inside_write, number, rule));
        }
        Target::Unix(path) => {
            let Ok(outside) = UnixStream::connect(path).await else { return };
            let (read, write) = outside.into_split();
            tokio::join!(pump(inside_read, write, number, rule.clone()), pump(read, inside_write, number, rule));
        }
    }
}

/// Hands on what is read until its end, which is handed on, too; not while the connection is silent.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    mut rule: watch::Receiver<Rule>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if rule.wait_for(|rule| number >= rule.silent_below).await.is_err() {
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
