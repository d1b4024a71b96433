//! Each server on the directory the other has left: the same tree, the same sessions.

use std::path::Path;

use base::chance::Chance;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::ops;

use crate::differential::whole_tree;
use crate::raw::Client;
use crate::requests;
use crate::servers::{self, Server};

type Start = fn(&Path) -> Option<Server>;

fn ours(dir: &Path) -> Option<Server> {
    Some(servers::ours(dir))
}

/// Writes with one server, kills it, and looks with the other: twice, so that logs of both meet.
fn hand_over(first: Start, second: Start) {
    let dir = tempfile::tempdir().unwrap();
    let (mut session, mut password) = (0, vec![0; 16]);
    let mut before = None;
    for (round, start) in [first, second, first, second].into_iter().enumerate() {
        let Some(mut server) = start(dir.path()) else {
            return;
        };
        let mut client = Client::resume(server.address, session, &password, 600_000).unwrap();
        assert_ne!(client.session, 0, "round {round}: the session is gone");
        if let Some(before) = before {
            assert_eq!(before, whole_tree(&mut client), "round {round}");
            let owned = client.exists("/mine", false);
            assert_eq!(owned.stat().ephemeral_owner, session, "round {round}");
        } else {
            assert_eq!(client.create("/mine", b"", 1).code, Code::OK);
        }
        let chance = Chance::seeded(round as u64);
        for _ in 0..400 {
            let request = requests::next(&chance);
            if matches!(request.op, ops::CHECK | ops::CLOSE_SESSION) {
                // These end the connection, and there is only this one.
                continue;
            }
            client
                .send(request.op, |w| w.0.extend_from_slice(&request.body))
                .unwrap();
            client.receive().unwrap();
        }
        for at in 0..800 {
            client.set("/mine", format!("{round} {at}").as_bytes(), -1);
        }
        before = Some(whole_tree(&mut client));
        (session, password) = (client.session, client.password.clone());
        server.kill();
    }
}

#[test]
fn our_directory_opens_in_apaches_server_and_back() {
    hand_over(ours, servers::apaches);
}

#[test]
fn apaches_directory_opens_in_ours_and_back() {
    hand_over(servers::apaches, ours);
}
