//! nginx with a gateway's job: a map of keys, a limit by consumer, another credential, an access log in JSON.

use std::path::Path;
use std::process::Command;

use rr_integration::process::Port;
use rr_integration::secure::Secure;

use super::{Peer, SECRET, Secured, Stage};

pub(super) fn start(stage: &Stage<'_>, program: &Path) -> anyhow::Result<Peer> {
    let (folder, port) = (stage.folder("nginx")?, Port::reserve());
    let (here, listen, upstream) = (folder.display(), port.address(), stage.upstream);
    std::fs::write(
        folder.join("keys.map"),
        stage.keys.lines(|key, consumer| format!("\"Bearer {key}\" {consumer};\n")),
    )?;
    let (mut secured, mut scheme) = (String::new(), "http");
    let mut listens = format!("listen {listen} backlog=4096;");
    if let Some(tls) = stage.tls.and_then(Secured::caller) {
        listens = format!("listen {listen} ssl backlog=4096; {}", offers(tls));
    }
    if let Some(tls) = stage.tls.and_then(Secured::upstream) {
        scheme = "https";
        secured = format!(
            "proxy_ssl_trusted_certificate {}; proxy_ssl_verify on; proxy_ssl_name localhost; \
             proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;",
            tls.file("ca.pem")
        );
    }
    let text = format!(
        r#"{head}
http {{
  {paths}
  keepalive_requests 1000000000; keepalive_timeout 3600s;
  upstream up {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 3600s; }}
  map_hash_max_size 65536; map_hash_bucket_size 128;
  map $http_authorization $consumer {{ default ""; include {here}/keys.map; }}
  limit_req_zone $consumer zone=rl:10m rate=1000000r/s;
  log_format j escape=json '{{"ts":"$msec","method":"$request_method","path":"$uri","status":$status,"bytes":$body_bytes_sent,"rt":"$request_time","consumer":"$consumer","client":"$remote_addr"}}';
  server {{
    {listens} access_log {here}/access.log j buffer=64k flush=1s;
    location / {{
      if ($consumer = "") {{ return 401; }}
      limit_req zone=rl burst=100000 nodelay;
      proxy_set_header Authorization "Bearer {SECRET}"; proxy_pass {scheme}://up; {secured} proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"#,
        head = head(&folder),
        paths = paths(&folder),
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    stage.start("nginx", Command::new(program).arg("-p").arg(&folder).arg("-c").arg(&file), port)
}

/// What a server of nginx says to speak TLS.
pub(super) fn offers(tls: &Secure) -> String {
    let (certificate, key) = (tls.file("server.pem"), tls.file("server.key"));
    format!("ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;")
}

/// One process, in the foreground: a worker would outlive a master that is killed.
pub(super) fn head(folder: &Path) -> String {
    let here = folder.display();
    format!(
        "daemon off; master_process off; worker_rlimit_nofile 20000; pid {here}/pid; error_log {here}/error.log;\n\
         events {{ worker_connections 16000; }}"
    )
}

/// Folders that it makes at its start, wherever it was built for.
pub(super) fn paths(folder: &Path) -> String {
    let path = |what: &str| format!("{what}_temp_path {}/{what};", folder.display());
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(path).join(" ")
}
