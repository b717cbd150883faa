//! How many replicas at least and at most: from annotations, the node count limit and what the Workspaces report.
//! Remembers, in an annotation on the ScaledObject, what a maximum was computed from; decides nothing about load.

use std::fmt;
use std::str::FromStr;

use super::annotations::Request;
use super::complaint::{Complaint, Reason};
use crate::crd::{InferenceSet, Workspace};
use crate::names;

const LIMIT: &str = "spec.nodeCountLimit";

/// Between which counts the HPA may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least 1.
    pub min: u32,
    /// Not below `min`.
    pub max: u32,
    pub basis: Basis,
}

/// What a maximum was computed from. Kept on the ScaledObject, so that a change of nodes per replica can be told from
/// a change of the limit, whoever was watching at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The `max-replicas` annotation.
    Annotation,
    /// `spec.nodeCountLimit`.
    Nodes {
        limit: u32,
        nodes_per_replica: u32,
        /// Whether one replica is kept back for surge upgrades.
        surge: bool,
    },
}

/// The maximum of an existing ScaledObject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    pub max: u32,
    /// Absent on objects rendered by the reference.
    pub basis: Option<Basis>,
}

/// The outcome of looking for bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replicas {
    Bounds(Bounds),
    /// No Workspace reports its node count yet.
    NodesUnknown {
        /// `spec.replicas` is 0, so no Workspace exists.
        at_zero: bool,
    },
    /// Nothing can be provisioned; the complaints say why.
    Refused,
}

