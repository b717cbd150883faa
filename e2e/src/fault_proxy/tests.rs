//! The proxy between a kube client and a stand-in for the API server that counts what reaches it.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::client::Body as KubeBody;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::mpsc;

use super::*;

const SOON: Duration = Duration::from_secs(10);

struct Setting {
    proxy: FaultProxy,
    maps: Api<ConfigMap>,
    /// Writes that reached the API server.
    writes: Arc<AtomicU32>,
    /// Lines of the open watch.
    lines: mpsc::Sender<String>,
    _directory: tempfile::TempDir,
}

type AnswerBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;

fn map(name: &str, version: u32) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}"#)
}

fn event(name: &str, version: u32) -> String {
    format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", map(name, version))
}

async fn setting() -> Setting {
    let writes = Arc::new(AtomicU32::new(0));
    let (lines, watched) = mpsc::channel::<String>(8);
    let watched = Arc::new(Mutex::new(Some(watched)));
    let counted = Arc::clone(&writes);
    let upstream = tower::service_fn(move |request: http::Request<KubeBody>| {
        let (writes, watched) = (Arc::clone(&counted), Arc::clone(&watched));
        async move {
            let user = request.headers().get("impersonate-user");
            assert_eq!(user.unwrap(), "somebody");
            assert!(!request.headers().contains_key(http::header::AUTHORIZATION));
            let watches = request.uri().query().is_some_and(|query| query.contains("watch"));
            let body: AnswerBody = if watches {
                let lines = lock(&watched).take().expect("one watch");
                let frames = futures::stream::unfold(lines, async |mut lines| {
                    let line = lines.recv().await?;
                    Some((Ok(Frame::data(Bytes::from(line))), lines))
                });
                StreamBody::new(frames).boxed_unsync()
            } else if request.method() == http::Method::GET {
                let items = [map("a", 1), map("b", 2)].join(",");
                let list = format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMapList","metadata":{{"resourceVersion":"2"}},"items":[{items}]}}"#
                );
                Full::new(Bytes::from(list)).boxed_unsync()
            } else {
                writes.fetch_add(1, Ordering::Relaxed);
                Full::new(Bytes::from(map("a", 3))).boxed_unsync()
            };
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let proxy = FaultProxy::before(Client::new(upstream, "default"), directory.path())
        .await
        .unwrap();
    let file = proxy.kubeconfig("tester", Some("somebody")).unwrap();
    let kubeconfig = Kubeconfig::read_from(file).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Setting {
        maps: Api::default_namespaced(Client::try_from(config).unwrap()),
        proxy,
        writes,
        lines,
        _directory: directory,
    }
}

impl Setting {
    async fn write(&self) -> kube::Result<ConfigMap> {
        let map: serde_json::Value = serde_json::from_str(&map("a", 1)).unwrap();
        let (params, patch) = (PatchParams::apply("test"), Patch::Apply(map));
        tokio::time::timeout(SOON, self.maps.patch("a", &params, &patch))
            .await
            .expect("an answer or a reset")
    }

    /// What a watch shows, in short.
    async fn watch(&self) -> impl futures::Stream<Item = String> + Unpin {
        let events = self.maps.watch(&WatchParams::default(), "2").await.unwrap();
        let shown = events.into_stream().map(|event| match event {
            Ok(WatchEvent::Modified(map)) => format!("{}@{}", map.metadata.name.unwrap(), map.metadata.resource_version.unwrap()),
            Ok(WatchEvent::Error(status)) => format!("error {}", status.code),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("broken {error}"),
        });
        Box::pin(shown)
    }

    async fn send(&self, name: &str, version: u32) {
        self.lines.send(event(name, version)).await.unwrap();
    }
}

async fn next(watch: &mut (impl futures::Stream<Item = String> + Unpin)) -> Option<String> {
    tokio::time::timeout(SOON, watch.next()).await.expect("something comes")
}

#[tokio::test]
async fn what_no_rule_covers_passes_and_is_written_down() {
    let setting = setting().await;
    let begun = Instant::now();
    assert_eq!(setting.write().await.unwrap().metadata.resource_version.as_deref(), Some("3"));
    assert_eq!(setting.maps.list(&Default::default()).await.unwrap().items.len(), 2);
    let calls = setting.proxy.calls(begun);
    let short: Vec<_> = calls
        .iter()
        .map(|call| (call.request.verb, call.status, call.fault))
        .collect();
    assert_eq!(short, [(Verb::Patch, Some(200), None), (Verb::List, Some(200), None)]);
    assert_eq!(calls[0].request.caller, "tester");
}

#[tokio::test]
async fn every_second_write_conflicts_and_never_reaches_the_api_server() {
    let setting = setting().await;
    let scope = Scope::all().verbs(&Verb::WRITES);
    let fault = setting
        .proxy
        .inject(Rule::new(scope, Fault::status(409, "Conflict")).every(2));
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(setting.write().await.map_or_else(|error| code(&error), |_| 200));
    }
    assert_eq!(codes, [200, 409, 200, 409]);
    assert_eq!((fault.hits(), setting.writes.load(Ordering::Relaxed)), (2, 2));
    drop(fault);
    assert!(setting.write().await.is_ok() && setting.write().await.is_ok());
}

#[tokio::test]
async fn a_lost_reply_was_applied_once_and_a_reset_was_not() {
    let setting = setting().await;
    let lost = setting.proxy.inject(Rule::new(Scope::all(), Fault::LoseReply).times(1));
    assert_eq!(code(&setting.write().await.unwrap_err()), 0);
    assert_eq!((lost.hits(), setting.writes.load(Ordering::Relaxed)), (1, 1));
    let _reset = setting.proxy.inject(Rule::new(Scope::all(), Fault::Reset).times(1));
    assert_eq!(code(&setting.write().await.unwrap_err()), 0);
    assert_eq!(setting.writes.load(Ordering::Relaxed), 1);
    assert!(setting.write().await.is_ok());
}

#[tokio::test]
async fn an_overloaded_server_answers_in_words_and_with_retry_after() {
    let setting = setting().await;
    let _busy = setting.proxy.inject(Rule::new(Scope::all(), Fault::too_many_requests(7)));
    assert_eq!(code(&setting.write().await.unwrap_err()), 429);
}

#[tokio::test]
async fn a_truncated_list_is_an_error_and_a_hung_one_nothing() {
    let setting = setting().await;
    let cut = setting.proxy.inject(Rule::new(Scope::all(), Fault::Truncate(100)));
    let listed = tokio::time::timeout(SOON, setting.maps.list(&Default::default())).await;
    assert!(listed.expect("the connection is reset").is_err());
    drop(cut);
    let hung = setting.proxy.inject(Rule::new(Scope::all(), Fault::BlackHole));
    let listed = tokio::time::timeout(Duration::from_millis(300), setting.maps.list(&Default::default())).await;
    assert!(listed.is_err(), "it answered");
    assert_eq!(hung.hits(), 1);
}

#[tokio::test]
async fn an_open_watch_is_told_that_it_is_gone() {
    let setting = setting().await;
    let mut watch = setting.watch().await;
    setting.send("a", 3).await;
    assert_eq!(next(&mut watch).await.as_deref(), Some("a@3"));
    let fault = setting.proxy.inject(Rule::new(Scope::all(), Fault::gone_event()));
    assert_eq!(next(&mut watch).await.as_deref(), Some("error 410"));
    assert_eq!(next(&mut watch).await, None);
    assert_eq!(fault.hits(), 1);
}

#[tokio::test]
async fn events_change_places_come_twice_or_not_at_all() {
    let setting = setting().await;
    let mut watch = setting.watch().await;
    let swap = setting.proxy.inject(Rule::new(Scope::all(), Fault::Watch(WatchFault::Swap)));
    setting.send("a", 3).await;
    setting.send("b", 4).await;
    assert_eq!(next(&mut watch).await.as_deref(), Some("b@4"));
    assert_eq!(next(&mut watch).await.as_deref(), Some("a@3"));
    drop(swap);
    let repeat = setting
        .proxy
        .inject(Rule::new(Scope::all(), Fault::Watch(WatchFault::Repeat)));
    setting.send("c", 5).await;
    assert_eq!(next(&mut watch).await.as_deref(), Some("c@5"));
    assert_eq!(next(&mut watch).await.as_deref(), Some("c@5"));
    drop(repeat);
    let silence = setting
        .proxy
        .inject(Rule::new(Scope::all(), Fault::Watch(WatchFault::Silence)));
    setting.send("d", 6).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(silence.hits(), 1);
}

/// 0 when the connection broke.
fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error {
        status.code
    } else {
        0
    }
}
