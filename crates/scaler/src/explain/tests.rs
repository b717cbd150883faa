use std::net::SocketAddr;
use std::time::Duration;

use keda_kaito_core::fleet::Timing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::explain_command::{ExplainArgs, Output};
use crate::registry::{Registry, SetKey};

const PATIENCE: Duration = Duration::from_secs(20);

/// A listener that knows one InferenceSet, which nobody has decided on yet.
struct Bed {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bed {
    async fn start() -> Self {
        let registry = Registry::new(Clock::start(), Timing::default());
        registry.track(&SetKey::new("ns", "phi"));
        let explainer = Explainer {
            registry,
            told_by: "scaler-0".into(),
        };
        let stop = CancellationToken::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            explainer
                .serve(any, |address| tell.send(address).unwrap(), &stopped)
                .await
                .unwrap();
        });
        Self {
            address: told.await.unwrap(),
            stop,
        }
    }

    /// The whole answer to a request sent as it is.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .ok();
        answer
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\n{headers}\r\n")).await
    }

    async fn status(&self, path: &str, headers: &str) -> u16 {
        let answer = self.get(path, headers).await;
        answer.get(9..12).unwrap_or_default().parse().unwrap_or_default()
    }
}

#[tokio::test]
async fn everything_is_there_under_this_machines_names_alone() {
    let bed = Bed::start().await;
    for host in ["localhost", "LOCALHOST:10453", "127.0.0.1:1", "[::1]:10453", "127.9.9.9"] {
        assert_eq!(
            bed.status("/explain/ns/phi", &format!("Host: {host}\r\n")).await,
            200,
            "{host}"
        );
    }
    for host in [
        "Host: rebound.example\r\n",
        "Host: localhost.rebound.example\r\n",
        "Host: 127.0.0.1.rebound.example\r\n",
        "Host: localhost:port\r\n",
        "Host: 10.0.0.1\r\n",
        "Host: [::1\r\n",
        "Host: \r\n",
        "Host: localhost\r\nHost: rebound.example\r\n",
        "",
    ] {
        let status = bed.status("/explain/ns/phi", host).await;
        assert!(matches!(status, 400 | 403), "{host:?}: {status}");
    }
    let absolute = bed.get("http://rebound.example/explain", "Host: localhost\r\n").await;
    assert!(absolute.starts_with("HTTP/1.1 403"), "{absolute}");
}

#[tokio::test]
async fn another_sites_page_may_lead_here_and_not_read() {
    let bed = Bed::start().await;
    let host = "Host: localhost\r\n";
    for (headers, status) in [
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n", 200),
    ] {
        assert_eq!(bed.status("/explain", &format!("{host}{headers}")).await, status, "{headers}");
    }
}

#[tokio::test]
async fn paths_outputs_and_methods_that_are_not_there_are_refused() {
    let bed = Bed::start().await;
    let host = "Host: localhost\r\n";
    let long = format!("/explain?after={}", "a".repeat(2000));
    for (path, status) in [
        ("/", 200),
        ("/page.js", 200),
        ("/page.css", 200),
        ("/icon.svg", 200),
        ("/explain", 200),
        ("/explain?output=text", 200),
        ("/explain?after=ns/phi", 200),
        ("/explain?after=ns%2Fphi", 200),
        ("/explain?after=phi", 400),
        ("/explain?output=svg", 400),
        ("/explain/ns/phi", 200),
        ("/explain/ns/phi?output=svg", 200),
        ("/explain/ns/phi?output=text", 200),
        ("/explain/ns/phi?output=pdf", 400),
        ("/explain/ns/other", 404),
        ("/explain/ns", 404),
        ("/explain/ns/phi/more", 404),
        ("/explain/../ns/phi", 404),
        ("/metrics", 404),
        (&long, 414),
    ] {
        assert_eq!(bed.status(path, host).await, status, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = bed
            .send(&format!("{method} /explain HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("GET, HEAD"), "{answer}");
    }
}

#[tokio::test]
async fn page_may_load_from_its_own_listener_alone() {
    let bed = Bed::start().await;
    for path in ["/", "/page.js", "/explain", "/nowhere"] {
        let answer = bed.get(path, "Host: localhost\r\n").await.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(header), "{path}: {header} is missing in {answer}");
        }
        assert!(!answer.contains("access-control-allow"), "{path}");
    }
    let page = bed.get("/", "Host: localhost\r\n").await;
    assert!(!page.contains("://"), "it names another place: {page}");
}

#[tokio::test]
async fn large_heads_are_cut_off_and_bodies_are_not_read() {
    let bed = Bed::start().await;
    let head = format!("Host: localhost\r\nX-Filler: {}\r\n", "a".repeat(64 * 1024));
    assert!(!bed.get("/explain", &head).await.starts_with("HTTP/1.1 200"));
    // A body that never comes holds nothing up.
    let answer = bed.get("/explain", "Host: localhost\r\nContent-Length: 1000000000\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn connections_that_say_nothing_end_and_leave_room() {
    let bed = Bed::start().await;
    let mut idle = Vec::new();
    for _ in 0..2 * MAX_CONNECTIONS {
        idle.push(TcpStream::connect(bed.address).await.unwrap());
    }
    // All places are taken until their deadline.
    assert_eq!(bed.status("/explain", "Host: localhost\r\n").await, 200);
}

#[tokio::test]
async fn client_prints_what_the_listener_says_or_why_there_is_nothing() {
    let bed = Bed::start().await;
    let print = |name: Option<&str>, output, address| {
        let args = ExplainArgs {
            inference_set: name.map(str::to_owned),
            output,
            address,
        };
        tokio::task::spawn_blocking(move || {
            let (mut printed, mut errors) = (Vec::new(), Vec::new());
            crate::explain_command::run(&args, &mut printed, &mut errors);
            (String::from_utf8(printed).unwrap(), String::from_utf8(errors).unwrap())
        })
    };
    let address = bed.address;
    for (name, output, words) in [
        (Some("ns/phi"), Output::Text, "no ScaledObject asks us about it"),
        (Some("ns/phi"), Output::Json, "\"toldBy\": \"scaler-0\""),
        (Some("ns/phi"), Output::Svg, "nothing was recorded yet"),
        (None, Output::Text, "ns/phi"),
        (None, Output::Json, "\"inferenceSets\""),
    ] {
        let (printed, errors) = print(name, output, address).await.unwrap();
        assert!(
            printed.contains(words) && errors.is_empty(),
            "{name:?} {output:?}: {printed} {errors}"
        );
    }
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    for (name, output, address, words) in [
        (Some("ns/other"), Output::Text, address, "no ScaledObject asks this scaler"),
        (None, Output::Svg, address, "no picture of all"),
        (Some("ns/phi"), Output::Text, nobody, "--explain-address"),
    ] {
        let (printed, errors) = print(name, output, address).await.unwrap();
        assert!(printed.is_empty() && errors.contains(words), "{name:?} {output:?}: {errors}");
    }
}
