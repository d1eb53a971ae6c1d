//! HAProxy with a gateway's job: a map of keys, a table of rates by consumer, another credential, a log in JSON.

use std::path::Path;
use std::process::Command;

use rr_integration::process::Port;

use super::{Peer, SECRET, Stage};

pub(super) fn start(stage: &Stage<'_>, program: &Path) -> anyhow::Result<Peer> {
    let (folder, port) = (stage.folder("haproxy")?, Port::reserve());
    let (here, listen, upstream) = (folder.display(), port.address(), stage.upstream);
    std::fs::write(folder.join("keys.map"), stage.keys.lines(|key, consumer| format!("{key} {consumer}\n")))?;
    let text = format!(
        r#"global
  nbthread 1
  maxconn 8000
  log stdout format raw local0
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend f
  bind {listen} backlog 4096
  log global
  log-format '{{"ts":"%Ts.%ms","method":"%HM","path":"%HP","status":%ST,"bytes":%B,"ms":%Ta,"consumer":"%[var(txn.c)]","client":"%ci"}}'
  http-request set-var(txn.c) req.hdr(authorization),word(2,' '),map_str({here}/keys.map)
  http-request deny deny_status 401 unless {{ var(txn.c) -m found }}
  stick-table type string len 64 size 100k expire 1m store http_req_rate(1s)
  http-request track-sc0 var(txn.c)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000 }}
  http-request set-header Authorization "Bearer {SECRET}"
  default_backend b
backend b
  server s {upstream} pool-max-conn -1 pool-purge-delay 1h
"#
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text)?;
    stage.start("haproxy", Command::new(program).args(["-db", "-f"]).arg(&file), port)
}
