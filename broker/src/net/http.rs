//! `GET /metrics` and `GET /health`, for scrapers and probes.
//!
//! A request has a short-lived thread of its own and blocks there: a scrape of tens of thousands of
//! partitions, a slow reader or a disk that hangs hold up neither a client nor the cluster. A few at
//! a time are served; more are closed at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::metrics::Text;
use base::stop::Stop;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Requests served at the same time: some scrapers and some probes.
const AT_ONCE_MAX: usize = 8;
/// How long a caller may take to say what he wants, and to take each piece of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request line and headers; anything longer is no scraper's.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The pause after an accept that failed for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) condition: Condition,
    /// One line for a person; empty where all is well.
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Ok,
    /// Serves, and somebody should look.
    Degraded,
    /// Does not serve.
    Unavailable,
}

/// Who knows what is asked for here. Both may block.
pub(crate) trait Reports: Send + Sync {
    fn write_metrics(&self, text: &mut Text<'_>);
    fn health(&self) -> Health;
}

/// A port that is bound and not served yet.
#[derive(Debug)]
pub(crate) struct Port(TcpListener);

impl Port {
    pub(crate) fn bind(address: &str, port: u16) -> io::Result<Port> {
        let listener = TcpListener::bind((address.trim_matches(['[', ']']), port))?;
        listener.set_nonblocking(true)?;
        Ok(Port(listener))
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until stopped.
    pub(crate) async fn serve(self, reports: Arc<dyn Reports>, clock: Clock, stop: Stop) {
        let listener = match tokio::net::TcpListener::from_std(self.0) {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, "/metrics and /health cannot be served");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.stopped() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(%error, "a request for /metrics or /health cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let (reports, clock) = (Arc::clone(&reports), clock.clone());
            let serving = move || {
                if let Err(error) = answer(stream, &*reports, &clock) {
                    debug!(%error, "a scraper went before its answer was there");
                }
                drop(place);
            };
            let thread = std::thread::Builder::new().name("operating".to_owned());
            if let Err(error) = thread.spawn(serving) {
                warn!(%error, "no thread for a request for /metrics or /health");
            }
        }
    }
}

fn answer(mut stream: TcpStream, reports: &dyn Reports, clock: &Clock) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream, PATIENCE, clock)?;
    let mut words = head.split_ascii_whitespace();
    let (verb, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    if verb != Some("GET") {
        return plain(
            &mut stream,
            "405 Method Not Allowed",
            "only GET is answered\n",
        );
    }
    match path {
        "/metrics" => metrics(stream, reports),
        "/health" => health(&mut stream, &reports.health()),
        _ => plain(
            &mut stream,
            "404 Not Found",
            "there are /metrics and /health here\n",
        ),
    }
}

/// The request's head, up to its empty line. All of it has to come in time, not only its next byte.
fn read_head(stream: &mut TcpStream, patience: Duration, clock: &Clock) -> io::Result<String> {
    let began_ms = clock.monotonic_ms();
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        let spent_ms = (clock.monotonic_ms() - began_ms).unsigned_abs();
        let left = patience.saturating_sub(Duration::from_millis(spent_ms));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            len => head.extend_from_slice(&piece[..len]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn metrics(mut stream: TcpStream, reports: &dyn Reports) -> io::Result<()> {
    // In chunks, so that whoever reads knows whether he has all of it.
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
          Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    )?;
    let mut outcome = Ok(());
    let mut hand_on = |piece: &str| {
        if !piece.is_empty() {
            outcome = write!(stream, "{:x}\r\n{piece}\r\n", piece.len());
        }
        outcome.is_ok()
    };
    let mut text = Text::new(&mut hand_on);
    reports.write_metrics(&mut text);
    text.finish();
    outcome?;
    stream.write_all(b"0\r\n\r\n")
}

fn health(stream: &mut TcpStream, health: &Health) -> io::Result<()> {
    let (status, condition) = match health.condition {
        Condition::Ok => ("200 OK", "ok"),
        Condition::Degraded => ("200 OK", "degraded"),
        Condition::Unavailable => ("503 Service Unavailable", "unavailable"),
    };
    let body = serde_json::json!({ "status": condition, "reason": health.reason });
    let body = format!("{body}\n");
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn plain(stream: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use base::metrics::Shape;

    use super::*;

    struct Said(Condition);

    impl Reports for Said {
        fn write_metrics(&self, text: &mut Text<'_>) {
            text.one("up", Shape::Gauge, 1);
        }

        fn health(&self) -> Health {
            Health {
                condition: self.0,
                reason: "a \"disk\"".to_owned(),
            }
        }
    }

    async fn ask(condition: Condition, request: &'static str) -> String {
        let port = Port::bind("127.0.0.1", 0).unwrap();
        let address = port.address().unwrap();
        let (stopper, stop) = base::stop::pair();
        let serving = base::tasks::spawn(
            "http",
            port.serve(Arc::new(Said(condition)), Clock::system(), stop),
        );
        let asking = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = tokio::task::spawn_blocking(asking).await.unwrap();
        stopper.stop();
        serving.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_is_a_status_and_a_reason() {
        let get = "GET /health HTTP/1.1\r\n\r\n";
        let well = ask(Condition::Degraded, get).await;
        assert!(well.starts_with("HTTP/1.1 200 OK\r\n"), "{well}");
        assert!(
            well.ends_with("{\"status\":\"degraded\",\"reason\":\"a \\\"disk\\\"\"}\n"),
            "{well}"
        );
        let ill = ask(Condition::Unavailable, get).await;
        assert!(ill.starts_with("HTTP/1.1 503 "), "{ill}");
    }

    #[test]
    fn who_says_a_byte_now_and_then_is_not_listened_to_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let pause = Duration::from_millis(20);
        client.set_read_timeout(Some(pause)).unwrap();
        let dripping = std::thread::spawn(move || {
            // Nobody answers him, so each look for an answer is a pause.
            while client.write_all(b"x").is_ok() && client.read(&mut [0]).is_err() {}
        });
        let refused = read_head(&mut stream, 10 * pause, &Clock::system())
            .unwrap_err()
            .kind();
        drop(stream);
        dripping.join().unwrap();
        let late = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
        assert!(late.contains(&refused), "{refused:?}");
    }

    #[tokio::test]
    async fn metrics_are_one_chunk_after_another_and_nothing_else_is_there() {
        let all = ask(Condition::Ok, "GET /metrics?name[]=up HTTP/1.1\r\n\r\n").await;
        assert!(
            all.ends_with("\r\n\r\n15\r\n# TYPE up gauge\nup 1\n\r\n0\r\n\r\n"),
            "{all:?}"
        );
        let lost = ask(Condition::Ok, "GET / HTTP/1.1\r\n\r\n").await;
        assert!(lost.starts_with("HTTP/1.1 404"), "{lost}");
        let wrong = ask(Condition::Ok, "POST /metrics HTTP/1.1\r\n\r\n").await;
        assert!(wrong.starts_with("HTTP/1.1 405"), "{wrong}");
    }
}
