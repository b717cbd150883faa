//! A way to the API server that can be cut as a failing network cuts it: nothing is refused, nothing arrives. Bytes only;
//! what is in them is the fault proxy's matter.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const API_SERVER: &str = "127.0.0.1:6443";

/// Ends with this handle.
pub(crate) struct Tunnel {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Tunnel {
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, opened) = watch::channel(true);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, opened));
        Ok(Self {
            address,
            open,
            _task: task,
        })
    }

    /// From now on nothing passes; connections stay as they are.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// New connections pass again; those from before are reset.
    pub(crate) fn restore(&self) {
        self.open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, mut open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while open.wait_for(|open| *open).await.is_ok() {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(forward(client, open.clone()));
    }
}

async fn forward(mut client: TcpStream, mut open: watch::Receiver<bool>) {
    // One that was taken from the queue in the moment of the cut waits for its end as the others do.
    if *open.borrow()
        && let Ok(mut server) = TcpStream::connect(API_SERVER).await
    {
        tokio::select! {
            // Whoever closed first, the other side is told by the drop.
            _ended = copy_bidirectional(&mut client, &mut server) => return,
            _cut = open.wait_for(|open| !*open) => {}
        }
    }
    open.wait_for(|open| *open).await.ok();
}
