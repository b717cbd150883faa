//! The calls to the API server, in order, and what becomes of refusals.

use std::sync::Arc;

use http::Method;
use keda_kaito_core::crd::ClusterTriggerAuthentication;
use keda_kaito_core::credentials::{Acknowledgements, Config, Step};
use keda_kaito_core::names;
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::fake_api::{Answer, Scenario};
use keda_kaito_runtime::metrics::SharedRegistry;
use kube::Client;
use serde_json::json;

use super::memory::{stored, wanted};
use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::reconcile::Reconciler;
use crate::stored::Stored;
use crate::write::{Contents, Outcome};

const SECRETS: &str = "/api/v1/namespaces/keda/secrets";
const SERVER: &str = "/api/v1/namespaces/keda/secrets/keda-kaito-scaler-server-certs";

fn cluster(client: Client) -> Cluster {
    Cluster::new(client, "keda", "release")
}

fn contents() -> Contents {
    Contents {
        data: [("tls.key", b"secret".to_vec())].into(),
        annotations: [(names::GENERATION_ANNOTATION, Some("7".to_owned()))].into(),
    }
}

fn read() -> Stored {
    let mut read = stored(&[("tls.key", "old")]);
    read.0.metadata.resource_version = Some("41".to_owned());
    read.0.metadata.uid = Some("u".to_owned());
    read.0.metadata.annotations = Some([("theirs".to_owned(), "kept".to_owned())].into());
    read
}

