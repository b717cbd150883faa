//! One endpoint of one replica: its samples, and what has been learnt about how to ask it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::families::{RUNNING, WAITING};
use keda_kaito_core::moment::Moment;
use keda_kaito_core::window::{Reading, ReplicaSeries, Segment};

use crate::scrape::{Form, Page};

/// A hint costs a whole page.
const HINT_EVERY: Duration = Duration::from_secs(600);

/// Tells targets apart for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

/// See the module.
#[derive(Debug)]
pub struct Target {
    pub id: TargetId,
    pub series: ReplicaSeries,
    form: Option<(Segment, Form)>,
    hints: Vec<(Box<str>, Box<str>)>,
    hint_asked: Option<Moment>,
}

/// Everything one scrape needs, taken at one time.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: TargetId,
    pub address: SocketAddr,
    pub page: Arc<Page>,
    pub form: Option<Form>,
    /// The whole page is asked for this once, for the names on it.
    pub for_hint: bool,
    pub segment: Segment,
    pub pod_name: String,
    pub pod_uid: String,
}

/// What a scrape brought, reduced.
#[derive(Clone, Debug)]
pub struct Sample {
    /// In the order of the page's wanted metrics.
    pub readings: Vec<Reading>,
    pub form: Option<Form>,
    /// Lines of the page that could not be used, and series that came twice.
    pub rejected: usize,
    pub at: Moment,
}

impl Target {
    /// A target that nothing is known of.
    pub fn new(id: TargetId, page: &Page) -> Self {
        Self {
            id,
            series: ReplicaSeries::new(&page.wanted),
            form: None,
            hints: Vec::new(),
            hint_asked: None,
        }
    }

    /// The form to ask for in this segment; the whole page now and then while a metric is missing, which is the second value.
    pub fn next_form(&mut self, page: &Page, segment: Segment, now: Moment) -> (Option<Form>, bool) {
        let rested = self.hint_asked.is_none_or(|asked| now.since(asked) >= HINT_EVERY);
        if rested && self.misses_something(page) {
            self.hint_asked = Some(now);
            return (Some(Form::Full), true);
        }
        let known = self.form.filter(|(known, _)| *known == segment);
        (known.map(|(_, form)| form), false)
    }

    /// Takes in what `job` brought.
    pub fn take(&mut self, job: &Job, sample: Sample) {
        let (page, segment) = (&job.page, job.segment);
        if let Some(form) = sample.form.filter(|_| !job.for_hint) {
            self.form = Some((segment, form));
        }
        let mut readings = sample.readings;
        for (wanted, reading) in page.wanted.iter().zip(&mut readings) {
            self.hint(&wanted.metric, reading);
        }
        self.series.push(sample.at, segment, |metric, kind| {
            let of = page
                .wanted
                .iter()
                .position(|wanted| wanted.metric == metric && wanted.kind == kind);
            let reading = of.and_then(|index| readings.get_mut(index));
            reading.map_or(Reading::Absent { nearest: None }, |reading| {
                std::mem::replace(reading, Reading::Absent { nearest: None })
            })
        });
    }

    /// Remembers a hint, or fills in a remembered one.
    fn hint(&mut self, metric: &str, reading: &mut Reading) {
        let known = self.hints.iter().position(|(name, _)| **name == *metric);
        let Reading::Absent { nearest } = reading else {
            if let Some(known) = known {
                self.hints.swap_remove(known);
            }
            return;
        };
        match (nearest.as_ref(), known) {
            (Some(_), Some(_)) | (None, None) => {}
            (Some(name), None) => self.hints.push((metric.into(), name.clone())),
            (None, Some(known)) => *nearest = self.hints.get(known).map(|(_, name)| name.clone()),
        }
    }

    /// Whether a metric that a user named is missing beside others that are there, without a hint yet.
    fn misses_something(&self, page: &Page) -> bool {
        let missing = |wanted: &keda_kaito_core::window::Wanted| {
            let reading = self.series.reading(&wanted.metric, wanted.kind);
            matches!(reading, Some(Reading::Absent { nearest: None })) && ![WAITING, RUNNING].contains(&wanted.metric.as_str())
        };
        self.form.is_some_and(|(_, form)| form == Form::Filtered) && page.wanted.iter().any(missing)
    }
}
