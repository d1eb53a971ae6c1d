//! What waits, served in turn: one organization after the other, and in each of them one proxy after the other.
//!
//! Runs nothing. The invariants: who comes to a place where nobody waits is served after at most one of each other
//! organization; when there is no room, the organization that has most waits no longer.

use std::collections::VecDeque;

use rr_contract::model::id::{OrgId, ProxyId};

use super::At;

/// How many wait at a proxy.
pub(super) const AT_PROXY: usize = 8;
/// How many wait at all of them together.
pub(super) const IN_ALL: usize = 256;

pub(super) struct Turns<T> {
    /// In the order of their turns; each has somebody who waits.
    orgs: VecDeque<(OrgId, VecDeque<Line<T>>)>,
    count: usize,
}

/// Who waits at a proxy, in the order in which they came.
type Line<T> = (ProxyId, VecDeque<T>);

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { orgs: VecDeque::new(), count: 0 }
    }
}

impl<T> Turns<T> {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes one in at the end of its line. Returns who has to go for it, which can be itself.
    pub(super) fn push(&mut self, at: At, one: T) -> Option<T> {
        let here = self.orgs.iter().find(|(org, _)| *org == at.org).map(|(_, lines)| lines);
        let (mut of_org, mut at_proxy) = (0, 0);
        for (proxy, line) in here.into_iter().flatten() {
            of_org += line.len();
            at_proxy += if *proxy == at.proxy { line.len() } else { 0 };
        }
        if at_proxy >= AT_PROXY {
            return Some(one);
        }
        let mut gone = None;
        if self.count >= IN_ALL {
            let most = self.orgs.iter().max_by_key(|(_, lines)| waiting(lines));
            let Some((fullest, _)) = most.filter(|(_, lines)| waiting(lines) > of_org + 1) else {
                return Some(one);
            };
            let fullest = *fullest;
            gone = self.shorten(fullest);
        }
        let lines = entry(&mut self.orgs, at.org);
        entry(lines, at.proxy).push_back(one);
        self.count += 1;
        gone
    }

    /// The next one in turn.
    pub(super) fn next(&mut self) -> Option<T> {
        let (org, mut lines) = self.orgs.pop_front()?;
        let (proxy, mut line) = lines.pop_front()?;
        let one = line.pop_front();
        if !line.is_empty() {
            lines.push_back((proxy, line));
        }
        if !lines.is_empty() {
            self.orgs.push_back((org, lines));
        }
        self.count -= usize::from(one.is_some());
        one
    }

    /// One that waits at a proxy.
    pub(super) fn find(&mut self, at: At, is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
        let (_, lines) = self.orgs.iter_mut().find(|(org, _)| *org == at.org)?;
        let (_, line) = lines.iter_mut().find(|(proxy, _)| *proxy == at.proxy)?;
        line.iter_mut().find(|one| is_it(one))
    }

    /// Takes out one that waits at a proxy.
    pub(super) fn remove(&mut self, at: At, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let (_, lines) = self.orgs.iter_mut().find(|(org, _)| *org == at.org)?;
        let (_, line) = lines.iter_mut().find(|(proxy, _)| *proxy == at.proxy)?;
        let place = line.iter().position(is_it)?;
        let gone = line.remove(place);
        self.tidy(at.org);
        gone
    }

    /// Takes the last one out of the longest line of an organization.
    fn shorten(&mut self, of: OrgId) -> Option<T> {
        let (_, lines) = self.orgs.iter_mut().find(|(org, _)| *org == of)?;
        let (_, line) = lines.iter_mut().max_by_key(|(_, line)| line.len())?;
        let gone = line.pop_back();
        self.tidy(of);
        gone
    }

    /// Lets go of lines in which nobody waits, after one was taken out.
    fn tidy(&mut self, of: OrgId) {
        self.count -= 1;
        if let Some((_, lines)) = self.orgs.iter_mut().find(|(org, _)| *org == of) {
            lines.retain(|(_, line)| !line.is_empty());
        }
        self.orgs.retain(|(_, lines)| !lines.is_empty());
    }
}

fn waiting<T>(lines: &VecDeque<Line<T>>) -> usize {
    lines.iter().map(|(_, line)| line.len()).sum()
}

