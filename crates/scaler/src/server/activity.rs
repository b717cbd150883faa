//! Whether anybody uses a connection. It counts calls; what they are about is not its business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The calls of one connection. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    under_way: usize,
    endless: bool,
    last: Instant,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Call(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                under_way: 0,
                endless: false,
                last: Instant::now(),
            })),
        }
    }

    /// A call begins; it ends when what is returned is dropped.
    pub(super) fn begin(&self) -> Call {
        self.lock().under_way += 1;
        Call(self.clone())
    }

    /// Resolves once there has been no call for `idle`.
    pub(super) async fn ceases(&self, idle: Duration) {
        loop {
            let now = Instant::now();
            let Inner {
                under_way,
                endless,
                last,
            } = *self.lock();
            let since = if under_way == 0 && !endless { last } else { now };
            if now >= since + idle {
                return;
            }
            sleep_until(since + idle).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Its answer goes on after its head: the connection counts as used to its end.
    pub(super) fn goes_on(&self) {
        self.0.lock().endless = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.under_way -= 1;
        inner.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connection_is_unused_once_there_has_been_no_call_for_the_whole_time() {
        let (activity, start, idle) = (Activity::new(), Instant::now(), Duration::from_secs(900));
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let ceased = tokio::spawn({
            let activity = activity.clone();
            async move {
                activity.ceases(idle).await;
                Instant::now()
            }
        });
        sleep_until(seconds(800)).await;
        drop(activity.begin());
        sleep_until(seconds(1000)).await;
        let long = activity.begin();
        sleep_until(seconds(5000)).await;
        assert!(!ceased.is_finished(), "a stream is open");
        drop(long);
        let streaming = Activity::new();
        streaming.begin().goes_on();
        let ends = tokio::time::timeout(10 * idle, streaming.ceases(idle));
        assert!(ends.await.is_err(), "its answer goes on");
        let ended = ceased.await.unwrap();
        assert!((seconds(5900)..seconds(5902)).contains(&ended), "{:?}", ended - start);
    }
}
