//! What a verb offers it honours: each option that asks for care reaches the wire, or keeps everything from it.
//!
//! The verbs come from the program's own help, the fields from the schemas: neither is listed here.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::{fleet, management as mg};

use super::recorder::{Answers, Schemas, run};
use super::tree::{Verb, verbs};

/// What a verb needs beside what its usage says, by the options that it takes.
pub(super) struct Desk {
    folder: tempfile::TempDir,
    keys: RegionKeys,
}

impl Desk {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let value = folder.path().join("value");
        std::fs::write(&value, "s3cret").expect("a file");
        // Some name it as the file of a token.
        std::fs::set_permissions(&value, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        let document = "kind: target\nname: a\nbase_url: https://api.example.com\n";
        std::fs::write(folder.path().join("set.yaml"), document).expect("a file");
        Self { folder, keys: RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy) }
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A whole call of a verb.
    pub(super) fn args(&self, verb: &Verb) -> Vec<String> {
        let mut args = verb.path.clone();
        for (option, value) in [
            ("--value-file", self.file("value")),
            ("--fingerprint", format!("eu={}", self.keys.fingerprint())),
            ("--regions-file", self.file("regions.toml")),
            ("--origin", "https://api.example.com".to_owned()),
        ] {
            // What a caller presents is sealed only where its issuer shares it.
            let is_of_upstreams = option != "--fingerprint" || !verb.takes("--value-from");
            if verb.takes(option) && is_of_upstreams {
                args.extend([option.to_owned(), value]);
            }
        }
        // An update has to change something.
        if verb.path.last().is_some_and(|it| it == "update") {
            let changes = ["--owner", "--display-name"].into_iter().find(|option| verb.takes(option));
            args.extend(changes.map(|option| vec![option.to_owned(), "git".to_owned()]).unwrap_or_default());
        }
        let files = |arg: String| if arg == "FILE|DIR" { self.file("set.yaml") } else { arg };
        args.extend(verb.needed().into_iter().map(files));
        args
    }

    /// What the verbs are answered that do not go on without an answer.
    fn answers(&self) -> Answers {
        let now = SystemTime::now();
        let region = mg::Region {
            id: self.keys.region().to_string(),
            name: "eu".into(),
            key: Some(self.keys.statement(now, now + Duration::from_secs(3600)).to_wire()),
            ..mg::Region::default()
        };
        let upstream = mg::Upstream { kind: mg::UpstreamKind::Bearer.into(), ..mg::Upstream::default() };
        let credential = mg::Credential {
            id: CredentialId::from_random([2; 16]).to_string(),
            name: "some".into(),
            version: 1,
            usage: Some(mg::credential::Usage::Upstream(upstream)),
            ..mg::Credential::default()
        };
        // So that there is a preview of this name.
        let caller = mg::Credential {
            name: "preview--some".into(),
            owner: "preview/some:4000000000".into(),
            ..mg::Credential::default()
        };
        let org = mg::Org { id: OrgId::from_random([3; 16]).to_string(), ..mg::Org::default() };
        let installation = mg::GetInstallationResponse {
            id: InstallationId::from_random([4; 16]).to_string(),
            authority_pin: vec![5; 32],
            ..Default::default()
        };
        let change = mg::ApplyChange {
            action: mg::ApplyAction::Create.into(),
            kind: "target".into(),
            name: "a".into(),
            ..mg::ApplyChange::default()
        };
        let outcome = mg::ApplyOutcome { plan: "plan".into(), changes: vec![change], ..Default::default() };
        let gone = mg::PlannedChange { kind: "target".into(), name: "some".into(), ..Default::default() };
        // All removals are answered alike.
        let gone =
            mg::DeleteTargetResponse { changes: vec![gone.clone()], change_count: 1, ..Default::default() };
        let back =
            mg::RollbackOrgResponse { deleted: 1, changes: gone.changes.clone(), ..Default::default() };
        // A rollover of which the last step is left.
        let root =
            |byte: &str, issues| mg::AuthorityRoot { pin: byte.repeat(32), issues, ..Default::default() };
        let authority = mg::GetAuthorityResponse {
            roots: vec![root("0a", false), root("0b", true)],
            ..Default::default()
        };
        let adopted = fleet::AdoptRevisionResponse { plan: vec![1; 32], ..Default::default() };
        Answers::from([
            (
                "RegionService.ListRegions",
                Ok(mg::ListRegionsResponse { regions: vec![region], ..Default::default() }.encode_to_vec()),
            ),
            (
                "CredentialService.ListCredentials",
                Ok(mg::ListCredentialsResponse { credentials: vec![caller], ..Default::default() }
                    .encode_to_vec()),
            ),
            (
                "CredentialService.GetCredential",
                Ok(mg::GetCredentialResponse { credential: Some(credential) }.encode_to_vec()),
            ),
            ("OrgService.GetOrg", Ok(mg::GetOrgResponse { org: Some(org) }.encode_to_vec())),
            ("AuthorityService.GetAuthority", Ok(authority.encode_to_vec())),
            ("InstallationService.GetInstallation", Ok(installation.encode_to_vec())),
            ("ApplyService.Apply", Ok(mg::ApplyResponse { outcome: Some(outcome) }.encode_to_vec())),
            ("FleetService.AdoptRevision", Ok(adopted.encode_to_vec())),
            ("OrgService.DeleteOrg", Ok(gone.encode_to_vec())),
            ("RegionService.DeleteRegion", Ok(gone.encode_to_vec())),
            ("TargetService.DeleteTarget", Ok(gone.encode_to_vec())),
            ("CredentialService.DeleteCredential", Ok(gone.encode_to_vec())),
            ("RevisionService.RollbackOrg", Ok(back.encode_to_vec())),
        ])
    }
}

