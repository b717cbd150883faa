use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use tower::ServiceExt;

use super::{bind, health_router, metrics_router};
use crate::args::AdminArgs;
use crate::metrics::SharedRegistry;
use crate::readiness::Readiness;

async fn get(router: axum::Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn liveness_does_not_depend_on_readiness() {
    let (status, body) = get(health_router(Readiness::default()), "/livez").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
}

#[tokio::test]
async fn readiness_lists_every_closed_gate_and_then_says_ok() {
    let readiness = Readiness::default();
    let crds = readiness.gate("crds", "waiting for Widget");
    let cache = readiness.gate("cache", "waiting for the first list");

    let (status, body) = get(health_router(readiness.clone()), "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "cache: waiting for the first list\ncrds: waiting for Widget\n");

    crds.open();
    cache.open();
    let (status, body) = get(health_router(readiness), "/readyz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let registry = SharedRegistry::with_prefix("shop");
    registry.register_process("till", "1.2.3");
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = metrics_router(registry).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert!(body.ends_with(b"# EOF\n"));
}

#[tokio::test]
async fn unequal_addresses_get_a_listener_each_and_equal_ones_share_one() {
    let registry = SharedRegistry::with_prefix("shop");
    let readiness = Readiness::default();
    let any = "127.0.0.1:0".parse().unwrap();
    let other = "127.0.0.2:0".parse().unwrap();
    for (metrics_address, health_address, listeners) in [(any, other, 2), (any, any, 1)] {
        let args = AdminArgs {
            metrics_address,
            health_address,
        };
        let bound = bind(&args, &registry, &readiness).await.unwrap();
        assert_eq!(bound.addresses().count(), listeners);
    }
}

#[tokio::test]
async fn taken_address_is_named_in_the_error() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let args = AdminArgs {
        metrics_address: address,
        health_address: address,
    };
    let error = bind(&args, &SharedRegistry::with_prefix("shop"), &Readiness::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("failed to bind the admin address {address}"));
}
