//! Everything known of one InferenceSet that somebody scales: the object, who asks what, its replicas and their samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::crd::InferenceSet;
use keda_kaito_core::fleet::Timing;
use keda_kaito_core::history::History;
use keda_kaito_core::moment::Moment;
use keda_kaito_core::record::{DecisionInput, decide, next_history, wanted};
use keda_kaito_core::trigger::{Endpoint, TriggerRequest};
use keda_kaito_core::window::{Segment, Wanted};
use keda_kaito_runtime::telemetry::SpanIds;

use super::decided::{Decided, random_id};
use super::replica::{Reader, Replica};
use super::story::{Keeping, Story};
use super::target::{Job, Sample, Target, TargetId};
use super::trigger::TriggerFacts;
use crate::metrics::fleet::Summary;
use crate::pod::Pod;
use crate::scrape::Page;
use crate::workspace::Workspace;

/// Endpoints by which the replicas of one InferenceSet may be asked.
pub const MAX_ENDPOINTS: usize = 4;

/// Triggers about one InferenceSet; each costs a decision per round.
pub const MAX_TRIGGERS: usize = 32;

/// Metrics read at one endpoint: they are named in the request, and kept for every replica.
pub const MAX_WANTED: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct SetState {
    /// Absent while there is no InferenceSet of that name.
    pub object: Option<ObjectFacts>,
    /// At most [`MAX_TRIGGERS`].
    pub triggers: Vec<TriggerState>,
    /// One per trigger, in their order.
    pub stories: Vec<Story>,
    keeping: Keeping,
    /// Some triggers are left out.
    pub too_many_triggers: bool,
    pub replicas: BTreeMap<String, Replica>,
    /// Of the last round.
    pub summary: Summary,
    /// The span of the last round, if that is traced.
    pub round: Option<SpanIds>,
    pages: Vec<Arc<Page>>,
}

/// The InferenceSet, reduced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    pub uid: String,
    pub spec_replicas: u32,
    pub status_replicas: u32,
}

/// One trigger and what its rounds have shown.
#[derive(Debug)]
pub struct TriggerState {
    pub facts: TriggerFacts,
    /// Which page answers it; none when there are too many, or too much is on it.
    page: Option<usize>,
    history: History,
}

/// The objects of one InferenceSet as they are now.
#[derive(Debug, Default)]
pub struct Objects {
    pub object: Option<Arc<InferenceSet>>,
    pub triggers: Vec<TriggerFacts>,
    /// With pod 0 of each.
    pub workspaces: Vec<(Arc<Workspace>, Option<Arc<Pod>>)>,
}

