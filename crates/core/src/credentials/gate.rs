//! What a phase waits for before the next may begin. An empty list of waits is an open gate.

use std::fmt;

use jiff::Timestamp;

use super::acknowledgement::{Acknowledgement, Acknowledgements, Callers};
use super::clock::{Clock, earlier, later};
use super::config::{Config, SHORTEST_AGE};
use super::phase::{Phase, crosses};
use super::view::{Objects, Root};

/// One thing waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The clocks disagree, or the API server's is not known.
    Clocks,
    /// KEDA's ClusterTriggerAuthentication kind is not served.
    AuthenticationKind,
    /// What was published must be out until then.
    MinimumAge { until: Timestamp },
    /// The replicas could not be listed.
    Replicas(String),
    /// Nobody is there who could know the callers.
    NoReplica,
    /// One replica does not say what is needed.
    Replica { name: String, need: Need },
}

/// What a replica does not say yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// It has no Lease, or none that can be read.
    Lease,
    /// It verifies callers by an older bundle.
    Trust { generation: u64, has: Option<u64> },
    /// It serves an older leaf.
    Serve { generation: u64, has: Option<u64> },
    /// It does not say who calls: its Lease has expired or it is silent about callers.
    Callers,
    /// It has not watched its callers for long enough.
    CallersKnown { until: Timestamp },
    /// A caller carries an older credential epoch.
    Epoch { epoch: u64, has: u64 },
    /// A caller shows a certificate of the old authority.
    OldClient { started: Timestamp },
    /// Connections that were authenticated under the old authority are still open.
    Drained { connections: u64 },
}

/// What keeps `phase` from being left.
pub(super) fn waits(
    phase: Phase,
    objects: &Objects,
    acknowledgements: &Acknowledgements,
    clock: &Clock,
    config: &Config,
) -> Vec<Wait> {
    let gate = Gate {
        objects,
        acknowledgements,
        clock,
        config,
    };
    let all = match phase {
        Phase::Stable | Phase::Prepare | Phase::Clean => Vec::new(),
        Phase::Trust => gate.trusted(),
        Phase::Serve if crosses(objects) => gate.held(),
        Phase::Identify => gate.identified(),
        Phase::Serve => [gate.held(), gate.callers(false)].concat(),
        Phase::Retire => gate.retired(),
    };
    let mut waits = Vec::new();
    for wait in all {
        // Two gates may lack the same.
        if !waits.contains(&wait) {
            waits.push(wait);
        }
    }
    if !clock.agrees() {
        waits.insert(0, Wait::Clocks);
    }
    if !objects.authentication.served {
        waits.push(Wait::AuthenticationKind);
    }
    waits
}

/// When the client certificate has been out for Identify's minimum age.
pub(super) fn identified_at(objects: &Objects, config: &Config) -> Option<Timestamp> {
    let published = objects.client.published?;
    Some(later(published, config.identify_minimum_age.max(SHORTEST_AGE)))
}

/// Client certificates that start at this time or earlier are of the old authority.
pub(super) fn cutoff(objects: &Objects) -> Option<Timestamp> {
    let before_present = || {
        let leaf = objects.client.leaf.as_ref().ok()?;
        Some(earlier(leaf.validity.not_before, SHORTEST_AGE))
    };
    objects.authority.retiring.map(|last| last.not_before).or_else(before_present)
}

struct Gate<'a> {
    objects: &'a Objects,
    acknowledgements: &'a Acknowledgements,
    clock: &'a Clock,
    config: &'a Config,
}

