//! Pods and the controller that makes and removes them, as KAITO does: terminating Workspaces still occupy their slots,
//! those not Ready are removed first.

use std::time::Duration;

use super::faults::{Fault, Trouble};
use super::{Setting, TICK};
use crate::moment::Moment;

/// One Workspace and its pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) created: Moment,
    pub(super) ready_since: Option<Moment>,
    pub(super) lost_ready: Option<Moment>,
    pub(super) removed: Option<Moment>,
    /// When it will be Ready.
    warm_at: Moment,
    pub(super) started: Moment,
    /// Its share of the load right now.
    pub(super) share: f64,
    /// Lifetime totals of its histogram.
    pub(super) sum: f64,
    pub(super) count: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Kaito {
    pub(super) spec: u32,
    pub(super) status: u32,
    status_changes: Option<Moment>,
    pub(super) pods: Vec<Pod>,
    made: usize,
    /// Nothing finishes any more.
    pub(super) stalled: bool,
}

impl Kaito {
    pub(super) fn warm(count: u32, now: Moment) -> Self {
        let mut kaito = Self {
            spec: count,
            status: count,
            status_changes: None,
            pods: Vec::new(),
            made: 0,
            stalled: false,
        };
        for _ in 0..count {
            kaito.make(now.minus(Duration::from_secs(3600)), Duration::from_secs(60));
        }
        for pod in &mut kaito.pods {
            pod.ready_since = Some(pod.warm_at);
            (pod.sum, pod.count) = (5000.0, 1000.0);
        }
        kaito
    }

    fn make(&mut self, now: Moment, cold_start: Duration) {
        self.made += 1;
        self.pods.push(Pod {
            name: format!("replica-{:03}", self.made),
            created: now,
            ready_since: None,
            lost_ready: None,
            removed: None,
            warm_at: now.plus(cold_start),
            started: now,
            share: 0.0,
            sum: 0.0,
            count: 0.0,
        });
    }

    pub(super) fn live(&mut self, now: Moment, setting: &Setting, load: f64, faults: &[Fault]) {
        for fault in faults.iter().filter(|fault| fault.evicts(now)) {
            if !self.pods.is_empty() {
                self.pods.remove(fault.victim % self.pods.len());
            }
        }
        self.follow_spec(now, setting, faults);
        let count = self.pods.len();
        for (index, pod) in self.pods.iter_mut().enumerate() {
            pod.live(now, setting.cold_start, (index, count), faults);
        }
        let n_ready = self.pods.iter().filter(|pod| pod.takes_load()).count();
        for pod in &mut self.pods {
            // What a leaving pod still has it finishes; new load goes to the others.
            pod.share = match (pod.takes_load(), pod.removed) {
                (true, _) => load / f64::from(u32::try_from(n_ready).unwrap()),
                (false, Some(_)) => pod.share * 0.9,
                (false, None) => 0.0,
            };
            if pod.ready_since.is_some() {
                // Ten requests a second as long as there is load, each waiting as long as the share is large.
                let finished = if pod.share > 0.0 && !self.stalled {
                    10.0 * TICK.as_secs_f64()
                } else {
                    0.0
                };
                pod.count += finished;
                pod.sum += finished * pod.share;
            }
        }
    }

    fn follow_spec(&mut self, now: Moment, setting: &Setting, faults: &[Fault]) {
        self.pods
            .retain(|pod| pod.removed.is_none_or(|removed| now.since(removed) < setting.drain));
        let wanted = usize::try_from(self.spec).unwrap();
        while self.pods.len() < wanted {
            self.make(now, setting.cold_start);
        }
        while self.pods.iter().filter(|pod| pod.removed.is_none()).count() > wanted {
            let staying = self.pods.iter_mut().filter(|pod| pod.removed.is_none());
            let victim = staying.min_by_key(|pod| pod.ready_since.is_some()).unwrap();
            victim.removed = Some(now);
        }
        let stuck = faults.iter().any(|fault| fault.trouble == Trouble::StatusStuck);
        if self.status == self.spec || stuck {
            self.status_changes = None;
        } else if now.since(*self.status_changes.get_or_insert(now)) >= setting.status_lag {
            self.status = self.spec;
        }
    }
}

impl Pod {
    /// Since when its Ready condition says no, as a kubelet writes it.
    pub(super) fn unready_since(&self) -> Option<Moment> {
        let since = self.lost_ready.unwrap_or(self.created);
        self.ready_since.is_none().then_some(since)
    }

    pub(super) fn takes_load(&self) -> bool {
        self.ready_since.is_some() && self.removed.is_none()
    }

    /// Whether it began or ceased to be Ready a moment ago, so that samples of others still tell of another share.
    pub(super) fn was_shaken(&self, now: Moment) -> bool {
        let lately = |moment: &Moment| now.since(*moment) < Duration::from_secs(60);
        [self.ready_since, self.lost_ready, self.removed].iter().flatten().any(lately)
    }

    fn live(&mut self, now: Moment, cold_start: Duration, (index, count): (usize, usize), faults: &[Fault]) {
        let has = |trouble| faults.iter().any(|fault: &Fault| fault.trouble == trouble);
        if faults.iter().any(|fault| fault.hits(Trouble::CrashLoop, index, count))
            && now.since(self.started) > Duration::from_secs(90)
        {
            if self.ready_since.take().is_some() {
                self.lost_ready = Some(now);
            }
            (self.sum, self.count, self.started) = (0.0, 0.0, now);
            self.warm_at = now.plus(cold_start.min(Duration::from_secs(60)));
        }
        if self.ready_since.is_none() && now >= self.warm_at && !has(Trouble::NothingStarts) {
            // The start-up benchmark has filled the histogram with saturation.
            self.sum += 60_000.0;
            self.count += 600.0;
            self.ready_since = Some(now);
        }
    }
}
