//! Access lists, each kept once: a node carries a number, the table what it stands for.

use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use protocol::zookeeper::types::Acl;

/// The number of the list that lets everybody do everything without being in the table.
pub(crate) const OPEN: u32 = u32::MAX;

static OPEN_LIST: LazyLock<Arc<[Acl]>> = LazyLock::new(|| Arc::from([Acl::open()]));

/// Invariant: `index` and `lists` name the same lists; a list with no user is in neither.
#[derive(Debug, Default)]
pub(crate) struct AclTable {
    lists: Vec<Option<(Arc<[Acl]>, u32)>>,
    free: Vec<u32>,
    index: HashMap<Arc<[Acl]>, u32>,
    /// The number asked for last: most nodes have the list of the one before.
    latest: u32,
}

impl AclTable {
    /// The number of `list`, with one more user.
    pub(crate) fn acquire(&mut self, list: &Arc<[Acl]>) -> u32 {
        if let Some(Some((latest, users))) = self.lists.get_mut(self.latest as usize)
            && (Arc::ptr_eq(latest, list) || latest == list)
        {
            *users += 1;
            return self.latest;
        }
        if let Some(&id) = self.index.get(list) {
            self.add_user(id);
            self.latest = id;
            return id;
        }
        let entry = Some((Arc::clone(list), 1));
        let id = if let Some(id) = self.free.pop() {
            self.lists[id as usize] = entry;
            id
        } else {
            self.lists.push(entry);
            u32::try_from(self.lists.len() - 1).expect("fewer access lists than nodes")
        };
        self.index.insert(Arc::clone(list), id);
        self.latest = id;
        id
    }

    fn add_user(&mut self, id: u32) {
        if let Some(Some((_, users))) = self.lists.get_mut(id as usize) {
            *users += 1;
        }
    }

    pub(crate) fn release(&mut self, id: u32) {
        let Some(slot) = self.lists.get_mut(id as usize) else {
            return;
        };
        let Some((list, users)) = slot else { return };
        *users -= 1;
        if *users == 0 {
            self.index.remove(list);
            *slot = None;
            self.free.push(id);
        }
    }

    pub(crate) fn get(&self, id: u32) -> &Arc<[Acl]> {
        match self.lists.get(id as usize) {
            Some(Some((list, _))) => list,
            _ => &OPEN_LIST,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Every list with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<[Acl]>)> {
        self.lists
            .iter()
            .zip(0_u32..)
            .filter_map(|(slot, id)| slot.as_ref().map(|(list, _)| (id, list)))
    }
}
