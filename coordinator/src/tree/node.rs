//! Nodes and where they lie: numbered slots, links by number, found by path through a bare table.
//!
//! A node knows its name and its parent; its path is never stored. The index holds numbers only,
//! and a look-up compares a path with a node by walking up.
//!
//! Invariant: the root is number 0; a number in the index, in a parent or in a list of siblings
//! is that of a living node.

use hashbrown::{DefaultHashBuilder, HashTable};
use protocol::zookeeper::types::{Stat, StatPersisted};
use std::hash::BuildHasher;
use std::ops;

use crate::tree::digest;
use crate::tree::owner::Owner;

/// No node.
const NONE: u32 = u32::MAX;
/// The root's number.
pub(crate) const ROOT: u32 = 0;

/// One node. Small fields share words: a million of these should fit beside a broker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) data: Option<Box<[u8]>>,
    pub(crate) stat: StatPersisted,
    /// What path and data add to the digest.
    pub(crate) content: u32,
    pub(crate) acl: u32,
    pub(crate) children: u32,
    hash: u32,
    parent: u32,
    first_child: u32,
    next: u32,
    previous: u32,
}

impl Node {
    pub(crate) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// The state as clients see it.
    pub(crate) fn client_stat(&self, extended: bool) -> Stat {
        let children = self.children.cast_signed();
        let owner = match Owner::of(self.stat.ephemeral_owner, extended) {
            Owner::Session(session) => session,
            _ => 0,
        };
        Stat {
            czxid: self.stat.czxid,
            mzxid: self.stat.mzxid,
            ctime: self.stat.ctime,
            mtime: self.stat.mtime,
            version: self.stat.version,
            // Creations are counted; every child that is gone was a deletion.
            cversion: self.stat.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: self.stat.aversion,
            ephemeral_owner: owner,
            data_length: i32::try_from(self.data_len()).unwrap_or(i32::MAX),
            num_children: children,
            pzxid: self.stat.pzxid,
        }
    }
}

/// Nodes in one block: a growing tree never moves its nodes, nor needs room for them twice.
const BLOCK: usize = 1_024;

/// Nodes by number.
#[derive(Debug, Default)]
struct Slots {
    blocks: Vec<Vec<Node>>,
}

impl Slots {
    fn len(&self) -> usize {
        match self.blocks.split_last() {
            Some((last, full)) => full.len() * BLOCK + last.len(),
            None => 0,
        }
    }

    fn push(&mut self, node: Node) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(node),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(node);
                self.blocks.push(block);
            }
        }
    }
}

impl ops::Index<usize> for Slots {
    type Output = Node;

    fn index(&self, at: usize) -> &Node {
        &self.blocks[at / BLOCK][at % BLOCK]
    }
}

impl ops::IndexMut<usize> for Slots {
    fn index_mut(&mut self, at: usize) -> &mut Node {
        &mut self.blocks[at / BLOCK][at % BLOCK]
    }
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    slots: Slots,
    free: Vec<u32>,
    index: Index,
    hasher: DefaultHashBuilder,
}

/// Numbers by hash, in many small tables: a table that grows moves all its entries and looks at
/// each node for that, and one of a million would keep everybody waiting for it.
#[derive(Debug)]
struct Index(Box<[HashTable<u32>]>);

/// The upper bits of a hash choose its table; within it the lower ones choose the place.
const TABLE_BITS: u32 = 8;

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Index {
    fn new() -> Self {
        Index((0..1 << TABLE_BITS).map(|_| HashTable::new()).collect())
    }

    fn table(&self, hash: u32) -> &HashTable<u32> {
        &self.0[(hash >> (32 - TABLE_BITS)) as usize]
    }

    fn table_mut(&mut self, hash: u32) -> &mut HashTable<u32> {
        &mut self.0[(hash >> (32 - TABLE_BITS)) as usize]
    }
}

impl Nodes {
    /// Only the root.
    pub(crate) fn new(acl: u32) -> Self {
        let mut nodes = Nodes {
            slots: Slots::default(),
            free: Vec::new(),
            index: Index::new(),
            hasher: DefaultHashBuilder::default(),
        };
        nodes.slots.push(Node {
            name: Box::default(),
            data: Some(Box::default()),
            stat: StatPersisted::default(),
            content: digest::of_content("", None),
            acl,
            children: 0,
            hash: 0,
            parent: NONE,
            first_child: NONE,
            next: NONE,
            previous: NONE,
        });
        nodes
    }