/// Finds the bounds of an InferenceSet. `previous` is its ScaledObject, if it has one.
pub fn bounds(
    request: &Request,
    inference_set: &InferenceSet,
    workspaces: &[&Workspace],
    previous: Option<Previous>,
    complaints: &mut Vec<Complaint>,
) -> Replicas {
    let found = match request.max_replicas {
        Some(max) => Ok((max, Basis::Annotation)),
        None => maximum_by_nodes(inference_set, workspaces, previous, complaints),
    };
    let (max, basis) = match found {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let min = request.min_replicas;
    if max < min {
        complaints.push(Complaint::that(
            Reason::InvalidReplicaRange,
            names::MIN_REPLICAS,
            format!(
                "{min} is above the maximum of {max} replicas ({basis}); it must be at most {max}, or {} at least {min}",
                names::MAX_REPLICAS
            ),
        ));
        return Replicas::Refused;
    }
    if basis == Basis::Annotation {
        complaints.extend(above_limit(max, inference_set, workspaces));
    }
    Replicas::Bounds(Bounds { min, max, basis })
}

fn maximum_by_nodes(
    inference_set: &InferenceSet,
    workspaces: &[&Workspace],
    previous: Option<Previous>,
    complaints: &mut Vec<Complaint>,
) -> Result<(u32, Basis), Replicas> {
    let limit = inference_set.spec.node_count_limit.unwrap_or(0);
    let Some(limit) = u32::try_from(limit.min(i32::MAX.into())).ok().filter(|limit| *limit > 0) else {
        let accepted = format!("a whole number above 1 unless {LIMIT} is set above 0");
        complaints.push(Complaint::missing(names::MAX_REPLICAS, &accepted));
        return Err(Replicas::Refused);
    };
    let Some(nodes_per_replica) = nodes_per_replica(inference_set, workspaces) else {
        return Err(Replicas::NodesUnknown {
            at_zero: inference_set.spec_replicas() == 0,
        });
    };
    let current = Capacity {
        limit,
        nodes_per_replica,
        surge: inference_set.surges(),
    };
    let max = current.replicas();
    if max == 0 {
        complaints.push(too_small(&current));
        return Err(Replicas::Refused);
    }
    if let Some((kept, capacity)) = kept_above(max, &current, inference_set.spec_replicas(), previous) {
        complaints.push(exceeded(max, kept, &current));
        return Ok((kept, capacity.basis()));
    }
    Ok((max, current.basis()))
}

fn nodes_per_replica(inference_set: &InferenceSet, workspaces: &[&Workspace]) -> Option<u32> {
    let uid = inference_set.metadata.uid.as_deref().unwrap_or_default();
    let own = workspaces.iter().filter(|workspace| workspace.is_owned_by(uid));
    own.filter_map(|workspace| workspace.target_node_count()).max()
}

/// The annotation wins, also when its replicas need more nodes than the limit allows. As long as nobody knows the nodes of a
/// replica, it is one at least.
fn above_limit(max: u32, inference_set: &InferenceSet, workspaces: &[&Workspace]) -> Option<Complaint> {
    let limit = inference_set.spec.node_count_limit.filter(|limit| *limit > 0)?;
    let capacity = Capacity {
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        nodes_per_replica: nodes_per_replica(inference_set, workspaces).unwrap_or(1),
        surge: inference_set.surges(),
    };
    let fitting = capacity.replicas();
    (max > fitting).then(|| {
        let problem = format!(
            "{max} replicas need more nodes than {LIMIT}, {limit}, allows: {fitting} of {}{}; the annotation goes before the limit",
            nodes(capacity.nodes_per_replica),
            surge_words(capacity.surge)
        );
        Complaint::that(Reason::NodeCountLimitExceeded, names::MAX_REPLICAS, problem)
    })
}

#[derive(Clone, Copy)]
struct Capacity {
    limit: u32,
    nodes_per_replica: u32,
    surge: bool,
}

impl Capacity {
    fn replicas(&self) -> u32 {
        let fitting = self.limit / self.nodes_per_replica.max(1);
        fitting.saturating_sub(u32::from(self.surge))
    }

    fn basis(self) -> Basis {
        Basis::Nodes {
            limit: self.limit,
            nodes_per_replica: self.nodes_per_replica,
            surge: self.surge,
        }
    }
}

/// The maximum to keep instead of `max`, when nodes per replica alone would take it below `spec.replicas`: the HPA sheds
/// replicas at once, skipping every window, when its maximum falls below the current count.
fn kept_above(max: u32, current: &Capacity, replicas: u32, previous: Option<Previous>) -> Option<(u32, Capacity)> {
    if max >= replicas {
        return None;
    }
    let previous = previous?;
    let (allowed, nodes_per_replica) = match previous.basis {
        // Rendered by the reference, which counted nodes in another way: an upgrade is no reason to shed replicas.
        None => (previous.max, current.nodes_per_replica),
        Some(Basis::Annotation) => return None,
        Some(Basis::Nodes {
            limit,
            nodes_per_replica,
            surge,
        }) => {
            if current.limit < limit || (current.surge && !surge) {
                return None;
            }
            let then = Capacity {
                nodes_per_replica,
                ..*current
            };
            // Equal nodes per replica: kept from an object of the reference, so its own maximum bounds it.
            let allowed = if nodes_per_replica == current.nodes_per_replica {
                previous.max
            } else {
                then.replicas()
            };
            (allowed, nodes_per_replica)
        }
    };
    let kept = replicas.min(allowed);
    let capacity = Capacity {
        nodes_per_replica,
        ..*current
    };
    (kept > max).then_some((kept, capacity))
}

fn too_small(capacity: &Capacity) -> Complaint {
    let Capacity {
        limit,
        nodes_per_replica,
        ..
    } = capacity;
    let needed = nodes_per_replica.saturating_mul(1 + u32::from(capacity.surge));
    Complaint::that(
        Reason::NodeCountLimitTooSmall,
        LIMIT,
        format!(
            "{limit} is too small for one replica of {}{}; it must be at least {needed}",
            nodes(*nodes_per_replica),
            surge_words(capacity.surge)
        ),
    )
}

fn exceeded(max: u32, kept: u32, capacity: &Capacity) -> Complaint {
    let Capacity {
        limit,
        nodes_per_replica,
        ..
    } = capacity;
    Complaint::that(
        Reason::NodeCountLimitExceeded,
        LIMIT,
        format!(
            "{limit} allows {max} replicas of {}{}, but {kept} are running; the maximum stays \
             at {kept} and follows the replicas down. Raise it, or lower it to have the replicas removed",
            nodes(*nodes_per_replica),
            surge_words(capacity.surge)
        ),
    )
}

fn nodes(count: u32) -> String {
    if count == 1 {
        "1 node".to_owned()
    } else {
        format!("{count} nodes")
    }
}

fn surge_words(surge: bool) -> &'static str {
    if surge { " with one kept back for surge upgrades" } else { "" }
}

impl fmt::Display for Basis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation => formatter.write_str("max-replicas"),
            Self::Nodes {
                limit,
                nodes_per_replica,
                surge,
            } => {
                write!(formatter, "nodeCountLimit={limit} nodesPerReplica={nodes_per_replica}")?;
                if *surge {
                    formatter.write_str(" surge")?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Basis {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "max-replicas" {
            return Ok(Self::Annotation);
        }
        let mut words = text.split(' ');
        let mut number = |key: &str| -> Result<u32, ()> {
            let value = words.next().and_then(|word| word.strip_prefix(key)).ok_or(())?;
            value.parse().ok().filter(|number| *number > 0).ok_or(())
        };
        let limit = number("nodeCountLimit=")?;
        let nodes_per_replica = number("nodesPerReplica=")?;
        let surge = match words.next() {
            None => false,
            Some("surge") => true,
            Some(_) => return Err(()),
        };
        Ok(Self::Nodes {
            limit,
            nodes_per_replica,
            surge,
        })
    }
}

#[cfg(test)]
mod tests;
