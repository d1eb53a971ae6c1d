//! Which resource uses which, as numbers: a pair of keys takes 66 bytes, a pair of numbers 8, and there is one for
//! each caller of each proxy.
//!
//! Knows keys and nothing of what they hold. A key has a number for as long as it is held or used, so that its
//! users are known when a missing one comes.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use rr_contract::model::resource::{Key, ResourceId};

/// Stands for a key while something in the inventory holds on to it.
pub(super) type Number = u32;

#[derive(Default)]
pub(super) struct Index {
    numbers: HashMap<Key, Number>,
    slots: Vec<Slot>,
    /// Slots that stand for nothing.
    free: Vec<Number>,
    /// (what is used, who uses it).
    users: BTreeSet<(Number, Number)>,
    /// More of the same, in no order, while there is much to come: a sorted list makes a set at once.
    fresh: Vec<(Number, Number)>,
    is_filling: bool,
}

struct Slot {
    key: Key,
    /// How many use it.
    users: u32,
    /// How many of them are rules, filters or meters.
    policies: u32,
    is_there: bool,
}

impl Index {
    /// Notes that something is here. Returns its number.
    pub(super) fn arrive(&mut self, key: Key) -> Number {
        let number = self.number(key);
        self.slots[number as usize].is_there = true;
        number
    }

    /// Notes that something is here no longer, and uses nothing.
    pub(super) fn leave(&mut self, key: &Key, used: &[Number]) {
        let Some(number) = self.numbers.get(key).copied() else { return };
        self.point(number, used, &[]);
        self.slots[number as usize].is_there = false;
        self.let_go(number);
    }

    /// The number of a key that is about to be used.
    pub(super) fn number(&mut self, key: Key) -> Number {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let slot = Slot { key, users: 0, policies: 0, is_there: false };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                Number::try_from(self.slots.len() - 1).expect("a view has fewer resources than that")
            }
        };
        self.numbers.insert(key, number);
        number
    }

    /// Has `user` use these and no longer those of before. Each is there once.
    pub(super) fn point(&mut self, user: Number, before: &[Number], after: &[Number]) {
        if before == after {
            return;
        }
        if !before.is_empty() {
            self.sort();
        }
        let is_policy = is_policy(&self.slots[user as usize].key);
        for (at, used) in after.iter().enumerate() {
            let is_new = if self.is_filling && before.is_empty() {
                let is_new = !after[..at].contains(used);
                self.fresh.extend(is_new.then_some((*used, user)));
                is_new
            } else {
                self.users.insert((*used, user))
            };
            if is_new {
                let slot = &mut self.slots[*used as usize];
                slot.users += 1;
                slot.policies += u32::from(is_policy);
            }
        }
        for used in before.iter().filter(|used| !after.contains(used)) {
            if self.users.remove(&(*used, user)) {
                let slot = &mut self.slots[*used as usize];
                slot.users -= 1;
                slot.policies -= u32::from(is_policy);
            }
            self.let_go(*used);
        }
    }

    pub(super) fn key(&self, number: Number) -> Key {
        self.slots[number as usize].key
    }

    pub(super) fn is_there(&self, number: Number) -> bool {
        self.slots[number as usize].is_there
    }

    /// The resources that use it, policies left out.
    pub(super) fn users(&self, key: &Key) -> impl Iterator<Item = Key> {
        let number = self.numbers.get(key).copied();
        let used = number.filter(|number| {
            let slot = &self.slots[*number as usize];
            slot.users > slot.policies
        });
        let users = used.into_iter().flat_map(|used| {
            let fresh = self.fresh.iter().filter(move |(it, _)| *it == used);
            self.users.range(whole(used)).chain(fresh)
        });
        users.map(|(_, user)| self.key(*user)).filter(|user| !is_policy(user))
    }

    /// Begins a bulk load, during which look-ups are rare.
    pub(super) fn fill(&mut self) {
        self.is_filling = true;
    }

    /// Ends a bulk load.
    pub(super) fn is_full(&mut self) {
        self.is_filling = false;
        self.sort();
    }

    fn sort(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_unstable();
        if self.users.is_empty() {
            self.users = fresh.into_iter().collect();
        } else {
            self.users.extend(fresh);
        }
    }

    /// Forgets a number that stands for nothing any more.
    fn let_go(&mut self, number: Number) {
        let slot = &self.slots[number as usize];
        if slot.users == 0 && !slot.is_there && self.numbers.remove(&slot.key).is_some() {
            self.free.push(number);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.numbers.is_empty() && self.free.len() == self.slots.len()
    }
}

fn whole(used: Number) -> RangeInclusive<(Number, Number)> {
    (used, Number::MIN)..=(used, Number::MAX)
}

/// Whether it bears on what it uses.
pub(super) fn is_policy(key: &Key) -> bool {
    matches!(key.id, ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_))
}
