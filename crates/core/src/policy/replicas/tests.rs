//! Bounds from annotations and nodes, and what a change of nodes may not do.

use super::{Basis, Bounds, Previous, Replicas, bounds};
use crate::crd::{InferenceSet, Workspace};
use crate::policy::annotations::Request;
use crate::policy::complaint::{Complaint, Reason};
use crate::policy::{Rule, SimpleRule};

fn request(min_replicas: u32, max_replicas: Option<u32>) -> Request {
    Request {
        rule: Rule::Simple(SimpleRule {
            metric_name: "waiting".to_owned(),
            threshold: 10.0,
        }),
        min_replicas,
        max_replicas,
    }
}

#[derive(Clone, Copy)]
struct Fleet {
    limit: i64,
    nodes: &'static [i32],
    surge: bool,
    replicas: i32,
}

impl Fleet {
    fn find(self, request: &Request, previous: Option<Previous>) -> (Replicas, Vec<Complaint>) {
        let strategy = if self.surge { "Surge" } else { "InPlace" };
        let inference_set: InferenceSet = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "phi-4", "uid": "u1" },
            "spec": {
                "replicas": self.replicas, "nodeCountLimit": self.limit,
                "autoUpgrade": { "enabled": true, "strategy": strategy },
            },
        }))
        .unwrap();
        let workspace = |uid: &str, nodes: i32| -> Workspace {
            serde_json::from_value(serde_json::json!({
                "metadata": { "ownerReferences": [
                    { "apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi-4", "uid": uid, "controller": true },
                ] },
                "status": { "targetNodeCount": nodes },
            }))
            .unwrap()
        };
        let mut workspaces: Vec<Workspace> = self.nodes.iter().map(|nodes| workspace("u1", *nodes)).collect();
        // A predecessor's, still terminating.
        workspaces.push(workspace("u0", 100));
        let workspaces: Vec<&Workspace> = workspaces.iter().collect();
        let mut complaints = Vec::new();
        let found = bounds(request, &inference_set, &workspaces, previous, &mut complaints);
        (found, complaints)
    }
}

fn max(found: &Replicas) -> Option<u32> {
    match found {
        Replicas::Bounds(bounds) => Some(bounds.max),
        Replicas::NodesUnknown { .. } | Replicas::Refused => None,
    }
}

const FIVE: Fleet = Fleet {
    limit: 5,
    nodes: &[1],
    surge: false,
    replicas: 1,
};

#[test]
fn max_replicas_wins_over_the_limit() {
    let (found, complaints) = FIVE.find(&request(2, Some(7)), None);
    let bounds = Bounds {
        min: 2,
        max: 7,
        basis: Basis::Annotation,
    };
    assert_eq!(found, Replicas::Bounds(bounds));
    assert_eq!(complaints.len(), 1, "{complaints:?}");
}

#[test]
fn max_replicas_beyond_the_nodes_is_warned_of_with_what_fits() {
    for (nodes, surge, max, says) in [
        (&[1][..], false, 5, None),
        (&[1], false, 6, Some("5 of 1 node")),
        (&[2], false, 3, Some("2 of 2 nodes")),
        (&[2], true, 2, Some("1 of 2 nodes with one kept back")),
        // No Workspace reports yet: one node at least.
        (&[], false, 5, None),
        (&[], false, 6, Some("5 of 1 node")),
    ] {
        let (found, complaints) = Fleet { nodes, surge, ..FIVE }.find(&request(1, Some(max)), None);
        assert_eq!(super::tests::max(&found), Some(max));
        let said: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        match says {
            None => assert!(said.is_empty(), "{said:?}"),
            Some(words) => assert!(
                matches!(&said[..], [text] if text.contains(words) && text.contains(&format!("{max} replicas"))),
                "{said:?}"
            ),
        }
        assert!(
            complaints
                .iter()
                .all(|complaint| complaint.reason == Reason::NodeCountLimitExceeded)
        );
    }
    let unlimited = Fleet { limit: 0, ..FIVE };
    assert!(unlimited.find(&request(1, Some(100)), None).1.is_empty());
}

#[test]
fn limit_is_divided_by_the_most_nodes_of_any_own_workspace() {
    for (limit, nodes, surge, expected) in [
        (5, &[1][..], false, Some(5)),
        (5, &[2, 1], false, Some(2)),
        (5, &[0, 1], false, Some(5)),
        (5, &[2], true, Some(1)),
        (5, &[1], true, Some(4)),
        (2, &[1], true, Some(1)),
        (i64::MAX, &[1], false, Some(i32::MAX.unsigned_abs())),
    ] {
        let fleet = Fleet {
            limit,
            nodes,
            surge,
            replicas: 1,
        };
        let (found, complaints) = fleet.find(&request(1, None), None);
        assert_eq!(max(&found), expected, "{limit} {nodes:?} {surge}");
        assert_eq!(complaints, [], "{limit} {nodes:?} {surge}");
    }
}

#[test]
fn limit_below_one_replica_is_refused() {
    for (limit, nodes, surge, needed) in [
        (1, &[2][..], false, "at least 2"),
        (1, &[1], true, "at least 2"),
        (3, &[2], true, "at least 4"),
    ] {
        let fleet = Fleet {
            limit,
            nodes,
            surge,
            replicas: 1,
        };
        let (found, complaints) = fleet.find(&request(1, None), None);
        assert_eq!(found, Replicas::Refused);
        assert_eq!(complaints[0].reason, Reason::NodeCountLimitTooSmall);
        assert!(complaints[0].to_string().contains(needed), "{}", complaints[0]);
    }
}