impl Gate<'_> {
    fn trusted(&self) -> Vec<Wait> {
        let published = self.objects.client.published.unwrap_or(Timestamp::MAX);
        let until = later(published, self.config.trust_minimum_age.max(SHORTEST_AGE));
        let mut waits = self.age(until);
        waits.extend(self.held());
        waits
    }

    fn identified(&self) -> Vec<Wait> {
        if self.over() {
            return self.held();
        }
        let mut waits = self.age(identified_at(self.objects, self.config).unwrap_or(Timestamp::MAX));
        waits.extend(self.held());
        waits.extend(self.callers(true));
        waits
    }

    /// Nobody calls with a certificate of the old authority, nor holds a connection that was opened with one.
    fn retired(&self) -> Vec<Wait> {
        let mut waits = self.held();
        waits.extend(self.callers(false));
        if waits.is_empty() {
            waits = self.each(|acknowledgement| {
                let connections = acknowledgement.retired_connections?;
                (connections > 0).then_some(Need::Drained { connections })
            });
        }
        waits
    }

    fn age(&self, until: Timestamp) -> Vec<Wait> {
        if self.clock.passed(until) {
            return Vec::new();
        }
        vec![Wait::MinimumAge { until }]
    }

    /// Every replica trusts and serves what is published.
    fn held(&self) -> Vec<Wait> {
        let generation = self.objects.server.generation.unwrap_or(u64::MAX);
        self.each(|acknowledgement| {
            if acknowledgement.trusted.is_none_or(|has| has < generation) {
                let has = acknowledgement.trusted;
                return Some(Need::Trust { generation, has });
            }
            let has = acknowledgement.served;
            has.is_none_or(|has| has < generation)
                .then_some(Need::Serve { generation, has })
        })
    }

    /// No replica sees a caller with a certificate of the old authority or, if `epochs`, with an older epoch.
    fn callers(&self, epochs: bool) -> Vec<Wait> {
        if self.over() {
            return Vec::new();
        }
        if matches!(self.acknowledgements, Acknowledgements::Known(replicas) if replicas.is_empty()) {
            return vec![Wait::NoReplica];
        }
        let Some(cutoff) = cutoff(self.objects) else {
            return vec![Wait::NoReplica];
        };
        let epoch = self.objects.client.generation.filter(|_| epochs);
        self.each(|acknowledgement| {
            let Some(callers) = &acknowledgement.callers else {
                return Some(Need::Callers);
            };
            self.old_caller(callers, epoch, cutoff)
        })
    }

    fn old_caller(&self, callers: &Callers, epoch: Option<u64>, cutoff: Timestamp) -> Option<Need> {
        let until = later(callers.since, self.config.callers_known_for);
        if !self.clock.passed(until) {
            return Some(Need::CallersKnown { until });
        }
        if let Some(started) = callers.oldest_client
            && started <= cutoff
        {
            return Some(Need::OldClient { started });
        }
        let (epoch, has) = (epoch?, callers.lowest_epoch?);
        (has < epoch).then_some(Need::Epoch { epoch, has })
    }

    /// The last client certificate under the old authority has ended: nobody can call with one any more.
    fn over(&self) -> bool {
        let roots = self.objects.authority.current.iter();
        let last = self.objects.authority.retiring.map(|last| last.not_after);
        let last = last.or_else(|| roots.map(|root: &Root| root.validity.not_after).max());
        last.is_none_or(|last| self.clock.passed(last))
    }

    fn each(&self, need: impl Fn(&Acknowledgement) -> Option<Need>) -> Vec<Wait> {
        if let Acknowledgements::Unknown(why) = self.acknowledgements {
            return vec![Wait::Replicas(why.clone())];
        }
        let waits = self.acknowledgements.replicas().iter().filter_map(|replica| {
            let need = replica.acknowledgement.as_ref().map_or(Some(Need::Lease), &need)?;
            let name = replica.name.clone();
            Some(Wait::Replica { name, need })
        });
        waits.collect()
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clocks => formatter.write_str("our clock and the API server's to agree"),
            Self::AuthenticationKind => formatter.write_str("the API server to serve ClusterTriggerAuthentication"),
            Self::MinimumAge { until } => write!(formatter, "the minimum age, until {until}"),
            Self::Replicas(why) => write!(formatter, "the list of scaler replicas: {why}"),
            Self::NoReplica => formatter.write_str("a scaler replica that knows its callers"),
            Self::Replica { name, need } => write!(formatter, "replica {name:?} {need}"),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |has: &Option<u64>| has.map_or_else(|| "none".to_owned(), |has| has.to_string());
        match self {
            Self::Lease => formatter.write_str("to write its Lease"),
            Self::Trust { generation, has } => {
                write!(formatter, "to trust generation {generation}; it has {}", or_none(has))
            }
            Self::Serve { generation, has } => {
                write!(formatter, "to serve generation {generation}; it has {}", or_none(has))
            }
            Self::Callers => formatter.write_str("to say who calls it"),
            Self::CallersKnown { until } => write!(formatter, "to have known its callers for long enough, until {until}"),
            Self::Epoch { epoch, has } => write!(formatter, "to see no caller of an epoch before {epoch}; it sees {has}"),
            Self::Drained { connections } => {
                write!(
                    formatter,
                    "to drain connections opened under the old authority; it has {connections}"
                )
            }
            Self::OldClient { started } => {
                write!(
                    formatter,
                    "to see no client certificate of the old authority; one is from {started}"
                )
            }
        }
    }
}
