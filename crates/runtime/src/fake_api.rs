//! A fake API server for tests: a scenario names the calls it expects, in exact order, and how each is answered.
//! It stores nothing. A wrong call, a missing one (after a second) and one too many all fail the test.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use axum::body::{Body as AnswerBody, Bytes};
use futures::StreamExt;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_test::mock::{self, SendResponse};

type Handle = mock::Handle<Request<Body>, Response<AnswerBody>>;

const PATIENCE: Duration = Duration::from_secs(1);

/// Calls that are expected, in order.
#[derive(Debug)]
pub struct Scenario {
    name: String,
    steps: VecDeque<Step>,
    patience: Duration,
}

#[derive(Debug)]
struct Step {
    name: String,
    method: Method,
    path: String,
    query: Vec<String>,
    answer: Answer,
}

/// How a call is answered.
pub struct Answer(Kind);

enum Kind {
    Whole(u16, String),
    Lines { lines: Vec<String>, stay_open: bool },
    Hang,
    Broken,
}

/// A call as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// Query as sent, percent-encoded; empty when absent.
    pub query: String,
    /// Body; null when absent or not JSON.
    pub body: Value,
}

/// A scenario that is being served.
#[derive(Debug)]
pub struct Playing {
    name: String,
    patience: Duration,
    server: JoinHandle<Vec<Call>>,
    finished: oneshot::Sender<()>,
}

impl Scenario {
    /// A scenario without calls; the name appears in every failure.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            steps: VecDeque::new(),
            patience: PATIENCE,
        }
    }

    /// Expects one more call. `path` has no query.
    #[must_use]
    pub fn step(mut self, name: &str, method: Method, path: &str, answer: Answer) -> Self {
        self.steps.push_back(Step {
            name: name.to_owned(),
            method,
            path: path.to_owned(),
            query: Vec::new(),
            answer,
        });
        self
    }

    /// The call added last must have this `key=value` in its query, as encoded.
    #[must_use]
    pub fn query(mut self, pair: &str) -> Self {
        if let Some(step) = self.steps.back_mut() {
            step.query.push(pair.to_owned());
        }
        self
    }

    /// How long [`Playing::finish`] waits for missing calls; for loops on paused time.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts to serve. The client's default namespace is `default`.
    #[must_use]
    pub fn start(self) -> (Client, Playing) {
        let (service, handle) = mock::pair::<Request<Body>, Response<AnswerBody>>();
        let (finished, finish) = oneshot::channel();
        let playing = Playing {
            name: self.name.clone(),
            patience: self.patience,
            server: tokio::spawn(serve(self.name, self.steps, handle, finish)),
            finished,
        };
        (Client::new(service, "default"), playing)
    }
}

impl Playing {
    /// Waits until every expected call has come, and returns the calls.
    ///
    /// # Panics
    /// A call was wrong, is missing, or came after the last.
    pub async fn finish(self) -> Vec<Call> {
        let Self {
            name,
            patience,
            mut server,
            finished,
        } = self;
        // The server hears of the end only once it has nothing left to expect.
        if finished.send(()).is_err() {
            tracing::debug!("the fake API server has failed");
        }
        match tokio::time::timeout(patience, &mut server).await {
            Ok(Ok(calls)) => calls,
            Ok(Err(failed)) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => fail(&name, &error.to_string()),
            },
            Err(_elapsed) => {
                server.abort();
                fail(&name, &format!("a call is missing after {patience:?}"))
            }
        }
    }
}

impl Answer {
    /// An object with a status code.
    #[must_use]
    pub fn json(code: u16, object: &impl Serialize) -> Self {
        match serde_json::to_string(object) {
            Ok(text) => Self::text(code, &text),
            Err(error) => fail("answer", &error.to_string()),
        }
    }

    /// Any body with a status code.
    #[must_use]
    pub fn text(code: u16, body: &str) -> Self {
        Self(Kind::Whole(code, body.to_owned()))
    }

