//! What can go wrong, for how long, and to whom.

use std::time::Duration;

use proptest::prelude::*;

use super::TICK;
use crate::moment::Moment;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Scrapes of one replica fail.
    ScrapesFail,
    /// Every scrape fails.
    Outage,
    /// The pod of one replica restarts again and again.
    CrashLoop,
    /// New replicas do not become Ready.
    NothingStarts,
    /// One replica answers without the metrics.
    WithoutMetrics,
    /// One replica's gauges are gone, its histograms stay.
    GaugesVanish,
    /// One replica's gauges are no numbers.
    NotANumber,
    /// One replica is gone with its Workspace at once, and KAITO makes another.
    Evicted,
    /// What objects say happened now is a quarter of an hour off: behind for even victims, ahead for odd ones.
    ClockStep,
    /// KEDA cannot reach the scaler.
    KedaCutOff,
    ScalerRestart,
    HpaRestart,
    /// status.replicas does not follow.
    StatusStuck,
}

const STEP: Duration = Duration::from_secs(15 * 60);

/// One trouble over a time; `victim` picks a replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    pub(super) from: Moment,
    pub(super) duration: Duration,
    pub(super) victim: usize,
}

impl Fault {
    pub(super) fn covers(&self, now: Moment) -> bool {
        self.from <= now && now < self.from.plus(self.duration)
    }

    pub(super) fn end(&self) -> Moment {
        self.from.plus(self.duration)
    }

    /// Whether a scrape of the replica at `index` of `count` fails: timed out, refused, with status 500, cut short.
    pub(super) fn silences(&self, index: usize, count: usize) -> bool {
        self.trouble == Trouble::Outage || self.hits(Trouble::ScrapesFail, index, count)
    }

    pub(super) fn hits(&self, trouble: Trouble, index: usize, count: usize) -> bool {
        self.trouble == trouble && self.victim % count.max(1) == index
    }

    pub(super) fn evicts(&self, now: Moment) -> bool {
        self.trouble == Trouble::Evicted && now.since(self.from) < TICK
    }

    /// When objects say that something at `at` happened.
    pub(super) fn told(&self, at: Moment) -> Moment {
        if self.trouble != Trouble::ClockStep || !self.covers(at) {
            return at;
        }
        match self.victim % 2 {
            0 => at.minus(STEP),
            _ => at.plus(STEP),
        }
    }

    pub(super) fn cuts_keda_off(&self) -> bool {
        self.trouble == Trouble::KedaCutOff
    }

    pub(super) fn restarts_scaler(&self, now: Moment) -> bool {
        self.trouble == Trouble::ScalerRestart && self.begins(now)
    }

    pub(super) fn restarts_hpa(&self, now: Moment) -> bool {
        self.trouble == Trouble::HpaRestart && self.begins(now)
    }

    fn begins(&self, now: Moment) -> bool {
        now.since(self.from) < 3 * TICK
    }
}

/// Up to six troubles within the first hour after `start`.
pub(super) fn faults(start: Moment) -> impl Strategy<Value = Vec<Fault>> {
    let trouble = prop_oneof![
        3 => Just(Trouble::ScrapesFail),
        2 => Just(Trouble::Outage),
        3 => Just(Trouble::CrashLoop),
        2 => Just(Trouble::NothingStarts),
        2 => Just(Trouble::WithoutMetrics),
        2 => Just(Trouble::KedaCutOff),
        1 => Just(Trouble::ScalerRestart),
        1 => Just(Trouble::HpaRestart),
        1 => Just(Trouble::StatusStuck),
        1 => Just(Trouble::GaugesVanish),
        1 => Just(Trouble::NotANumber),
        1 => Just(Trouble::Evicted),
        1 => Just(Trouble::ClockStep),
    ];
    let duration = prop_oneof![4 => 10_u64..1800, 1 => 1800_u64..5400];
    let fault = (trouble, 0_u64..3600, duration, 0_usize..6).prop_map(move |(trouble, from, duration, victim)| Fault {
        trouble,
        from: start.plus(Duration::from_secs(from)),
        duration: Duration::from_secs(duration),
        victim,
    });
    proptest::collection::vec(fault, 0..6)
}
