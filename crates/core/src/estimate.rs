//! What one metric can be over a whole fleet when some of its replicas are not known: a range with two honest ends.
//! Unknown is never zero towards a move down and never a load towards a move up.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::fleet::ReplicaView;
use crate::moment::Moment;
use crate::policy::MetricKind;
use crate::situation::Situation;
use crate::window::{Delta, Reading};

/// After a change of the replicas sampled, a window says nothing for this long (or its own length).
const SETTLING: Duration = Duration::from_secs(60);

/// The ends of what a value can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) low: f64,
    /// `None`: no bound is known.
    pub(crate) high: Option<f64>,
}

/// A metric over a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Estimate {
    Between(Range),
    /// It has nothing to say; why.
    Abstains(&'static str),
}

impl Range {
    fn unbounded(low: f64) -> Self {
        Self { low, high: None }
    }
}

/// The sum of a gauge: silent and lost replicas at 0, pending ones at 0 to `each_pending`, leaving ones at 0 to their value.
pub(crate) fn sum(situation: &Situation<'_, '_>, metric: &str, each_pending: f64) -> Range {
    let fleet = &situation.fleet;
    let known = Gauges::of(fleet.serving(), metric);
    let leaving = Gauges::of(fleet.leaving_answering(), metric);
    if fleet.n_silent() > 0 || known.unread > 0 || known.read == 0 {
        return Range::unbounded(known.total);
    }
    Range {
        low: known.total,
        high: Some(known.total + leaving.total + each_pending * f64::from(fleet.n_pending())),
    }
}

/// The mean of a gauge per replica, as the policy dialect reads it: unknown replicas are at 0 below and at anything above;
/// the load of leaving replicas falls on the serving ones.
pub(crate) fn mean(situation: &Situation<'_, '_>, metric: &str) -> Range {
    let fleet = &situation.fleet;
    let known = Gauges::of(fleet.serving(), metric);
    let unknown = known.unread + fleet.n_silent() + fleet.n_pending();
    if known.read == 0 {
        return Range::unbounded(0.0);
    }
    let low = known.total / f64::from(known.read + unknown);
    if unknown > 0 {
        return Range::unbounded(low);
    }
    let leaving = Gauges::of(fleet.leaving_answering(), metric);
    Range {
        low,
        high: Some((known.total + leaving.total) / f64::from(known.read)),
    }
}

/// The mean of a histogram's observations over a window that began no earlier than the last change of the replicas sampled;
/// unknown replicas weigh as much as known ones do on average.
pub(crate) fn windowed(situation: &Situation<'_, '_>, metric: &str, window: Duration) -> Estimate {
    let fleet = &situation.fleet;
    let exposing = |view: &&ReplicaView<'_>| exposes(view, metric);
    if !fleet.serving().any(|view| exposing(&view)) {
        return Estimate::Between(Range::unbounded(0.0));
    }
    let now = situation.now;
    let since = situation.history.members_since(&situation.sampled()).unwrap_or(now);
    if now.since(since) < window.min(SETTLING) {
        return Estimate::Abstains("the replicas sampled changed a moment ago");
    }
    let begin = now.minus(window);
    let known = Histograms::of(fleet.serving(), metric, begin, since);
    if known.read == 0 {
        return Estimate::Abstains("no replica has two samples in the window");
    }
    let unknown = known.unread + fleet.n_silent() + fleet.n_pending();
    if known.growth.count <= 0.0 {
        return unobserved(situation, begin.max(since), unknown);
    }
    let share = f64::from(known.read) / f64::from(known.read + unknown);
    let mean = known.growth.sum / known.growth.count;
    if unknown > 0 {
        return Estimate::Between(Range::unbounded(mean * share));
    }
    let leaving = Histograms::of(fleet.leaving_answering(), metric, begin, since).growth;
    let with_leaving = (known.growth.sum + leaving.sum) / (known.growth.count + leaving.count);
    Estimate::Between(Range {
        low: mean,
        high: Some(mean.max(with_leaving)),
    })
}

/// Nothing finished in the window: either nothing was asked, or everything is stuck.
fn unobserved(situation: &Situation<'_, '_>, begin: Moment, unknown: u32) -> Estimate {
    let history = situation.history;
    let current = history.is_current(situation.now, situation.timing);
    if unknown == 0 && current && history.idle_since().is_some_and(|idle_since| idle_since <= begin) {
        return Estimate::Between(Range {
            low: 0.0,
            high: Some(0.0),
        });
    }
    Estimate::Abstains("nothing was observed in the window, and the fleet is not known to be idle")
}

fn exposes(view: &ReplicaView<'_>, metric: &str) -> bool {
    let reading = view.series.reading(metric, MetricKind::Histogram);
    reading.is_some_and(Reading::is_usable)
}

/// A gauge over some replicas.
#[derive(Default)]
struct Gauges {
    total: f64,
    read: u32,
    unread: u32,
}

impl Gauges {
    fn of<'v, 'a: 'v>(views: impl Iterator<Item = &'v ReplicaView<'a>>, metric: &str) -> Self {
        let mut all = Self::default();
        for view in views {
            match view.series.gauge(metric) {
                Some(value) => {
                    all.total += value;
                    all.read += 1;
                }
                None => all.unread += 1,
            }
        }
        all
    }
}

/// A histogram's growth over some replicas.
#[derive(Default)]
struct Histograms {
    growth: Delta,
    read: u32,
    unread: u32,
}

impl Histograms {
    fn of<'v, 'a: 'v>(views: impl Iterator<Item = &'v ReplicaView<'a>>, metric: &str, begin: Moment, floor: Moment) -> Self {
        let mut all = Self::default();
        for view in views {
            match view.series.delta(metric, begin, floor).filter(|_| exposes(view, metric)) {
                Some(delta) => {
                    all.growth.sum += delta.sum;
                    all.growth.count += delta.count;
                    all.read += 1;
                }
                None => all.unread += 1,
            }
        }
        all
    }
}
