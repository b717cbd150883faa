//! One replica (a Workspace and its first pod) over the lives of its pods: since when it is Ready, which samples belong
//! together, and where it may be scraped.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use keda_kaito_core::fleet::ReplicaView;
use keda_kaito_core::moment::Moment;
use keda_kaito_core::window::Segment;

use super::target::Target;
use crate::address::{Refusal, Rules, dialable};
use crate::clock::Clock;
use crate::pod::Pod;
use crate::workspace::Workspace;

/// A replica as last seen.
#[derive(Debug)]
pub struct Replica {
    pub created: Moment,
    pub terminating: bool,
    pub pod: Option<PodView>,
    pub lost_ready: Option<Moment>,
    /// One per endpoint that somebody asks for.
    pub targets: Vec<Target>,
}

/// Pod 0, reduced.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    pub uid: String,
    pub name: String,
    pub address: Result<IpAddr, Refusal>,
    /// Absent while the pod is not Running and Ready.
    pub ready_since: Option<Moment>,
    /// What its Ready condition says while it does not hold.
    unready: Option<Unready>,
    pub segment: Segment,
    /// As the API server spells the last change of Ready: tells two Ready periods apart.
    ready_changed: Option<Box<str>>,
}

/// A Ready condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unready {
    since: Moment,
    /// It held before.
    lost: bool,
}

/// Times and rules that reading objects needs.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    pub clock: &'a Clock,
    pub rules: &'a Rules,
    pub now: Moment,
}

impl Replica {
    /// A replica seen for the first time.
    pub fn new(workspace: &Workspace, pod: Option<&Arc<Pod>>, reader: &Reader<'_>) -> Self {
        let mut replica = Self {
            created: reader.now,
            terminating: false,
            pod: None,
            lost_ready: None,
            targets: Vec::new(),
        };
        replica.update(workspace, pod, reader);
        replica
    }

    /// Takes in what its objects look like now.
    pub fn update(&mut self, workspace: &Workspace, pod: Option<&Arc<Pod>>, reader: &Reader<'_>) {
        let created = workspace.metadata.creation_timestamp.as_ref();
        if let Some(created) = created {
            self.created = reader.clock.past(created.0, reader.now);
        }
        self.terminating = workspace.metadata.deletion_timestamp.is_some();
        let before = self.pod.take();
        let mut after = pod.map(|pod| PodView::of(pod, before.as_ref(), reader));
        if let Some(ready_since) = after.as_mut().and_then(|pod| pod.ready_since.as_mut()) {
            // What was seen to end before did not begin earlier, whatever a node's clock says.
            *ready_since = self.lost_ready.map_or(*ready_since, |lost| lost.max(*ready_since));
        }
        let was_ready = before.as_ref().is_some_and(|pod| pod.ready_since.is_some());
        let same_pod = before.as_ref().map(|pod| &pod.uid) == after.as_ref().map(|pod| &pod.uid);
        let is_ready = after.as_ref().is_some_and(|pod| pod.ready_since.is_some());
        if was_ready && !(is_ready && same_pod) {
            self.lost_ready = Some(reader.now);
        } else if self.lost_ready.is_none() {
            // Lost before this process watched, or between two looks.
            let unready = after.as_ref().and_then(|pod| pod.unready);
            self.lost_ready = unready.filter(|unready| unready.lost).map(|unready| unready.since);
        }
        self.pod = after;
    }

    /// The replica as a decision sees it, with the samples of the endpoint at `target`.
    pub fn view<'a>(&'a self, workspace: &'a str, target: usize) -> ReplicaView<'a> {
        ReplicaView {
            workspace: workspace.into(),
            created: self.created,
            terminating: self.terminating,
            ready_since: self.pod.as_ref().and_then(|pod| pod.ready_since),
            lost_ready: self.lost_ready,
            unready_since: self.pod.as_ref().and_then(|pod| pod.unready).map(|unready| unready.since),
            series: self
                .targets
                .get(target)
                .map(|target| std::borrow::Cow::Borrowed(&target.series))
                .unwrap_or_default(),
        }
    }
}

