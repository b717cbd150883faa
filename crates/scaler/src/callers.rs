//! Which ScaledObjects KEDA calls about, with which credentials: what certmgr must know before it retires the old ones.
//! Answers to calls do not depend on it, but for the one nudge of a caller that would otherwise miss a rotation.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::tls::Caller;

/// A caller is active for twice its longest pause, and at least this long after its last call.
const ACTIVE_FOR: Duration = Duration::from_secs(120);
/// Pauses beyond this are outages, not a rhythm.
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// Most ScaledObjects remembered; the inactive go first, then nothing more is taken in.
const MAX_CALLERS: usize = 50_000;

/// Everything known of callers. Clones share it.
#[derive(Clone, Debug)]
pub struct Callers {
    /// When the recording began.
    pub since: Timestamp,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: HashMap<(String, String), Seen>,
    /// Triggers without an epoch that were told once to read their credentials again, by certificate.
    nudged: HashSet<Nudged>,
}

/// KEDA keeps credentials per trigger, so each trigger is told.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nudged {
    namespace: String,
    name: String,
    metric: String,
    serial: String,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    longest_pause: Duration,
    epoch: Option<u64>,
    not_before: Timestamp,
}

/// What the callers of now have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lowest credential epoch among active callers that carry one.
    pub lowest_epoch: Option<u64>,
    /// `notBefore` of the oldest client certificate an active caller used last.
    pub oldest_client: Option<Timestamp>,
}

impl Callers {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self {
            since,
            inner: Arc::default(),
        }
    }

    /// Takes in a call about a ScaledObject.
    pub fn note(&self, namespace: &str, name: &str, epoch: Option<u64>, caller: &Caller, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.seen.len() >= MAX_CALLERS {
            inner.seen.retain(|_, seen| seen.is_active(now));
        }
        let key = (namespace.to_owned(), name.to_owned());
        if inner.seen.len() >= MAX_CALLERS && !inner.seen.contains_key(&key) {
            return;
        }
        let pause = inner.seen.get(&key).map(|seen| now.saturating_duration_since(seen.last));
        let before = inner.seen.get(&key).map(|seen| seen.longest_pause).unwrap_or_default();
        let pause = pause.filter(|pause| *pause <= LONGEST_PAUSE).unwrap_or_default();
        let seen = Seen {
            last: now,
            longest_pause: before.max(pause),
            epoch,
            not_before: caller.not_before,
        };
        inner.seen.insert(key, seen);
    }

    /// Whether a trigger without an epoch has to be told to read its credentials again: once for each certificate.
    pub fn nudge(&self, namespace: &str, name: &str, metric: &str, caller: &Caller) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.nudged.len() >= MAX_CALLERS {
            inner.nudged.clear();
        }
        inner.nudged.insert(Nudged {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            metric: metric.to_owned(),
            serial: caller.serial.clone(),
        })
    }

    /// What holds for everybody who is active.
    #[must_use]
    pub fn summary(&self, now: Instant) -> Summary {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let active = || inner.seen.values().filter(|seen| seen.is_active(now));
        Summary {
            lowest_epoch: active().filter_map(|seen| seen.epoch).min(),
            oldest_client: active().map(|seen| seen.not_before).min(),
        }
    }
}

impl Seen {
    fn is_active(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= ACTIVE_FOR.max(2 * self.longest_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(serial: &str, not_before: i64) -> Caller {
        Caller {
            issuer: "ca".to_owned(),
            serial: serial.to_owned(),
            not_before: Timestamp::from_second(not_before).unwrap(),
        }
    }

    #[test]
    fn lowest_epoch_and_oldest_certificate_of_active_callers_are_reported() {
        let (callers, start) = (Callers::new(Timestamp::UNIX_EPOCH), Instant::now());
        assert_eq!(callers.summary(start), Summary::default());
        callers.note("ns", "a", Some(7), &caller("1", 100), start);
        callers.note("ns", "b", Some(9), &caller("2", 200), start);
        callers.note("ns", "by-hand", None, &caller("2", 200), start);
        let summary = callers.summary(start);
        assert_eq!(summary.lowest_epoch, Some(7));
        assert_eq!(summary.oldest_client, Timestamp::from_second(100).ok());

        callers.note("ns", "a", Some(9), &caller("2", 200), start + Duration::from_secs(15));
        let summary = callers.summary(start + Duration::from_secs(15));
        assert_eq!(summary.lowest_epoch, Some(9));
        assert_eq!(summary.oldest_client, Timestamp::from_second(200).ok());
    }

    #[test]
    fn callers_stay_active_for_twice_their_longest_pause() {
        let (callers, start) = (Callers::new(Timestamp::UNIX_EPOCH), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        callers.note("ns", "brisk", Some(1), &caller("1", 1), at(0));
        callers.note("ns", "slow", Some(2), &caller("1", 1), at(0));
        callers.note("ns", "slow", Some(2), &caller("1", 1), at(300));
        assert_eq!(callers.summary(at(121)).lowest_epoch, Some(2), "the brisk one is gone");
        assert_eq!(callers.summary(at(899)).lowest_epoch, Some(2));
        assert_eq!(callers.summary(at(901)).lowest_epoch, None);
    }

    #[test]
    fn triggers_are_nudged_once_for_each_certificate() {
        let callers = Callers::new(Timestamp::UNIX_EPOCH);
        assert!(callers.nudge("ns", "a", "m", &caller("1", 1)));
        assert!(!callers.nudge("ns", "a", "m", &caller("1", 1)));
        assert!(callers.nudge("ns", "a", "other", &caller("1", 1)));
        assert!(callers.nudge("ns", "a", "m", &caller("2", 1)));
        assert!(callers.nudge("ns", "b", "m", &caller("1", 1)));
    }
}
