//! Wake-ups of relays: NOTIFY by the writer of an event, LISTEN on a connection of its own.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::dialect::{OUTBOX_CHANNEL, Pool};
use super::pooling::Pooling;

/// How long to wait before listening again on a new connection.
const RECONNECT: Duration = Duration::from_secs(1);

/// A signal for each wake-up, on a connection of its own that is made again when it breaks.
pub(super) fn outbox_signals(pool: &Pool) -> BoxStream<'static, ()> {
    let pool = pool.clone();
    let signals = futures_util::stream::unfold(None::<(PgListener, u64)>, move |mut listener| {
        let pool = pool.clone();
        async move {
            loop {
                if listener.is_none() {
                    let generation = pool.continuity().generation();
                    listener = listen(&pool).await.map(|opened| (opened, generation));
                }
                if pool.pooling() == Some(Pooling::Transactions) {
                    // Nothing would be heard: relays poll.
                    return None;
                }
                let heard = match &mut listener {
                    Some((listener, generation)) => tokio::select! {
                        received = listener.recv() => received.is_ok(),
                        // Another server has taken over: nothing is heard on this one any more.
                        () = pool.continuity().retired(*generation) => false,
                    },
                    None => false,
                };
                if heard {
                    return Some(((), listener));
                }
                if pool.is_closed() {
                    return None;
                }
                listener = None;
                tokio::time::sleep(RECONNECT).await;
            }
        }
    });
    signals.fuse().boxed()
}

async fn listen(pool: &Pool) -> Option<PgListener> {
    // Not one of the pool's: it would be missing there for ever.
    let options = pool.connect_options();
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&own).await.ok()?;
    listener.listen(OUTBOX_CHANNEL).await.ok()?;
    Some(listener)
}
