//! What one vLLM server has measured since its container started: the controllable part of its exposition. It counts
//! observations that keep coming by themselves, but reads no clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::histogram::Histogram;
use super::settings::Stream;

/// Latencies that follow the requests a server has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    Queue,
    FirstToken,
    Inference,
    EndToEnd,
}

impl Latency {
    pub const ALL: [Self; 4] = [Self::Queue, Self::FirstToken, Self::Inference, Self::EndToEnd];

    /// The histogram's family name in vLLM.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match self {
            Self::Queue => "vllm:request_queue_time_seconds",
            Self::FirstToken => "vllm:time_to_first_token_seconds",
            Self::Inference => "vllm:request_inference_time_seconds",
            Self::EndToEnd => "vllm:e2e_request_latency_seconds",
        }
    }
}

/// The share of the serving time until the first token is out; only its order of magnitude matters.
const PREFILL_SHARE: f64 = 0.1;

/// Gauges and counters of one server; counters start at zero with the container.
#[derive(Clone, Debug)]
pub struct Values {
    pub waiting: f64,
    pub running: f64,
    pub kv_usage: f64,
    pub succeeded: f64,
    /// Start of the container, seconds since the epoch.
    pub started: f64,
    pub latencies: BTreeMap<Latency, Histogram>,
    stream: Option<RunningStream>,
}

#[derive(Clone, Debug)]
struct RunningStream {
    stream: Stream,
    since: Duration,
    counted: u64,
}

impl Values {
    /// A server that has done nothing; `ladder` gives each histogram's bounds.
    pub fn new(started: f64, ladder: impl Fn(Latency) -> Arc<[f64]>) -> Self {
        Self {
            waiting: 0.0,
            running: 0.0,
            kv_usage: 0.0,
            succeeded: 0.0,
            started,
            latencies: Latency::ALL
                .into_iter()
                .map(|latency| (latency, Histogram::new(ladder(latency))))
                .collect(),
            stream: None,
        }
    }

    /// Counts `count` finished requests that waited `queued` and were served for `served` seconds.
    pub fn finished(&mut self, queued: f64, served: f64, count: u64) {
        self.succeeded += count as f64;
        for (latency, histogram) in &mut self.latencies {
            let seconds = match latency {
                Latency::Queue => queued,
                Latency::FirstToken => queued + served * PREFILL_SHARE,
                Latency::Inference => served,
                Latency::EndToEnd => queued + served,
            };
            histogram.observe(seconds, count);
        }
    }

    /// From `now` on observations of `stream` keep coming by themselves; `None` ends them. The same stream goes on.
    pub fn set_stream(&mut self, now: Duration, stream: Option<Stream>) {
        if self.stream.as_ref().map(|running| running.stream) == stream {
            return;
        }
        self.settle(now);
        self.stream = stream.map(|stream| RunningStream {
            stream,
            since: now,
            counted: 0,
        });
    }

    /// Counts what the stream has brought until `now`.
    pub fn settle(&mut self, now: Duration) {
        let Some(running) = &mut self.stream else {
            return;
        };
        let elapsed = now.saturating_sub(running.since).as_secs_f64();
        let due = whole(elapsed * running.stream.per_second);
        let fresh = due.saturating_sub(running.counted);
        running.counted = running.counted.max(due);
        let seconds = running.stream.seconds;
        if fresh > 0 {
            self.finished(seconds, 1.0, fresh);
        }
    }
}

/// The whole part of a count that cannot be negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates and both ends are meant"
)]
const fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values::new(0.0, |_| Arc::from([1.0, 5.0, f64::INFINITY]))
    }

    fn queue(values: &Values) -> (u64, f64) {
        let histogram = &values.latencies[&Latency::Queue];
        (histogram.count(), histogram.sum())
    }

    #[test]
    fn a_finished_request_is_counted_in_every_latency() {
        let mut values = values();
        values.finished(2.0, 10.0, 3);
        let sums: Vec<f64> = Latency::ALL.iter().map(|latency| values.latencies[latency].sum()).collect();
        assert_eq!(sums, [6.0, 9.0, 30.0, 36.0]);
        assert!((values.succeeded - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_stream_brings_observations_with_time_and_not_with_reads() {
        let mut values = values();
        let stream = Stream {
            seconds: 4.0,
            per_second: 2.0,
        };
        values.set_stream(Duration::from_secs(10), Some(stream));
        for millisecond in 10_000..=15_000 {
            values.settle(Duration::from_millis(millisecond));
        }
        assert_eq!(queue(&values), (10, 40.0));
        values.set_stream(Duration::from_secs(16), None);
        values.settle(Duration::from_secs(60));
        assert_eq!(queue(&values), (12, 48.0));
    }
}
