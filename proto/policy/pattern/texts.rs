//! The texts that a pattern stands for, and those that it cannot be found without.

use regex_syntax::hir::{Class, Hir, HirKind};

/// How many texts a pattern may stand for and still be looked for as texts.
const TEXTS_MAX: usize = 128;
/// How many texts there may be one of which a pattern needs.
const NEEDED_MAX: usize = 8;

/// Texts one of which is wherever the pattern is found; `None` where none are known.
pub(super) fn needed(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Capture(capture) => needed(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => needed(&repetition.sub),
        HirKind::Alternation(subs) => {
            let mut texts = Vec::new();
            for sub in subs {
                texts.extend(needed(sub)?);
            }
            few(texts)
        }
        HirKind::Concat(subs) => {
            let mut best = None;
            // What stands side by side and is known is one text.
            let mut run = vec![Vec::new()];
            for sub in subs {
                let known = stands_for(sub);
                let next = known.as_ref().and_then(|texts| joined(&run, texts)).and_then(few);
                if let Some(next) = next {
                    run = next;
                    continue;
                }
                best = better(best, few(std::mem::replace(&mut run, vec![Vec::new()])));
                match known.and_then(few) {
                    Some(texts) => run = texts,
                    None => best = better(best, needed(sub)),
                }
            }
            better(best, few(run))
        }
        _ => stands_for(hir).and_then(few),
    }
}

/// Those, if they are few and all say something.
fn few(texts: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    (!texts.is_empty() && texts.len() <= NEEDED_MAX).then_some(texts)
}

/// Those of which the shortest is longer.
fn better(one: Option<Vec<Vec<u8>>>, other: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    let shortest =
        |texts: &Option<Vec<Vec<u8>>>| texts.iter().flatten().map(Vec::len).min().unwrap_or_default();
    let best = if shortest(&other) > shortest(&one) { other } else { one };
    if shortest(&best) == 0 { None } else { best }
}

/// The texts that a pattern without anchors stands for, if they are few.
pub(super) fn stands_for(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(|range| range.len()).sum();
            (count <= TEXTS_MAX).then(|| {
                let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
                chars.map(|c| c.to_string().into_bytes()).collect()
            })
        }
        HirKind::Class(Class::Bytes(class)) => {
            let bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            let texts: Vec<Vec<u8>> = bytes.map(|b| vec![b]).collect();
            (texts.len() <= TEXTS_MAX).then_some(texts)
        }
        HirKind::Capture(capture) => stands_for(&capture.sub),
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, Some(1)) => {
            let mut texts = stands_for(&repetition.sub)?;
            texts.push(Vec::new());
            Some(texts)
        }
        HirKind::Repetition(_) | HirKind::Look(_) => None,
        HirKind::Concat(subs) => {
            let mut texts = vec![Vec::new()];
            for sub in subs {
                texts = joined(&texts, &stands_for(sub)?)?;
            }
            Some(texts)
        }
        HirKind::Alternation(subs) => {
            let mut texts = Vec::new();
            for sub in subs {
                texts.extend(stands_for(sub)?);
                if texts.len() > TEXTS_MAX {
                    return None;
                }
            }
            Some(texts)
        }
    }
}

pub(super) fn joined(heads: &[Vec<u8>], tails: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if heads.len() * tails.len() > TEXTS_MAX {
        return None;
    }
    let pairs = heads.iter().flat_map(|head| tails.iter().map(move |tail| [head.as_slice(), tail].concat()));
    Some(pairs.collect())
}
