//! The lean proxy: the least that a proxy on this HTTP library takes for the same job.

use std::process::Command;

use rr_integration::process::{Port, program};

use super::{Peer, SECRET, Stage};

pub(super) const NAME: &str = "lean";

pub(super) fn start(stage: &Stage<'_>) -> anyhow::Result<Peer> {
    let (folder, port) = (stage.folder(NAME)?, Port::reserve());
    let keys = folder.join("keys");
    std::fs::write(&keys, stage.keys.lines(|key, consumer| format!("{key} {consumer}\n")))?;
    let mut command = Command::new(program("lean-proxy"));
    command.args(["--listen", &port.address().to_string(), "--upstream", &stage.upstream.to_string()]);
    command.args(["--secret", SECRET]).arg("--keys").arg(&keys).arg("--log").arg(folder.join("access.log"));
    stage.start(NAME, &mut command, port)
}
