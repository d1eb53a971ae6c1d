//! A proxy's changes of query parameters, made ready.
//!
//! Knows nothing of requests but their queries. The invariant: a pair that no edit names goes on byte for byte, and
//! whether one does is judged by its name as rules read it.

use rr_contract::model::rewrite::Edits;
use rr_contract::policy::request::decode;

use crate::values::encoded;

/// Changes of a query.
#[derive(Debug)]
pub(crate) struct QueryEdits {
    /// What becomes of pairs with these names; sorted.
    fates: Box<[(Box<[u8]>, Fate)]>,
    /// Pairs that take the place of others.
    set: Box<[Box<str>]>,
    /// Pairs for the end.
    add: Box<[Box<str>]>,
}

#[derive(Debug)]
enum Fate {
    Gone,
    /// Its new name, encoded.
    Renamed(Box<str>),
    /// A pair that is set takes its place.
    Set(usize),
}

/// What has become of a name so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Now<'e> {
    Gone,
    Named(&'e str),
    Set(usize),
}

impl QueryEdits {
    /// `None` where there is none.
    pub(crate) fn compile(edits: &Edits<Box<str>, Box<str>>) -> Option<Self> {
        if edits.is_empty() {
            return None;
        }
        let mut names: Vec<&str> = edits.remove.iter().map(|name| &**name).collect();
        names.extend(edits.rename.iter().flat_map(|(from, to)| [&**from, &**to]));
        names.extend(edits.set.iter().map(|(name, _)| &**name));
        names.sort_unstable();
        names.dedup();
        let mut fates: Vec<(&str, Now<'_>)> = names.iter().map(|name| (*name, Now::Named(name))).collect();
        let mut turn = |was, is| {
            fates.iter_mut().filter(|(_, now)| *now == was).for_each(|(_, now)| *now = is);
        };
        for name in &edits.remove {
            turn(Now::Named(name), Now::Gone);
        }
        for (from, to) in &edits.rename {
            turn(Now::Named(to), Now::Gone);
            turn(Now::Named(from), Now::Named(to));
        }
        let mut set: Vec<(&str, Box<str>)> = Vec::with_capacity(edits.set.len());
        for (name, value) in &edits.set {
            let at = set.iter().position(|(have, _)| *have == &**name).unwrap_or(set.len());
            if at == set.len() {
                set.push((name, Box::default()));
            }
            set[at].1 = pair(name, value);
            turn(Now::Named(name), Now::Set(at));
        }
        let fates = fates.into_iter().filter_map(|(name, now)| {
            let fate = match now {
                Now::Named(is) if is == name => return None,
                Now::Named(is) => Fate::Renamed(encoded(is.as_bytes()).as_str().into()),
                Now::Gone => Fate::Gone,
                Now::Set(at) => Fate::Set(at),
            };
            Some((name.as_bytes().into(), fate))
        });
        Some(Self {
            fates: fates.collect(),
            set: set.into_iter().map(|(_, pair)| pair).collect(),
            add: edits.add.iter().map(|(name, value)| pair(name, value)).collect(),
        })
    }

    /// The query after the changes; `None` where nothing is left.
    pub(crate) fn apply(&self, query: Option<&str>) -> Option<Box<str>> {
        let mut out = String::with_capacity(query.map_or(0, str::len) + 64);
        let mut is_set = vec![false; self.set.len()];
        let mut is_first = true;
        for raw in query.iter().flat_map(|query| query.split('&')) {
            let name = raw.find('=').map_or(raw, |end| &raw[..end]);
            let (name, rest) = match self.fate(name) {
                Some(Fate::Gone) => continue,
                Some(Fate::Renamed(is)) => (&**is, &raw[name.len()..]),
                Some(Fate::Set(at)) if std::mem::replace(&mut is_set[*at], true) => continue,
                Some(Fate::Set(at)) => (&*self.set[*at], ""),
                None => (raw, ""),
            };
            if !std::mem::take(&mut is_first) {
                out.push('&');
            }
            out.push_str(name);
            out.push_str(rest);
        }
        let left = self.set.iter().zip(&is_set).filter(|(_, is_set)| !**is_set).map(|(pair, _)| pair);
        for pair in left.chain(&self.add) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(pair);
            is_first = false;
        }
        (!is_first).then(|| out.into())
    }

