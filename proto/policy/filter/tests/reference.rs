//! Filters as the documents say them, slow and plain: a tree, and each filter going over all of it.
//!
//! Values that were taken stay in the tree and are no longer seen, so that they can be counted.

use rr_domain::model::filter::Action;
use rr_domain::model::json_path::{JsonPath, Step};

#[derive(Debug)]
struct Tree {
    /// As it is written, and what it stands for. Elements have none.
    key: Option<(String, String)>,
    what: What,
    /// A filter removed it or something around it.
    gone: bool,
    /// A filter removed or masked this very value.
    taken: bool,
}

#[derive(Debug)]
enum What {
    Scalar(String),
    Items { object: bool, items: Vec<Tree> },
}

/// What is left, without space, and how many values were taken.
pub(super) fn run(document: &str, stages: [Vec<(u16, Action, Vec<&str>)>; 4]) -> (String, u64) {
    let mut tree = parse(document);
    for mut stage in stages {
        stage.sort_by_key(|(order, ..)| *order);
        for (_, action, paths) in stage {
            let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().expect("a path")).collect();
            let paths: Vec<&[Step]> = paths.iter().map(JsonPath::steps).collect();
            filter(&mut tree, &action, &paths, true);
        }
    }
    let text = if tree.gone { "null".to_owned() } else { print(&tree) };
    (text, count(&tree))
}

/// Without space.
pub(super) fn compact(document: &str) -> String {
    print(&parse(document))
}

/// The paths go on from here. In a root array, those that start with a key start at each element.
fn filter(tree: &mut Tree, action: &Action, paths: &[&[Step]], is_root: bool) {
    let named = paths.iter().any(|path| path.is_empty());
    let is_on_the_way = paths.iter().any(|path| !path.is_empty()) && matches!(tree.what, What::Items { .. });
    match action {
        // Goes into texts, which are wholes here: `redacts` has cases for that.
        Action::Redact(_) => {}
        Action::Retain if named => {}
        Action::Retain if !is_on_the_way => {
            (tree.gone, tree.taken) = (true, true);
        }
        Action::Destroy if named => {
            (tree.gone, tree.taken) = (true, true);
        }
        Action::Mask(text) if named => {
            tree.what = What::Scalar(serde_json::to_string(text).expect("a text"));
            tree.taken = true;
        }
        Action::Retain | Action::Destroy | Action::Mask(_) => {
            let What::Items { items, object } = &mut tree.what else { return };
            let is_batch = is_root && !*object;
            for item in items.iter_mut().filter(|item| !item.gone) {
                let further = paths.iter().filter_map(|path| match (path.split_first()?, &item.key) {
                    ((Step::Any, rest), _) => Some(rest),
                    ((Step::Key(wanted), rest), Some((_, key))) => (**wanted == **key).then_some(rest),
                    ((Step::Key(_), _), None) => is_batch.then_some(*path),
                });
                let further: Vec<&[Step]> = further.collect();
                filter(item, action, &further, false);
            }
        }
    }
}

fn count(tree: &Tree) -> u64 {
    match &tree.what {
        _ if tree.taken => 1,
        What::Scalar(_) => 0,
        What::Items { items, .. } => items.iter().map(count).sum(),
    }
}

fn print(tree: &Tree) -> String {
    match &tree.what {
        What::Scalar(text) => text.clone(),
        What::Items { object, items } => {
            let items: Vec<String> = items.iter().filter(|item| !item.gone).map(print_item).collect();
            let (open, close) = if *object { ('{', '}') } else { ('[', ']') };
            format!("{open}{}{close}", items.join(","))
        }
    }
}

fn print_item(tree: &Tree) -> String {
    match &tree.key {
        Some((key, _)) => format!("{key}:{}", print(tree)),
        None => print(tree),
    }
}

/// Reads what is known to be JSON.
fn parse(document: &str) -> Tree {
    let mut rest = document;
    let tree = value(&mut rest, None);
    assert_eq!(rest.trim_start(), "", "{document}");
    tree
}

fn value(rest: &mut &str, key: Option<(String, String)>) -> Tree {
    *rest = rest.trim_start();
    let what = match rest.as_bytes()[0] {
        open @ (b'{' | b'[') => {
            let object = open == b'{';
            let mut items = Vec::new();
            *rest = rest[1..].trim_start();
            while !rest.starts_with(['}', ']']) {
                let key = object.then(|| {
                    let raw = token(rest);
                    let key = serde_json::from_str(&raw).expect("a text");
                    *rest = rest.trim_start().strip_prefix(':').expect("a colon");
                    (raw, key)
                });
                items.push(value(rest, key));
                *rest = rest.trim_start();
                *rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            *rest = &rest[1..];
            What::Items { object, items }
        }
        _ => What::Scalar(token(rest)),
    };
    Tree { key, what, gone: false, taken: false }
}

/// A text, a number or a word.
fn token(rest: &mut &str) -> String {
    let bytes = rest.as_bytes();
    let mut end = 1;
    if bytes[0] == b'"' {
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        end += 1;
    } else {
        while bytes.get(end).is_some_and(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\t')) {
            end += 1;
        }
    }
    let (token, left) = rest.split_at(end);
    *rest = left;
    token.to_owned()
}
