//! `rrctl region`: makes the keys of a region on this machine and uploads the public half.

mod attest;
mod holders;
mod keys;
mod rotate;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::model::id::RegionId;
use rr_contract::model::name::Name;
use rr_contract::seal::key_file;
use rr_contract::seal::region_key::{RegionKeys, RegionStatement};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_service_client::RegionServiceClient;

use crate::command::{lists, names};
use crate::connect::Connection;
use crate::flags::change::{Condition, Mask};
use crate::flags::key_file::{PassphraseArgs, write_new};
use crate::flags::page::Listing;
use crate::flags::plan::Agreement;
use crate::flags::trust::TrustFile;
use crate::print::{Row, note, time};
use crate::session::Session;
use crate::{fault, prompt};

pub(crate) use self::attest::newest;

/// The life of a key statement: secrets are sealed to it until it is renewed.
pub(crate) const STATEMENT_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a region and its keys.
    Create(CreateArgs),
    /// Lists the regions that you may see.
    List(Listing),
    /// Shows a region.
    Show {
        /// Name or id.
        region: String,
    },
    /// Changes a region.
    Update {
        /// Name or id.
        region: String,
        /// URL at which callers reach the nodes of the region: scheme, host and port.
        #[arg(long)]
        base_url: Option<String>,
        /// Name for people; any text.
        #[arg(long)]
        display_name: Option<String>,
        /// Where records of its requests are kept from now on: a record store in the settings of the control plane, or
        /// `central` for its database. Records that are there stay where they are.
        #[arg(long, value_name = "NAME")]
        record_store: Option<String>,
        /// Those that are kept of the record stores that its records went to before, separated by commas. What is in one
        /// that is left out is given up: its records are not looked for any more. Only when no node of the region has
        /// records from before that change.
        #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 0..)]
        former_record_stores: Option<Vec<String>>,
        #[command(flatten)]
        blind: BlindArgs,
        #[command(flatten)]
        condition: Condition,
    },
    /// Gives a region its next key, and seals every secret to it. Asks first. Run again, it goes on where it ended. Only whoever
    /// has the key file can do it.
    RotateKey(rotate::RotateArgs),
    /// Signs which versions of a region's secrets are the newest, so that a node that joins takes no older ones. Only whoever has
    /// the key file can do it.
    Attest(attest::AttestArgs),
    /// Lets secrets be sealed to a region for another 90 days, to the same key.
    RenewKey(keys::RenewArgs),
    /// Writes the keys of a region to a file for other people, each with a passphrase of their own.
    ExportKey(keys::ExportArgs),
    /// Takes an exported key file into one of your own.
    ImportKey(keys::ImportArgs),
    /// Shows what people compare to know the keys of a region.
    Fingerprint(keys::FingerprintArgs),
    /// Deletes a region that no proxy, no sealed secret and no node needs. Asks first. It cannot be brought back.
    Delete {
        /// Name or id.
        region: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        agreement: Agreement,
        /// File of fingerprints that the region is taken out of, where its entry is that of the deleted region. Without it that
        /// of the context, or one of the endpoint in the configuration folder.
        #[arg(long, env = "RRCTL_REGIONS_FILE", value_name = "FILE")]
        regions_file: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct BlindArgs {
    /// Whether the control plane takes no secret in the clear for it, so that it sees none: secrets come to it from machines
    /// that seal them, as rrctl does, alone.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    blind_only: Option<bool>,
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
    name: String,
    /// URL at which callers reach the nodes of the region: scheme, host and port.
    #[arg(long, default_value = "", hide_default_value = true)]
    base_url: String,
    /// Name for people; any text.
    #[arg(long, default_value = "", hide_default_value = true)]
    display_name: String,
    /// The only organization that may use it, by name or id; every organization when not given. Cannot be changed.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ORG")]
    dedicated_to: String,
    /// Where records of its requests are kept: a record store in the settings of the control plane; in its database when not
    /// given.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    record_store: String,
    #[command(flatten)]
    blind: BlindArgs,
    /// New file that the private keys are written to.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// New file for a second copy, on another disk. Asked for when not given.
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery_copy")]
    recovery_copy: Option<PathBuf>,
    /// Makes no second copy. If the key file is lost, the region needs new keys and every secret has to be sealed again.
    #[arg(long)]
    no_recovery_copy: bool,
    /// File of fingerprints that the new one is added to, for sealing. Without it that of the context, or one of the endpoint
    /// in the configuration folder.
    #[arg(long, env = "RRCTL_REGIONS_FILE", value_name = "FILE")]
    regions_file: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let print = session.print;
        match self {
            Self::Create(args) => args.run(session).await,
            Self::RotateKey(args) => args.run(session).await,
            Self::Attest(args) => args.run(session).await,
            Self::RenewKey(args) => args.run(session).await,
            Self::ExportKey(args) => args.run(&session),
            Self::ImportKey(args) => args.run(&session),
            Self::Fingerprint(args) => args.run(session).await,
            Self::List(listing) => {
                let connection = session.endpoint.connect().await?;
                let found = async || {
                    names::of(print, &connection, "", lists::regions(connection.clone(), &listing).await?)
                        .await
                };
                listing.print(print, "region", found).await
            }
            Self::Show { region } => {
                let connection = session.endpoint.connect().await?;
                let mut stub = RegionServiceClient::new(connection.clone());
                let reply = stub.get_region(mg::GetRegionRequest { region }).await?.into_inner();
                print.one(&names::of_one(print, &connection, "", reply.region).await?)
            }
            Self::Update {
                region: name,
                base_url,
                display_name,
                record_store,
                former_record_stores,
                blind,
                condition,
            } => {
                let mut region = mg::Region { etag: condition.etag, ..mg::Region::default() };
                let mut mask = Mask::default();
                mask.put("base_url", &mut region.base_url, base_url);
                mask.put("display_name", &mut region.display_name, display_name);
                mask.put("record_store", &mut region.record_store, record_store);
                let former = former_record_stores
                    .map(|names| names.into_iter().filter(|name| !name.is_empty()).collect());
                mask.put("former_record_stores", &mut region.former_record_stores, former);
                mask.put("blind_only", &mut region.blind_only, blind.blind_only);
                let update_mask = mask.finish()?;
                let connection = session.endpoint.connect().await?;
                let mut stub = RegionServiceClient::new(connection.clone());
                let ask = mg::UpdateRegionRequest { name, region: Some(region), update_mask };
                let done = stub.update_region(ask).await?.into_inner();
                let region = names::of_one(print, &connection, "", done.region).await?;
                print.written(&region, &format!("updated region {}", region.name), done.revision)
            }
            Self::Delete { region, condition, agreement, regions_file } => {
                let mut stub = RegionServiceClient::new(session.endpoint.connect().await?);
                let get = mg::GetRegionRequest { region: region.clone() };
                let before = stub.get_region(get).await?.into_inner().region.unwrap_or_default();
                let ask = mg::DeleteRegionRequest { region, etag: condition.etag, ..Default::default() };
                let delete = async |dry_run, expected_plan| {
                    let ask = mg::DeleteRegionRequest { dry_run, expected_plan, ..ask.clone() };
                    Ok(stub.delete_region(ask).await?.into_inner())
                };
                agreement.remove(print, "region", &ask.region, delete).await?;
                if !agreement.dry_run {
                    forget(regions_file.as_deref().unwrap_or(session.regions_file()), &before);
                }
                Ok(())
            }
        }
    }
}

