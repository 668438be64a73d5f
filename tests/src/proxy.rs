//! A TCP proxy in front of a server that can be cut (connections close, new ones are refused) and silenced (connections
//! stay open and forward nothing more).

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::database::{Database, postgres_server};

/// Forwards connections to one address.
pub struct Proxy {
    /// The address that it listens on, as `host:port`.
    pub address: String,
    target: Arc<std::sync::Mutex<String>>,
    open: Mutex<Option<tokio::task::JoinHandle<()>>>,
    silences: watch::Sender<()>,
    /// The text in the first bytes of the connections to silence.
    named_silences: watch::Sender<Vec<u8>>,
}

impl Proxy {
    /// Listens on a free port and forwards to `target` (`host:port`).
    pub async fn to(target: &str) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let (silences, named_silences) = (watch::Sender::new(()), watch::Sender::default());
        let target = Arc::new(std::sync::Mutex::new(target.to_owned()));
        let proxy = Arc::new(Self { address, target, open: Mutex::new(None), silences, named_silences });
        proxy.forward(listener).await;
        proxy
    }

    /// A proxy in front of the server of the test run, and the URL of `database` through it.
    pub async fn in_front_of(database: &Database) -> (Arc<Self>, String) {
        let server = postgres_server();
        let address = server.rsplit(['@', '/']).next().expect("host and port");
        let proxy = Self::to(address).await;
        let url = database.url.replace(address, &proxy.address);
        (proxy, url)
    }

    async fn forward(&self, listener: TcpListener) {
        let (target, silences) = (Arc::clone(&self.target), self.silences.clone());
        let named_silences = self.named_silences.clone();
        let task = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut near, _)) = listener.accept().await else { continue };
                let target = target.lock().expect("a target").clone();
                let (mut silence, mut named) = (silences.subscribe(), named_silences.subscribe());
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    let mut start = [0; 1024];
                    let Ok(length) = near.peek(&mut start).await else { return };
                    let is_named = |name: &Vec<u8>| {
                        !name.is_empty() && start[..length].windows(name.len()).any(|part| part == name)
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        // Both ends stay open and are not notified.
                        _ = silence.changed() => std::future::pending().await,
                        () = async { let _ = named.wait_for(is_named).await; } => std::future::pending().await,
                    }
                });
            }
        });
        *self.open.lock().await = Some(task);
    }

    /// Forwards new connections to `target` (`host:port`), as after a change of a DNS name. Open connections stay.
    pub fn redirect_to(&self, target: &str) {
        target.clone_into(&mut self.target.lock().expect("a target"));
    }

    /// Stops forwarding on all open connections, in both directions, without closing them; new connections work.
    pub fn silence(&self) {
        self.silences.send_replace(());
    }

    /// Stops forwarding on the connections whose first bytes contain `name`, open ones and new ones, as the name of a
    /// PostgreSQL session is in the first message without TLS (`?sslmode=disable`).
    pub fn silence_named(&self, name: &str) {
        self.named_silences.send_replace(name.as_bytes().to_vec());
    }

    /// Forwards new connections again, whatever their first bytes are.
    pub fn forward_named(&self) {
        self.named_silences.send_replace(Vec::new());
    }

    /// Closes every connection and refuses new ones.
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
