//! The system tests: one binary, because linking is the cost.

mod back_again;
mod clocks;
mod command_line;
mod config_push;
mod crash;
mod credential_swap;
mod dev;
mod explain;
mod fleet_changes;
mod fleet_reconnects;
mod fleet_relays;
mod inspection;
mod kill_nine;
mod log_pipe;
mod otlp;
mod plane_outage;
mod policy;
mod promises;
mod readme;
mod refusals;
mod rest;
mod restore;
mod smuggling;
mod stalled_disk;
mod standalone;
mod standalone_schema;