/// The refusal spoke of a statement and of a signature.
#[tokio::test]
async fn a_key_of_another_region_is_named_with_both_regions_and_makes_no_token() {
    let desk = Desk::new();
    let file = desk.file("eu.key");
    let passphrase = desk.file("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple").expect("a file");
    let secret = Secret::from("correct horse battery staple".to_owned());
    let text = rr_contract::seal::key_file::write(&desk.keys, &secret, &SystemEntropy);
    std::fs::write(&file, text.expose()).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let other = RegionKeys::generate(RegionId::from_random([2; 16]), &SystemEntropy);
    let now = SystemTime::now();
    let local = mg::Region {
        id: other.region().to_string(),
        name: "local".into(),
        key: Some(other.statement(now, now + Duration::from_secs(3600)).to_wire()),
        ..mg::Region::default()
    };
    for (region, is_refused) in [("local", true), ("eu", false)] {
        let mut answers = desk.answers();
        let listed = answers.remove("RegionService.ListRegions").expect("an answer").expect("regions");
        let mut listed = mg::ListRegionsResponse::decode(listed.as_slice()).expect("decodes");
        listed.regions.push(local.clone());
        answers.insert("RegionService.ListRegions", Ok(listed.encode_to_vec()));
        let args =
            ["node", "token", "create", region, "--region-key", &file, "--passphrase-file", &passphrase];
        let args = args.map(str::to_owned);
        let (output, calls) = run(&args, answers).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let is_made = calls.iter().any(|call| call.name == "NodeTokenService.CreateNodeToken");
        assert_eq!(is_made, !is_refused, "{region}: {said}");
        let names = format!("{file} is the key of region eu, and not of local");
        assert_eq!(said.contains(&names), is_refused, "{said}");
        if is_refused {
            assert_eq!(output.status.code(), Some(2), "{said}");
        }
    }
}

/// Opens what it is answered with a region's key, and no answer here is sealed to one: the system suite runs it (`reseal`).
const OPENS: &str = "credential reseal";

/// Whether a call only reads.
fn reads(call: &str) -> bool {
    let verb = call.split('.').nth(1).unwrap_or_default();
    ["Get", "List", "Wait", "Watch", "Explain", "Diff", "Export"]
        .iter()
        .any(|prefix| verb.starts_with(prefix))
}

