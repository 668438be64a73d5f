//! A way to a server that can be cut: connections end, new ones are refused.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Forwards connections to one address.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    target: String,
    open: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Proxy {
    /// Listens on a free port and forwards to `target` (`host:port`).
    pub async fn to(target: &str) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let proxy = Arc::new(Self { address, target: target.to_owned(), open: Mutex::new(None) });
        proxy.forward(listener).await;
        proxy
    }

    async fn forward(&self, listener: TcpListener) {
        let target = self.target.clone();
        let task = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut near, _)) = listener.accept().await else { continue };
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        *self.open.lock().await = Some(task);
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
