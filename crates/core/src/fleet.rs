//! Who is in a fleet: each replica (a Workspace, its first pod speaking for all its nodes) put into one of five classes, and
//! the replicas that are ordered but have no Workspace yet. What that means for a count is decided elsewhere.

mod classify;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::window::ReplicaSeries;

pub use classify::classify;
pub(crate) use classify::is_fresh;

/// What is known of one Workspace owned by the InferenceSet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaView<'a> {
    /// The Workspace's name.
    pub workspace: Cow<'a, str>,
    pub created: Moment,
    /// The Workspace has a deletion timestamp.
    #[serde(default)]
    pub terminating: bool,
    /// Since when pod 0 is Running and Ready; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Moment>,
    /// When Ready was last lost, if that is known; absent for a replica that never was Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_ready: Option<Moment>,
    /// Since when pod 0 says that it is not Ready; absent while it is, and where there is no pod to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready_since: Option<Moment>,
    #[serde(default)]
    pub series: Cow<'a, ReplicaSeries>,
}

/// The scaler's own pace and patience.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timing {
    /// When this process began to watch; nothing is known of before.
    pub process_started: Moment,
    #[serde(with = "crate::moment::seconds")]
    pub scrape_interval: Duration,
    #[serde(with = "crate::moment::seconds")]
    pub scrape_timeout: Duration,
    /// How long a replica may be pending before it is given up.
    #[serde(with = "crate::moment::seconds")]
    pub replica_deadline: Duration,
    pub proof: Proof,
}

/// What our own samples must have shown over the HPA's window before a move is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// Every set of samples pointed that way. Safe whatever the HPA remembers; as the holds answered meanwhile are
    /// recommendations too, the HPA's window begins when ours ends.
    EverySample,
    /// None is missing. The HPA has had our answer to each, so that its window alone does the waiting; not safe against an
    /// HPA that could not reach us for longer than its window.
    #[default]
    NoGap,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            process_started: Moment::default(),
            scrape_interval: Duration::from_secs(15),
            scrape_timeout: Duration::from_secs(3),
            replica_deadline: Duration::from_secs(30 * 60),
            proof: Proof::default(),
        }
    }
}

impl Timing {
    /// The age up to which a sample is fresh: one failed scrape does not make a replica missing.
    pub fn fresh_for(&self) -> Duration {
        2 * self.scrape_interval + self.scrape_timeout
    }
}

/// What a replica counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Class {
    /// Ready, with a fresh sample.
    Serving,
    /// Ready, without a fresh sample of any wanted metric: overload looks like this.
    Silent { since: Moment },
    /// Not Ready, or answering without any wanted metric.
    Pending {
        since: Moment,
        /// It has served before: it holds no move up.
        served: bool,
        /// It is Ready and answers, without a wanted metric.
        answering: bool,
    },
    /// Pending for longer than the deadline, and not Ready.
    Lost { since: Moment },
    /// Terminating, or above the wanted count.
    Leaving {
        /// Ready, with a fresh sample.
        answering: bool,
    },
}

/// One replica, classified.
#[derive(Clone, Copy, Debug)]
pub struct Member<'v, 'a> {
    pub view: &'v ReplicaView<'a>,
    pub class: Class,
}

/// Replicas ordered (spec.replicas) that have no Workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unborn {
    pub pending: u32,
    /// Ordered for longer than the deadline.
    pub lost: u32,
}

/// A fleet at one time.
#[derive(Clone, Debug)]
pub struct Fleet<'v, 'a> {
    pub members: Vec<Member<'v, 'a>>,
    pub unborn: Unborn,
}

impl<'v, 'a> Fleet<'v, 'a> {
    /// Replicas that serve.
    pub fn serving(&self) -> impl Iterator<Item = &'v ReplicaView<'a>> {
        self.of(|class| class == Class::Serving)
    }

    /// Replicas that leave and still answer.
    pub fn leaving_answering(&self) -> impl Iterator<Item = &'v ReplicaView<'a>> {
        self.of(|class| class == Class::Leaving { answering: true })
    }

    /// How many serve.
    pub fn n_serving(&self) -> u32 {
        count(self.serving())
    }

    /// How many are silent.
    pub fn n_silent(&self) -> u32 {
        count(self.of(|class| matches!(class, Class::Silent { .. })))
    }

    /// How many are pending, those without a Workspace included.
    pub fn n_pending(&self) -> u32 {
        count(self.of(|class| matches!(class, Class::Pending { .. }))).saturating_add(self.unborn.pending)
    }

    /// How many are lost, those without a Workspace included.
    pub fn n_lost(&self) -> u32 {
        count(self.of(|class| matches!(class, Class::Lost { .. }))).saturating_add(self.unborn.lost)
    }

    /// How many leave.
    pub fn n_leaving(&self) -> u32 {
        count(self.of(|class| matches!(class, Class::Leaving { .. })))
    }

    /// Whether capacity is on order that has never served: more would be ordered blindly.
    pub fn awaits_new_capacity(&self) -> bool {
        let awaited = |class: Class| matches!(class, Class::Pending { served: false, .. });
        self.unborn.pending > 0 || self.members.iter().any(|member| awaited(member.class))
    }

    /// Whether every replica serves and none leaves: then nothing has to be bounded.
    pub fn is_whole(&self) -> bool {
        self.unborn == Unborn::default() && self.members.iter().all(|member| member.class == Class::Serving)
    }

    fn of(&self, wanted: impl Fn(Class) -> bool) -> impl Iterator<Item = &'v ReplicaView<'a>> {
        self.members
            .iter()
            .filter(move |member| wanted(member.class))
            .map(|member| member.view)
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
