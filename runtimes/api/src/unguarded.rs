//! The warning about production without authentication. It is repeated, because a warning at start can be out of sight
//! for months.

use std::future::Future;
use std::time::Duration;

/// Interval of the warning.
const INTERVAL: Duration = Duration::from_hours(1);

/// Logs the warning now, and again after each hour that `sleep` waits for.
pub(crate) async fn warn_hourly<F: Future<Output = ()>>(sleep: impl Fn(Duration) -> F) {
    loop {
        let hint =
            "every caller that reaches this port may do everything; set EPR_AUTH_MODE, to none if this is intended";
        tracing::warn!(hint, "authentication_off");
        sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};

    use tokio::sync::Notify;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::Subscriber;
    use tracing::{Event, Level, Metadata};

    use super::*;

    /// Counts the warnings `authentication_off` that name the setting.
    #[derive(Clone, Default)]
    struct Warnings(Arc<AtomicUsize>);

    #[derive(Default)]
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }

    impl Subscriber for Warnings {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text::default();
            event.record(&mut text);
            let named = text.0.contains("message=authentication_off") && text.0.contains("EPR_AUTH_MODE");
            if named && *event.metadata().level() == Level::WARN {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn the_warning_is_repeated_every_hour() {
        let warnings = Warnings::default();
        let _installed = tracing::subscriber::set_default(warnings.clone());
        let (hour, slept) = (Notify::new(), Mutex::new(Vec::new()));
        let mut repeating = pin!(warn_hourly(|duration| {
            slept.lock().unwrap().push(duration);
            hour.notified()
        }));
        let mut context = Context::from_waker(Waker::noop());
        for hours in 1..=3 {
            assert_eq!(repeating.as_mut().poll(&mut context), Poll::Pending);
            assert_eq!(repeating.as_mut().poll(&mut context), Poll::Pending, "nothing happens within an hour");
            assert_eq!(warnings.0.load(Ordering::Relaxed), hours);
            hour.notify_one();
        }
        assert_eq!(*slept.lock().unwrap(), [Duration::from_hours(1); 3]);
    }
}
