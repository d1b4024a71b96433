//! Prometheus's door: `GET /metrics`, and nothing else.

use base::tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tracing::debug;

use crate::pipeline::Message;
use crate::server::Door;

/// A request line and headers longer than this are nobody's.
const REQUEST_MAX: usize = 8 * 1024;

pub(crate) async fn accept(listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.stopped() => return,
        };
        let Ok((socket, peer)) = accepted else {
            door.clock.sleep_ms(50).await;
            continue;
        };
        let door = door.clone();
        tasks::spawn("zk-metrics", async move {
            let patience = std::time::Duration::from_secs(10);
            match tokio::time::timeout(patience, answer(&door, socket)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => debug!(%peer, %cause, "metrics"),
                Err(_) => debug!(%peer, "metrics: the request took too long"),
            }
        });
    }
}

async fn answer(door: &Door, mut socket: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_MAX || socket.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let found = request.starts_with(b"GET /metrics ") || request.starts_with(b"GET /metrics?");
    let (status, body) = if found {
        let (answer, answered) = oneshot::channel();
        let connections = door.guest_count();
        let asked = Message::Metrics {
            connections,
            answer,
        };
        // A pipeline that is gone has no metrics.
        let _gone = door.messages.send(asked).await;
        ("200 OK", answered.await.unwrap_or_default())
    } else {
        ("404 Not Found", "The metrics are at /metrics.\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}
