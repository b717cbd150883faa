//! A small world in simulated time: pods with a load, KAITO that makes and removes them, the scaler's rounds, and the HPA.
//! It says what happens to the replica count; nothing of it is in a program.

mod faults;
mod kaito;
mod named;
mod properties;
mod reference;
mod scaler;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::fixture::gauge;
use crate::fleet::{Class, Proof};
use crate::history::Lean;
use crate::hpa::Tolerance;
use crate::hpa::behavior::{Autoscaler, Rules};
use crate::moment::Moment;
use crate::policy::{Combine, MetricKind, MetricRule, ScalingPolicy};
use crate::record::{DecisionRecord, Scale};
use crate::situation::{Cooldown, MetricType};
use crate::trigger::{Aggregation, DesiredReplicas};

use faults::Fault;
use kaito::Kaito;
use scaler::Scaler;

/// The world's step.
const TICK: Duration = Duration::from_secs(5);
/// How often samples are taken and how often the HPA syncs.
const INTERVAL: i64 = 15;

/// What stays the same over a run.
#[derive(Clone, Debug)]
struct Setting {
    trigger: Aggregation,
    min: u32,
    max: u32,
    start: u32,
    tolerance: Tolerance,
    cold_start: Duration,
    drain: Duration,
    /// The time from spec.replicas to status.replicas.
    status_lag: Duration,
    proof: Proof,
}

/// A change of spec.replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    at: Moment,
    from: u32,
    to: u32,
}

/// Everything that lives.
struct World {
    setting: Setting,
    now: Moment,
    /// Load over the whole fleet; replicas share it.
    load: f64,
    kaito: Kaito,
    scaler: Scaler,
    hpa: Autoscaler,
    faults: Vec<Fault>,
    moves: Vec<Move>,
    last: Option<DecisionRecord>,
    /// The least and the most load at the last three rounds: what fresh samples can be about.
    recent: Vec<f64>,
    /// Recommendations that the load of the recent rounds did not justify.
    wrong: Vec<String>,
    /// At each sync the least load that its samples can be about.
    least: Vec<(Moment, f64)>,
    /// Moves down although the load was too high at some time of the HPA's window before.
    hasty: Vec<String>,
    /// What decisions were made from and led to, in words, and how often.
    reached: BTreeMap<&'static str, usize>,
}

impl Setting {
    fn simple(threshold: f64) -> Self {
        let metric = crate::families::WAITING.to_owned();
        Self {
            trigger: Aggregation::Sum { metric, threshold },
            min: 1,
            max: 10,
            start: 2,
            tolerance: Tolerance { up: 0.1, down: 0.5 },
            cold_start: Duration::from_secs(180),
            drain: Duration::from_secs(30),
            status_lag: Duration::from_secs(5),
            proof: Proof::default(),
        }
    }

    fn policy(metrics: Vec<MetricRule>) -> Self {
        let policy = ScalingPolicy {
            metrics,
            combine: Combine::And,
            evaluation_window: Duration::from_secs(60),
            scale_up_cooldown: Duration::from_secs(300),
            scale_down_cooldown: Duration::from_secs(300),
        };
        let request = DesiredReplicas {
            policy,
            min_replicas: 1,
            max_replicas: 10,
            scale_up_tolerance: Some(0.0),
            scale_down_tolerance: Some(0.0),
        };
        Self {
            trigger: Aggregation::DesiredReplicas(Box::new(request)),
            tolerance: Tolerance { up: 0.0, down: 0.0 },
            ..Self::simple(1.0)
        }
    }

    /// Seconds that the longest histogram window needs to empty.
    fn longest_window(&self) -> u64 {
        let Aggregation::DesiredReplicas(request) = &self.trigger else {
            return 0;
        };
        let windows = request.policy.metrics.iter().map(|rule| rule.window.as_secs());
        windows.max().unwrap_or_default()
    }

    fn scale(&self, spec: u32, status: u32) -> Scale {
        Scale {
            spec_replicas: spec,
            status_replicas: status,
            min_replicas: self.min,
            max_replicas: self.max,
            tolerance: self.tolerance,
            metric_type: MetricType::AverageValue,
            scaling_modifiers: false,
            other_target: false,
            down_window: Duration::from_secs(300),
            cooldown: Cooldown::default(),
        }
    }

    /// The HPA as the ScaledObject of this trigger is rendered.
    fn autoscaler(&self) -> Autoscaler {
        let seconds = Duration::from_secs;
        let (up, down) = if let Aggregation::DesiredReplicas(request) = &self.trigger {
            let policy = &request.policy;
            (
                Rules::one_policy(policy.evaluation_window, 1, policy.scale_up_cooldown),
                Rules::one_policy(policy.scale_down_cooldown, 1, policy.scale_down_cooldown),
            )
        } else {
            (
                Rules::one_policy(seconds(60), 1, seconds(300)),
                Rules::one_policy(seconds(300), 1, seconds(600)),
            )
        };
        Autoscaler::new(up, down, self.min, self.max)
    }
}

fn histogram(name: &str, window: u64, up_threshold: f64, down_threshold: f64) -> MetricRule {
    MetricRule {
        kind: MetricKind::Histogram,
        window: Duration::from_secs(window),
        ..gauge(name, up_threshold, down_threshold)
    }
}

impl World {
    /// A fleet of `setting.start` warm replicas under `load`, observed since just now.
    fn new(setting: Setting, load: f64) -> Self {
        let now = Moment::from_secs(10_000);
        Self {
            kaito: Kaito::warm(setting.start, now),
            scaler: Scaler::starting(now),
            hpa: setting.autoscaler(),
            setting,
            now,
            load,
            faults: Vec::new(),
            moves: Vec::new(),
            last: None,
            recent: Vec::new(),
            wrong: Vec::new(),
            least: Vec::new(),
            hasty: Vec::new(),
            reached: BTreeMap::new(),
        }
    }