fn not_found(kind: &str) -> Answer {
    let details = json!({ "name": "x", "kind": kind });
    Answer::json(
        404,
        &json!({ "kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404, "details": details }),
    )
}

#[tokio::test]
async fn secret_that_exists_is_replaced_at_the_version_read() {
    let answer = Answer::json(200, &json!({ "metadata": { "name": names::SERVER_SECRET } }));
    let (client, server) = Scenario::new("replace").step("put", Method::PUT, SERVER, answer).start();
    let outcome = cluster(client)
        .put(names::SERVER_SECRET, Some(&read()), contents(), false)
        .await;
    assert_eq!(outcome.unwrap(), Outcome::Written);
    let calls = server.finish().await;
    let metadata = &calls[0].body["metadata"];
    assert_eq!(metadata["resourceVersion"], "41");
    assert_eq!(metadata["annotations"]["theirs"], "kept");
    assert_eq!(metadata["annotations"][names::GENERATION_ANNOTATION], "7");
    assert_eq!(metadata["labels"][names::NAME_LABEL], names::APP_NAME);
}

#[tokio::test]
async fn whoever_comes_second_has_lost_and_writes_nothing_more() {
    for (name, before, method, path, answer) in [
        ("conflict", Some(read()), Method::PUT, SERVER, Answer::status(409, "Conflict")),
        ("deleted meanwhile", Some(read()), Method::PUT, SERVER, not_found("secrets")),
        (
            "created meanwhile",
            None,
            Method::POST,
            SECRETS,
            Answer::status(409, "AlreadyExists"),
        ),
    ] {
        let (client, server) = Scenario::new(name).step(name, method, path, answer).start();
        let outcome = cluster(client)
            .put(names::SERVER_SECRET, before.as_ref(), contents(), false)
            .await;
        assert_eq!(outcome.unwrap(), Outcome::Lost, "{name}");
        server.finish().await;
    }
}

#[tokio::test]
async fn missing_namespace_is_an_error_and_no_lost_race() {
    let scenario = Scenario::new("no namespace").step("post", Method::POST, SECRETS, not_found("namespaces"));
    let (client, server) = scenario.start();
    let error = cluster(client)
        .put(names::SERVER_SECRET, None, contents(), false)
        .await
        .unwrap_err();
    assert_eq!(error.category(), "not_found");
    server.finish().await;
}

#[tokio::test]
async fn secret_of_a_wrong_type_is_deleted_as_read_and_created_anew() {
    let created = Answer::json(201, &json!({ "metadata": { "name": names::SERVER_SECRET } }));
    let deleted = Answer::json(200, &json!({ "kind": "Status", "status": "Success" }));
    let (client, server) = Scenario::new("replace")
        .step("delete", Method::DELETE, SERVER, deleted)
        .step("post", Method::POST, SECRETS, created)
        .start();
    let mut before = read();
    before.0.type_ = Some("kubernetes.io/basic-auth".to_owned());
    let outcome = cluster(client)
        .put(names::SERVER_SECRET, Some(&before), contents(), true)
        .await;
    assert_eq!(outcome.unwrap(), Outcome::Written);
    let calls = server.finish().await;
    let preconditions = &calls[0].body["preconditions"];
    assert_eq!(
        (&preconditions["resourceVersion"], &preconditions["uid"]),
        (&json!("41"), &json!("u"))
    );
    assert_eq!(calls[1].body["type"], "Opaque");
    assert_eq!(calls[1].body["metadata"].get("resourceVersion"), None);
}

#[tokio::test]
async fn authentication_is_applied_with_its_parameters_in_order() {
    let path = "/apis/keda.sh/v1alpha1/clustertriggerauthentications/keda-kaito-scaler-creds";
    let answer = Answer::json(200, &json!({ "metadata": { "name": "keda-kaito-scaler-creds" } }));
    let (client, server) = Scenario::new("apply")
        .step("patch", Method::PATCH, path, answer)
        .query("force=true")
        .query("fieldManager=keda-kaito-certmgr")
        .start();
    let outcome = cluster(client).apply_authentication(12, None).await;
    assert_eq!(outcome.unwrap(), Outcome::Written);
    let body = server.finish().await.remove(0).body;
    let parameters = body["spec"]["secretTargetRef"].as_array().unwrap();
    let parameters: Vec<_> = parameters
        .iter()
        .map(|parameter| parameter["parameter"].as_str().unwrap())
        .collect();
    assert_eq!(parameters, ["tlsClientCert", "tlsClientKey", "caCert"]);
    assert_eq!(body["metadata"]["annotations"][names::CREDENTIAL_EPOCH_ANNOTATION], "12");
}

#[tokio::test]
async fn authentication_that_exists_is_applied_at_the_version_read() {
    let path = "/apis/keda.sh/v1alpha1/clustertriggerauthentications/keda-kaito-scaler-creds";
    let scenario = Scenario::new("apply").step("patch", Method::PATCH, path, Answer::status(409, "Conflict"));
    let (client, server) = scenario.start();
    let mut read = ClusterTriggerAuthentication::default();
    read.metadata.resource_version = Some("41".to_owned());
    let outcome = cluster(client).apply_authentication(12, Some(&read)).await;
    assert_eq!(outcome.unwrap(), Outcome::Lost);
    let body = server.finish().await.remove(0).body;
    assert_eq!(body["metadata"]["resourceVersion"], "41");
}

/// A cluster without KEDA, in which nothing of ours exists, and whose Pods may not be listed.
fn bare() -> Scenario {
    let absent = || not_found("secrets");
    let kinds = json!({ "kind": "APIResourceList", "groupVersion": "keda.sh/v1alpha1", "resources": [] });
    Scenario::new("bare")
        .step("clock", Method::GET, "/version", Answer::json(200, &json!({})))
        .step("authority", Method::GET, &format!("{SECRETS}/keda-kaito-scaler-ca"), absent())
        .step("server", Method::GET, SERVER, absent())
        .step(
            "client",
            Method::GET,
            &format!("{SECRETS}/keda-kaito-scaler-client-certs"),
            absent(),
        )
        .step(
            "authentication",
            Method::GET,
            "/apis/keda.sh/v1alpha1/clustertriggerauthentications/keda-kaito-scaler-creds",
            Answer::text(404, "404 page not found\n"),
        )
        .step("kinds", Method::GET, "/apis/keda.sh/v1alpha1", Answer::json(200, &kinds))
        .step(
            "pods",
            Method::GET,
            "/api/v1/namespaces/release/pods",
            Answer::status(403, "Forbidden"),
        )
}

#[tokio::test]
async fn replicas_that_cannot_be_listed_are_unknown_and_not_none() {
    let (client, server) = bare().start();
    let snapshot = cluster(client).read().await.unwrap();
    assert!(
        matches!(snapshot.acknowledgements, Acknowledgements::Unknown(_)),
        "{snapshot:?}"
    );
    assert!(!snapshot.authentication.served);
    assert_eq!(snapshot.clock.server, None);
    server.finish().await;
}

#[tokio::test]
async fn object_that_cannot_be_read_is_an_error_and_not_absent() {
    let scenario = Scenario::new("forbidden")
        .step("clock", Method::GET, "/version", Answer::json(200, &json!({})))
        .step(
            "authority",
            Method::GET,
            &format!("{SECRETS}/keda-kaito-scaler-ca"),
            Answer::status(403, "Forbidden"),
        );
    let (client, server) = scenario.start();
    let error = cluster(client).read().await.unwrap_err();
    assert_eq!(error.category(), "forbidden");
    server.finish().await;
}

#[tokio::test]
async fn standby_looks_and_writes_nothing() {
    let (client, server) = bare().start();
    let registry = SharedRegistry::with_prefix("test");
    let reconciler = Reconciler {
        cluster: cluster(client.clone()),
        config: Arc::new(Config::default()),
        wanted: Arc::new(wanted()),
        recorder: Recorder::new(client, "test", "test", &registry),
        metrics: Metrics::register(&registry),
    };
    let plan = reconciler.turn(None).await.unwrap();
    assert!(matches!(plan.step, Some(Step::Authority { .. })), "{plan:?}");
    server.finish().await;
    let text = registry.encode().unwrap();
    assert!(text.contains("test_phase{phase=\"stable\"} 1\n"), "{text}");
}
