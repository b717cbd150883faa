//! What a user should be told of: replicas that say nothing, metrics that cannot work. Sentences for Events; how often they
//! are repeated is the scaler's business.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::{Class, Member, is_fresh};
use crate::moment::Moment;
use crate::policy::MetricKind;
use crate::situation::{Situation, metrics_of};
use crate::trigger::Aggregation;
use crate::window::Reading;

/// A silent replica is named after this long.
const SILENT_FOR: Duration = Duration::from_secs(5 * 60);
/// Most names in one sentence.
const MOST_NAMES: usize = 5;

/// Something a user should know; the reason is an Event's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    pub reason: WarningReason,
    /// One sentence.
    pub message: String,
}

/// Event reasons a decision can give rise to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WarningReason {
    ReplicaSilent,
    ReplicaPending,
    MetricsUnavailable,
    MetricNotFound,
    MetricTypeMismatch,
    NarrowBand,
}

/// Every warning due now.
pub(super) fn of(situation: &Situation<'_, '_>) -> Vec<Warning> {
    let all = [
        silent(situation),
        lost(situation),
        unavailable(situation),
        mismatch(situation),
    ];
    let mut warnings: Vec<_> = all.into_iter().flatten().collect();
    warnings.extend(not_found(situation));
    warnings.extend(partly_missing(situation));
    warnings.extend(narrow_bands(situation));
    warnings
}

fn silent(situation: &Situation<'_, '_>) -> Option<Warning> {
    let now = situation.now;
    let long = |member: &&Member<'_, '_>| matches!(member.class, Class::Silent { since } if now.since(since) >= SILENT_FOR);
    let members: Vec<_> = situation.fleet.members.iter().filter(long).collect();
    let failure = members.iter().find_map(|member| member.view.series.failure());
    let last = failure.map_or_else(String::new, |failure| format!("; the last scrape failed: {}", failure.reason));
    let names = names(&members)?;
    Some(warning(
        WarningReason::ReplicaSilent,
        format!("{names} Ready but without metrics for 5 minutes or longer, which keeps replicas from being removed{last}"),
    ))
}

fn lost(situation: &Situation<'_, '_>) -> Option<Warning> {
    let lost = |member: &&Member<'_, '_>| matches!(member.class, Class::Lost { .. });
    let members: Vec<_> = situation.fleet.members.iter().filter(lost).collect();
    let minutes = situation.timing.replica_deadline.as_secs() / 60;
    let unborn = situation.fleet.unborn.lost;
    let who = match (names(&members), unborn) {
        (None, 0) => return None,
        (Some(names), 0) => names,
        (None, _) => format!("{unborn} of the replicas ordered (no Workspace yet)"),
        (Some(names), _) => format!("{names} and {unborn} more without a Workspace"),
    };
    Some(warning(
        WarningReason::ReplicaPending,
        format!("{who} not serving for more than {minutes} minutes: no longer waited for"),
    ))
}

fn unavailable(situation: &Situation<'_, '_>) -> Option<Warning> {
    let fleet = &situation.fleet;
    // A process needs a round before it knows anything.
    let settled = situation.now.since(situation.timing.process_started) > situation.timing.fresh_for();
    let sampled = !metrics_of(situation.trigger).is_empty();
    // Replicas that are all still on their way for the first time are what every new InferenceSet has: nothing to act on.
    let served_before = |member: &Member<'_, '_>| matches!(member.class, Class::Pending { served: true, .. });
    let missed = fleet.n_silent() + fleet.n_lost() > 0 || fleet.members.iter().any(served_before);
    let none = sampled && settled && situation.scale.spec_replicas > 0 && fleet.n_serving() == 0;
    (none && missed).then(|| {
        let message = format!(
            "no replica has fresh metrics ({} silent, {} pending, {} lost): the replica count is held",
            fleet.n_silent(),
            fleet.n_pending(),
            fleet.n_lost()
        );
        warning(WarningReason::MetricsUnavailable, message)
    })
}

