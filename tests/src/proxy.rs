//! A way to a server that can be cut (connections end, new ones are refused) and can go silent (connections stay, and
//! nothing more comes through).

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::database::{Database, postgres_server};

/// Forwards connections to one address.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    target: Arc<std::sync::Mutex<String>>,
    open: Mutex<Option<tokio::task::JoinHandle<()>>>,
    silences: watch::Sender<()>,
}

impl Proxy {
    /// Listens on a free port and forwards to `target` (`host:port`).
    pub async fn to(target: &str) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let silences = watch::Sender::new(());
        let target = Arc::new(std::sync::Mutex::new(target.to_owned()));
        let proxy = Arc::new(Self { address, target, open: Mutex::new(None), silences });
        proxy.forward(listener).await;
        proxy
    }

    /// A way to a database on the server of the test run, and the database's URL by this way.
    pub async fn before(database: &Database) -> (Arc<Self>, String) {
        let server = postgres_server();
        let address = server.rsplit(['@', '/']).next().expect("host and port");
        let proxy = Self::to(address).await;
        let url = database.url.replace(address, &proxy.address);
        (proxy, url)
    }

    async fn forward(&self, listener: TcpListener) {
        let (target, silences) = (Arc::clone(&self.target), self.silences.clone());
        let task = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut near, _)) = listener.accept().await else { continue };
                let target = target.lock().expect("a target").clone();
                let mut silence = silences.subscribe();
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        // Both ends stay open: neither hears of it.
                        _ = silence.changed() => std::future::pending().await,
                    }
                });
            }
        });
        *self.open.lock().await = Some(task);
    }

    /// New connections lead to `target` (`host:port`) from now on, as after a change of a name. Those that are open stay where they are.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.target.lock().expect("a target"));
    }

    /// From now on nothing comes through the connections that there are, in either direction; new ones work.
    pub fn silence(&self) {
        self.silences.send_replace(());
    }

    /// Ends every connection and takes no more.
    pub async fn cut(&self) {
        if let Some(task) = self.open.lock().await.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Forwards again, on the same port.
    pub async fn restore(&self) {
        let listener = TcpListener::bind(&self.address).await.expect("the same port");
        self.forward(listener).await;
    }
}
