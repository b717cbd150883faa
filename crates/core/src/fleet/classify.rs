//! The replica table: from what is watched and scraped to a class. KAITO's `readyReplicas` is not used: it counts
//! terminating and surge Workspaces.

use std::cmp::Reverse;

use super::{Class, Fleet, Member, ReplicaView, Timing, Unborn};
use crate::moment::Moment;
use crate::policy::MetricKind;
use crate::window::{Reading, ReplicaSeries};

/// What the scrapes say of a Ready replica.
enum Voice {
    /// Fresh, with at least one of the wanted metrics.
    Clear,
    /// Fresh, without any of them since the container's start: the model is loading.
    WithoutMetric,
    None,
}

/// Classifies `replicas` for those who need `metrics` of them (none: being Ready is enough). `missing_since` says, oldest
/// first, since when each replica without a Workspace is missing.
pub fn classify<'v, 'a>(
    replicas: &'v [ReplicaView<'a>],
    metrics: &[(&str, MetricKind)],
    spec_replicas: u32,
    missing_since: &[Moment],
    timing: &Timing,
    now: Moment,
) -> Fleet<'v, 'a> {
    let mut members: Vec<_> = replicas
        .iter()
        .map(|view| Member {
            view,
            class: class_of(view, metrics, timing, now),
        })
        .collect();
    let staying = members.iter().filter(|member| !member.view.terminating).count();
    let ordered = usize::try_from(spec_replicas).unwrap_or(usize::MAX);
    if staying > ordered {
        retire_extras(&mut members, staying - ordered, metrics, timing, now);
    }
    let unborn = unborn(
        spec_replicas.saturating_sub(u32::try_from(staying).unwrap_or(u32::MAX)),
        missing_since,
        timing,
        now,
    );
    Fleet { members, unborn }
}

fn class_of(view: &ReplicaView<'_>, metrics: &[(&str, MetricKind)], timing: &Timing, now: Moment) -> Class {
    let voice = voice_of(view, metrics, timing, now);
    if view.terminating {
        return Class::Leaving {
            answering: matches!(voice, Voice::Clear),
        };
    }
    match (view.ready_since, voice) {
        (Some(_), Voice::Clear) => Class::Serving,
        (Some(ready_since), Voice::None) => {
            let usable = metrics
                .iter()
                .filter_map(|(metric, kind)| view.series.last_usable(metric, *kind));
            let heard = usable.max().or_else(|| view.series.answered());
            Class::Silent {
                since: latest([Some(ready_since), heard, Some(timing.process_started)]),
            }
        }
        (ready_since, voice) => {
            let answering = ready_since.is_some() && matches!(voice, Voice::WithoutMetric);
            pending_or_lost(view, answering, timing, now)
        }
    }
}

fn pending_or_lost(view: &ReplicaView<'_>, answering: bool, timing: &Timing, now: Moment) -> Class {
    let served = view.series.served();
    // Time spent silent is not time spent pending.
    let bare_since = view.series.bare_since().filter(|_| answering);
    // What the pod does not say may have ended a moment before this process looked.
    let known_since = view.unready_since.filter(|_| !answering).unwrap_or(timing.process_started);
    let since = latest([Some(view.created), view.lost_ready, served, bare_since, Some(known_since)]);
    if now.since(since) > timing.replica_deadline {
        // One that is Ready has its share of the load, whatever it says.
        return match answering {
            true => Class::Silent { since },
            false => Class::Lost { since },
        };
    }
    Class::Pending {
        since,
        served: served.is_some() || view.lost_ready.is_some(),
        answering,
    }
}

fn voice_of(view: &ReplicaView<'_>, metrics: &[(&str, MetricKind)], timing: &Timing, now: Moment) -> Voice {
    if view.ready_since.is_some() && metrics.is_empty() {
        Voice::Clear
    } else if is_fresh(view, timing, now) {
        heard(&view.series, metrics)
    } else {
        Voice::None
    }
}

/// Whether the replica is Ready and has answered in this Ready period, not too long ago.
pub(crate) fn is_fresh(view: &ReplicaView<'_>, timing: &Timing, now: Moment) -> bool {
    let (Some(ready_since), Some(answered)) = (view.ready_since, view.series.answered()) else {
        return false;
    };
    answered >= ready_since && now.since(answered) <= timing.fresh_for()
}

fn heard(series: &ReplicaSeries, metrics: &[(&str, MetricKind)]) -> Voice {
    let mut readings = metrics.iter().map(|(metric, kind)| series.reading(metric, *kind));
    let absent = |reading: Option<&Reading>| matches!(reading, Some(Reading::Absent { .. }));
    if readings.clone().flatten().any(Reading::is_usable) {
        Voice::Clear
    } else if readings.all(absent) && !series.has_served_in_segment() {
        Voice::WithoutMetric
    } else {
        // There, but not to be believed, or gone although the model is loaded: as good as no sample.
        Voice::None
    }
}

/// Those above the wanted count: the newest that do not serve first, then the newest.
fn retire_extras(members: &mut [Member<'_, '_>], extras: usize, metrics: &[(&str, MetricKind)], timing: &Timing, now: Moment) {
    let mut order: Vec<_> = members.iter_mut().filter(|member| !member.view.terminating).collect();
    order.sort_by_key(|member| {
        let serving = member.class == Class::Serving;
        (serving, Reverse(member.view.created), Reverse(member.view.workspace.clone()))
    });
    for member in order.into_iter().take(extras) {
        member.class = Class::Leaving {
            answering: matches!(voice_of(member.view, metrics, timing, now), Voice::Clear),
        };
    }
}

fn unborn(missing: u32, missing_since: &[Moment], timing: &Timing, now: Moment) -> Unborn {
    let overdue = |since: &&Moment| now.since((**since).max(timing.process_started)) > timing.replica_deadline;
    let slots = missing_since.iter().take(usize::try_from(missing).unwrap_or(usize::MAX));
    let lost = u32::try_from(slots.filter(overdue).count()).unwrap_or(u32::MAX);
    Unborn {
        pending: missing - lost,
        lost,
    }
}

fn latest<const N: usize>(moments: [Option<Moment>; N]) -> Moment {
    moments.into_iter().flatten().max().unwrap_or_default()
}
