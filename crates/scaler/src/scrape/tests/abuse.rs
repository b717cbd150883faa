//! Servers that would like us to wait, to go elsewhere, or to say more than we must.

use std::io::ErrorKind;
use std::process::Command;

use tokio::net::TcpSocket;

use super::*;

#[tokio::test]
async fn address_that_takes_no_connection_is_given_up_after_a_third_of_the_time() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // The kernel keeps so many connections for a listener that accepts none, and leaves the others without a word.
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut kept = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        kept.push(stream.unwrap());
        assert!(kept.len() < 10, "the listener takes them all");
    }
    let start = Instant::now();
    let error = scrape(address, page(Duration::from_millis(600)), None, || true)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no connection within 200ms");
    assert_eq!(error.category(), "connect");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn closed_port_is_a_failure_to_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = scrape(address, page(Duration::from_secs(3)), None, || true)
        .await
        .unwrap_err();
    assert_eq!(error.category(), "connect");
}

#[tokio::test]
async fn redirect_is_not_followed_whatever_its_kind() {
    let elsewhere = Server::start(|_| ok(BODY)).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = format!("http://{}/metrics", elsewhere.address);
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::start(move |_| Act::Answer(answer.clone())).await;
        let error = scrape_once(&server, None).await.unwrap_err();
        assert_eq!(error.category(), "status", "{status}");
        assert_eq!(server.paths().len(), 2, "the filtered form and the full one");
    }
    assert!(elsewhere.paths().is_empty());
}

#[tokio::test]
async fn flood_of_interim_answers_is_no_answer() {
    let server = Server::start(|_| Act::Pour(String::new(), "HTTP/1.1 100 Continue\r\n\r\n".repeat(100))).await;
    let start = Instant::now();
    let error = scrape(server.address, page(Duration::from_millis(300)), Some(Form::Full), || true)
        .await
        .unwrap_err();
    assert!(matches!(error.category(), "timeout" | "http" | "status"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn request_carries_nothing_but_what_the_page_needs() {
    let server = Server::start(|_| {
        let cookie = "HTTP/1.1 200 OK\r\nset-cookie: session=1\r\n";
        Act::Answer(format!("{cookie}content-length: {}\r\n\r\n{BODY}", BODY.len()))
    })
    .await;
    for _ in 0..2 {
        scrape_once(&server, Some(Form::Full)).await.unwrap();
    }
    for head in server.heads.lock().unwrap().iter() {
        let mut names: Vec<_> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "accept-encoding", "connection", "host", "user-agent"]);
    }
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "scrape::tests::filtered_form_is_asked_first_and_is_enough"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        again.env(name, &proxy).env(name.to_lowercase(), &proxy);
    }
    let output = again.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(trap.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
