//! A document with its duplicates, as tests build and write it.

#[derive(Debug, Clone)]
pub(super) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Text(String),
    /// As it is written: numbers, `true`, `false` and `null`.
    Plain(String),
}

impl Tree {
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Object(members) => {
                out.push('{');
                for (i, (name, tree)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    // Every other key escaped, which changes nothing.
                    if i % 2 == 1 {
                        out.push('"');
                        name.chars().for_each(|c| out.push_str(&format!("\\u{:04x}", u32::from(c))));
                        out.push('"');
                    } else {
                        out.push_str(&format!("{name:?}"));
                    }
                    out.push_str(": ");
                    tree.write(out);
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (i, tree) in elements.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    tree.write(out);
                }
                out.push(']');
            }
            Self::Text(text) => out.push_str(&format!("{text:?}")),
            Self::Plain(text) => out.push_str(text),
        }
    }
}
