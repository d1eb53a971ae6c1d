//! Rows as sea-orm sees them. Times are microseconds since 1970, ids are text, counts are `i64`: alike on
//! both engines. References are held by the schema, in [`super::migration`].

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "columns are named as in the schemas and tables described in each file; the derives want `pub`"
)]

pub(crate) mod applied;
pub(crate) mod arrival;
pub(crate) mod authority_holder;
pub(crate) mod authority_root;
pub(crate) mod blob;
pub(crate) mod caller_use;
pub(crate) mod change;
pub(crate) mod crash;
pub(crate) mod divergence;
pub(crate) mod head;
pub(crate) mod label;
pub(crate) mod link;
pub(crate) mod meter_rollup;
pub(crate) mod node;
pub(crate) mod node_account;
pub(crate) mod node_clash;
pub(crate) mod node_question;
pub(crate) mod node_token;
pub(crate) mod notification;
pub(crate) mod notification_seen;
pub(crate) mod notification_through;
pub(crate) mod outside_cursor;
pub(crate) mod plan;
pub(crate) mod proxy_home;
pub(crate) mod record_loss;
pub(crate) mod record_owner;
pub(crate) mod refused_attempt;
pub(crate) mod region_attestation;
pub(crate) mod region_grant;
pub(crate) mod region_state;
pub(crate) mod request_record;
pub(crate) mod resource;
pub(crate) mod retired_credential;
pub(crate) mod revision;
pub(crate) mod rollup;
pub(crate) mod secret;
pub(crate) mod series;
pub(crate) mod target_test;
pub(crate) mod telemetry_cursor;
pub(crate) mod test_question;
pub(crate) mod token;
pub(crate) mod waiting_sum;
