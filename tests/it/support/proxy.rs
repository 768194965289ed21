//! A TCP proxy, for losing connections on purpose.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections until they are cut.
pub struct Proxy {
    address: SocketAddr,
    open: watch::Receiver<usize>,
    cuts: watch::Sender<()>,
}

impl Proxy {
    /// A proxy before the server of this URL.
    pub async fn before(url: &str) -> Self {
        let target = url.split("//").nth(1).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, open) = watch::channel(0);
        let cuts = watch::Sender::new(());
        let cut = cuts.clone();
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let (target, count, mut cut) = (target.clone(), count.clone(), cut.subscribe());
                tokio::spawn(async move {
                    let mut outside = TcpStream::connect(target).await.unwrap();
                    count.send_modify(|open| *open += 1);
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                        _ = cut.changed() => {}
                    }
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, open, cuts }
    }

    /// The URL to use in place of the server's.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Waits until at least `number` connections are open.
    pub async fn until_connections(&self, number: usize) {
        self.open.clone().wait_for(|open| *open >= number).await.unwrap();
    }

    /// Cuts all connections; new ones may be made.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }
}