/// The first metric whose exposed type contradicts the declared one.
pub(super) fn mismatch(situation: &Situation<'_, '_>) -> Option<Warning> {
    metrics_of(situation.trigger).into_iter().find_map(|(metric, kind)| {
        fresh_readings(situation, metric, kind).find_map(|(workspace, reading)| {
            let Reading::Mismatch { exposed } = reading else { return None };
            let declared = word(kind);
            let message = format!("metric {metric:?} is declared a {declared}, but replica {workspace:?} exposes a {exposed}");
            Some(warning(WarningReason::MetricTypeMismatch, message))
        })
    })
}

fn not_found(situation: &Situation<'_, '_>) -> impl Iterator<Item = Warning> {
    metrics_of(situation.trigger).into_iter().filter_map(|(metric, kind)| {
        let mut nearest = None;
        let mut asked = 0;
        for (_, reading) in fresh_readings(situation, metric, kind) {
            let Reading::Absent { nearest: name } = reading else {
                return None;
            };
            asked += 1;
            nearest = nearest.or(name.as_deref());
        }
        let hint = nearest.map_or_else(String::new, |name| format!("; the nearest name is {name:?}"));
        (asked > 0).then(|| {
            let message = format!("no Ready replica exposes metric {metric:?}{hint}");
            warning(WarningReason::MetricNotFound, message)
        })
    })
}

/// Metrics that some serving replicas have not had for long while others have: no move down is made without them.
fn partly_missing(situation: &Situation<'_, '_>) -> impl Iterator<Item = Warning> {
    let (now, started) = (situation.now, situation.timing.process_started);
    metrics_of(situation.trigger).into_iter().filter_map(move |(metric, kind)| {
        let serving = |member: &&Member<'_, '_>| member.class == Class::Serving;
        let (with, without): (Vec<_>, Vec<_>) = situation
            .fleet
            .members
            .iter()
            .filter(serving)
            .partition(|member| member.view.series.reading(metric, kind).is_some_and(Reading::is_usable));
        let long = |member: &&Member<'_, '_>| {
            let since = member.view.series.last_usable(metric, kind).max(member.view.ready_since);
            since.is_some_and(|since| now.since(since.max(started)) >= SILENT_FOR)
        };
        let without: Vec<_> = without.into_iter().filter(long).collect();
        let names = names(&without).filter(|_| !with.is_empty())?;
        let message =
            format!("{names} without metric {metric:?} for 5 minutes or longer, which keeps replicas from being removed");
        Some(warning(WarningReason::ReplicaSilent, message))
    })
}

fn narrow_bands(situation: &Situation<'_, '_>) -> Vec<Warning> {
    let Aggregation::DesiredReplicas(request) = situation.trigger else {
        return Vec::new();
    };
    let narrow = request
        .policy
        .metrics
        .iter()
        .filter(|rule| rule.down_threshold > rule.up_threshold / 2.0);
    let sentence = |rule: &crate::policy::MetricRule| {
        format!(
            "metric {:?}: down threshold {} is above half the up threshold {}, so that few replicas will seldom become fewer",
            rule.name, rule.down_threshold, rule.up_threshold
        )
    };
    narrow
        .map(|rule| warning(WarningReason::NarrowBand, sentence(rule)))
        .collect()
}

/// Readings of one metric on the Ready replicas whose last answer is fresh.
fn fresh_readings<'s>(
    situation: &'s Situation<'_, '_>,
    metric: &'s str,
    kind: MetricKind,
) -> impl Iterator<Item = (&'s str, &'s Reading)> {
    let (timing, now): (_, Moment) = (situation.timing, situation.now);
    let fresh = situation.replicas.iter().filter(move |view| is_fresh(view, timing, now));
    fresh.filter_map(move |view| {
        view.series
            .reading(metric, kind)
            .map(|reading| (view.workspace.as_ref(), reading))
    })
}

fn names(members: &[&Member<'_, '_>]) -> Option<String> {
    let named: Vec<_> = members
        .iter()
        .take(MOST_NAMES)
        .map(|member| format!("{:?}", member.view.workspace))
        .collect();
    let more = members.len().saturating_sub(MOST_NAMES);
    match (named.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("replica {} is", named.concat())),
        (_, 0) => Some(format!("replicas {} are", named.join(", "))),
        (_, _) => Some(format!("replicas {} and {more} more are", named.join(", "))),
    }
}

fn warning(reason: WarningReason, message: String) -> Warning {
    Warning { reason, message }
}

fn word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}
