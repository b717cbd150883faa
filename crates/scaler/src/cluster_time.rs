//! The cluster's time: the API server's, carried on by the monotonic clock, and our own wall clock until it is known. A
//! replica whose wall clock is wrong or jumps judges certificates, and dates its Lease, as everybody else does.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keda_kaito_core::credentials::LARGEST_SKEW;
use keda_kaito_runtime::clock::server_time;
use kube::Client;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Between two looks at the API server's clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(5);
/// The API server's answers tell whole seconds, and take a moment.
const NEGLIGIBLE: Duration = Duration::from_secs(3);

/// The cluster's time. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ClusterTime {
    anchor: watch::Sender<Option<Anchor>>,
}

/// The API server's clock at one moment of ours.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    server: Timestamp,
    at: Instant,
}

impl ClusterTime {
    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// What time it was, or will be, at `instant`.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Timestamp {
        let (server, at) = match *self.anchor.borrow() {
            Some(Anchor { server, at }) => (server, at),
            None => (Timestamp::now(), Instant::now()),
        };
        let after = signed(instant.saturating_duration_since(at));
        let before = signed(at.saturating_duration_since(instant));
        let shifted = server.saturating_add(after).and_then(|time| time.saturating_sub(before));
        shifted.unwrap_or(server)
    }

    /// Tells when the time turns out to be another than it seemed.
    pub(crate) fn changes(&self) -> impl Future<Output = ()> + use<> {
        let mut anchor = self.anchor.subscribe();
        async move {
            if anchor.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Learns the time until shutdown.
    pub(crate) async fn follow(&self, client: &Client, metrics: &Metrics, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            let pause = if self.learn(client, metrics).await {
                LOOK_EVERY
            } else {
                RETRY
            };
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Looks at the API server's clock once; whether it told.
    pub(crate) async fn learn(&self, client: &Client, metrics: &Metrics) -> bool {
        match server_time(client).await {
            Ok(Some(server)) => {
                self.set(server, Instant::now());
                let skew = Timestamp::now().duration_since(server);
                metrics.clock_skew(skew.as_secs_f64());
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(%error, "failed to ask the API server for the time");
                false
            }
        }
    }

    pub(crate) fn set(&self, server: Timestamp, at: Instant) {
        let seemed = self.at(at);
        let shift = server.duration_since(seemed);
        let news = Some(Anchor { server, at });
        if shift.unsigned_abs() > LARGEST_SKEW {
            tracing::warn!(
                seconds = shift.as_secs(),
                "our clock and the API server's disagree; certificates are judged by the API server's"
            );
        }
        self.anchor.send_if_modified(|anchor| {
            let notable = anchor.is_none() || shift.unsigned_abs() > NEGLIGIBLE;
            if notable {
                *anchor = news;
            }
            notable
        });
    }
}

impl TimeProvider for ClusterTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: Timestamp) -> i64 {
        time.as_second()
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_the_api_servers_and_goes_on_without_it() {
        let time = ClusterTime::default();
        let own = seconds(time.now()) - seconds(Timestamp::now());
        assert!(own.abs() <= 1, "before it is known, our own clock counts: {own}");
        let start = Instant::now();
        time.set(Timestamp::from_second(1_000_000).unwrap(), start);
        assert_eq!(seconds(time.now()), 1_000_000);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(seconds(time.now()), 1_000_090);
        assert_eq!(seconds(time.at(start - Duration::from_secs(10))), 999_990);
        assert_eq!(time.current_time().map(|time| time.as_secs()), Some(1_000_090));
    }

    #[tokio::test(start_paused = true)]
    async fn only_notable_news_are_told() {
        let time = ClusterTime::default();
        time.set(Timestamp::from_second(1_000_000).unwrap(), Instant::now());
        let told = time.changes();
        time.set(Timestamp::from_second(1_000_002).unwrap(), Instant::now());
        assert!(tokio::time::timeout(Duration::from_secs(1), told).await.is_err());
        let told = time.changes();
        time.set(Timestamp::from_second(2_000_000).unwrap(), Instant::now());
        assert!(tokio::time::timeout(Duration::from_secs(1), told).await.is_ok());
    }
}
