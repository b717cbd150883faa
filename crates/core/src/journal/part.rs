//! One replica's part in a decision: its state, how old what is known of it is, and its own values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fleet::{Class, ReplicaView};
use crate::moment::Moment;
use crate::policy::MetricKind;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub workspace: Box<str>,
    pub state: State,
    /// Seconds it had been in that state, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state_seconds: Option<f32>,
    /// Age of its newest sample in seconds; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sample_seconds: Option<f32>,
    /// Its value of each of the trigger's metrics, in their order; null where it is not known. Of a histogram the mean over
    /// the window, as its own samples have it.
    pub values: Box<[Option<f64>]>,
}

/// A metric, and the window it is taken over.
pub(super) type Asked<'a> = (&'a str, MetricKind, Duration);

/// What a replica counts as; see [`Class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Serving,
    Silent,
    Pending,
    /// Pending, although it is Ready and answers: the metric is missing.
    Loading,
    Lost,
    Leaving,
}

impl Part {
    /// A replica as a decision of `now` saw it, with its values of what was `asked`. What `spare` holds on the heap is used again
    /// where it fits.
    pub(super) fn of(spare: Option<Self>, view: &ReplicaView<'_>, class: Class, asked: &[Asked<'_>], now: Moment) -> Self {
        let seconds = |since: Moment| now.since(since).as_secs_f32();
        let since = match class {
            Class::Silent { since } | Class::Pending { since, .. } | Class::Lost { since } => Some(since),
            Class::Serving => view.ready_since,
            Class::Leaving { .. } => None,
        };
        let value = |&(metric, kind, window): &Asked<'_>| match kind {
            MetricKind::Gauge => view.series.gauge(metric),
            MetricKind::Histogram => {
                let begin = now.minus(window);
                let delta = view.series.delta(metric, begin, begin)?;
                (delta.count > 0.0).then(|| delta.sum / delta.count)
            }
        };
        let (workspace, values) = spare.map(|spare| (spare.workspace, spare.values)).unwrap_or_default();
        Self {
            workspace: Some(workspace)
                .filter(|name| **name == *view.workspace)
                .unwrap_or_else(|| view.workspace.as_ref().into()),
            state: State::of(class),
            state_seconds: since.map(seconds),
            sample_seconds: view.series.answered().map(seconds),
            values: if values.len() == asked.len() {
                refilled(values, asked.iter().map(value))
            } else {
                asked.iter().map(value).collect()
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.workspace.len() + size_of_val(&*self.values)
    }
}

fn refilled<T>(mut places: Box<[T]>, with: impl Iterator<Item = T>) -> Box<[T]> {
    for (place, value) in places.iter_mut().zip(with) {
        *place = value;
    }
    places
}

impl State {
    /// Of a class.
    pub fn of(class: Class) -> Self {
        match class {
            Class::Serving => Self::Serving,
            Class::Silent { .. } => Self::Silent,
            Class::Pending { answering: true, .. } => Self::Loading,
            Class::Pending { .. } => Self::Pending,
            Class::Lost { .. } => Self::Lost,
            Class::Leaving { .. } => Self::Leaving,
        }
    }

    /// Its word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Silent => "silent",
            Self::Pending => "pending",
            Self::Loading => "loading",
            Self::Lost => "lost",
            Self::Leaving => "leaving",
        }
    }
}
