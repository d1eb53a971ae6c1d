//! The harness of the system tests and benches: real planes, real sockets, real TLS, real processes.
//!
//! * [`world`]: both planes in this process, and a sample;
//! * [`issuer`]: an identity provider: keys, tokens, and a server that publishes them;
//! * [`logs`]: what the planes logged and no test announced;
//! * [`postgres`], [`clickhouse`]: a server of a test's own, to be killed at will;
//! * [`process`]: the programs as processes, for `kill -9`;
//! * [`api`]: the management API as a test uses it;
//! * [`collector`]: takes traces, metrics and logs by OTLP;
//! * [`caller`], [`upstream`]: both ends of a proxied request;
//! * [`callers`]: callers as fast as they go, who remember what was answered when;
//! * [`plain`]: a caller that speaks HTTP/1.1 in bytes of its own;
//! * [`frames`]: HTTP/2 frame by frame;
//! * [`desk`]: an operator with a key file and `rrctl`;
//! * [`fleet`]: thousands of light nodes, with faults by script;
//! * [`relay`]: what stands between a control plane and its nodes, honest or not;
//! * [`sample`]: a control plane as a process, with something to configure;
//! * [`secure`]: TLS with an authority of a test's own;
//! * [`standalone`]: a node without a control plane, in front of what a test names;
//! * [`strict`]: an upstream that counts what it reads byte by byte;
//! * [`wait`]: `eventually`, instead of sleeping;
//! * [`fleet_100k`]: the standard load.
//!
//! Nothing of it is used by the product.

pub mod api;
pub mod caller;
pub mod callers;
pub mod clickhouse;
pub mod collector;
pub mod desk;
pub mod fleet;
pub mod fleet_100k;
pub mod frames;
pub mod issuer;
pub mod logs;
pub mod plain;
pub mod postgres;
pub mod process;
pub mod relay;
pub mod sample;
pub mod secure;
pub mod standalone;
pub mod strict;
pub mod upstream;
pub mod wait;
pub mod world;
