//! One request: looked up in the book, passed on to the API server or not, its answer passed back or not.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use kube::client::Body as UpstreamBody;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::book::{Answer, Fault};
use super::request::{Request, Verb};
use super::{Call, Shared, events, lock};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const NOBODY: &str = "nobody";

/// The answer to one request. `cut` ends the connection it came on.
pub(super) async fn answer(shared: Arc<Shared>, request: http::Request<Incoming>, cut: CancellationToken) -> Response<Body> {
    let caller = caller(&request);
    let asked = Request::of(&caller, request.method(), request.uri());
    let fault = lock(&shared.book).on_request(&asked);
    let number = {
        let mut calls = lock(&shared.calls);
        calls.push(Call {
            at: Instant::now(),
            request: asked.clone(),
            status: None,
            fault: fault.as_ref().map(Fault::name),
        });
        calls.len() - 1
    };
    match &fault {
        Some(Fault::BlackHole) => return std::future::pending().await,
        Some(Fault::Reset) => return never(&cut).await,
        Some(Fault::Answer(answer)) => return made_up(answer, &asked),
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::LoseReply | Fault::KeepReply | Fault::Truncate(_) | Fault::Watch(_)) | None => {}
    }
    let response = match pass_on(&shared, &asked, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%error, path = asked.path, "the API server cannot be reached");
            return never(&cut).await;
        }
    };
    if let Some(call) = lock(&shared.calls).get_mut(number) {
        call.status = Some(response.status().as_u16());
    }
    let (head, body) = response.into_parts();
    if asked.verb == Verb::Watch && head.status.is_success() {
        return Response::from_parts(head, events::follow(shared, asked, body, cut));
    }
    let Ok(body) = body.collect().await else {
        return never(&cut).await;
    };
    let body = body.to_bytes();
    match fault {
        Some(Fault::LoseReply) => never(&cut).await,
        Some(Fault::KeepReply) => std::future::pending().await,
        Some(Fault::Truncate(length)) => Response::from_parts(head, first(body.slice(..length.min(body.len())), cut)),
        _ => Response::from_parts(head, Full::new(body).boxed_unsync()),
    }
}

/// The connection is cut, so nobody waits for this.
async fn never(cut: &CancellationToken) -> Response<Body> {
    cut.cancel();
    std::future::pending().await
}

fn caller(request: &http::Request<Incoming>) -> String {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let token = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    token.unwrap_or(NOBODY).to_owned()
}

async fn pass_on(
    shared: &Shared,
    asked: &Request,
    request: http::Request<Incoming>,
) -> Result<Response<UpstreamBody>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    for name in [
        header::AUTHORIZATION,
        header::HOST,
        header::ACCEPT_ENCODING,
        header::CONNECTION,
    ] {
        head.headers.remove(name);
    }
    let user = lock(&shared.users).get(&asked.caller).cloned();
    if let Some(user) = user {
        head.headers.insert("impersonate-user", HeaderValue::from_str(&user)?);
    }
    let body = body.collect().await?.to_bytes();
    let request = http::Request::from_parts(head, UpstreamBody::from(body));
    Ok(shared.upstream.send(request).await?)
}

fn made_up(answer: &Answer, asked: &Request) -> Response<Body> {
    let text = if answer.plain {
        format!("{}\n", answer.reason)
    } else {
        let details = json!({"name": asked.name, "kind": asked.resource, "retryAfterSeconds": answer.retry_after});
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": answer.status,
            "reason": answer.reason, "message": "the fault proxy says so", "details": details,
        });
        status.to_string()
    };
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if answer.plain {
        "text/plain; charset=utf-8"
    } else {
        "application/json"
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// These bytes; then the connection is cut.
fn first(bytes: Bytes, cut: CancellationToken) -> Body {
    let start = stream::iter([Ok(Frame::data(bytes))]);
    let end = stream::once(async move {
        cut.cancel();
        std::future::pending().await
    });
    StreamBody::new(futures::StreamExt::chain(start, end)).boxed_unsync()
}
