//! Which waits last longer than is usual, so that somebody is told for whom a rotation waits. It decides nothing about the
//! rotation itself.

use std::collections::BTreeMap;
use std::time::Duration;

use keda_kaito_core::credentials::{Need, Plan, Wait};
use tokio::time::Instant;

/// A replica loads what was published within a moment and renews its Lease every ten seconds.
const REPLICA: Duration = Duration::from_secs(30);
/// Connections are asked to go within half a minute, and may finish what they do for another one.
const DRAIN: Duration = Duration::from_secs(180);
/// The provisioner tells ten ScaledObjects a second, and KEDA may call seldom.
const CALLERS: Duration = Duration::from_secs(3600);
/// Between two notices of the same wait.
const AGAIN: Duration = Duration::from_secs(3600);

/// Since when each thing is waited for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    known: BTreeMap<(String, &'static str), Since>,
}

#[derive(Debug)]
struct Since {
    begun: Instant,
    told: Option<Instant>,
}

impl Waiting {
    /// The waits that somebody should be told about now.
    pub(crate) fn overdue<'a>(&mut self, plan: &'a Plan, now: Instant) -> Vec<&'a Wait> {
        let mut before = std::mem::take(&mut self.known);
        let mut overdue = Vec::new();
        for wait in &plan.waits {
            let Some((key, patience)) = key(wait) else { continue };
            let mut since = before.remove(&key).unwrap_or(Since { begun: now, told: None });
            let again = since.told.is_none_or(|told| now.duration_since(told) >= AGAIN);
            if again && now.duration_since(since.begun) >= patience {
                since.told = Some(now);
                overdue.push(wait);
            }
            self.known.insert(key, since);
        }
        overdue
    }
}

/// What tells one wait from another, and how long it is nothing unusual; none where its end is known.
fn key(wait: &Wait) -> Option<((String, &'static str), Duration)> {
    let (whom, patience) = match wait {
        Wait::MinimumAge { .. } | Wait::AuthenticationKind => return None,
        Wait::Replica {
            need: Need::CallersKnown { .. },
            ..
        } => return None,
        Wait::Replica { name, need } => {
            let patience = match need {
                Need::Epoch { .. } | Need::OldClient { .. } => CALLERS,
                Need::Drained { .. } => DRAIN,
                Need::Lease | Need::Trust { .. } | Need::Serve { .. } | Need::Callers | Need::CallersKnown { .. } => REPLICA,
            };
            (name.clone(), patience)
        }
        Wait::Clocks | Wait::Replicas(_) | Wait::NoReplica => (String::new(), REPLICA),
    };
    Some(((whom, what(wait)), patience))
}

/// What is waited for, in one word of a closed list.
pub(crate) fn what(wait: &Wait) -> &'static str {
    match wait {
        Wait::Clocks => "clocks",
        Wait::AuthenticationKind => "authentication_kind",
        Wait::MinimumAge { .. } => "minimum_age",
        Wait::Replicas(_) => "replicas",
        Wait::NoReplica => "no_replica",
        Wait::Replica { need, .. } => match need {
            Need::Lease => "lease",
            Need::Trust { .. } => "trust",
            Need::Serve { .. } => "serve",
            Need::Callers => "callers",
            Need::CallersKnown { .. } => "callers_known",
            Need::Epoch { .. } => "epoch",
            Need::OldClient { .. } => "old_client",
            Need::Drained { .. } => "drained",
        },
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keda_kaito_core::credentials::Phase;

    use super::*;

    fn replica(need: Need) -> Wait {
        let name = "scaler-1".to_owned();
        Wait::Replica { name, need }
    }

    fn trust(has: u64) -> Wait {
        replica(Need::Trust {
            generation: 9,
            has: Some(has),
        })
    }

    fn plan(waits: Vec<Wait>) -> Plan {
        Plan {
            phase: Phase::Trust,
            step: None,
            waits,
        }
    }

    #[test]
    fn a_wait_is_told_once_it_is_unusually_long_and_then_every_hour() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let mut told = |seconds, wait: Wait| {
            let plan = plan(vec![wait]);
            waiting.overdue(&plan, start + Duration::from_secs(seconds)).len()
        };
        assert_eq!(told(0, trust(1)), 0);
        assert_eq!(told(29, trust(1)), 0);
        assert_eq!(told(30, trust(2)), 1, "what it has meanwhile is no new wait");
        assert_eq!(told(31, trust(2)), 0);
        assert_eq!(told(3629, trust(2)), 0);
        assert_eq!(told(3630, trust(2)), 1);
        assert_eq!(told(3700, replica(Need::Lease)), 0);
        assert_eq!(told(3740, trust(2)), 0, "it was over in between");
    }

    #[test]
    fn what_takes_its_time_is_told_late_or_never() {
        let until = Timestamp::UNIX_EPOCH;
        for (wait, expected) in [
            (Wait::MinimumAge { until }, 0),
            (replica(Need::CallersKnown { until }), 0),
            (Wait::AuthenticationKind, 0),
            (replica(Need::Epoch { epoch: 2, has: 1 }), 0),
            (replica(Need::OldClient { started: until }), 0),
            (Wait::Clocks, 1),
            (Wait::NoReplica, 1),
            (replica(Need::Callers), 1),
            (replica(Need::Lease), 1),
        ] {
            let (mut waiting, start, plan) = (Waiting::default(), Instant::now(), plan(vec![wait]));
            assert!(waiting.overdue(&plan, start).is_empty());
            let told = waiting.overdue(&plan, start + Duration::from_secs(600));
            assert_eq!(told.len(), expected, "{:?}", plan.waits);
        }
    }
}
