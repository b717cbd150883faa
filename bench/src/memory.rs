//! What the samples of one replica cost: three histograms with windows of 300 s, full, as the allocator sees it and as the
//! series says itself.

use std::alloc::System;
use std::time::Duration;

use keda_kaito_core::moment::Moment;
use keda_kaito_core::policy::MetricKind;
use keda_kaito_core::window::{Reading, ReplicaSeries, Segment, Wanted};
use stats_alloc::{Region, StatsAlloc};

use crate::figures::{Figures, Goal};

const REPLICAS: u32 = 1000;
const METRICS: [&str; 3] = [
    "vllm:request_queue_time_seconds",
    "vllm:time_to_first_token_seconds",
    "vllm:e2e_request_latency_seconds",
];

pub(crate) fn measure(allocator: &StatsAlloc<System>) -> Figures {
    let wanted = METRICS.map(|metric| Wanted {
        metric: metric.to_owned(),
        kind: MetricKind::Histogram,
        window: Duration::from_secs(300),
    });
    let mut all: Vec<ReplicaSeries> = Vec::with_capacity(1000);
    let region = Region::new(allocator);
    all.extend((0..REPLICAS).map(|_| full(&wanted)));
    let change = region.change();
    let allocated = bytes(change.bytes_allocated) - bytes(change.bytes_deallocated);
    let said: f64 = all.iter().map(|series| bytes(series.heap_bytes())).sum();

    let (count, inline) = (f64::from(REPLICAS), bytes(size_of::<ReplicaSeries>()));
    let mut figures = Figures::of("memory of one replica's samples: three histograms with windows of 300 s, full");
    let total = allocated / count + inline;
    figures.add(
        "counted by the allocator, the struct included",
        total,
        "bytes",
        Goal::AtMost(4096.0),
    );
    figures.add(
        "as the series says, the struct included",
        said / count + inline,
        "bytes",
        Goal::None,
    );
    figures
}

/// Ten minutes of scrapes, so that points have left the window as well.
fn full(wanted: &[Wanted]) -> ReplicaSeries {
    let mut series = ReplicaSeries::new(wanted);
    for step in 0..40_u32 {
        let at = Moment::from_secs(0).plus(Duration::from_secs(15) * step);
        let count = f64::from(step * 3);
        series.push(at, Segment::of("uid", 0, 0), |_, _| Reading::Histogram {
            sum: count * 0.7,
            count,
        });
    }
    series
}

fn bytes(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