#[test]
fn neither_limit_nor_annotation_is_refused() {
    for limit in [0, -3] {
        let (found, complaints) = Fleet { limit, ..FIVE }.find(&request(1, None), None);
        assert_eq!(found, Replicas::Refused);
        assert_eq!(complaints[0].reason, Reason::InvalidAutoscalePolicy);
        assert!(complaints[0].to_string().contains("max-replicas: missing"));
    }
}

#[test]
fn minimum_above_the_maximum_is_refused() {
    for (request, limit) in [(request(8, Some(7)), 5), (request(6, None), 5)] {
        let (found, complaints) = Fleet { limit, ..FIVE }.find(&request, None);
        assert_eq!(found, Replicas::Refused);
        assert_eq!(complaints[0].reason, Reason::InvalidReplicaRange);
    }
}

#[test]
fn unknown_nodes_are_waited_for() {
    for (replicas, at_zero) in [(1, false), (0, true)] {
        let fleet = Fleet {
            nodes: &[0],
            replicas,
            ..FIVE
        };
        let (found, complaints) = fleet.find(&request(1, None), None);
        assert_eq!((found, complaints), (Replicas::NodesUnknown { at_zero }, vec![]));
    }
}

fn nodes(limit: u32, nodes_per_replica: u32) -> Basis {
    Basis::Nodes {
        limit,
        nodes_per_replica,
        surge: false,
    }
}

#[test]
fn more_nodes_per_replica_alone_never_lower_the_maximum_below_the_replicas() {
    let grown = |replicas| Fleet {
        limit: 6,
        nodes: &[2],
        surge: false,
        replicas,
    };
    let before = |max, basis| Some(Previous { max, basis });
    for (name, fleet, previous, expected, warned) in [
        ("kept at the replicas", grown(5), before(6, Some(nodes(6, 1))), 5, true),
        ("follows them down", grown(4), before(5, Some(nodes(6, 1))), 4, true),
        ("and rests at the limit", grown(3), before(4, Some(nodes(6, 1))), 3, false),
        (
            "never above what was allowed",
            grown(50),
            before(6, Some(nodes(6, 1))),
            6,
            true,
        ),
        (
            "a lowered limit takes effect",
            grown(5),
            before(7, Some(nodes(7, 1))),
            3,
            false,
        ),
        (
            "a raised limit lowers nothing",
            grown(5),
            before(5, Some(nodes(5, 1))),
            5,
            true,
        ),
        (
            "a removed annotation takes effect",
            grown(5),
            before(7, Some(Basis::Annotation)),
            3,
            false,
        ),
        (
            "an upgrade from the reference sheds nothing",
            grown(5),
            before(6, None),
            5,
            true,
        ),
        ("nothing to keep at first", grown(5), None, 3, false),
        (
            "unchanged nodes allow no more",
            grown(5),
            before(3, Some(nodes(6, 2))),
            3,
            false,
        ),
        (
            "what was kept for the reference stays kept",
            grown(4),
            before(5, Some(nodes(6, 2))),
            4,
            true,
        ),
    ] {
        let (found, complaints) = fleet.find(&request(1, None), previous);
        assert_eq!(max(&found), Some(expected), "{name}");
        let reasons: Vec<Reason> = complaints.iter().map(|complaint| complaint.reason).collect();
        let warning = if warned {
            vec![Reason::NodeCountLimitExceeded]
        } else {
            vec![]
        };
        assert_eq!(reasons, warning, "{name}");
    }
}

#[test]
fn enabling_surge_upgrades_is_the_users_own_change() {
    let fleet = Fleet {
        limit: 5,
        nodes: &[1],
        surge: true,
        replicas: 5,
    };
    let previous = Previous {
        max: 5,
        basis: Some(nodes(5, 1)),
    };
    let (found, _) = fleet.find(&request(1, None), Some(previous));
    assert_eq!(max(&found), Some(4));
}

#[test]
fn what_was_kept_is_remembered_until_the_limit_is_kept_again() {
    let fleet = |replicas| Fleet {
        limit: 6,
        nodes: &[2],
        surge: false,
        replicas,
    };
    let mut previous = Previous {
        max: 6,
        basis: Some(nodes(6, 1)),
    };
    let mut seen = Vec::new();
    for replicas in [6, 6, 5, 3, 6] {
        let (found, _) = fleet(replicas).find(&request(1, None), Some(previous));
        let Replicas::Bounds(bounds) = found else {
            panic!("{found:?}")
        };
        seen.push(bounds.max);
        previous = Previous {
            max: bounds.max,
            basis: Some(bounds.basis),
        };
    }
    assert_eq!(seen, [6, 6, 5, 3, 3]);
}

#[test]
fn basis_is_read_back_as_it_was_written() {
    for basis in [
        Basis::Annotation,
        nodes(5, 1),
        Basis::Nodes {
            limit: 6,
            nodes_per_replica: 2,
            surge: true,
        },
    ] {
        assert_eq!(basis.to_string().parse(), Ok(basis));
    }
    for text in [
        "",
        "5/1",
        "nodeCountLimit=5",
        "nodeCountLimit=5 nodesPerReplica=0",
        "nodeCountLimit=5 nodesPerReplica=1 x",
    ] {
        assert_eq!(text.parse::<Basis>(), Err(()), "{text:?}");
    }
}
