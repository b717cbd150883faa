//! An API server in memory, as far as certmgr needs one: objects by path, compare-and-swap, and answers that come in no
//! particular order. It keeps every pair of server and client Secret that was ever there together.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, Response};
use jiff::Timestamp;
use keda_kaito_core::names;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::stored::Stored;

const SECRETS: &str = "/api/v1/namespaces/keda/secrets";

#[derive(Clone, Default)]
pub(super) struct Store {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    objects: BTreeMap<String, Value>,
    together: Vec<(Stored, Stored)>,
}

impl Store {
    /// A client whose requests take anything up to three milliseconds each way.
    pub(super) fn client(&self) -> Client {
        let store = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let store = store.clone();
            async move {
                let pause = || tokio::time::sleep(Duration::from_micros(rand::random_range(0..3000)));
                pause().await;
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = store.lock().answer(&head.method, head.uri.path(), body);
                pause().await;
                let date = jiff::fmt::rfc2822::DateTimePrinter::new()
                    .timestamp_to_rfc9110_string(&Timestamp::now())
                    .unwrap();
                let response = Response::builder().status(status).header(http::header::DATE, date);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        });
        Client::new(service, "keda")
    }

    pub(super) fn secret(&self, name: &str) -> Option<Stored> {
        self.lock().secret(name)
    }

    pub(super) fn authentication(&self) -> Option<Value> {
        let path = "/apis/keda.sh/v1alpha1/clustertriggerauthentications/keda-kaito-scaler-creds";
        self.lock().objects.get(path).cloned()
    }

    /// Every server Secret with every client Secret beside which it was there.
    pub(super) fn together(&self) -> Vec<(Stored, Stored)> {
        self.lock().together.clone()
    }

    /// Asks for a rotation, whoever writes meanwhile.
    pub(super) fn request(&self, reason: &str) {
        let mut inner = self.lock();
        let path = format!("{SECRETS}/{}", names::CA_SECRET);
        let mut authority = inner.objects.get(&path).unwrap().clone();
        authority["metadata"]["annotations"][names::ROTATE_REASON_ANNOTATION] = json!(reason);
        inner.put(&path, authority);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let named = self.objects.get(path);
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match *method {
            _ if path == "/version" => (200, json!({})),
            _ if path == "/apis/keda.sh/v1alpha1" => (200, kinds()),
            Method::GET if path.ends_with("/pods") => (200, list(&[])),
            Method::GET if path.ends_with("/leases") => (200, list(&[self.lease()])),
            Method::GET => named.map_or_else(|| refusal(404, path), |object| (200, object.clone())),
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or("event"));
                if self.objects.contains_key(&path) && !path.contains("/events/") {
                    return refusal(409, &path);
                }
                (201, self.put(&path, body))
            }
            Method::PUT => match named {
                None => refusal(404, path),
                Some(object) if version(object) != version(&body) => refusal(409, path),
                Some(_) => (200, self.put(path, body)),
            },
            Method::PATCH => {
                let wanted = version(&body);
                if !wanted.is_null() && named.map(version) != Some(wanted) {
                    return refusal(409, path);
                }
                (200, self.put(path, body))
            }
            _ => refusal(405, path),
        }
    }

    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!("u");
        self.objects.insert(path.to_owned(), object.clone());
        let pair = (self.secret(names::SERVER_SECRET), self.secret(names::CLIENT_SECRET));
        if let (Some(server), Some(client)) = pair
            && path.starts_with(SECRETS)
        {
            self.together.push((server, client));
        }
        object
    }

    fn secret(&self, name: &str) -> Option<Stored> {
        let object = self.objects.get(&format!("{SECRETS}/{name}"))?;
        Some(Stored(serde_json::from_value(object.clone()).unwrap()))
    }

    /// Of the one replica, which holds whatever is published and sees new callers only.
    fn lease(&self) -> Value {
        let annotation = |name: &str, key: &str| {
            let secret = self.objects.get(&format!("{SECRETS}/{name}"))?;
            secret["metadata"]["annotations"].get(key).cloned()
        };
        let generation = annotation(names::SERVER_SECRET, names::GENERATION_ANNOTATION);
        let epoch = annotation(names::CLIENT_SECRET, names::GENERATION_ANNOTATION);
        let now = Timestamp::now();
        json!({
            "metadata": { "name": "scaler-0", "annotations": {
                names::LEASE_TRUSTED_GENERATION: generation, names::LEASE_SERVED_GENERATION: generation,
                names::LEASE_LOWEST_CALLER_EPOCH: epoch, names::LEASE_CALLERS_SINCE: "2026-01-01T00:00:00Z",
            } },
            "spec": { "holderIdentity": "scaler-0", "leaseDurationSeconds": 40, "renewTime": format!("{now:.6}") },
        })
    }
}

fn kinds() -> Value {
    let kind = json!({
        "name": "clustertriggerauthentications", "singularName": "clustertriggerauthentication", "namespaced": false,
        "kind": "ClusterTriggerAuthentication", "verbs": ["get", "patch"],
    });
    json!({ "kind": "APIResourceList", "groupVersion": "keda.sh/v1alpha1", "resources": [kind] })
}

fn list(items: &[Value]) -> Value {
    json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items })
}

fn refusal(code: u16, path: &str) -> (u16, Value) {
    let reason = if code == 409 { "Conflict" } else { "NotFound" };
    let kind = if path.starts_with(SECRETS) { "secrets" } else { "others" };
    let status = json!({
        "kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code, "details": { "kind": kind },
    });
    (code, status)
}