/// The place of a key, at the end if it has none yet.
fn entry<K: PartialEq, V: Default>(all: &mut VecDeque<(K, V)>, key: K) -> &mut V {
    let place = all.iter().position(|(held, _)| *held == key).unwrap_or_else(|| {
        all.push_back((key, V::default()));
        all.len() - 1
    });
    &mut all[place].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(org: u8, proxy: u8) -> At {
        At { org: OrgId::from_random([org; 16]), proxy: ProxyId::from_random([proxy; 16]), rounds: 1 }
    }

    fn all<T>(turns: &mut Turns<T>) -> Vec<T> {
        std::iter::from_fn(|| turns.next()).collect()
    }

    #[test]
    fn a_flood_at_one_proxy_has_its_turn_and_no_more() {
        let mut turns = Turns::default();
        for n in 0..8 {
            assert_eq!(turns.push(at(1, 1), ("flood", n)), None);
        }
        assert_eq!(turns.next(), Some(("flood", 0)));
        turns.push(at(1, 2), ("neighbour", 0));
        turns.push(at(2, 3), ("another", 0));
        let served = all(&mut turns);
        // One of the flood was in front of each; nobody of another organization waits for two of one.
        assert_eq!(served[..4], [("flood", 1), ("another", 0), ("neighbour", 0), ("flood", 2)]);
        assert_eq!(served.len(), 9);
    }

    #[test]
    fn an_organization_with_many_proxies_has_one_turn_like_others() {
        let mut turns = Turns::default();
        for proxy in 10..30 {
            turns.push(at(1, proxy), 1);
        }
        for _ in 0..3 {
            turns.push(at(2, 1), 2);
        }
        assert_eq!(all(&mut turns)[..7], [1, 2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn at_a_proxy_they_are_served_as_they_came_and_only_so_many_wait() {
        let mut turns = Turns::default();
        for n in 0..AT_PROXY {
            assert_eq!(turns.push(at(1, 1), n), None);
        }
        assert_eq!(turns.push(at(1, 1), 99), Some(99));
        assert_eq!(turns.push(at(1, 2), 100), None);
        assert_eq!(turns.len(), AT_PROXY + 1);
        assert_eq!(all(&mut turns), [0, 100, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((turns.len(), turns.orgs.len()), (0, 0));
    }

    #[test]
    fn when_all_places_are_taken_whoever_has_most_makes_room() {
        let mut turns = Turns::default();
        for n in 0..IN_ALL {
            let proxy = u8::try_from(n / AT_PROXY).expect("few");
            assert_eq!(turns.push(at(1, proxy), (1, n)), None);
        }
        assert_eq!(turns.push(at(1, 200), (1, 1_000)), Some((1, 1_000)));
        let gone = turns.push(at(2, 201), (2, 0)).expect("one goes");
        assert_eq!(gone.0, 1);
        assert_eq!(turns.len(), IN_ALL);
        // Half and half, there is no more to take.
        let mut refused = 0;
        for n in 1..IN_ALL {
            let proxy = u8::try_from(n / AT_PROXY).expect("few");
            refused += usize::from(turns.push(at(2, 100 + proxy), (2, n)).is_some_and(|gone| gone.0 == 2));
        }
        assert_eq!(refused, IN_ALL / 2);
        let served = all(&mut turns);
        assert_eq!(served.iter().filter(|one| one.0 == 2).count(), IN_ALL / 2);
    }

    #[test]
    fn room_is_made_by_the_newest_of_the_longest_line() {
        let mut turns = Turns::default();
        for proxy in 0..40 {
            // Two lines are full, the others are shorter.
            for n in 0..if proxy < 2 { AT_PROXY } else { 6 } {
                turns.push(at(1, proxy), (proxy, n));
            }
        }
        let more = (0..AT_PROXY).map(|n| turns.push(at(2, 200), (200, n)));
        let none: Vec<_> = more.collect();
        assert_eq!(none, [None; AT_PROXY]);
        while turns.len() < IN_ALL {
            turns.push(at(3, 100 + u8::try_from(turns.len() / AT_PROXY).expect("few")), (100, 0));
        }
        let gone: Vec<_> = (0..2).filter_map(|n| turns.push(at(4, 201), (201, n))).collect();
        assert!(gone.contains(&(0, AT_PROXY - 1)) && gone.contains(&(1, AT_PROXY - 1)), "{gone:?}");
    }

    #[test]
    fn who_leaves_takes_nobody_elses_place() {
        let mut turns = Turns::default();
        for n in 0..3 {
            turns.push(at(1, 1), n);
        }
        turns.push(at(2, 2), 9);
        assert_eq!(turns.remove(at(1, 1), |one| *one == 1), Some(1));
        assert_eq!(turns.remove(at(1, 1), |one| *one == 1), None);
        assert_eq!(turns.remove(at(2, 2), |one| *one == 9), Some(9));
        assert_eq!(turns.find(at(1, 1), |one| *one == 2), Some(&mut 2));
        assert_eq!(turns.find(at(2, 2), |one| *one == 9), None);
        assert_eq!((all(&mut turns), turns.len()), (vec![0, 2], 0));
    }
}
