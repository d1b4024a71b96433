//! Many nodes read at once.

use zookeeper_client as zk;

use crate::store::{Error, Listener, Node, step_bytes};
use crate::zookeeper::{Shared, ZooKeeper, definite, stat_of};

/// How many nodes one multi-read asks for.
const READS_PER_REQUEST: usize = 500;
/// How many nodes are asked for before the first answer is awaited.
pub(super) const WINDOW: usize = READS_PER_REQUEST * 8;

impl ZooKeeper {
    /// Reads some thousand nodes at once: as multi-reads, or one behind the other where watches
    /// are wanted or the server is older than 3.6.
    pub(super) async fn read_window(
        &self,
        paths: &[String],
        watch: Option<&Listener>,
    ) -> Result<Vec<Option<Node>>, Error> {
        let chroot = self.0.config.hosts_and_chroot().1.len();
        let mut as_multi = watch.is_none() && paths.len() > 1;
        loop {
            let (_permit, client, term) = self.0.turn().await?;
            let tried = if as_multi {
                let requests = pieces(paths, chroot, self.0.config.request_bytes_max);
                self.0
                    .within_term(term, multi_read(&client, requests))
                    .await
            } else if let Some(listener) = watch {
                let read = read_watched(&self.0, &client, paths, listener);
                self.0.within_term(term, read).await
            } else {
                self.0.within_term(term, read_each(&client, paths)).await
            };
            let Some(outcome) = tried else { continue };
            let (path, error) = match outcome {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            if as_multi && error == zk::Error::Unimplemented {
                as_multi = false;
            } else if let Some(definite) = definite(path, &error) {
                return Err(definite);
            } else {
                self.0.clock.sleep_ms(10).await;
            }
        }
    }
}

/// The node that could not be read, and why.
type Failure<'a> = (&'a str, zk::Error);

fn found(
    path: &str,
    read: Result<(Vec<u8>, zk::Stat), zk::Error>,
) -> Result<Option<Node>, Failure<'_>> {
    match read {
        Ok((data, stat)) => Ok(Some(Node {
            data,
            stat: stat_of(&stat),
        })),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err((path, error)),
    }
}

/// The paths in pieces that the server takes: none of too many, and none of too many bytes, where
/// each path takes `extra` besides its own. One that is too long stands alone.
fn pieces(paths: &[String], extra: usize, bytes_max: usize) -> Vec<&[String]> {
    let mut pieces = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, path) in paths.iter().enumerate() {
        let more = step_bytes(path, extra);
        if at > from && (bytes + more > bytes_max || at - from == READS_PER_REQUEST) {
            pieces.push(&paths[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += more;
    }
    pieces.push(&paths[from..]);
    pieces
}

async fn multi_read<'a>(
    client: &zk::Client,
    requests: Vec<&'a [String]>,
) -> Result<Vec<Option<Node>>, Failure<'a>> {
    let mut sent = Vec::with_capacity(requests.len());
    for request in requests {
        let mut reader = client.new_multi_reader();
        for path in request {
            let added = reader.add_get_data(path);
            added.map_err(|error| (path.as_str(), error))?;
        }
        sent.push((request, reader.commit()));
    }
    let mut nodes = Vec::new();
    for (request, answer) in sent {
        let first = request.first().map_or("", String::as_str);
        let results = answer.await.map_err(|error| (first, error))?;
        for (path, result) in request.iter().zip(results) {
            let read = match result {
                zk::MultiReadResult::Data { data, stat } => Ok((data, stat)),
                zk::MultiReadResult::Error { err } => Err(err),
                _ => Err(zk::Error::Unimplemented),
            };
            nodes.push(found(path, read)?);
        }
    }
    Ok(nodes)
}

async fn read_each<'a>(
    client: &zk::Client,
    paths: &'a [String],
) -> Result<Vec<Option<Node>>, Failure<'a>> {
    let sent = paths.iter().map(|path| (path, client.get_data(path)));
    let sent: Vec<_> = sent.collect();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, answer) in sent {
        nodes.push(found(path, answer.await)?);
    }
    Ok(nodes)
}

async fn read_watched<'a>(
    shared: &Shared,
    client: &zk::Client,
    paths: &'a [String],
    listener: &Listener,
) -> Result<Vec<Option<Node>>, Failure<'a>> {
    let sent = paths
        .iter()
        .map(|path| (path, client.get_and_watch_data(path)));
    let sent: Vec<_> = sent.collect();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, answer) in sent {
        let read = answer.await.map(|(data, stat, watcher)| {
            shared.watch(watcher, listener.clone());
            (data, stat)
        });
        nodes.push(found(path, read)?);
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A principal's name may take 32 KiB, and thrice that where it is escaped. ZooKeeper closes
    /// the connection of whoever sends more than it takes, again at each try.
    #[test]
    fn many_long_paths_are_asked_for_in_requests_that_the_server_takes() {
        let short: Vec<String> = (0..1_200).map(|number| format!("/n/{number}")).collect();
        let lengths = |paths: &[String], max| {
            let pieces = pieces(paths, 10, max);
            assert_eq!(pieces.concat(), paths);
            pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&short, 1_000_000), [500, 500, 200]);
        let long = vec![format!("/config/users/{}", "%2C".repeat(30_000)); 25];
        assert_eq!(lengths(&long, 1_048_575), [11, 11, 3]);
        assert_eq!(lengths(&long[..2], 1_000), [1, 1]);
    }
}
