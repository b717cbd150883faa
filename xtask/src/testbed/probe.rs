//! Is a process ready? One request each, no waiting: whoever asks keeps the deadline.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::kubectl;
use super::plan::Plan;

/// For one connection or answer; a busy machine is given its time by asking again.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    /// Plain HTTP: 200 at this address and path.
    Http(&'static str, &'static str),
    /// HTTPS with a certificate of the bed's CA: the administrator gets an answer at this address and path.
    Https(&'static str, &'static str),
    /// Somebody listens on this socket file.
    Socket(&'static str),
}

impl Probe {
    pub(crate) fn is_ready(self, plan: &Plan) -> bool {
        match self {
            Self::Http(address, path) => answers_200(address, path).unwrap_or(false),
            // kubectl costs a process: ask it once somebody listens.
            Self::Https(address, path) => listens(address) && kubectl::answers(plan, address, path),
            Self::Socket(file) => UnixStream::connect(file).is_ok(),
        }
    }
}

fn connect(address: &str) -> Option<TcpStream> {
    let address: SocketAddr = address.parse().ok()?;
    TcpStream::connect_timeout(&address, PATIENCE).ok()
}

fn listens(address: &str) -> bool {
    connect(address).is_some()
}

fn answers_200(address: &str, path: &str) -> Option<bool> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).ok()?;
    Some(status.split(' ').nth(1) == Some("200"))
}