    /// A failure as the API server words it, such as 409 `Conflict`.
    #[must_use]
    pub fn status(code: u16, reason: &str) -> Self {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "message": format!("fake {reason}"), "reason": reason, "code": code,
        });
        Self::text(code, &status.to_string())
    }

    /// A list of objects as of `version`.
    #[must_use]
    pub fn list(version: &str, items: &[Value]) -> Self {
        let list = json!({
            "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": version }, "items": items,
        });
        Self::text(200, &list.to_string())
    }

    /// Watch events, as `(type, object)`; then the watch ends.
    #[must_use]
    pub fn watch(events: &[(&str, Value)]) -> Self {
        Self::lines(events, false)
    }

    /// Watch events; then silence.
    #[must_use]
    pub fn open_watch(events: &[(&str, Value)]) -> Self {
        Self::lines(events, true)
    }

    /// No answer ever.
    #[must_use]
    pub fn hang() -> Self {
        Self(Kind::Hang)
    }

    /// The connection breaks.
    #[must_use]
    pub fn broken() -> Self {
        Self(Kind::Broken)
    }

    fn lines(events: &[(&str, Value)], stay_open: bool) -> Self {
        let line = |(kind, object): &(&str, Value)| format!("{}\n", json!({ "type": kind, "object": object }));
        Self(Kind::Lines {
            lines: events.iter().map(line).collect(),
            stay_open,
        })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Kind::Whole(..) => "Whole",
            Kind::Lines { .. } => "Lines",
            Kind::Hang => "Hang",
            Kind::Broken => "Broken",
        })
    }
}

async fn serve(name: String, mut steps: VecDeque<Step>, mut handle: Handle, finish: oneshot::Receiver<()>) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut hanging = Vec::new();
    while let Some(step) = steps.pop_front() {
        let Some((request, respond)) = handle.next_request().await else {
            fail(&name, &format!("the client is gone before {:?}", step.name))
        };
        let call = read(request).await;
        let query: Vec<_> = call.query.split('&').collect();
        let as_expected =
            call.method == step.method && call.path == step.path && step.query.iter().all(|pair| query.contains(&pair.as_str()));
        if !as_expected {
            fail(&name, &format!("expected {step:?}, got {call:?}"));
        }
        calls.push(call);
        hanging.extend(answer(step.answer, respond));
    }
    tokio::select! {
        biased;
        Some((request, _)) = handle.next_request() => {
            let call = read(request).await;
            fail(&name, &format!("unexpected call after the last step: {call:?}"))
        }
        _ = finish => calls,
    }
}

async fn read(request: Request<Body>) -> Call {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap_or_default();
    Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

fn answer(answer: Answer, respond: SendResponse<Response<AnswerBody>>) -> Option<SendResponse<Response<AnswerBody>>> {
    let (code, body) = match answer.0 {
        Kind::Hang => return Some(respond),
        Kind::Broken => {
            respond.send_error("fake broken connection");
            return None;
        }
        Kind::Whole(code, text) => (code, AnswerBody::from(text)),
        Kind::Lines { lines, stay_open } => {
            let lines = lines.into_iter().map(|line| Ok::<_, std::io::Error>(Bytes::from(line)));
            let lines = futures::stream::iter(lines);
            let rest = futures::stream::pending().take(usize::from(stay_open));
            (200, AnswerBody::from_stream(lines.chain(rest)))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    respond.send_response(response);
    None
}

#[expect(clippy::panic, reason = "a failed scenario fails the test it is played in")]
fn fail(scenario: &str, problem: &str) -> ! {
    panic!("scenario {scenario:?}: {problem}")
}

#[cfg(test)]
mod tests {
    use http::Method;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, Client};
    use serde_json::json;

    use super::{Answer, Scenario};

    const PATH: &str = "/api/v1/namespaces/default/configmaps/a";

    fn maps(client: Client) -> Api<ConfigMap> {
        Api::default_namespaced(client)
    }

    fn one_get() -> Scenario {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
        Scenario::new("one get").step("get", Method::GET, PATH, Answer::json(200, &map))
    }

    #[tokio::test]
    async fn expected_call_is_answered_and_recorded() {
        let (client, server) = one_get().start();
        maps(client).get("a").await.unwrap();
        let calls = server.finish().await;
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].path, PATH);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "a call is missing")]
    async fn missing_call_fails() {
        let (client, server) = one_get().start();
        server.finish().await;
        drop(client);
    }

    #[tokio::test]
    #[should_panic(expected = "expected Step")]
    async fn wrong_call_fails() {
        let (client, server) = one_get().start();
        assert!(maps(client).get("b").await.is_err());
        server.finish().await;
    }

    #[tokio::test]
    #[should_panic(expected = "unexpected call after the last step")]
    async fn call_too_many_fails() {
        let (client, server) = one_get().start();
        maps(client.clone()).get("a").await.unwrap();
        assert!(maps(client).get("a").await.is_err());
        server.finish().await;
    }
}
