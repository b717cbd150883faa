//! The metrics page reader: a whole page of a busy server beside the parser that is published for this, and beside the
//! least that any reader of lines must do; and the filtered page.

use std::hint::black_box;
use std::time::Duration;

use keda_kaito_core::exposition::{Selection, families_for, read, reading};
use keda_kaito_core::policy::MetricKind;
use keda_kaito_core::window::{Reading, Wanted};

use crate::figures::{Figures, Goal};
use crate::rounds::side_by_side;

/// A body of a vLLM server under load, one engine.
pub(crate) const BUSY: &str = include_str!("../../crates/core/tests/fixtures/vllm/busy_single.prom");
const FILTERED: &str = include_str!("../../crates/core/tests/fixtures/vllm/busy_single_name_filter.prom");

pub(crate) const WAITING: &str = "vllm:num_requests_waiting";
pub(crate) const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";

pub(crate) fn measure() -> Figures {
    let wanted = [(WAITING, MetricKind::Gauge), (QUEUE_TIME, MetricKind::Histogram)].map(|(metric, kind)| Wanted {
        metric: metric.to_owned(),
        kind,
        window: Duration::ZERO,
    });
    let selection = Selection::new(families_for(&wanted));
    let scrape = |body: &str| {
        let page = read(body.as_bytes(), &selection).ok();
        let value = |one: &Wanted| Some(reading(page.as_ref()?, &selection, &one.metric, one.kind, || None));
        wanted.each_ref().map(value)
    };
    // A fast reader that reads nothing would win too.
    assert!(
        scrape(BUSY)
            .iter()
            .all(|found| found.as_ref().is_some_and(Reading::is_usable))
    );

    // Its name pattern has no colon; as it is, it would find no vLLM metric at all.
    let renamed = BUSY.replace("vllm:", "vllm_");
    let timings = side_by_side(&mut [
        &mut || drop(black_box(scrape(black_box(BUSY)))),
        &mut || drop(black_box(prometheus_parse(black_box(&renamed)))),
        &mut || visit_lines(black_box(BUSY)),
        &mut || drop(black_box(scrape(black_box(FILTERED)))),
    ]);
    let mut figures = Figures::of(format!(
        "metrics page reader: one gauge and one histogram of a page of {} bytes",
        BUSY.len()
    ));
    figures.add("whole page", timings.seconds(0) * 1e6, "µs", Goal::None);
    let bytes_per_second = f64::from(u32::try_from(BUSY.len()).unwrap_or(u32::MAX)) / timings.seconds(0);
    figures.add("whole page", bytes_per_second / 1e6, "MB/s", Goal::None);
    figures.add(
        "prometheus-parse takes longer by",
        timings.ratio(1, 0),
        "×",
        Goal::AtLeast(150.0),
    );
    figures.add(
        "visiting each line is shorter by",
        timings.ratio(0, 2),
        "×",
        Goal::AtMost(2.5),
    );
    figures.add("filtered page", timings.seconds(3) * 1e6, "µs", Goal::None);
    figures
}

fn prometheus_parse(page: &str) -> Option<prometheus_parse::Scrape> {
    prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).ok()
}

fn visit_lines(page: &str) {
    for end in memchr::memchr_iter(b'\n', page.as_bytes()) {
        black_box(end);
    }
}
