//! What is asked, in order: each family leaves the cluster to the next as it says in its first lines.

mod session;
mod topics;
mod data;
mod cluster;
mod groups;
mod transactions;
mod configs;
mod security;
mod malformed;
mod peers;

use crate::script::Script;

pub(crate) fn play(script: &mut Script) {
    session::play(script);
    malformed::play(script);
    cluster::of_one_topic(script);
    topics::play(script);
    data::play(script);
    cluster::play(script);
    groups::play(script);
    transactions::play(script);
    configs::play(script);
    security::play(script);
    peers::play(script);
    topics::deletions(script);
    peers::shutdowns(script);
}