impl CreateArgs {
    async fn run(self, session: Session) -> Result<()> {
        self.name
            .parse::<Name>()
            .map_err(|error| fault::usage(&format!("{:?} is {error}", self.name), "choose another"))?;
        let copy = self.recovery()?;
        for path in [Some(self.key_file.as_path()), copy.as_deref()].into_iter().flatten() {
            if path.exists() {
                return Err(fault::usage(&format!("{} exists already", path.display()), "name another file"));
            }
        }
        let connection = session.endpoint.connect().await?;
        let passphrase = self.passphrase.new_one()?;
        let keys = RegionKeys::generate(RegionId::from_random(draw(&SystemEntropy)), &SystemEntropy);
        let text = key_file::write(&keys, &passphrase, &SystemEntropy);
        let now = SystemTime::now();
        let statement = keys.statement(now, now + STATEMENT_LIFE);
        // The files are on disk before anybody can seal to the keys; a refused call removes them.
        let regions_file = self.regions_file.as_deref().unwrap_or(session.regions_file());
        let noted = TrustFile::add(regions_file, &self.name, &statement)?;
        let files = NewKeyFiles::write(&text, &self.key_file, copy.as_deref())?;
        let region = mg::Region {
            name: self.name,
            display_name: self.display_name,
            base_url: self.base_url,
            dedicated_to: self.dedicated_to,
            record_store: self.record_store,
            blind_only: self.blind.blind_only.unwrap_or_default(),
            ..mg::Region::default()
        };
        let done = create(connection.clone(), &statement, region).await?;
        files.keep();
        noted.keep();
        let region = names::of_one(session.print, &connection, "", done.region).await?;
        session.print.written(&region, &format!("created region {}", region.name), done.revision)?;
        note(&format!(
            "fingerprint {} was added to {}; give it to everybody who seals to this region",
            statement.fingerprint(),
            regions_file.display()
        ));
        Ok(())
    }