    fn fate(&self, name: &str) -> Option<&Fate> {
        // An empty pair has no name, and stays.
        let name = decode(name);
        let at = self.fates.binary_search_by(|(have, _)| (**have).cmp(&*name)).ok()?;
        Some(&self.fates[at].1)
    }
}

fn pair(name: &str, value: &str) -> Box<str> {
    [encoded(name.as_bytes()).as_str(), "=", &encoded(value.as_bytes())].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts<'t> = &'t [(&'t str, &'t str)];

    fn edits(remove: &[&str], rename: Texts<'_>, set: Texts<'_>, add: Texts<'_>) -> QueryEdits {
        let both = |pairs: Texts<'_>| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let remove = remove.iter().map(|name| (*name).into()).collect();
        QueryEdits::compile(&Edits { remove, rename: both(rename), set: both(set), add: both(add) })
            .expect("there are some")
    }

    fn check(edits: &QueryEdits, query: impl Into<Option<&'static str>>, wanted: Option<&str>) {
        let query = query.into();
        assert_eq!(edits.apply(query).as_deref(), wanted, "{query:?}");
    }

    #[test]
    fn what_no_edit_names_goes_on_byte_for_byte() {
        let edits = edits(&["gone"], &[("from", "to")], &[("set", "1")], &[]);
        check(&edits, "a=%7e+%zz&&b;c&=d&", Some("a=%7e+%zz&&b;c&=d&&set=1"));
        check(&edits, "&a", Some("&a&set=1"));
        check(&edits, "Gone=1&FROM=2&SET=3", Some("Gone=1&FROM=2&SET=3&set=1"));
    }

    #[test]
    fn a_name_is_found_however_it_is_spelled() {
        let edits = edits(&["a b"], &[("c", "d=e")], &[("\u{e4}", "x&y z+")], &[]);
        check(&edits, "a+b=1&a%20b&%61+b=2&x=1", Some("x=1&%C3%A4=x%26y%20z%2B"));
        check(&edits, "%63=%2f&c&%c3%A4=old&d%3De=mine", Some("d%3De=%2f&d%3De&%C3%A4=x%26y%20z%2B"));
    }

    #[test]
    fn a_plus_is_a_space_where_it_is_not_escaped_and_what_is_no_escape_is_a_name_like_any_other() {
        let edits = edits(&["a b", "%"], &[("q", " q")], &[("a+b", "1")], &[]);
        check(&edits, "a+b&a%2Bb=0&+q=2&q=&%20q&%=3&%25=4", Some("a%2Bb=1&%20q="));
        check(&edits, "=x&%2=1&&%=&a+=2&=", Some("=x&%2=1&&a+=2&=&a%2Bb=1"));
    }

    #[test]
    fn edits_follow_one_another_remove_rename_set_add() {
        let all = edits(&["a"], &[("b", "a"), ("a", "c")], &[("c", "set")], &[("c", "add")]);
        check(&all, "a=1&b=2&c=3", Some("c=set&c=add"));
        check(&edits(&["a"], &[("b", "a"), ("a", "c")], &[], &[]), "a=1&b=2&c=3&b=4", Some("c=2&c=4"));
        check(&edits(&[], &[("a", "b"), ("b", "a")], &[], &[]), "a=1&b=2", Some("a=1"));
        check(&edits(&[], &[], &[("a", "1"), ("b", "2"), ("a", "3")], &[]), "x", Some("x&a=3&b=2"));
        check(&edits(&[], &[], &[], &[("a", "1"), ("a", "1")]), "a=0", Some("a=0&a=1&a=1"));
        check(&edits(&[], &[], &[("a", "s")], &[]), "x&a=1&y&a=2&z", Some("x&a=s&y&z"));
    }

    #[test]
    fn whoever_sends_the_new_name_of_another_does_not_put_anything_in_its_place() {
        check(&edits(&[], &[("from", "to")], &[], &[]), "to=forged&x", Some("x"));
    }

    #[test]
    fn nothing_that_is_left_is_no_query() {
        let less = edits(&["a"], &[], &[], &[]);
        check(&less, "a=1&a", None);
        check(&less, None, None);
        check(&less, "", Some(""));
        let more = edits(&[], &[], &[("b", "1")], &[]);
        check(&more, None, Some("b=1"));
        check(&more, "", Some("b=1"));
    }
}
