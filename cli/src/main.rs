//! `rrctl`: the command line of RequestRocket.
//!
//! Speaks only the contract, except `dev`, which starts both planes in this process.
//! Exit codes: 0 done, 1 refused or failed, 2 used wrongly.

mod apply;
mod args;
mod audit;
mod change;
mod connect;
mod credential;
#[cfg(feature = "dev")]
mod dev;
mod export;
mod fault;
mod filter;
mod fleet;
mod history;
mod key_file;
mod limits;
mod matching;
mod member;
mod meter;
mod moment;
mod node;
mod notification;
mod once;
mod org;
mod page;
mod parent;
mod plan;
mod print;
mod proxy;
mod region;
mod request;
mod revision;
mod role;
mod rule;
mod session;
mod target;
mod token;
mod trust;
mod user;
mod value;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fault::report(&anyhow::Error::new(error).context("start the runtime")),
    };
    match runtime.block_on(args.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fault::report(&error),
    }
}
