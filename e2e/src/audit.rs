//! The API server's audit log as a test reads it: every request that anyone made, with the server's own times. A bed has one
//! when asked (`--audit-log`; test targets name it in `cargo xtask test`). Only metadata is in it, no bodies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// The log of the bed around this process.
#[derive(Clone, Debug)]
pub struct AuditLog {
    file: PathBuf,
}

/// A place in the log: what was written up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The impersonated user if there is one, else the authenticated one.
    pub user: String,
    /// First part of the `User-Agent`, without the version: `keda-kaito-scaler-provisioner`.
    pub agent: String,
    /// As RBAC has it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Plural, with the subresource: `inferencesets/status`; empty for what is no resource.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status; 0 while a watch runs.
    pub code: u16,
    pub received: Timestamp,
    /// When the answer was complete; of a watch, when it began.
    pub answered: Timestamp,
}

impl AuditLog {
    /// The log of this bed.
    ///
    /// # Errors
    /// When the bed was started without.
    pub fn of_this_bed() -> Result<Self> {
        let file = std::env::var_os("TESTBED_AUDIT_LOG").context("this bed has no audit log: start it with --audit-log")?;
        Ok(Self { file: file.into() })
    }

    /// Where the log ends now. The server writes a line before it answers, so every request answered until now lies before.
    ///
    /// # Errors
    /// When the log cannot be read; so for the calls below.
    pub fn mark(&self) -> Result<Mark> {
        let length = self.file.metadata().with_context(|| self.file.display().to_string())?.len();
        Ok(Mark(length))
    }

    /// Every request whose answer was logged after `mark`, in the order of their arrival, each once.
    ///
    /// # Errors
    /// As above, or a line that is no audit event.
    pub fn since(&self, mark: Mark) -> Result<Vec<Request>> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(mark.0))?;
        read(BufReader::new(file))
    }
}

impl Request {
    /// Whether it asks for a change of an object.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    /// Whether it is a write that the server carried out.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.is_write() && (200..300).contains(&self.code)
    }

    /// From the request's arrival to the end of the answer.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::try_from(self.received.duration_until(self.answered)).unwrap_or_default()
    }

    /// Verb and object, for a human.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self {
            received,
            user,
            verb,
            resource,
            namespace,
            name,
            code,
            ..
        } = self;
        format!("{received} {user} {verb} {resource} {namespace}/{name} {code}")
    }
}

/// How many requests there are of each kind, by whatever `of` makes of one.
#[must_use]
pub fn counts(requests: &[Request], of: impl Fn(&Request) -> String) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(of(request)).or_default() += 1;
    }
    counts
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    id: String,
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<Status>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

fn read(mut log: impl BufRead) -> Result<Vec<Request>> {
    let mut requests: BTreeMap<String, Request> = BTreeMap::new();
    let mut line = String::new();
    loop {
        line.clear();
        log.read_line(&mut line)?;
        // The last line may still be being written.
        if !line.ends_with('\n') {
            break;
        }
        let event: Event = serde_json::from_str(&line).with_context(|| format!("no audit event: {line}"))?;
        let complete = event.stage != "ResponseStarted";
        let (id, request) = request(event);
        // A watch is told of when it begins and when it ends; one that began before is no new request.
        match requests.get_mut(&id) {
            Some(begun) => begun.code = request.code,
            None if complete && request.verb == "watch" && request.code < 400 => {}
            None => drop(requests.insert(id, request)),
        }
    }
    let mut requests: Vec<Request> = requests.into_values().collect();
    requests.sort_by_key(|request| request.received);
    Ok(requests)
}

fn request(event: Event) -> (String, Request) {
    let ObjectRef {
        resource,
        subresource,
        namespace,
        name,
    } = event.object_ref;
    let resource = if subresource.is_empty() {
        resource
    } else {
        format!("{resource}/{subresource}")
    };
    let agent = event.user_agent.split(['/', ' ']).next().unwrap_or_default().to_owned();
    let request = Request {
        user: event.impersonated_user.unwrap_or(event.user).username,
        agent,
        verb: event.verb,
        resource,
        namespace,
        name,
        uri: event.uri,
        code: event.response_status.map_or(0, |status| status.code),
        received: event.request_received_timestamp,
        answered: event.stage_timestamp,
    };
    (event.id, request)
}

#[cfg(test)]
mod tests;
