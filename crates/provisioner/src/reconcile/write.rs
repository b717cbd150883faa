//! The calls that change ScaledObjects, each bound to the version that was judged.
//! A 409 is an answer here, not an error: the caller judges again.

use json_patch::Patch as JsonPatch;
use keda_kaito_core::crd::ScaledObject;
use keda_kaito_core::names::PROVISIONER_FIELD_MANAGER;
use keda_kaito_core::plan::{Apply, Live, Removal};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;
use tokio::time::Instant;

use super::Reconciler;
use crate::error::{Error, Refusal, Step, name_of, refusal};

pub(super) struct Writer<'a> {
    pub(super) reconciler: &'a Reconciler,
    pub(super) namespace: &'a str,
}

/// What the API server made of a write.
pub(super) enum Answer<T> {
    Done(T),
    /// The object has changed since it was judged, or exists though it should not.
    Outdated,
}

impl Writer<'_> {
    /// Creates the object, or brings it to its desired state. What was written with Update before becomes ours first.
    pub(super) async fn apply(&self, apply: &Apply) -> Result<Answer<Box<ScaledObject>>, Error> {
        let Some(live) = &apply.live else {
            // Without force, fields of an object that exists already would be a conflict: nobody's object is taken.
            let params = PatchParams::apply(PROVISIONER_FIELD_MANAGER);
            return self.patch(Step::Create, &apply.desired, &params).await;
        };
        let resource_version = match self.take_over(&apply.desired, live).await? {
            Answer::Done(version) => version,
            Answer::Outdated => return Ok(Answer::Outdated),
        };
        let mut desired = apply.desired.clone();
        desired.metadata.resource_version = Some(resource_version);
        let params = PatchParams::apply(PROVISIONER_FIELD_MANAGER).force();
        self.patch(Step::Update, &desired, &params).await
    }

    pub(super) async fn delete(&self, removal: &Removal) -> Result<Answer<()>, Error> {
        self.wait_for_turn().await;
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(removal.uid.clone()),
            resource_version: Some(removal.resource_version.clone()),
        });
        let answer = self.api().delete(&removal.name, &params).await.map(|_| ());
        let gone = matches!(&answer, Err(error) if refusal(error) == Refusal::NotFound);
        let answer = if gone { Ok(()) } else { answer };
        self.judge(Step::Delete, &removal.name, answer)
    }

    /// The object as it is now.
    pub(super) async fn read(&self, name: &str) -> Result<Option<ScaledObject>, Error> {
        let read = self.api().get_opt(name).await;
        read.map_err(|source| {
            let name = name.to_owned();
            if let kube::Error::SerdeError(error) = source {
                let reason = error.to_string();
                return Error::Unreadable { name, reason };
            }
            Error::Call {
                step: Step::Read,
                name,
                source,
            }
        })
    }

    async fn take_over(&self, desired: &ScaledObject, live: &Live) -> Result<Answer<String>, Error> {
        let Some(migration) = &live.migration else {
            return Ok(Answer::Done(live.resource_version.clone()));
        };
        self.wait_for_turn().await;
        let params = PatchParams {
            field_manager: Some(PROVISIONER_FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = name_of(desired);
        let patch: Patch<()> = Patch::Json(json_patch(migration, name)?);
        let answer = self.api().patch(name, &params, &patch).await;
        let version = answer.map(|object| object.metadata.resource_version.unwrap_or_default());
        self.judge(Step::TakeOver, name, version)
    }

    async fn patch(&self, step: Step, desired: &ScaledObject, params: &PatchParams) -> Result<Answer<Box<ScaledObject>>, Error> {
        self.wait_for_turn().await;
        let name = name_of(desired);
        let answer = self.api().patch(name, params, &Patch::Apply(desired)).await;
        self.judge(step, name, answer.map(Box::new))
    }

    fn judge<T>(&self, step: Step, name: &str, answer: Result<T, kube::Error>) -> Result<Answer<T>, Error> {
        let metrics = &self.reconciler.metrics;
        match answer {
            Ok(value) => {
                metrics.wrote(step.as_str(), "done");
                Ok(Answer::Done(value))
            }
            Err(error) if matches!(refusal(&error), Refusal::Conflict | Refusal::NotFound) && is_of_the_object(&error) => {
                metrics.wrote(step.as_str(), "outdated");
                Ok(Answer::Outdated)
            }
            Err(source) => {
                metrics.wrote(step.as_str(), "failed");
                Err(Error::Call {
                    step,
                    name: name.to_owned(),
                    source,
                })
            }
        }
    }

    async fn wait_for_turn(&self) {
        let due = {
            let mut pace = self
                .reconciler
                .writes
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            pace.reserve(Instant::now())
        };
        // Even a sleep that is over takes the timer a millisecond.
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
    }

    fn api(&self) -> Api<ScaledObject> {
        Api::namespaced(self.reconciler.client.clone(), self.namespace)
    }
}

/// A namespace that is gone, or a kind no longer served, says nothing about the object.
fn is_of_the_object(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let kind = status.details.as_ref().map(|details| details.kind.as_str());
    status.code != 404 || kind == Some("scaledobjects")
}

fn json_patch(operations: &Value, name: &str) -> Result<JsonPatch, Error> {
    serde_json::from_value(operations.clone()).map_err(|error| Error::Unreadable {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}
