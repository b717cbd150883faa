//! What one round of samples shows beside the metrics: who was heard, whether anything runs at all.

use std::time::Duration;

use crate::families::{RUNNING, WAITING};
use crate::history::Sighting;
use crate::policy::MetricRule;
use crate::situation::Situation;
use crate::trigger::Aggregation;

/// What the history takes in.
pub(super) fn sighting(situation: &Situation<'_, '_>) -> Sighting {
    let fleet = &situation.fleet;
    let demand = demand(situation);
    let n_serving = f64::from(fleet.n_serving());
    let heard = fleet.n_silent() == 0 && fleet.n_serving() > 0;
    let ordered = situation.scale.spec_replicas;
    let staying = situation.replicas.iter().filter(|view| !view.terminating).count();
    Sighting {
        heard: fleet.n_serving() > 0,
        members: situation.sampled().into_iter().map(str::to_owned).collect(),
        idle: heard && demand.is_some_and(|demand| demand.waiting <= 0.0 && demand.running < n_serving),
        quiet: heard && fleet.n_pending() == 0 && demand.is_some_and(|demand| demand.waiting + demand.running <= 0.0),
        missing: ordered.saturating_sub(u32::try_from(staying).unwrap_or(u32::MAX)),
    }
}

/// With a minimum of at least 1 always; otherwise unless demand is known to have been zero for the whole window.
pub(super) fn is_active(situation: &Situation<'_, '_>) -> bool {
    let scale = situation.scale;
    if scale.min_replicas >= 1 {
        return true;
    }
    if scale.spec_replicas == 0 {
        return false;
    }
    let begin = situation.now.minus(longest_window(situation));
    let history = situation.history;
    let quiet = history.is_current(situation.now, situation.timing) && history.quiet_since().is_some_and(|since| since <= begin);
    !(quiet && sighting(situation).quiet)
}

fn longest_window(situation: &Situation<'_, '_>) -> Duration {
    let own = match situation.trigger {
        Aggregation::WindowedAvg { window, .. } => *window,
        Aggregation::DesiredReplicas(request) => {
            let of = |rule: &MetricRule| rule.window;
            let windows = request.policy.metrics.iter().map(of);
            windows.fold(request.policy.scale_down_cooldown, Duration::max)
        }
        Aggregation::Sum { .. } | Aggregation::ServiceAvg { .. } | Aggregation::Gate { .. } => Duration::ZERO,
    };
    own.max(situation.scale.down_window)
}

/// Requests known of, over all replicas that answer.
#[derive(Clone, Copy, Default)]
struct Demand {
    waiting: f64,
    running: f64,
}

/// `None` when one of the replicas does not say.
fn demand(situation: &Situation<'_, '_>) -> Option<Demand> {
    let views = situation.fleet.serving().chain(situation.fleet.leaving_answering());
    let mut demand = Demand::default();
    for view in views {
        demand.waiting += view.series.gauge(WAITING)?;
        demand.running += view.series.gauge(RUNNING)?;
    }
    Some(demand)
}
