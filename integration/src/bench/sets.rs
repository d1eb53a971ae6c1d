//! `sets`: `rrctl validate`, `diff` and `apply --dry-run` of files that hold an organization of 10,000 proxies, as a
//! person or a pipeline runs them; nothing in them differs from what is there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rr_contract::document::Exported;
use rr_contract::model::id::OrgId;
use rr_contract::wire::management::{Document, credential::Usage, document::Resource};
use rr_integration::fleet_100k::documents::{Size, documents};
use rr_integration::process::{Control, program};

use crate::management::{ORIGIN, apply, seal};
use crate::report::Report;

const ORG: &str = "acme";
const REGION: &str = "eu";
/// Documents of one file.
const FILE: usize = 500;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The same seed gives the same organization.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Proxies.
    #[arg(long, default_value_t = 10_000)]
    proxies: usize,
    /// Rules.
    #[arg(long, default_value_t = 0)]
    rules: usize,
    /// How often each command runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let variables = vec![("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    let control = Control::start_with(&folder.path().join("control"), &variables).await;
    let api = control.bootstrap().await;
    let keys = api.region(REGION, "").await?;
    let org: OrgId = api.org(ORG).await?.id.parse()?;
    let size = Size { targets: 100, credentials: 300, proxies: args.proxies, rules: args.rules };
    let mut set = documents(args.seed, REGION, size);
    seal(&api, &keys, org, ORIGIN, &mut set).await?;
    let files = folder.path().join("files");
    write(&files, &set)?;
    let count = set.len();
    let (outcome, _) = apply(&api, set).await?;
    ensure!(outcome.created == count as u64, "not all was made: {}", outcome.created);
    report.metric("sets", "documents", &[count as f64], "", &format!("{} proxies among them", args.proxies));
    for (name, words, note) in [
        ("validate", &["validate"][..], "asks nobody"),
        ("diff of no change", &["diff", "--owner", "bench", "--prune"], "asked for: at most 1 s"),
        (
            "apply --dry-run of no change",
            &["apply", "--dry-run", "--owner", "bench", "--prune"],
            "asked for: at most 2 s",
        ),
    ] {
        let mut took = Vec::with_capacity(args.rounds);
        for round in 1..=args.rounds {
            let mut command = Command::new(program("rrctl"));
            command
                .args(["--endpoint", &format!("http://{}", control.management), "--org", ORG])
                .args(words)
                .arg("-f")
                .arg(&files)
                .env("RRCTL_TOKEN", api.token());
            let started = Instant::now();
            let output = tokio::task::spawn_blocking(move || command.output()).await??;
            took.push(started.elapsed().as_secs_f64());
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{name}: {said}");
            report.round(name, round, took[round - 1], "s");
        }
        report.metric("sets", name, &took, "s", note);
    }
    Ok(())
}

/// Writes a set as files, without values.
fn write(folder: &Path, set: &[Document]) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    for (n, documents) in set.chunks(FILE).enumerate() {
        let mut text = String::new();
        for document in documents {
            let mut document = document.clone();
            if let Some(Resource::Credential(credential)) = &mut document.resource {
                credential.id.clear();
                credential.version = 0;
                if let Some(Usage::Upstream(upstream)) = &mut credential.usage {
                    upstream.sealed = None;
                }
            }
            let written = Exported::new(&document).context("a document has fields")?;
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string(&written)?);
        }
        fs::write(folder.join(format!("{n:03}.yaml")), text)?;
    }
    Ok(())
}
