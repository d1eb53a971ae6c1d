//! Envoy with a gateway's job: its filters for API keys, a local limit and a credential, and a log in JSON.
//!
//! Its limit is one for the listener; the others' is one a consumer.

use std::path::Path;
use std::process::Command;

use rr_integration::process::Port;
use serde_json::{Value, json};

use super::{Peer, SECRET, Stage};

pub(super) fn start(stage: &Stage<'_>, program: &Path) -> anyhow::Result<Peer> {
    let (folder, port) = (stage.folder("envoy")?, Port::reserve());
    let secret = folder.join("secret.json");
    let sealed = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "upstream",
        "generic_secret": {"secret": {"inline_string": format!("Bearer {SECRET}")}},
    }]});
    std::fs::write(&secret, sealed.to_string())?;
    let keys: Vec<Value> =
        stage.keys.consumers().map(|(key, client)| json!({"key": key, "client": client})).collect();
    let all = json!({"numerator": 100, "denominator": "HUNDRED"});
    let filters = [
        filter(
            "envoy.filters.http.api_key_auth",
            "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
            json!({
                "credentials": keys,
                "key_sources": [{"header": "Authorization"}],
                "forwarding": {"header": "x-consumer", "hide_credentials": true},
            }),
        ),
        filter(
            "envoy.filters.http.local_ratelimit",
            "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            json!({
                "stat_prefix": "limit",
                "token_bucket": {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s"},
                "filter_enabled": {"default_value": all},
                "filter_enforced": {"default_value": all},
            }),
        ),
        filter(
            "envoy.filters.http.credential_injector",
            "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
            json!({
                "overwrite": true,
                "credential": filter(
                    "envoy.http.injected_credentials.generic",
                    "envoy.extensions.http.injected_credentials.generic.v3.Generic",
                    json!({
                        "credential": {"name": "upstream", "sds_config": {"path_config_source": {"path": secret}}},
                        "header": "Authorization",
                    }),
                ),
            }),
        ),
        filter(
            "envoy.filters.http.router",
            "envoy.extensions.filters.http.router.v3.Router",
            json!({"suppress_envoy_headers": true}),
        ),
    ];
    let log = filter(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        json!({
            "path": folder.join("access.log"),
            "log_format": {"json_format": {
                "ts": "%START_TIME(%s.%3f)%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%",
                "status": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%", "ms": "%DURATION%",
                "consumer": "%REQ(X-CONSUMER)%", "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            }},
        }),
    );
    let manager = filter(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "edge",
            "codec_type": "HTTP1",
            "generate_request_id": false,
            "access_log": [log],
            "http_filters": filters,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "60s"}}],
            }]},
        }),
    );
    let most = 16_000;
    let cluster = json!({
        "name": "upstream",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [{
            "max_connections": most, "max_pending_requests": most, "max_requests": most,
        }]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{
            "endpoint": {"address": address(stage.upstream)},
        }]}]},
    });
    let configuration = json!({"static_resources": {
        "listeners": [{
            "name": "edge", "address": address(port.address()), "filter_chains": [{"filters": [manager]}],
        }],
        "clusters": [cluster],
    }});
    let file = folder.join("envoy.json");
    std::fs::write(&file, configuration.to_string())?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]).arg(&file);
    stage.start("envoy", &mut command, port)
}

fn filter(name: &str, kind: &str, mut configuration: Value) -> Value {
    configuration["@type"] = format!("type.googleapis.com/{kind}").into();
    json!({"name": name, "typed_config": configuration})
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
