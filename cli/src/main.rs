//! `rrctl`: the command line of RequestRocket.
//!
//! Modules, top to bottom: `command` (the tree and every command), `session`, `flags`, `context`, `connect`, `verbose`,
//! `once`, `prompt`, `fault`, `print`, `field`, `authority`, `excerpt`. None imports from above.
//! Speaks only the contract, except `command::dev`, which starts both planes in this process.
//! Exit codes: 0 done, 1 refused or failed, 2 used wrongly.

mod authority;
mod command;
mod connect;
mod context;
mod excerpt;
mod fault;
mod field;
mod flags;
mod harmless;
mod once;
mod owned;
mod print;
mod prompt;
mod session;
mod verbose;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::Args::complete();
    let (args, flags) = command::Args::read();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fault::report(&anyhow::Error::new(error).context("start the runtime"), &flags),
    };
    match runtime.block_on(args.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fault::report(&error, &flags),
    }
}