impl SetState {
    /// Knows nothing yet; its triggers keep what `keeping` allows.
    pub fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            ..Self::default()
        }
    }

    /// Takes in the objects. `next_id` names new targets.
    pub fn refresh(&mut self, objects: Objects, reader: &Reader<'_>, next_id: &mut u64) {
        let object = objects.object.as_ref().map(|object| ObjectFacts {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            spec_replicas: object.spec_replicas(),
            status_replicas: object.status_replicas(),
        });
        if self.object.as_ref().map(|known| &known.uid) != object.as_ref().map(|object| &object.uid) {
            // An InferenceSet recreated under its name shares nothing with the one before.
            self.replicas.clear();
            self.triggers.clear();
            self.stories.clear();
        }
        if let (Some(before), Some(after)) = (&self.object, &object)
            && before.uid == after.uid
            && before.spec_replicas != after.spec_replicas
        {
            for trigger in &mut self.triggers {
                trigger.history.moved(reader.now, before.spec_replicas, after.spec_replicas);
            }
            for story in &mut self.stories {
                story.journal.moved(reader.now, before.spec_replicas, after.spec_replicas);
            }
        }
        self.object = object;
        self.refresh_replicas(&objects.workspaces, reader);
        self.refresh_triggers(objects.triggers);
        self.refresh_targets(next_id);
    }

    fn refresh_replicas(&mut self, workspaces: &[(Arc<Workspace>, Option<Arc<Pod>>)], reader: &Reader<'_>) {
        let uid = self.object.as_ref().map(|object| object.uid.as_str()).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for (workspace, pod) in workspaces {
            let Some(name) = workspace.metadata.name.as_deref().filter(|_| workspace.is_owned_by(uid)) else {
                continue;
            };
            seen.insert(name);
            match self.replicas.get_mut(name) {
                Some(replica) => replica.update(workspace, pod.as_ref(), reader),
                None => {
                    self.replicas
                        .insert(name.to_owned(), Replica::new(workspace, pod.as_ref(), reader));
                }
            }
        }
        self.replicas.retain(|name, _| seen.contains(name.as_str()));
    }

    /// A trigger that asks the same as before keeps its history and its story, whatever its bounds are now.
    fn refresh_triggers(&mut self, triggers: Vec<TriggerFacts>) {
        let mut before = std::mem::take(&mut self.triggers);
        let mut stories = std::mem::take(&mut self.stories);
        self.too_many_triggers = triggers.len() > MAX_TRIGGERS;
        for facts in triggers.into_iter().take(MAX_TRIGGERS) {
            let same = |known: &TriggerState| known.facts.answers(&facts.scaled_object, &facts.request);
            let known = before.iter().position(same);
            let known = known.map(|index| (before.swap_remove(index).history, stories.swap_remove(index)));
            let (history, story) = known.unwrap_or_else(|| (History::default(), Story::new(random_id(), &self.keeping)));
            self.triggers.push(TriggerState {
                facts,
                page: None,
                history,
            });
            self.stories.push(story);
        }
    }

    /// One page per endpoint asked for, with everything that is asked of it.
    fn refresh_pages(&mut self) -> Vec<Arc<Page>> {
        let mut asked: Vec<(Endpoint, Vec<Wanted>)> = Vec::new();
        for trigger in &mut self.triggers {
            let request = &trigger.facts.request;
            let known = asked.iter().position(|(endpoint, _)| *endpoint == request.endpoint);
            trigger.page = known.or_else(|| {
                let room = asked.len() < MAX_ENDPOINTS;
                room.then(|| {
                    asked.push((request.endpoint.clone(), Vec::new()));
                    asked.len() - 1
                })
            });
            if let Some((_, list)) = trigger.page.and_then(|page| asked.get_mut(page)) {
                let merged = wanted(&request.aggregation).into_iter().fold(list.clone(), merge);
                if merged.len() <= MAX_WANTED {
                    *list = merged;
                } else {
                    trigger.page = None;
                }
            }
        }
        let page = |(endpoint, wanted): (Endpoint, Vec<Wanted>)| {
            let same = |page: &&Arc<Page>| page.endpoint == endpoint && page.wanted == wanted;
            let known = self.pages.iter().find(same).map(Arc::clone);
            known.unwrap_or_else(|| Arc::new(Page::new(endpoint, wanted)))
        };
        asked.into_iter().map(page).collect()
    }

    /// Gives every replica one target per page; where only the wanted metrics changed, the samples stay.
    fn refresh_targets(&mut self, next_id: &mut u64) {
        let pages = self.refresh_pages();
        for replica in self.replicas.values_mut() {
            let mut before: Vec<_> = std::mem::take(&mut replica.targets).into_iter().map(Some).collect();
            for page in &pages {
                let known = self.pages.iter().position(|known| known.endpoint == page.endpoint);
                let known = known.and_then(|index| before.get_mut(index)).and_then(Option::take);
                let mut target = known.unwrap_or_else(|| {
                    *next_id += 1;
                    Target::new(TargetId(*next_id), page)
                });
                target.series.want(&page.wanted);
                replica.targets.push(target);
            }
        }
        self.pages = pages;
    }

    /// Targets whose pods may be asked now.
    pub fn scrapeable(&self) -> impl Iterator<Item = TargetId> {
        let ready = self
            .replicas
            .values()
            .filter(|replica| replica.pod.as_ref().is_some_and(|pod| pod.scrapeable().is_some()));
        ready.flat_map(|replica| replica.targets.iter().map(|target| target.id))
    }

    /// What to ask a target, if it may still be asked.
    pub fn job(&mut self, id: TargetId, now: Moment) -> Option<Job> {
        let pages = &self.pages;
        self.replicas.values_mut().find_map(|replica| {
            let index = replica.targets.iter().position(|target| target.id == id)?;
            let page = pages.get(index)?;
            let pod = replica.pod.as_ref()?;
            let address = pod.scrapeable()?;
            let (form, for_hint) = replica.targets.get_mut(index)?.next_form(page, pod.segment, now);
            Some(Job {
                id,
                for_hint,
                address: (address, page.endpoint.pod_port()).into(),
                page: Arc::clone(page),
                form,
                segment: pod.segment,
                pod_name: pod.name.clone(),
                pod_uid: pod.uid.clone(),
            })
        })
    }

    /// Takes in what a job brought. A sample of a pod's former life, or of what is no longer asked, is dropped.
    pub fn finish(&mut self, job: &Job, result: Result<Sample, String>, now: Moment) {
        let Some(index) = self.pages.iter().position(|page| Arc::ptr_eq(page, &job.page)) else {
            return;
        };
        let of_job = |replica: &&mut Replica| replica.targets.get(index).is_some_and(|target| target.id == job.id);
        let Some(replica) = self.replicas.values_mut().find(of_job) else {
            return;
        };
        let current = |segment: Segment| {
            replica
                .pod
                .as_ref()
                .is_some_and(|pod| pod.segment == segment && pod.ready_since.is_some())
        };
        if !current(job.segment) {
            return;
        }
        let Some(target) = replica.targets.get_mut(index) else {
            return;
        };
        match result {
            Ok(sample) => target.take(job, sample),
            Err(reason) => target.series.push_failure(now, reason),
        }
    }

    /// Says why a target is not asked at all.
    pub fn refuse(&mut self, id: TargetId, reason: &str, now: Moment) {
        let mut targets = self.replicas.values_mut().flat_map(|replica| replica.targets.iter_mut());
        if let Some(target) = targets.find(|target| target.id == id) {
            target.series.push_failure(now, reason);
        }
    }

    /// Which trigger a call is about.
    pub fn trigger(&self, scaled_object: &str, request: &TriggerRequest) -> Option<usize> {
        self.triggers
            .iter()
            .position(|trigger| trigger.facts.answers(scaled_object, request))
    }

    /// The decision of now, for a call about a trigger; `None` as for [`Self::input`].
    pub fn decide(&mut self, trigger: usize, timing: &Timing, now: Moment) -> Option<Decided> {
        let input = input(self.object.as_ref(), &self.replicas, self.triggers.get(trigger)?, timing, now)?;
        let record = decide(&input);
        let id = self.stories.get_mut(trigger)?.call(&input, &record);
        let round = self.round;
        Some(Decided { id, record, round })
    }

    /// Everything that trigger's decision is made from; `None` without the InferenceSet, or without a page for it.
    pub fn input<'a>(&'a self, trigger: &'a TriggerState, timing: &Timing, now: Moment) -> Option<DecisionInput<'a>> {
        input(self.object.as_ref(), &self.replicas, trigger, timing, now)
    }

    /// Ends a round of scrapes: every trigger's history takes it in. `unconfirmed` says for how long replica counts have not
    /// been confirmed; absent when they never were. Returns the decisions of now.
    pub fn end_round(&mut self, timing: &Timing, unconfirmed: Option<Duration>, now: Moment) -> Vec<Decided> {
        let next = |trigger: &TriggerState| {
            let mut history = next_history(&self.input(trigger, timing, now)?);
            // Calls are refused then, whatever is decided.
            if unconfirmed.is_none_or(|age| age > trigger.facts.count_lasts()) {
                history.told(now, false);
            }
            Some(history)
        };
        let histories: Vec<_> = self.triggers.iter().map(next).collect();
        for (trigger, history) in self.triggers.iter_mut().zip(histories) {
            if let Some(history) = history {
                trigger.history = history;
            }
        }
        let (object, replicas) = (self.object.as_ref(), &self.replicas);
        let decided = |(trigger, story): (&TriggerState, &mut Story)| {
            let input = input(object, replicas, trigger, timing, now)?;
            let record = decide(&input);
            let id = story.round(&input, &record);
            let round = None;
            Some(Decided { id, record, round })
        };
        let decisions: Vec<_> = self.triggers.iter().zip(&mut self.stories).filter_map(decided).collect();
        self.summary = Summary::of(&decisions);
        decisions
    }

    /// Targets with a fresh sample.
    pub fn fresh(&self, timing: &Timing, now: Moment) -> usize {
        let fresh = |target: &&Target| {
            let age = target.series.answered().map(|answered| now.since(answered));
            age.is_some_and(|age| age <= timing.fresh_for())
        };
        let targets = self.replicas.values().flat_map(|replica| replica.targets.iter());
        targets.filter(fresh).count()
    }

    /// Age of the oldest newest sample among the targets that may be asked; `None` when there is none.
    pub fn oldest_sample(&self, now: Moment) -> Option<Duration> {
        let ready = |replica: &&Replica| replica.pod.as_ref().is_some_and(|pod| pod.scrapeable().is_some());
        let targets = self
            .replicas
            .values()
            .filter(ready)
            .flat_map(|replica| replica.targets.iter());
        targets.filter_map(|target| Some(now.since(target.series.answered()?))).max()
    }
}

fn input<'a>(
    object: Option<&ObjectFacts>,
    replicas: &'a BTreeMap<String, Replica>,
    trigger: &'a TriggerState,
    timing: &Timing,
    now: Moment,
) -> Option<DecisionInput<'a>> {
    let object = object?;
    let page = trigger.page?;
    let request = &trigger.facts.request;
    Some(DecisionInput {
        now,
        trigger: std::borrow::Cow::Borrowed(&request.aggregation),
        scale: trigger.facts.scale(object.spec_replicas, object.status_replicas),
        timing: Timing {
            scrape_timeout: request.endpoint.timeout,
            ..*timing
        },
        replicas: replicas.iter().map(|(name, replica)| replica.view(name, page)).collect(),
        history: std::borrow::Cow::Borrowed(&trigger.history),
    })
}

/// Of one metric wanted twice the longer window counts.
fn merge(mut list: Vec<Wanted>, one: Wanted) -> Vec<Wanted> {
    match list
        .iter_mut()
        .find(|known| known.metric == one.metric && known.kind == one.kind)
    {
        Some(known) => known.window = known.window.max(one.window),
        None => list.push(one),
    }
    list
}

#[cfg(test)]
mod tests;
