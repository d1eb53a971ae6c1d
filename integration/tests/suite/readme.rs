//! The README's lines for running the daemons, run as they stand there.
//!
//! What is changed: addresses and folders of this machine, an upstream that answers here, and files in the
//! place of prompts. Every line of the block is run, in order.

use std::path::Path;
use std::process::Command;

use rr_integration::process::{Port, Process, program};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

const README: &str = include_str!("../../../README.md");

/// The commands of the block, without comments and without building.
fn lines() -> Vec<String> {
    let section = README.split("## Running the daemons").nth(1).expect("the section is there");
    let block = section.split("```").nth(1).expect("the block is there");
    let lines: Vec<String> = block
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| !line.starts_with("cargo ") && !line.starts_with("export PATH"))
        .map(str::to_owned)
        .collect();
    assert!(lines.len() >= 14, "{lines:#?}");
    lines
}

struct Shell {
    folder: std::path::PathBuf,
    changes: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    _ports: [Port; 5],
}

impl Shell {
    fn changed(&self, line: &str) -> String {
        self.changes.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to))
    }

    /// `sh` with the programs of this build first in its path.
    fn command(&self, line: &str) -> Command {
        let programs = program("rrctl").parent().expect("a folder").display().to_string();
        let mut command = Command::new("sh");
        command
            .current_dir(&self.folder)
            .args(["-c", line])
            .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()))
            .env("RRCTL_PASSPHRASE", "correct horse")
            .env("RRCTL_CONFIG_DIR", self.folder.join("config"))
            .envs(self.variables.iter().cloned());
        command
    }

    fn run(&self, line: &str) -> Result<String, String> {
        let output = self.command(line).output().expect("sh runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn start(&self, line: &str, log: &str) -> Process {
        Process::start(&mut self.command(&format!("exec {line}")), &self.folder.join(log))
    }
}

fn shell(folder: &Path, upstream: &Upstream) -> Shell {
    std::fs::write(folder.join("value"), "s3cret\n").expect("a file");
    let state = |name: &str| folder.join(name).display().to_string();
    let ports = std::array::from_fn(|_| Port::reserve());
    let [management, fleet, edge, control_admin, edge_admin] =
        ports.each_ref().map(|port: &Port| port.address().to_string());
    let changes = [
        (
            "rr-control --state-dir",
            format!(
                "rr-control --management {management} --fleet {fleet} --admin {control_admin} --state-dir"
            ),
        ),
        (
            "rr-edge --state-dir",
            format!("rr-edge --listen {edge} --admin {edge_admin} --allow-upstream 127.0.0.0/8 --state-dir"),
        ),
        ("/var/lib/rr-control", state("control")),
        ("/var/lib/rr-edge", state("edge")),
        ("/media/usb/eu.key", state("copy.key")),
        ("127.0.0.1:7420", management),
        ("127.0.0.1:7421", fleet),
        ("127.0.0.1:7430", edge),
        ("--base-url https://api.github.com", format!("--danger-plaintext --base-url {}", upstream.url())),
        ("--origin https://api.github.com", format!("--value-file value --origin {}", upstream.url())),
    ];
    let changes = changes.into_iter().map(|(from, to)| (from.to_owned(), to)).collect();
    Shell { folder: folder.to_owned(), changes, variables: Vec::new(), _ports: ports }
}

// The upstream has to answer while a line is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_for_running_the_daemons_lead_to_a_proxied_request_and_its_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let mut shell = shell(folder.path(), &upstream);
    let mut daemons = Vec::new();
    let mut last = String::new();
    for line in lines() {
        let line = shell.changed(&line);
        if let Some(assignment) = line.strip_prefix("export ") {
            let (name, value) = assignment.split_once('=').expect("an assignment");
            shell.variables.push((name.to_owned(), value.to_owned()));
        } else if line.starts_with("rr-") {
            daemons.push(shell.start(&line, &format!("daemon-{}.log", daemons.len())));
        } else {
            // A daemon that was started a line before needs its moment, as it does when a person types.
            last = eventually(&line, || {
                let done = shell.run(&line);
                async move { done.ok() }
            })
            .await;
            if line.starts_with("rrctl credential create-caller") {
                let key = last.lines().last().expect("the key is printed").to_owned();
                shell.variables.push(("KEY".to_owned(), key));
            }
            if line.starts_with("curl ") {
                eventually("the call is answered by the upstream", || {
                    let answer = shell.run(&line).unwrap_or_default();
                    async move { (answer == "hello from upstream").then_some(()) }
                })
                .await;
            }
            if line.starts_with("rrctl request list") {
                eventually("the record is there", || {
                    let records = shell.run(&line).unwrap_or_default();
                    async move { records.contains("/zen").then_some(()) }
                })
                .await;
            }
        }
    }
    assert!(!last.is_empty());
    let seen = upstream.seen();
    assert_eq!(seen.last().expect("the upstream was called").headers["authorization"], "Bearer s3cret");
}