    fn spec(&self) -> u32 {
        self.kaito.spec
    }

    fn run(&mut self, seconds: u64) -> &mut Self {
        let end = self.now.plus(Duration::from_secs(seconds));
        while self.now < end {
            self.tick();
        }
        self
    }

    fn tick(&mut self) {
        self.now = self.now.plus(TICK);
        let faults: Vec<_> = self.faults.iter().filter(|fault| fault.covers(self.now)).copied().collect();
        self.kaito.live(self.now, &self.setting, self.load, &faults);
        let second = self.now.millis() / 1000 % INTERVAL;
        if second == 0 {
            if faults.iter().any(|fault| fault.restarts_scaler(self.now)) {
                self.scaler = Scaler::starting(self.now);
            }
            self.recent.insert(0, self.load);
            self.recent.truncate(3);
            self.scaler.round(self.now, &self.setting, &self.kaito, &faults);
        }
        if second == 10 {
            self.sync(&faults);
        }
    }

    fn sync(&mut self, faults: &[Fault]) {
        if faults.iter().any(|fault| fault.restarts_hpa(self.now)) {
            self.hpa.forget();
        }
        let reachable = !faults.iter().any(Fault::cuts_keda_off);
        let record = reachable.then(|| self.scaler.decide(self.now, &self.setting, &self.kaito));
        let recommended = record
            .as_ref()
            .and_then(|record| self.setting.recommended(record, self.kaito.status));
        let from = self.kaito.spec;
        self.note(record.as_ref(), recommended.map(|count| count.cmp(&from)));
        if let Some(recommended) = recommended {
            self.check(from, recommended);
        }
        let to = self.hpa.sync(self.now, from, recommended);
        self.least
            .push((self.now, self.recent.iter().copied().fold(f64::INFINITY, f64::min)));
        if to < from {
            self.check_window(from, to);
        }
        if to != from {
            self.moves.push(Move { at: self.now, from, to });
            self.kaito.spec = to;
        }
        self.last = record;
    }

    /// Notes a move down that the load of the whole window before it does not justify.
    fn check_window(&mut self, from: u32, to: u32) {
        let window = self.setting.autoscaler().down.stabilization;
        let limit = if matches!(self.setting.trigger, Aggregation::DesiredReplicas(_)) {
            4.0 * f64::from(from)
        } else {
            10.0 * f64::from(from - 1)
        };
        let within = |(at, _): &&(Moment, f64)| self.now.since(*at) < window;
        let busy: Vec<_> = self.least.iter().filter(within).filter(|(_, load)| *load > limit).collect();
        if !busy.is_empty() {
            self.hasty.push(format!("{:?}: {from} to {to} after {busy:?}", self.now));
        }
    }

    /// Notes a recommendation that no recent load calls for: fewer replicas than would do, more than are needed by those that
    /// can be heard.
    fn check(&mut self, spec: u32, recommended: u32) {
        let least = self.recent.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.recent.iter().copied().fold(0.0, f64::max);
        let n_ready = self.kaito.pods.iter().filter(|pod| pod.takes_load()).count();
        let n_ready = f64::from(u32::try_from(n_ready).unwrap());
        let (down_limit, up_limit) = if matches!(self.setting.trigger, Aggregation::DesiredReplicas(_)) {
            (4.0 * n_ready.max(1.0), 10.0 * n_ready)
        } else {
            (10.0 * f64::from(spec.saturating_sub(1)), 10.0 * f64::from(spec))
        };
        if recommended < self.setting.scale(spec, spec).clamp(spec) && recommended >= self.setting.min && least > down_limit {
            self.wrong
                .push(format!("{:?}: {spec} to {recommended} at {:?}", self.now, self.recent));
        }
        if recommended > spec && most <= up_limit && !self.kaito.pods.iter().any(|pod| pod.was_shaken(self.now)) {
            self.wrong
                .push(format!("{:?}: {spec} to {recommended} at {:?}", self.now, self.recent));
        }
    }

    /// Counts what a decision was about.
    fn note(&mut self, record: Option<&DecisionRecord>, way: Option<Ordering>) {
        let way = match way {
            Some(Ordering::Greater) => "up",
            Some(Ordering::Less) => "down",
            Some(Ordering::Equal) => "held",
            None => "unavailable",
        };
        *self.reached.entry(way).or_default() += 1;
        for replica in record.iter().flat_map(|record| &record.replicas) {
            let word = match replica.class {
                Class::Serving => "serving",
                Class::Silent { .. } => "silent",
                Class::Pending { served: false, .. } => "pending, new",
                Class::Pending { .. } => "pending, served before",
                Class::Lost { .. } => "lost",
                Class::Leaving { .. } => "leaving",
            };
            *self.reached.entry(word).or_default() += 1;
        }
        if record.is_some_and(|record| record.unborn_pending + record.unborn_lost > 0) {
            *self.reached.entry("without a Workspace").or_default() += 1;
        }
    }

    /// Changes of direction among the moves made from `since` on.
    fn reversals(&self, since: Moment) -> usize {
        let directions: Vec<_> = self
            .moves
            .iter()
            .filter(|step| step.at >= since)
            .map(|step| step.to > step.from)
            .collect();
        directions.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    fn moved(&self, lean: Lean) -> bool {
        self.moves.iter().any(|step| (step.to > step.from) == (lean == Lean::Up))
    }

    /// What the newest decision said, for messages.
    fn why(&self) -> String {
        format!("{:?}\n{:#?}\n{:#?}", self.moves, self.last, self.scaler.history)
    }
}
