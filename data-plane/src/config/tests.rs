//! Tests of settings and of the refusals that people read.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;
use rr_contract::runtime::chain;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    settings: Settings,
}

fn flags(flags: &[&str]) -> Settings {
    Program::try_parse_from(std::iter::once(&"rr-edge").chain(flags)).expect("known flags").settings
}

fn refusal(settings: Settings) -> String {
    let error = Config::resolve(settings, None).err().expect("it is refused");
    chain(&error).to_string()
}

fn file(text: &str) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edge.toml");
    fs::write(&path, text).expect("it is ours");
    Settings::read(&path)
}

#[test]
fn flags_win_over_the_file_and_defaults_fill_the_rest() {
    let file =
        file("listen = \"0.0.0.0:80\"\nworkers = 3\nallow-upstream = [\"10.0.0.0/8\"]\n").expect("good");
    let said = flags(&["--control-plane=https://cp.example.com:7421", "--listen=127.0.0.1:1"]).or(file);
    let config = Config::resolve(said, None).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(config.listen.to_string(), "127.0.0.1:1");
    assert_eq!(config.admin.to_string(), "127.0.0.1:7431");
    assert_eq!((config.workers, config.allow_upstream.len()), (3, 1));
}

#[test]
fn certificates_and_keys_stand_in_pairs_that_come_from_one_place() {
    let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
    let of_file = file("tls-certificate = [\"a.crt\", \"b.crt\"]\ntls-key = [\"a.key\", \"b.key\"]\n");
    let of_file = of_file.expect("good");
    let here = ["--control-plane=https://cp:7421"];
    let resolve = |settings: Settings| {
        let config = Config::resolve(settings, None).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let pairs = config.callers.tls.expect("it has TLS").pairs;
        pairs.into_iter().map(|pair| (pair.certificate, pair.key)).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let both = (paths(&["a.crt", "b.crt"]), paths(&["a.key", "b.key"]));
    assert_eq!(resolve(flags(&here).or(of_file.clone())), both);
    let said = ["--tls-certificate=c.crt", "--tls-key=c.key", here[0]];
    assert_eq!(resolve(flags(&said).or(of_file.clone())), (paths(&["c.crt"]), paths(&["c.key"])));
    assert!(refusal(flags(&said[1..]).or(of_file)).contains("0 and 1 of them"));
}

#[test]
fn trusted_proxies_are_read_in_one_header_which_flag_and_file_name() {
    let header = |flag: &[&str], text: &str| {
        let here = ["--control-plane=https://cp:7421", "--trusted-proxies=10.0.0.0/8"];
        let settings = flags(&[&here, flag].concat()).or(file(text).expect("good"));
        let config = Config::resolve(settings, None).unwrap_or_else(|error| panic!("{}", chain(&error)));
        config.callers.trusted_header
    };
    let (list, elements) = (TrustedHeader::XForwardedFor, TrustedHeader::Forwarded);
    assert_eq!(header(&[], ""), list);
    assert_eq!(header(&[], "trusted-header = \"forwarded\"\n"), elements);
    assert_eq!(header(&["--trusted-header=x-forwarded-for"], "trusted-header = \"forwarded\"\n"), list);
    assert_eq!(header(&["--trusted-header=forwarded"], ""), elements);
}

#[test]
fn memory_for_bodies_is_shared_by_the_threads_and_holds_the_largest_in_each() {
    let resolve = |more: &[&str], text: &str| {
        let settings = flags(&[&["--control-plane=https://cp:7421"], more].concat());
        Config::resolve(settings.or(file(text).expect("good")), None)
    };
    let of = |more: &[&str], text: &str| {
        let config = resolve(more, text).unwrap_or_else(|error| panic!("{}", chain(&error)));
        config.gathered_bodies / (1024 * 1024)
    };
    assert_eq!(of(&["--workers=1"], ""), 256);
    assert_eq!(of(&["--workers=4"], ""), 64);
    assert_eq!(of(&["--workers=64"], ""), 32);
    assert_eq!(of(&["--workers=4"], "gathered-bodies-mib = 400\n"), 100);
    assert_eq!(of(&["--workers=4", "--gathered-bodies-mib=128"], "gathered-bodies-mib = 400\n"), 32);
    let error = resolve(&["--workers=4", "--gathered-bodies-mib=127"], "").err().expect("it is too low");
    let error = error.to_string();
    assert!(error.contains("at least 128") && error.contains("--workers"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_key() {
    let error = file("workers = 3\nlisen = \"0.0.0.0:80\"\n").expect_err("misspelt").to_string();
    assert!(error.contains("edge.toml:2: ") && error.contains("`lisen`"), "{error}");
}

#[test]
fn a_control_plane_in_the_clear_is_refused_even_on_this_machine() {
    for url in ["http://127.0.0.1:7421", "http://localhost:7421", "http://cp.example.com"] {
        let error = refusal(flags(&["--control-plane", url]));
        assert!(error.contains("https"), "{error}");
    }
}

#[test]
fn several_control_planes_stand_with_commas_between_and_each_is_checked() {
    let config = Config::resolve(flags(&["--control-plane=https://a:1, https://b:2"]), None);
    let config = config.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let shown: Vec<String> = config.control_plane.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://a:1", "https://b:2"]);
    let error = refusal(flags(&["--control-plane=https://a:1,http://b:2"]));
    assert!(error.contains("http://b:2"), "{error}");
    assert!(refusal(flags(&["--control-plane=https://a:1,"])).contains("--control-plane \"\""));
}

#[test]
fn each_refusal_names_the_flag() {
    assert!(refusal(flags(&[])).contains("--control-plane"));
    let with = |more: &str| refusal(flags(&["--control-plane=https://cp:7421", more]));
    assert!(with("--allow-upstream=10.0.0.0/99").contains("--allow-upstream \"10.0.0.0/99\""));
    let error = with("--admin=0.0.0.0:7431");
    assert!(error.contains("--admin 0.0.0.0:7431") && error.contains("--admin-token-file"), "{error}");
    assert!(with("--proxy-protocol-from=here").contains("--proxy-protocol-from \"here\""));
    assert!(with("--trusted-proxies=10.0.0.0/33").contains("--trusted-proxies \"10.0.0.0/33\""));
    assert!(with("--trusted-header=x-real-ip").contains("--trusted-header \"x-real-ip\""));
    assert!(with("--trusted-header=forwarded").contains("--trusted-proxies"));
    assert!(with("--tls-certificate=a.crt").contains("--tls-key"));
    assert!(with("--tls-key=a.key").contains("--tls-certificate"));
    let without = with("--tls-min-version=1.3");
    assert!(without.starts_with("--tls-min-version") && without.contains("--tls-certificate"), "{without}");
    assert!(with("--tls-min-version=1.1").contains("--tls-min-version \"1.1\""));
    assert!(with("--workers=0").contains("--workers 0"));
    assert!(with("--connection-limit=0").contains("--connection-limit 0"));
    assert!(with("--gathered-bodies-mib=31").contains("--gathered-bodies-mib 31"));
    assert!(with("--upstream-ca=/nowhere").contains("--upstream-ca"));
    assert!(with("--node-token-file=/nowhere").contains("/nowhere"));
}

#[test]
fn a_proxy_on_the_way_to_upstreams_is_checked_and_its_other_settings_need_it() {
    let with = |more: &[&str]| flags(&[&["--control-plane=https://cp:7421"], more].concat());
    let proxy = "--upstream-proxy=http://proxy.example:3128";
    let config = Config::resolve(with(&[proxy, "--upstream-proxy-judges"]), None);
    assert!(config.unwrap_or_else(|error| panic!("{}", chain(&error))).next_hop.is_some());
    for flag in [
        "--upstream-proxy-judges",
        "--upstream-proxy-except=10.0.0.0/8",
        "--upstream-proxy-credentials-file=f",
    ] {
        let error = refusal(with(&[flag]));
        assert!(error.starts_with(flag.split('=').next().expect("a flag")), "{error}");
    }
    assert!(Config::resolve(with(&["--upstream-proxy-judges=false"]), None).is_ok());
    for (flag, why) in [
        ("--upstream-proxy-except=10.0.0.0/99", "10.0.0.0/99"),
        ("--upstream-proxy-credentials-file=/nowhere", "/nowhere"),
    ] {
        let error = refusal(with(&[proxy, flag]));
        assert!(error.contains(why), "{error}");
    }
    for bad in ["https://proxy:3128", "http://user:hunter2@proxy:3128"] {
        let error = refusal(with(&["--upstream-proxy", bad]));
        assert!(error.contains("--upstream-proxy") && !error.contains("hunter2"), "{error}");
    }
    let file = file("upstream-proxy = \"http://proxy:3128\"\nupstream-proxy-judges = true\n").expect("good");
    assert_eq!(with(&[]).or(file).upstream_proxy_judges, Some(true));
}

#[test]
fn credentials_of_a_proxy_are_not_read_from_a_file_that_others_can_get_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("credentials");
    fs::write(&path, "user:hunter2").expect("it is ours");
    let with = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        let file = format!("--upstream-proxy-credentials-file={}", path.display());
        flags(&["--control-plane=https://cp:7421", "--upstream-proxy=http://proxy:3128", &file])
    };
    let config = Config::resolve(with(0o600), None);
    assert!(config.unwrap_or_else(|error| panic!("{}", chain(&error))).next_hop.is_some());
    for mode in [0o640, 0o644] {
        let error = refusal(with(mode));
        let remedy = format!("chmod 600 {}", path.display());
        assert!(error.starts_with("--upstream-proxy-credentials-file") && error.contains(&remedy), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_bad_token_is_refused_without_being_repeated() {
    let settings = flags(&["--control-plane=https://cp:7421"]);
    let error = Config::resolve(settings, Some(Secret::from("hunter2".to_owned()))).err().expect("refused");
    let text = chain(&error).to_string();
    assert!(text.contains(NODE_TOKEN_VARIABLE) && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_node_without_a_control_plane_needs_no_address_and_takes_none() {
    let config = Config::resolve(flags(&["--standalone=gateway.yaml"]), None);
    let config = config.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let standalone = config.standalone.expect("it is alone");
    assert_eq!((standalone.org.as_str(), config.records), ("local", None));
    assert!(config.control_plane.is_empty());
    for flag in ["--control-plane=https://cp:7421", "--node-token-file=token"] {
        let error = refusal(flags(&["--standalone=gateway.yaml", flag]));
        assert!(error.contains("without a control plane") && error.contains(&flag[..14]), "{error}");
    }
    // A token in the environment of a machine is no word about this process.
    let token = Secret::from("hunter2".to_owned());
    assert!(Config::resolve(flags(&["--standalone=gateway.yaml"]), Some(token)).is_ok());
    for flag in ["--org=acme", "--region-key=k", "--region-passphrase-file=p", "--installation=in_"] {
        let error = refusal(flags(&["--control-plane=https://cp:7421", flag]));
        let name = flag.split('=').next().expect("a flag");
        assert!(error.contains(name) && error.contains("--standalone"), "{error}");
    }
    let config = Config::resolve(flags(&["--control-plane=https://cp:7421", "--records=-"]), None);
    let config = config.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(config.records.as_deref(), Some(Path::new("-")), "beside a control plane as well");
    for flag in ["--org=A", "--installation=in_1"] {
        let error = refusal(flags(&["--standalone=gateway.yaml", flag]));
        assert!(error.contains(flag.split('=').next().expect("a flag")), "{error}");
    }
}
