//! What one trigger's rounds of samples have said over time: a few moments, fed once per scrape round, however often KEDA
//! asks. It holds no samples (those are in `window`) and decides nothing by itself.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::{Proof, Timing};
use crate::moment::Moment;

/// Most replicas without a Workspace that are timed one by one.
const MAX_MISSING: usize = 1024;

/// Which way one set of samples points, before windows and bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lean {
    Up,
    Down,
    #[default]
    Hold,
}

/// What one round of samples showed of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Names of the replicas whose samples count (serving, and leaving ones that answer), sorted.
    pub members: Vec<String>,
    /// At least one replica was heard.
    pub heard: bool,
    /// Known: nothing waited, and fewer requests ran than replicas served.
    pub idle: bool,
    /// Known: nothing waited and nothing ran, anywhere.
    pub quiet: bool,
    /// Replicas ordered that have no Workspace.
    pub missing: u32,
}

/// The memory of one trigger; a fresh one knows nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct History {
    last_round: Option<Moment>,
    /// Start of the unbroken run of rounds in which somebody was heard.
    heard_since: Option<Moment>,
    up_since: Option<Moment>,
    down_since: Option<Moment>,
    idle_since: Option<Moment>,
    quiet_since: Option<Moment>,
    /// The last round of which nothing could be said to the HPA.
    untold_at: Option<Moment>,
    members: Vec<String>,
    members_since: Option<Moment>,
    /// One per replica without a Workspace, oldest first.
    missing_since: Vec<Moment>,
    /// When spec.replicas was last seen to rise.
    raised_at: Option<Moment>,
    /// When it was last seen to fall.
    lowered_at: Option<Moment>,
}

impl History {
    /// Takes in what a round showed. A round that comes later than the samples of the last stay fresh starts anew.
    pub fn see(&mut self, now: Moment, sighting: Sighting, timing: &Timing) {
        if !self.is_current(now, timing) {
            self.heard_since = None;
            self.up_since = None;
            self.down_since = None;
            self.idle_since = None;
            self.quiet_since = None;
        }
        self.last_round = Some(now);
        keep(&mut self.heard_since, sighting.heard, now);
        keep(&mut self.idle_since, sighting.idle, now);
        keep(&mut self.quiet_since, sighting.quiet, now);
        if self.members_since.is_none() || self.members != sighting.members {
            self.members = sighting.members;
            self.members_since = Some(now);
        }
        let missing = usize::try_from(sighting.missing).unwrap_or(MAX_MISSING).min(MAX_MISSING);
        self.missing_since.resize(missing, now);
    }

    /// Takes in which way the samples of that round point; call it after [`Self::see`].
    pub fn lean(&mut self, now: Moment, lean: Lean) {
        keep(&mut self.up_since, lean == Lean::Up, now);
        keep(&mut self.down_since, lean == Lean::Down, now);
    }

    /// Takes in whether of that round anything could be said to the HPA.
    pub fn told(&mut self, now: Moment, told: bool) {
        if !told {
            self.untold_at = Some(now);
        }
    }

    /// Takes in that spec.replicas was seen to change.
    pub fn moved(&mut self, now: Moment, from: u32, to: u32) {
        match to.cmp(&from) {
            Ordering::Greater => self.raised_at = Some(now),
            Ordering::Less => self.lowered_at = Some(now),
            Ordering::Equal => {}
        }
    }

    /// When the last move in that direction was seen.
    pub fn last_move(&self, direction: Lean) -> Option<Moment> {
        match direction {
            Lean::Up => self.raised_at,
            Lean::Down => self.lowered_at,
            Lean::Hold => None,
        }
    }

    /// Whether our samples of the last `window` justify a move in `direction`: all of them leant that way, or
    /// ([`Proof::NoGap`]) none is missing. What the HPA could not be told it cannot remember, so a window with such a round is
    /// no reason to go down.
    pub fn supports(&self, direction: Lean, window: Duration, now: Moment, timing: &Timing) -> bool {
        let covered = |since: Option<Moment>| since.is_some_and(|since| now.since(since) >= window);
        let untold = self.untold_at.is_some_and(|last| now.since(last) < window);
        let justified = match (direction, timing.proof) {
            (Lean::Hold, _) => return true,
            (Lean::Up, Proof::NoGap) => covered(self.heard_since),
            (Lean::Down, Proof::NoGap) if !untold => covered(self.heard_since),
            (Lean::Up, Proof::EverySample) => covered(self.up_since),
            (Lean::Down, Proof::EverySample | Proof::NoGap) => covered(self.down_since),
        };
        self.is_current(now, timing) && justified
    }

    /// Since when the fleet was idle in every round, if it was in the last one.
    pub fn idle_since(&self) -> Option<Moment> {
        self.idle_since
    }

    /// Since when nothing at all ran or waited, if that holds for the last round.
    pub fn quiet_since(&self) -> Option<Moment> {
        self.quiet_since
    }

    /// Since when the samples come from exactly these `members` (sorted); `None` when that is new to the last round.
    pub fn members_since(&self, members: &[&str]) -> Option<Moment> {
        self.members_since.filter(|_| self.members == members)
    }

    /// Since when each replica without a Workspace is missing, oldest first.
    pub fn missing_since(&self) -> &[Moment] {
        &self.missing_since
    }

    /// Whether rounds are coming in: the samples of the last one are still fresh.
    pub fn is_current(&self, now: Moment, timing: &Timing) -> bool {
        self.last_round.is_some_and(|last| now.since(last) <= timing.fresh_for())
    }
}

fn keep(since: &mut Option<Moment>, holds: bool, now: Moment) {
    if holds {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}
