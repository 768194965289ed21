//! A TCP proxy that can break connections, in front of an API server or of PostgreSQL.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// A running proxy. It forwards connections unless a test changes that.
pub struct Proxy {
    address: SocketAddr,
    open: watch::Receiver<usize>,
    accepted: watch::Receiver<u64>,
    cuts: watch::Sender<()>,
    rule: watch::Sender<Rule>,
}

/// How connections are treated. They are numbered in order of arrival.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// How new connections are treated.
    further: Further,
    /// Connections with a lower number are silent: open, but nothing is forwarded.
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
    /// A proxy in front of the server at `url`.
    pub async fn before(url: &str) -> Self {
        Self::to(Target::Tcp(url.split("//").nth(1).unwrap().to_owned())).await
    }

    /// A proxy in front of the server at this Unix socket.
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

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that replaces the server's.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Waits until at least `number` connections are open.
    pub async fn wait_for_connections(&self, number: usize) {
        self.open.clone().wait_for(|open| *open >= number).await.unwrap();
    }

    /// The number of connections ever accepted.
    pub fn connections(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Closes all connections; new ones are possible.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Closes all connections, and new ones at once.
    pub fn refuse(&self) {
        self.rule.send_replace(Rule { further: Further::Refused, ..OPEN });
        self.cut();
    }

    /// Forwards nothing from now on, without closing anything: connections stay open, and new ones hang.
    pub fn fall_silent(&self) {
        self.rule.send_replace(Rule { further: Further::Ignored, silent_below: u64::MAX });
    }

    /// Forwards everything again, including what was held back.
    pub fn restore(&self) {
        self.rule.send_replace(OPEN);
    }

    /// Forwards new connections again. Existing ones stay silent for ever, as when a firewall has dropped its state.
    pub fn forget(&self) {
        let silent_below = *self.accepted.borrow() + 1;
        self.rule.send_replace(Rule { silent_below, ..OPEN });
    }
}

async fn forward(inside: TcpStream, target: Target, number: u64, rule: watch::Receiver<Rule>) {
    let (inside_read, inside_write) = inside.into_split();
    // A server that does not accept looks like a lost connection, as without the proxy.
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

/// Forwards bytes and the end of the stream, but not while the connection is silent.
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