    /// Living nodes, the root among them.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn get(&self, id: u32) -> &Node {
        &self.slots[id as usize]
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Node {
        &mut self.slots[id as usize]
    }

    fn hash(&self, path: &str) -> u32 {
        (self.hasher.hash_one(path) >> 32) as u32
    }

    /// The node at `path`; `""` and `"/"` are the root.
    pub(crate) fn find(&self, path: &str) -> Option<u32> {
        if path.is_empty() || path == "/" {
            return Some(ROOT);
        }
        let hash = self.hash(path);
        self.index
            .table(hash)
            .find(spread(hash), |&id| {
                self.slots[id as usize].hash == hash && self.is_at(id, path)
            })
            .copied()
    }

    fn is_at(&self, mut id: u32, path: &str) -> bool {
        let mut rest = path;
        while id != ROOT {
            let node = &self.slots[id as usize];
            let Some(before) = rest
                .strip_suffix(&*node.name)
                .and_then(|r| r.strip_suffix('/'))
            else {
                return false;
            };
            rest = before;
            id = node.parent;
        }
        rest.is_empty()
    }

    /// The path of a living node; the root's is empty.
    pub(crate) fn path(&self, mut id: u32) -> String {
        let mut names = Vec::new();
        while id != ROOT {
            let node = &self.slots[id as usize];
            names.push(&*node.name);
            id = node.parent;
        }
        let mut path = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    /// Puts a node under `parent`. `path` is its whole path and not yet taken.
    pub(crate) fn insert(
        &mut self,
        parent: u32,
        path: &str,
        data: Option<Box<[u8]>>,
        stat: StatPersisted,
        acl: u32,
    ) -> u32 {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let hash = self.hash(path);
        let first = self.slots[parent as usize].first_child;
        let node = Node {
            name: name.into(),
            content: digest::of_content(path, data.as_deref()),
            data,
            stat,
            acl,
            children: 0,
            hash,
            parent,
            first_child: NONE,
            next: first,
            previous: NONE,
        };
        let id = if let Some(id) = self.free.pop() {
            self.slots[id as usize] = node;
            id
        } else {
            self.slots.push(node);
            u32::try_from(self.slots.len() - 1).expect("fewer than four thousand million nodes")
        };
        if first != NONE {
            self.slots[first as usize].previous = id;
        }
        let above = &mut self.slots[parent as usize];
        above.first_child = id;
        above.children += 1;
        let slots = &self.slots;
        self.index
            .table_mut(hash)
            .insert_unique(spread(hash), id, |&id| spread(slots[id as usize].hash));
        id
    }

    /// Takes a node without children out; its slot will serve another.
    pub(crate) fn remove(&mut self, id: u32) -> Node {
        let hash = self.slots[id as usize].hash;
        let table = self.index.table_mut(hash);
        if let Ok(entry) = table.find_entry(spread(hash), |&other| other == id) {
            entry.remove();
        }
        let empty = Node {
            name: Box::default(),
            data: None,
            stat: StatPersisted {
                czxid: -1,
                ..StatPersisted::default()
            },
            content: 0,
            acl: 0,
            children: 0,
            hash: 0,
            parent: NONE,
            first_child: NONE,
            next: NONE,
            previous: NONE,
        };
        let node = std::mem::replace(&mut self.slots[id as usize], empty);
        if node.previous == NONE {
            self.slots[node.parent as usize].first_child = node.next;
        } else {
            self.slots[node.previous as usize].next = node.next;
        }
        if node.next != NONE {
            self.slots[node.next as usize].previous = node.previous;
        }
        self.slots[node.parent as usize].children -= 1;
        self.free.push(id);
        node
    }

    /// Children of `id`, youngest first.
    pub(crate) fn children(&self, id: u32) -> impl Iterator<Item = (u32, &Node)> {
        let mut at = self.slots[id as usize].first_child;
        std::iter::from_fn(move || {
            (at != NONE).then(|| {
                let id = at;
                let node = &self.slots[id as usize];
                at = node.next;
                (id, node)
            })
        })
    }

    /// How many nodes lie beneath `id`.
    pub(crate) fn count_beneath(&self, id: u32) -> usize {
        if id == ROOT {
            return self.len() - 1;
        }
        let mut count = 0;
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for (child, _) in self.children(id) {
                count += 1;
                open.push(child);
            }
        }
        count
    }
}