impl PodView {
    fn of(pod: &Pod, before: Option<&Self>, reader: &Reader<'_>) -> Self {
        let uid = pod.uid().to_owned();
        let changed: Option<Box<str>> = pod.ready_changed().map(Into::into);
        let known = before.filter(|before| before.uid == uid && before.ready_changed == changed);
        let ready_since = pod.is_ready().then(|| {
            let known = known.and_then(|before| before.ready_since);
            let told = || changed.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
            known.unwrap_or_else(|| told().map_or(reader.now, |told| reader.clock.past(told, reader.now)))
        });
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            address: dialable(pod, reader.rules),
            segment: Segment::of(
                &uid,
                ready_since.map_or(0, Moment::millis),
                i64::from_le_bytes(pod.starts.to_le_bytes()),
            ),
            uid,
            ready_since,
            unready: pod.unready().map(|(since, lost)| Unready {
                since: reader.clock.past(since, reader.now),
                lost,
            }),
            ready_changed: changed,
        }
    }

    /// Where to scrape: only a Ready pod's samples count.
    pub fn scrapeable(&self) -> Option<IpAddr> {
        self.ready_since?;
        self.address.as_ref().ok().copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    struct Bed {
        clock: Clock,
        rules: Rules,
    }

    impl Bed {
        fn new() -> Self {
            Self {
                clock: Clock::new(Instant::now(), "2026-01-01T00:00:00Z".parse().unwrap()),
                rules: Rules::default(),
            }
        }

        fn at(&self, seconds: i64) -> Reader<'_> {
            Reader {
                clock: &self.clock,
                rules: &self.rules,
                now: Moment::from_secs(seconds),
            }
        }
    }

    fn workspace() -> Workspace {
        serde_json::from_value(json!({"metadata": {"name": "phi-abcde", "creationTimestamp": "2026-01-01T00:00:10Z"}})).unwrap()
    }

    fn pod(uid: &str, ready: bool, changed: &str, restarts: i32) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": "phi-abcde-0", "uid": uid},
                "status": {
                    "phase": "Running", "startTime": "2026-01-01T00:00:20Z", "podIP": "10.0.0.7", "hostIP": "10.9.0.1",
                    "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": changed}],
                    "containerStatuses": [{"name": "phi", "restartCount": restarts, "containerID": "c"}]
                }
            }))
            .unwrap(),
        )
    }

    fn ready_since(replica: &Replica) -> Option<i64> {
        replica.pod.as_ref()?.ready_since.map(|moment| moment.millis() / 1000)
    }

    #[test]
    fn ready_period_begins_when_the_pod_says_but_never_in_the_future() {
        let bed = Bed::new();
        let replica = Replica::new(&workspace(), Some(&pod("a", true, "2026-01-01T00:01:00Z", 0)), &bed.at(90));
        assert_eq!(replica.created, Moment::from_secs(10));
        assert_eq!(ready_since(&replica), Some(60));
        assert_eq!(replica.lost_ready, None);
        let mut ahead = Replica::new(&workspace(), Some(&pod("a", true, "2026-01-01T00:05:00Z", 0)), &bed.at(90));
        assert_eq!(ready_since(&ahead), Some(90));
        ahead.update(&workspace(), Some(&pod("a", true, "2026-01-01T00:05:00Z", 0)), &bed.at(120));
        assert_eq!(ready_since(&ahead), Some(90), "seen again it stays where it was");
    }

    #[test]
    fn loss_of_ready_is_remembered_and_a_replica_that_never_was_ready_has_none() {
        let bed = Bed::new();
        let mut replica = Replica::new(&workspace(), Some(&pod("a", false, "2026-01-01T00:00:20Z", 0)), &bed.at(30));
        assert_eq!((ready_since(&replica), replica.lost_ready), (None, None));
        replica.update(&workspace(), Some(&pod("a", true, "2026-01-01T00:01:00Z", 0)), &bed.at(60));
        assert_eq!((ready_since(&replica), replica.lost_ready), (Some(60), None));
        replica.update(&workspace(), Some(&pod("a", false, "2026-01-01T00:02:00Z", 0)), &bed.at(120));
        assert_eq!(
            (ready_since(&replica), replica.lost_ready),
            (None, Some(Moment::from_secs(120)))
        );
        replica.update(&workspace(), None, &bed.at(130));
        assert_eq!(replica.lost_ready, Some(Moment::from_secs(120)));
    }

    #[test]
    fn what_a_pod_lost_before_this_process_watched_is_taken_from_its_condition() {
        let bed = Bed::new();
        let lost = Replica::new(&workspace(), Some(&pod("a", false, "2026-01-01T00:05:00Z", 0)), &bed.at(900));
        assert_eq!(lost.lost_ready, Some(Moment::from_secs(300)));
        assert_eq!(lost.view("phi-abcde", 0).unready_since, Some(Moment::from_secs(300)));
        let never = Replica::new(&workspace(), Some(&pod("a", false, "2026-01-01T00:00:20Z", 0)), &bed.at(900));
        assert_eq!(never.lost_ready, None);
        assert_eq!(never.view("phi-abcde", 0).unready_since, Some(Moment::from_secs(20)));
        let ready = Replica::new(&workspace(), Some(&pod("a", true, "2026-01-01T00:05:00Z", 0)), &bed.at(900));
        assert_eq!((ready.lost_ready, ready.view("phi-abcde", 0).unready_since), (None, None));
        let nobody = Replica::new(&workspace(), None, &bed.at(900));
        assert_eq!(nobody.view("phi-abcde", 0).unready_since, None, "nothing says since when");
    }

    #[test]
    fn ready_period_does_not_begin_before_the_loss_that_was_seen() {
        let bed = Bed::new();
        let mut replica = Replica::new(&workspace(), Some(&pod("a", true, "2026-01-01T00:01:00Z", 0)), &bed.at(60));
        replica.update(&workspace(), Some(&pod("a", false, "2026-01-01T00:02:00Z", 0)), &bed.at(200));
        // The node's clock is behind ours.
        replica.update(&workspace(), Some(&pod("a", true, "2026-01-01T00:02:30Z", 0)), &bed.at(230));
        assert_eq!(ready_since(&replica), Some(200));
    }

    #[test]
    fn pod_replaced_between_two_looks_has_lost_ready() {
        let bed = Bed::new();
        let mut replica = Replica::new(&workspace(), Some(&pod("a", true, "2026-01-01T00:01:00Z", 0)), &bed.at(60));
        replica.update(&workspace(), Some(&pod("b", true, "2026-01-01T00:02:00Z", 0)), &bed.at(130));
        assert_eq!(replica.lost_ready, Some(Moment::from_secs(130)));
        assert_eq!(ready_since(&replica), Some(120));
    }

    #[test]
    fn every_pod_container_start_and_ready_period_is_a_segment_of_its_own() {
        let bed = Bed::new();
        let segment = |pod: &Arc<Pod>| Replica::new(&workspace(), Some(pod), &bed.at(600)).pod.unwrap().segment;
        let first = pod("a", true, "2026-01-01T00:01:00Z", 0);
        assert_eq!(segment(&first), segment(&first));
        for other in [
            pod("b", true, "2026-01-01T00:01:00Z", 0),
            pod("a", true, "2026-01-01T00:03:00Z", 0),
            pod("a", true, "2026-01-01T00:01:00Z", 1),
        ] {
            assert_ne!(segment(&first), segment(&other));
        }
    }

    #[test]
    fn only_ready_pods_are_scraped() {
        let bed = Bed::new();
        let scrapeable = |pod: &Arc<Pod>| Replica::new(&workspace(), Some(pod), &bed.at(600)).pod.unwrap().scrapeable();
        assert!(scrapeable(&pod("a", true, "2026-01-01T00:01:00Z", 0)).is_some());
        assert!(scrapeable(&pod("a", false, "2026-01-01T00:01:00Z", 0)).is_none());
    }
}
