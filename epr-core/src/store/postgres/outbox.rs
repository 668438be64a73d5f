//! The outbox on PostgreSQL: wake-ups of relays (NOTIFY by the writer of an event, LISTEN on a separate connection),
//! and the planner settings of the outbox statements.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::dialect::{Conn, OUTBOX_CHANNEL, Pool, classify};
use super::pooling::Pooling;
use crate::store::StoreError;

/// The wait before listening again on a new connection.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// Until the end of the transaction, the planner can use only an index that has the requested order.
///
/// Its estimates are those of the last ANALYZE. With estimates of an empty outbox, another index and a sort of "one
/// row" cost the same as the right index, and read the whole backlog.
pub const PLAN_SETTINGS: &str = "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', \
 true), \
       set_config('enable_bitmapscan', 'off', true)";

/// Applies [`PLAN_SETTINGS`].
pub(super) async fn use_indexes_in_order(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::query(PLAN_SETTINGS).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// A signal for each wake-up, on a dedicated connection that is reopened when it breaks.
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
                    // No notification would arrive: relays poll.
                    return None;
                }
                let heard = match &mut listener {
                    Some((listener, generation)) => tokio::select! {
                        received = listener.recv() => received.is_ok(),
                        // Another server has taken over: this one sends no more notifications.
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
                tokio::time::sleep(RECONNECT_INTERVAL).await;
            }
        }
    });
    signals.fuse().boxed()
}

async fn listen(pool: &Pool) -> Option<PgListener> {
    // Outside the pool, which would lack the connection for ever.
    let options = pool.connect_options();
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&own).await.ok()?;
    listener.listen(OUTBOX_CHANNEL).await.ok()?;
    Some(listener)
}
