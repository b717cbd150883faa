//! What a server on a pod's port 5000 answers: vLLM's two metrics handlers, which differ, and KAITO's small server that
//! holds the port while the model downloads. Faults are applied here. Pure; `listener` puts the answer on the wire.

use std::time::Duration;

use super::exposition::{Template, View};
use super::settings::{Fault, Unfiltered};

/// `prometheus_client`'s own type, which the instrumentator and KAITO's server send whatever was asked for.
const TEXT: &str = "text/plain; version=1.0.0; charset=utf-8";
/// What the mounted application chooses for a client that does not ask for OpenMetrics.
const TEXT_OLD: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Only the families KAITO's own server has before vLLM takes the port.
const DOWNLOAD_BODY: &str = include_str!("../../fixtures/vllm/download.prom");

/// Who holds the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Closed,
    Download,
    Vllm,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `/metrics`, the whole exposition.
    Full,
    /// `/metrics/?name[]=…`.
    Filtered,
    /// `/metrics/` without a filter, which blocks a real server's event loop.
    Unfiltered,
    Health,
    Other,
}

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// With its length.
    Whole,
    /// In chunks, without a length.
    Chunked,
    Drip {
        bytes: usize,
        every: Duration,
    },
    /// In chunks, followed by this many bytes of other series.
    Padded(u64),
    /// Cut off after so many bytes of the promised length.
    Truncated(usize),
    /// Never.
    Withheld,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub form: Form,
    pub delay: Duration,
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub location: Option<String>,
    pub body: Vec<u8>,
    pub delivery: Delivery,
    /// KAITO's server speaks HTTP/1.0 and closes.
    pub closing: bool,
}

/// What a server has to show.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub mode: Mode,
    pub fault: &'a Fault,
    pub template: &'a Template,
    pub view: View<'a>,
    /// Which of the two orders a filtered body has.
    pub reversed: bool,
}

/// The answer to one request; `target` is path and query as sent.
#[must_use]
pub fn answer(page: Page<'_>, method: &str, target: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let honest = match page.mode {
        Mode::Download | Mode::Closed => download(method, path),
        Mode::Vllm => vllm(page, method, path, query),
    };
    spoil(honest, page.fault, path)
}

fn plain(form: Form, status: u16, content_type: Option<&'static str>, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        form,
        delay: Duration::ZERO,
        status,
        content_type,
        location: None,
        body: body.into(),
        delivery: Delivery::Whole,
        closing: false,
    }
}

fn download(method: &str, path: &str) -> Answer {
    let answer = if method == "GET" && path == "/metrics" {
        plain(Form::Full, 200, Some(TEXT), DOWNLOAD_BODY)
    } else {
        plain(Form::Other, 404, None, "")
    };
    Answer { closing: true, ..answer }
}

fn vllm(page: Page<'_>, method: &str, path: &str, query: &str) -> Answer {
    match path {
        "/metrics" if method != "GET" => plain(Form::Other, 405, Some(JSON), r#"{"detail":"Method Not Allowed"}"#),
        "/metrics" => plain(Form::Full, 200, Some(TEXT), page.template.full(page.view)),
        "/health" => plain(Form::Health, 200, None, ""),
        // The mount takes every path that begins like this.
        _ if path.starts_with("/metrics") => mounted(page, &names(query)),
        _ => plain(Form::Other, 404, Some(JSON), r#"{"detail":"Not Found"}"#),
    }
}

fn mounted(page: Page<'_>, names: &[String]) -> Answer {
    let form = if names.is_empty() { Form::Unfiltered } else { Form::Filtered };
    if let Fault::FilterUnsupported { answer } = page.fault {
        match answer {
            Unfiltered::NotFound => return plain(form, 404, Some(JSON), r#"{"detail":"Not Found"}"#),
            Unfiltered::Empty => return chunked(form, String::new()),
            Unfiltered::Full => return chunked(form, page.template.full(page.view)),
        }
    }
    chunked(
        form,
        if names.is_empty() {
            page.template.full(page.view)
        } else {
            page.template.filtered(page.view, names, page.reversed)
        },
    )
}

fn chunked(form: Form, body: String) -> Answer {
    Answer {
        delivery: Delivery::Chunked,
        ..plain(form, 200, Some(TEXT_OLD), body)
    }
}

/// Whatever the path, a slow server is slow and a hanging one hangs; every other fault is one of the metrics.
fn spoil(honest: Answer, fault: &Fault, path: &str) -> Answer {
    let metrics = path.starts_with("/metrics");
    let delivered = |delivery| Answer {
        delivery,
        ..honest.clone()
    };
    match fault {
        Fault::Slow { ms } => Answer {
            delay: Duration::from_millis(*ms),
            ..honest
        },
        Fault::Hang => delivered(Delivery::Withheld),
        Fault::Drip { bytes, every_ms } if metrics => delivered(Delivery::Drip {
            bytes: *bytes,
            every: Duration::from_millis(*every_ms),
        }),
        Fault::Huge { bytes } if metrics => delivered(Delivery::Padded(*bytes)),
        Fault::Truncate { bytes } if metrics => delivered(Delivery::Truncated(*bytes)),
        Fault::Garbage if metrics => Answer {
            body: garbage(),
            ..honest
        },
        Fault::Body { text } if metrics => Answer {
            body: text.clone().into_bytes(),
            ..honest
        },
        Fault::Status { code } if metrics => {
            plain(honest.form, *code, Some("text/plain; charset=utf-8"), "Internal Server Error")
        }
        Fault::Redirect { location } if metrics => Answer {
            location: Some(location.clone()),
            ..plain(honest.form, 307, None, "")
        },
        Fault::None
        | Fault::Refuse
        | Fault::Missing { .. }
        | Fault::FilterUnsupported { .. }
        | Fault::Drip { .. }
        | Fault::Huge { .. }
        | Fault::Truncate { .. }
        | Fault::Garbage
        | Fault::Body { .. }
        | Fault::Status { .. }
        | Fault::Redirect { .. } => honest,
    }
}

/// Bytes that are no text, the same ones every time.
fn garbage() -> Vec<u8> {
    (0..4096_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect()
}

/// The values of `name[]`, percent-encoded or not, in the order given; blank ones are dropped as Python's parser does.
fn names(query: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| decode(key) == "name[]")
        .map(|(_, value)| decode(value))
        .filter(|value| !value.is_empty())
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
