//! The lines: read from `rrctl --help` and from pages, and what is changed in them.
//!
//! Runs none of them.

use std::process::Command;

use rr_integration::process::program;

/// A line as it is typed, and as it is run.
pub(super) struct Line {
    pub(super) verb: String,
    pub(super) typed: String,
    pub(super) run: String,
    /// The organization of the environment.
    pub(super) org: String,
}

/// A verb with its examples.
pub(super) struct Verb {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
}

/// The verbs of the program, in the order of the help.
pub(super) fn of_help() -> Vec<Verb> {
    let mut found = Vec::new();
    walk(&[], &mut found);
    assert!(found.len() > 90, "only {} verbs", found.len());
    found
}

fn walk(path: &[&str], found: &mut Vec<Verb>) {
    let output = Command::new(program("rrctl")).args(path).arg("--help").output().expect("rrctl runs");
    let help = String::from_utf8(output.stdout).expect("text");
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = below
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    if names.is_empty() {
        let name = path.join(" ");
        let joined = help.replace("\\\n    ", "");
        // Two verbs of one noun may show the examples of both.
        let begin = format!("rrctl {name}");
        let is_own = |line: &&str| {
            line.strip_prefix(&begin).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let lines =
            joined.lines().filter_map(|line| line.strip_prefix("  ")).filter(is_own).map(str::to_owned);
        found.push(Verb { lines: lines.collect(), name });
        return;
    }
    for name in names {
        walk(&[path, &[name]].concat(), found);
    }
}

/// The pages whose lines no other test runs.
const PAGES: [(&str, &str); 3] = [
    ("apply", include_str!("../../../../docs/apply.md")),
    ("management", include_str!("../../../../docs/management.md")),
    ("operations", include_str!("../../../../docs/operations.md")),
];

/// The lines of blocks that begin with `rrctl`: page, and line.
pub(super) fn blocks() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (page, text) in PAGES {
        for block in text.split("\n```").skip(1).step_by(2) {
            let lines = block.lines().skip(1).filter(|line| line.starts_with("rrctl "));
            found.extend(lines.map(|line| (page.to_owned(), line.to_owned())));
        }
    }
    found
}

/// A line with files in the place of prompts, and the addresses of this machine.
pub(super) fn changed(verb: &str, typed: &str, upstream: &str, control: &str, edge_admin: &str) -> String {
    let mut line = typed.to_owned();
    for (from, to) in [
        ("/media/usb", "usb"),
        ("http://127.0.0.1:7431", edge_admin),
        // A prompt each.
        ("--set-header x-key ", "--set-header x-key=id.txt "),
        ("--prompt", "--value-from value"),
    ] {
        line = line.replace(from, to);
    }
    match verb {
        "login" => {
            for endpoint in
                ["https://control.example.com:7420", "https://10.0.0.5:7420", "http://127.0.0.1:7420"]
            {
                line = line.replace(endpoint, control);
            }
        }
        "init" => {
            let url = line.split(' ').find(|word| word.starts_with("https://")).map(str::to_owned);
            line = match url {
                Some(url) => line.replace(&url, upstream),
                None => format!("{line} {upstream}"),
            };
            // Every API is the same one here, and a name is made from its host.
            if !line.contains("--name ") {
                let host = typed.split_once("https://").map_or("asked", |(_, rest)| rest);
                let name = host.split('.').next().unwrap_or_default();
                line.push_str(&format!(" --name {name}"));
            }
            line.push_str(" --danger-plaintext");
            if !line.contains("--auth ") {
                line.push_str(" --auth bearer --secret-file value");
            }
        }
        "credential create-upstream" | "credential replace-secret" => {
            let asks = !["--kind none", "--value-file", "--set-header"].iter().any(|it| line.contains(it));
            line.push_str(if asks { " --value-file value" } else { "" });
            line.push_str(if line.contains("--target ") { " --accept-target" } else { "" });
            // The upstream here has another address than the one of the example.
            line.push_str(if verb.ends_with("replace-secret") { " --accept-change" } else { "" });
        }
        "region rotate-key" | "node revoke" if !line.contains("--yes") => line.push_str(" --yes"),
        "region export-key" => {
            for recipient in typed.split("--recipient ").skip(1).filter_map(|rest| rest.split(' ').next()) {
                line.push_str(&format!(" --recipient-passphrase-file {recipient}=value"));
            }
        }
        "region import-key" => line.push_str(" --from-passphrase-file value"),
        "apply" if !line.contains("--yes") && !line.contains("--dry-run") => line.push_str(" --yes"),
        _ => {}
    }
    line
}
