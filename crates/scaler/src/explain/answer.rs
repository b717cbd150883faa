//! One request, one answer. Nothing is read but the request's head; every answer is made from memory.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use keda_kaito_core::explain::{svg, text};
use serde::Serialize;

use super::story::{explanation, overview};
use crate::registry::{Registry, SetKey};

/// InferenceSets in one overview.
const MAX_LINES: usize = 500;
/// Longest path and query.
const MAX_TARGET: usize = 1024;
/// Everything comes from this listener, nothing is framed or sent on.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request.
pub(super) fn answer(registry: &Registry, told_by: &str, request: &Parts) -> Response<Full<Bytes>> {
    let mut response = match body(registry, told_by, request) {
        Ok((kind, body)) => sent(StatusCode::OK, kind, body),
        Err((status, why)) => sent(status, TEXT, format!("{why}\n")),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

type Refusal = (StatusCode, &'static str);

fn body(registry: &Registry, told_by: &str, request: &Parts) -> Result<(&'static str, String), Refusal> {
    admit(request)?;
    let query = request.uri.query().unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let output = value("output").unwrap_or("json");
    let unknown_output = (StatusCode::BAD_REQUEST, "output: is none of json, text and svg");
    match request.uri.path() {
        "/" => Ok((HTML, include_str!("page/index.html").to_owned())),
        "/page.js" => Ok((SCRIPT, include_str!("page/page.js").to_owned())),
        "/icon.svg" => Ok((SVG, include_str!("page/icon.svg").to_owned())),
        "/page.css" => Ok((STYLE, include_str!("page/page.css").to_owned())),
        "/explain" => {
            let bad = (StatusCode::BAD_REQUEST, "after: is not NAMESPACE/NAME");
            let after = value("after")
                .map(|text| key(&text.replace("%2F", "/")).ok_or(bad))
                .transpose()?;
            let overview = overview(registry, after.as_ref(), MAX_LINES, told_by);
            match output {
                "json" => Ok((JSON, json(&overview)?)),
                "text" => Ok((TEXT, text::table(&overview))),
                _ => Err(unknown_output),
            }
        }
        path => {
            let none = (StatusCode::NOT_FOUND, "there is nothing here; see /explain");
            let key = path.strip_prefix("/explain/").and_then(key).ok_or(none)?;
            let nobody = (
                StatusCode::NOT_FOUND,
                "no ScaledObject asks this scaler about such an InferenceSet",
            );
            let explanation = explanation(registry, &key, told_by).ok_or(nobody)?;
            match output {
                "json" => Ok((JSON, json(&explanation)?)),
                "text" => Ok((TEXT, text::page(&explanation))),
                "svg" => Ok((SVG, svg::picture(&explanation))),
                _ => Err(unknown_output),
            }
        }
    }
}

/// Whether the request may be answered at all. A page of another site can make a browser send requests here, under a name of
/// its own that was made to mean this machine; it is told nothing.
fn admit(request: &Parts) -> Result<(), Refusal> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"));
    }
    if request
        .uri
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > MAX_TARGET)
    {
        return Err((StatusCode::URI_TOO_LONG, "the path is too long"));
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let host = host.filter(|_| another.is_none()).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_this_machine) || request.uri.authority().is_some_and(|name| !is_this_machine(name.as_str())) {
        return Err((StatusCode::FORBIDDEN, "Host: must be localhost or a loopback address"));
    }
    let header = |name| request.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let elsewhere = header("sec-fetch-site").is_some_and(|site| matches!(site, "cross-site" | "same-site"));
    if elsewhere && header("sec-fetch-mode") != Some("navigate") {
        return Err((StatusCode::FORBIDDEN, "asked for by another site"));
    }
    Ok(())
}

/// `localhost`, or a loopback address, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok();
    let (name, rest) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some(parts) => parts,
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port_is_one = rest.is_empty() || rest.strip_prefix(':').is_some_and(port);
    let loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port_is_one && (loopback || name.eq_ignore_ascii_case("localhost"))
}

/// `NAMESPACE/NAME`, of the characters that such names have.
pub(crate) fn key(text: &str) -> Option<SetKey> {
    let (namespace, name) = text.split_once('/')?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let is_name = |text: &str| (1..=253).contains(&text.len()) && text.bytes().all(allowed);
    (is_name(namespace) && is_name(name)).then(|| SetKey::new(namespace, name))
}

fn json(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|_never| (StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written as JSON"))
}

fn sent(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}
