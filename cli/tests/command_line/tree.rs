//! The command tree as its help has it: every verb, what it needs, and which options it takes.
//!
//! Read from the program itself, so that a verb which is added is tested without anybody thinking of it.

use std::collections::BTreeSet;

use super::rrctl;

/// One verb.
pub(super) struct Verb {
    /// As `["node", "token", "create"]`.
    pub(super) path: Vec<String>,
    pub(super) help: String,
    /// Long options, as `--dry-run`.
    pub(super) options: BTreeSet<String>,
}

impl Verb {
    pub(super) fn name(&self) -> String {
        self.path.join(" ")
    }

    pub(super) fn takes(&self, option: &str) -> bool {
        self.options.contains(option)
    }

    /// What the usage says that it cannot do without, each with a value that makes sense.
    pub(super) fn needed(&self) -> Vec<String> {
        let usage = self.help.lines().find_map(|line| line.strip_prefix("Usage: ")).expect("a usage");
        let rest = usage.strip_prefix(&format!("rrctl {}", self.name())).expect("starts with the verb");
        let mut args = Vec::new();
        for part in split(rest, ' ').into_iter().filter(|part| !part.starts_with('[')) {
            // Of several of which one is needed, the first.
            let choice = part.strip_prefix('<').filter(|part| part.starts_with("--"));
            let part = choice.map_or(part, |choice| split(&choice[..choice.len() - 1], '|')[0]);
            for word in part.split_whitespace() {
                args.push(if word.starts_with("--") { word.to_owned() } else { self.sample(word) });
            }
        }
        // One of many, which the usage leaves out.
        if self.name() == "rule create" {
            args.push("--every-request".to_owned());
        }
        args
    }

    /// A value for a place in the usage.
    fn sample(&self, place: &str) -> String {
        let place = place.trim_matches(['<', '>', '.']);
        let value = match place {
            "NAME" | "ORG" | "USER" | "MEMBER" | "REGION" | "TARGET" | "CREDENTIAL" | "PROXY" | "RULE"
            | "FILTER" | "METER" | "NODE" | "TOKEN" | "REQUEST" | "RESOURCE" => "some",
            "ID" => return format!("{}some", rr_contract::model::id::OrgId::PREFIX),
            "NOTIFICATION" => "no_1",
            "REVISION" | "FROM" | "TO" => "7",
            "DURATION" => "24h",
            "KIND" => "proxy",
            "KIND/NAME" => "proxy/some",
            "BASE_URL" | "URL" => "https://api.example.com",
            "ROLE" => "viewer",
            "ROLE[@PLACE]" => "operator",
            "EMAIL" => "ada@example.com",
            "PATH" => "a.b",
            "METHOD" => "GET",
            "CONTEXT" => "some",
            "SHELL" => "bash",
            "FILE" => "/nonexistent/new-file",
            // The test knows where its files are.
            "FILE|DIR" => place,
            other => panic!("{}: no value is known for {other:?}: add one here", self.name()),
        };
        value.to_owned()
    }
}

/// Every verb of the program.
pub(super) fn verbs() -> Vec<Verb> {
    let mut found = Vec::new();
    walk(Vec::new(), &mut found);
    assert!(found.len() > 50, "only {} verbs", found.len());
    found
}

fn walk(path: Vec<String>, found: &mut Vec<Verb>) {
    let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
    args.push("--help");
    let output = rrctl(&args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let help = String::from_utf8(output.stdout).expect("text");
    let below = section(&help, "Commands:");
    let names: Vec<&str> = below
        .iter()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    if names.is_empty() {
        let options = help
            .lines()
            .filter_map(|line| {
                let line = line.trim_start();
                let long = line.find("--").filter(|at| *at == 0 || line.starts_with('-'))?;
                let name = line[long..].split([' ', '[', '=', ',']).next()?;
                line.starts_with('-').then(|| name.to_owned())
            })
            .collect();
        found.push(Verb { path, help, options });
        return;
    }
    for name in names {
        walk([path.clone(), vec![name.to_owned()]].concat(), found);
    }
}

/// Parts of a usage: what stands in brackets is one part.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (n, c) in text.char_indices() {
        match c {
            '<' | '[' => depth += 1,
            '>' | ']' => depth -= 1,
            c if c == at && depth == 0 => {
                parts.push(&text[start..n]);
                start = n + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The lines below a heading.
fn section<'a>(help: &'a str, heading: &str) -> Vec<&'a str> {
    help.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty()).collect()
}