#[tokio::test]
async fn what_a_verb_lets_somebody_agree_to_beforehand_reaches_the_control_plane() {
    let (desk, schemas) = (Desk::new(), Schemas::read());
    let mut seen = 0;
    for (option, field) in
        [("--allow-partial", "allow_partial"), ("--allow-mass-removal", "allow_mass_removal")]
    {
        for verb in verbs().iter().filter(|verb| verb.takes(option) && verb.name() != OPENS) {
            let mut args = desk.args(verb);
            if verb.takes("--yes") {
                args.push("--yes".to_owned());
            }
            for given in [false, true] {
                if given {
                    args.push(option.to_owned());
                }
                let (output, calls) = run(&args, desk.answers()).await;
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{args:?}: {text}");
                let writes: Vec<_> = calls.iter().filter(|call| !reads(&call.name)).collect();
                assert!(!writes.is_empty(), "{args:?} writes nothing");
                for call in writes {
                    assert_eq!(schemas.says(call, field), given, "{args:?}: {} and {option}", call.name);
                }
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} verbs take either");
}

#[tokio::test]
async fn a_verb_whose_call_can_be_agreed_to_offers_it() {
    let (desk, schemas) = (Desk::new(), Schemas::read());
    for verb in verbs() {
        let changes = ["--owner", "--yes", "--if-etag", "--value-file"];
        // It only compares: nothing of it has to be agreed to.
        if verb.name() == "diff" {
            continue;
        }
        if !changes.into_iter().any(|option| verb.takes(option)) {
            continue;
        }
        let verb = &verb;
        let mut args = desk.args(verb);
        if verb.takes("--yes") {
            args.push("--yes".to_owned());
        }
        let (_, calls) = run(&args, desk.answers()).await;
        for call in calls.iter().filter(|call| !reads(&call.name)) {
            for (option, field) in
                [("--allow-partial", "allow_partial"), ("--allow-mass-removal", "allow_mass_removal")]
            {
                assert_eq!(verb.takes(option), schemas.has(&call.name, field), "{}: {option}", verb.name());
            }
        }
    }
}

#[tokio::test]
async fn a_dry_run_asks_for_nothing_but_a_dry_run() {
    let (desk, schemas) = (Desk::new(), Schemas::read());
    let mut seen = 0;
    for verb in verbs().iter().filter(|verb| verb.takes("--dry-run")) {
        let args = [desk.args(verb), vec!["--dry-run".to_owned()]].concat();
        let (output, calls) = run(&args, desk.answers()).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let writes: Vec<_> = calls.iter().filter(|call| !reads(&call.name)).collect();
        assert!(!writes.is_empty(), "{args:?} asks nobody what it would do");
        for call in writes {
            assert!(schemas.says(call, "dry_run"), "{args:?}: {} is for real", call.name);
        }
        // A pipeline that always says --yes can look first: --dry-run counts.
        if verb.takes("--yes") {
            let (output, calls) =
                run(&[args.clone(), vec!["--yes".to_owned()]].concat(), desk.answers()).await;
            assert!(output.status.success(), "{args:?} --yes: {}", String::from_utf8_lossy(&output.stderr));
            let is_real =
                |call: &&super::recorder::Call| !reads(&call.name) && !schemas.says(call, "dry_run");
            assert_eq!(calls.iter().find(is_real).map(|call| &call.name), None, "{args:?} --yes");
        }
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} verbs have a dry run");
}

#[tokio::test]
async fn what_has_to_be_agreed_to_is_not_done_where_nobody_can_be_asked_unless_yes_was_said() {
    let (desk, schemas) = (Desk::new(), Schemas::read());
    let mut seen = 0;
    // A key is rotated among nodes, which the system tests have.
    let asked = |verb: &&Verb| verb.takes("--yes") && verb.name() != "region rotate-key";
    for verb in verbs().iter().filter(asked) {
        let args = desk.args(verb);
        let (output, calls) = run(&args, desk.answers()).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains("--yes"), "{args:?}: {text}");
        assert!(text.contains("--dry-run") || !verb.takes("--dry-run"), "{args:?}: {text}");
        for call in calls.iter().filter(|call| !reads(&call.name)) {
            assert!(schemas.says(call, "dry_run"), "{args:?}: {} was done", call.name);
        }
        let args = [args, vec!["--yes".to_owned()]].concat();
        let (output, calls) = run(&args, desk.answers()).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let done = calls.iter().filter(|call| !reads(&call.name) && !schemas.says(call, "dry_run")).count();
        assert_eq!(done, 1, "{args:?}: {calls:?}");
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} verbs are asked about");
}

/// Each of these takes away what no rollback brings back.
#[test]
fn whatever_takes_away_for_good_has_to_be_agreed_to() {
    let asked: Vec<String> = verbs().iter().filter(|verb| verb.takes("--yes")).map(Verb::name).collect();
    let wanted = [
        "org delete",
        "org rollback",
        "region delete",
        "credential delete",
        "target delete",
        "proxy delete",
        "apply",
    ];
    for verb in wanted {
        assert!(asked.iter().any(|it| it == verb), "{verb} is not asked about");
    }
    for verb in verbs().iter().filter(|verb| verb.takes("--cascade")) {
        assert!(verb.takes("--yes"), "{} takes others along and is not asked about", verb.name());
    }
}
