//! `rrctl region renew-key`, `export-key`, `import-key` and `fingerprint`: what is done with a key file besides rotating.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::seal::key_file;
use rr_contract::seam::{Disk as _, RealDisk, SystemEntropy};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_key_service_client::RegionKeyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use serde::Serialize;

use super::STATEMENT_LIFE;
use super::rotate::statement_of;
use crate::command::names;
use crate::flags::key_file::{KeyFileArgs, PassphraseArgs, open_with, write_new};
use crate::print::note;
use crate::session::Session;
use crate::{fault, prompt};

#[derive(Args)]
pub(crate) struct RenewArgs {
    /// Name or id.
    region: String,
    #[command(flatten)]
    key: KeyFileArgs,
}

impl RenewArgs {
    pub(super) async fn run(self, session: Session) -> Result<()> {
        let connection = session.endpoint.connect().await?;
        let keys = self.key.open()?;
        let now = SystemTime::now();
        let statement = keys.statement(now, now + STATEMENT_LIFE);
        let ask = mg::RenewRegionKeyRequest { region: self.region, key: Some(statement.to_wire()) };
        let mut stub = RegionKeyServiceClient::new(connection.clone());
        let done = stub.renew_region_key(ask).await?.into_inner();
        let region = names::of_one(session.print, &connection, "", done.region).await?;
        let days = STATEMENT_LIFE.as_secs() / 86_400;
        let what =
            format!("renewed the key of region {}: secrets are sealed to it for {days} days", region.name);
        session.print.written(&region, &what, done.revision)
    }
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    key: KeyFileArgs,
    /// New file for the exported keys.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Name of somebody who is to open the file; can be repeated. Each has a passphrase of their own, which is asked for.
    #[arg(long = "recipient", value_name = "NAME", required = true)]
    recipients: Vec<String>,
    /// File that holds the passphrase of a recipient: as `--recipient-passphrase-file alice=FILE`; can be repeated.
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    recipient_passphrase_file: Vec<(String, PathBuf)>,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("write it like alice=FILE")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

impl ExportArgs {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let strangers =
            self.recipient_passphrase_file.iter().find(|(name, _)| !self.recipients.contains(name));
        if let Some((name, _)) = strangers {
            return Err(fault::usage(
                &format!("--recipient-passphrase-file names {name}, who is no recipient"),
                &format!("give --recipient {name}, too"),
            ));
        }
        if self.out.exists() {
            return Err(fault::usage(&format!("{} exists already", self.out.display()), "name another file"));
        }
        let mut file = Some(self.key.open_file()?);
        let mut exported: Option<key_file::KeyFile> = None;
        for name in &self.recipients {
            let given = self.recipient_passphrase_file.iter().find(|(of, _)| of == name);
            if given.is_none() && !std::io::stdin().is_terminal() {
                return Err(fault::usage(
                    &format!("no passphrase of {name} was given"),
                    &format!("give --recipient-passphrase-file {name}=FILE"),
                ));
            }
            let what = format!("passphrase of {name}");
            let from = given.map(|(_, path)| path.as_path());
            let passphrase = prompt::read_new(&what, from, "--recipient-passphrase-file")?;
            match (&mut exported, file.take()) {
                (None, Some(file)) => exported = Some(file.export(name, &passphrase, &SystemEntropy)?),
                (Some(exported), _) => exported.add(name, &passphrase, &SystemEntropy)?,
                (None, None) => {}
            }
        }
        let exported = exported.context("a recipient")?;
        write_new(&self.out, &exported.text(&SystemEntropy))?;
        let done = Exported {
            file: self.out.display().to_string(),
            region: exported.keys.region().to_string(),
            epoch: exported.keys.epoch(),
            fingerprint: exported.keys.fingerprint().to_string(),
            recipients: self.recipients,
        };
        let text = format!(
            "exported the keys of {} to {}, for {}",
            done.region,
            done.file,
            done.recipients.join(", ")
        );
        session.print.done(&text, &done)
    }
}

#[derive(Serialize)]
struct Exported {
    file: String,
    region: String,
    epoch: u32,
    fingerprint: String,
    recipients: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// Key file that was exported.
    file: PathBuf,
    /// File that holds the passphrase of the exported file. Asked for when not given.
    #[arg(long, value_name = "FILE")]
    from_passphrase_file: Option<PathBuf>,
    /// Key file that takes the keys in: a new one, or one of the same region, whose recipients stay as they are.
    #[arg(long, env = "RRCTL_REGION_KEY", value_name = "FILE")]
    region_key: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl ImportArgs {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let passphrase = || {
            prompt::read_known(
                "passphrase of the exported file",
                self.from_passphrase_file.as_deref(),
                "--from-passphrase-file",
            )
        };
        let given = open_with(&self.file, passphrase)?;
        let (text, keys) = if self.region_key.exists() {
            let mut mine = open_with(&self.region_key, || self.passphrase.known())?;
            mine.keys.merge(given.keys).with_context(|| {
                format!("take {} into {}", self.file.display(), self.region_key.display())
            })?;
            (mine.text(&SystemEntropy), mine.keys)
        } else {
            let passphrase = self.passphrase.new_one()?;
            (key_file::write(&given.keys, &passphrase, &SystemEntropy), given.keys)
        };
        RealDisk
            .replace(&self.region_key, text.expose())
            .with_context(|| format!("write region key file {}", self.region_key.display()))?;
        let (nodes, tokens) = keys.excluded();
        let done = Imported {
            file: self.region_key.display().to_string(),
            region: keys.region().to_string(),
            epoch: keys.epoch(),
            fingerprint: keys.fingerprint().to_string(),
            excluded_nodes: nodes,
            excluded_tokens: tokens,
        };
        let text = format!("{} has the keys of {} up to epoch {}", done.file, done.region, done.epoch);
        session.print.done(&text, &done)
    }
}

#[derive(Serialize)]
struct Imported {
    file: String,
    region: String,
    epoch: u32,
    fingerprint: String,
    excluded_nodes: usize,
    excluded_tokens: usize,
}

#[derive(Args)]
pub(crate) struct FingerprintArgs {
    /// Name or id of a region, whose fingerprint the control plane is asked for. Compare it with one that came another way.
    #[arg(required_unless_present = "region_key")]
    region: Option<String>,
    /// Key file, whose fingerprint counts: it is that of the keys in it.
    #[arg(long, value_name = "FILE", conflicts_with = "region")]
    region_key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Serialize)]
struct Shown {
    region: String,
    epoch: u32,
    fingerprint: String,
}

impl FingerprintArgs {
    pub(super) async fn run(self, session: Session) -> Result<()> {
        let shown = if let Some(path) = &self.region_key {
            let file = open_with(path, || self.passphrase.known())?;
            let keys = file.keys;
            Shown {
                region: keys.region().to_string(),
                epoch: keys.epoch(),
                fingerprint: keys.fingerprint().to_string(),
            }
        } else {
            let mut stub = RegionServiceClient::new(session.endpoint.connect().await?);
            let region = self.region.unwrap_or_default();
            let reply = stub.get_region(mg::GetRegionRequest { region }).await?.into_inner();
            let statement = statement_of(&reply.region.unwrap_or_default())?;
            note(
                "as the control plane shows it: compare it with what the operator of the region or an edge says",
            );
            Shown {
                region: statement.region().to_string(),
                epoch: statement.epoch(),
                fingerprint: statement.fingerprint().to_string(),
            }
        };
        session.print.done(&shown.fingerprint, &shown)
    }
}
