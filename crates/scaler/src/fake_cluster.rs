//! For tests: an API server that lists one object per kind, gets it by name, and sends what it is told on its watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone, Default)]
pub(crate) struct FakeCluster {
    /// By plural.
    objects: Arc<Mutex<BTreeMap<&'static str, Value>>>,
    watches: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Bytes>>>>,
}

impl FakeCluster {
    pub(crate) fn of(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self {
            objects: Arc::new(Mutex::new(objects.into_iter().collect())),
            ..Self::default()
        }
    }

    pub(crate) fn client(&self) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = cluster.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    /// What a get finds from now on.
    pub(crate) fn put(&self, plural: &'static str, object: Value) {
        self.objects.lock().unwrap().insert(plural, object);
    }

    /// Sends an event as soon as somebody watches.
    pub(crate) async fn send(&self, plural: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        eventually("a watch", || self.watches.lock().unwrap().contains_key(plural)).await;
        self.watches.lock().unwrap()[plural].send(Bytes::from(line)).unwrap();
    }

    fn answer(&self, request: &Request<Body>) -> Response<AnswerBody> {
        let mut path = request.uri().path().rsplit('/');
        let last = path.next().unwrap_or_default().to_owned();
        let objects = self.objects.lock().unwrap();
        let body = if request.uri().query().unwrap_or_default().contains("watch=true") {
            let (tx, rx) = mpsc::unbounded_channel();
            self.watches.lock().unwrap().insert(last, tx);
            let frames = UnboundedReceiverStream::new(rx).map(|line| Ok(Frame::data(line)));
            StreamBody::new(frames).boxed_unsync()
        } else if let Some(object) = objects.get(path.next().unwrap_or_default()) {
            Full::from(object.to_string()).boxed_unsync()
        } else {
            let items: Vec<_> = objects.get(last.as_str()).into_iter().collect();
            let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
            Full::from(list.to_string()).boxed_unsync()
        };
        Response::new(body)
    }
}

/// Waits until it holds; fails the test after 10 s.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let reached = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect(what);
}
