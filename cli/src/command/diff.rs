//! `rrctl diff`: what an apply of the files would change, field by field.
//!
//! Changes nothing, keeps no plan and reads no value: values are shown by their version alone.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;

use super::change;
use super::set::{OwnerArgs, SetArgs, refused, upload};
use super::validate;
use crate::fault;
use crate::print::line_out;
use crate::session::Session;

/// The longest time of a call: sets can be large.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Ends the help of `rrctl diff`.
const EXIT_CODES: &str = "\
Exit codes:
  0  no difference
  1  a difference, which the output shows
  2  used wrongly, refused or failed: it is not known whether there is a difference";

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    whose: OwnerArgs,
}

impl DiffArgs {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let set = validate::read(&self.set)?;
        self.whose.check(&set)?;
        let mut stub = ApplyServiceClient::new(session.endpoint.connect_for(TIMEOUT).await?);
        let header = mg::ApplyHeader {
            org,
            owner: self.whose.owner,
            prune: self.whose.prune,
            compare: true,
            dry_run: true,
            ..Default::default()
        };
        let outcome = upload::send(&mut stub, header, set.to_send()).await;
        let outcome = outcome.map_err(|status| refused::located(&set, status))?;
        if session.print.is_data() {
            session.print.data(&outcome)?;
        } else {
            change::show(&outcome, line_out)?;
            line_out(&change::summary(&outcome))?;
        }
        if outcome.created + outcome.updated + outcome.deleted == 0 { Ok(()) } else { Err(fault::told()) }
    }
}