    fn recovery(&self) -> Result<Option<PathBuf>> {
        if self.no_recovery_copy || self.recovery_copy.is_some() {
            return Ok(self.recovery_copy.clone());
        }
        if !std::io::stdin().is_terminal() {
            return Err(fault::usage(
                "no file was named for the recovery copy of the keys of the region",
                "give --recovery-copy FILE, on another disk, or --no-recovery-copy",
            ));
        }
        note(
            "If the key file and its recovery copy are both lost, the region needs new keys, and every secret has to be sealed again.",
        );
        let answer = prompt::ask("file for the recovery copy")?;
        if answer.is_empty() {
            return Err(fault::usage(
                "no file was named for the recovery copy",
                "name one, or give --no-recovery-copy",
            ));
        }
        Ok(Some(PathBuf::from(answer)))
    }
}

/// Takes a deleted region out of the file of fingerprints. The region is gone whatever becomes of the file.
fn forget(regions_file: &Path, region: &mg::Region) {
    let statement: Option<RegionStatement> = region.key.clone().and_then(|wire| wire.try_into().ok());
    let Some(statement) = statement else { return };
    let file = regions_file.display();
    match TrustFile::remove(regions_file, &region.name, statement.fingerprint()) {
        Ok(true) => note(&format!("region {} was taken out of {file}", region.name)),
        Ok(false) => {}
        Err(error) => note(&format!("region {} could not be taken out of {file}: {error:#}", region.name)),
    }
}

/// New files, removed when dropped unless they are kept.
struct NewKeyFiles(Vec<PathBuf>);

impl NewKeyFiles {
    fn write(text: &Secret, first: &Path, second: Option<&Path>) -> Result<Self> {
        let mut files = Self(Vec::new());
        for path in [Some(first), second].into_iter().flatten() {
            write_new(path, text)?;
            files.0.push(path.to_owned());
        }
        Ok(files)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewKeyFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                note(&format!("could not remove {}: {error}", path.display()));
            }
        }
    }
}

/// Uploads the public half of the keys.
pub(crate) async fn create(
    connection: Connection,
    statement: &RegionStatement,
    region: mg::Region,
) -> Result<mg::CreateRegionResponse> {
    let region = mg::Region { id: statement.region().to_string(), key: Some(statement.to_wire()), ..region };
    let mut stub = RegionServiceClient::new(connection);
    Ok(stub.create_region(mg::CreateRegionRequest { region: Some(region) }).await?.into_inner())
}

/// Every region that the token may see.
pub(crate) async fn list(connection: Connection) -> Result<Vec<mg::Region>> {
    lists::regions(connection, &Listing::default()).await
}

impl Row for mg::Region {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "id",
        "epoch",
        "fingerprint",
        "base url",
        "dedicated to",
        "record store",
        "blind only",
        "created",
    ];
    const WIDE: &'static [&'static str] = &["id", "record store", "blind only", "created"];
    const WHOLE: &'static [&'static str] = &["fingerprint"];

    fn cells(&self) -> Vec<String> {
        let statement: Option<RegionStatement> = self.key.clone().and_then(|wire| wire.try_into().ok());
        vec![
            self.name.clone(),
            self.id.clone(),
            statement.as_ref().map(|s| s.epoch().to_string()).unwrap_or_default(),
            statement.map_or_else(|| "does not verify".to_owned(), |s| s.fingerprint().to_string()),
            self.base_url.clone(),
            self.dedicated_to.clone(),
            self.record_store.clone(),
            if self.blind_only { "yes".to_owned() } else { String::new() },
            time(self.created_at.as_ref()),
        ]
    }
}
