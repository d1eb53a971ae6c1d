//! What settings mean, and which are refused.

use super::*;

fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.toml");
    fs::write(&path, text).expect("writes");
    Settings::read(&path).expect_err("refused").to_string()
}

#[test]
fn a_file_is_refused_on_one_line_with_its_name_the_line_and_the_key() {
    for (text, line, key) in [
        ("state-dir = \"a\"\nmanagment = \"127.0.0.1:1\"\n", "line 2", "managment"),
        ("\nmanagement = \"nowhere\"\n", "line 2", "management"),
        ("drain = \"long\"\n", "line 1", "drain"),
    ] {
        let refused = refusal(text);
        assert!(refused.contains("control.toml"), "{refused}");
        assert!(refused.contains(line) && refused.contains(key), "{refused}");
        assert!(!refused.contains('\n'), "{refused}");
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let flags = Settings { drain: Some(1), ..Settings::default() };
    let file: Settings = toml::from_str("drain = 2\nadmin = \"127.0.0.1:9\"\n").expect("good");
    let config = Config::resolve(flags.or(file)).expect("good");
    assert_eq!(config.drain, Duration::from_secs(1));
    assert_eq!(config.admin.port(), 9);
    assert_eq!(config.management.port(), 7420);
}

#[test]
fn bounds_are_said_by_flags_and_refused_by_name_out_of_their_range() {
    let said = Settings { token_rate: Some(0), call_timeout: Some(10), ..Settings::default() };
    let limits = Config::resolve(said).expect("good").limits;
    let wanted = Limits {
        token_rate: 0,
        call: Duration::from_secs(10),
        large_call: Duration::from_secs(40),
        ..Limits::default()
    };
    assert_eq!(limits, wanted);
    for (flag, settings) in [
        ("--token-burst", Settings { token_burst: Some(0), ..Settings::default() }),
        ("--call-timeout", Settings { call_timeout: Some(0), ..Settings::default() }),
        ("--stream-limit", Settings { stream_limit: Some(0), ..Settings::default() }),
        ("--connection-limit", Settings { connection_limit: Some(0), ..Settings::default() }),
    ] {
        let refused = Config::resolve(settings).expect_err("refused").to_string();
        assert!(refused.contains(flag), "{refused}");
    }
}

#[test]
fn an_admin_port_that_others_reach_needs_a_token() {
    for address in ["0.0.0.0:7422", "[::]:7422", "192.0.2.1:7422"] {
        let admin = Some(address.parse().expect("an address"));
        let open = Settings { admin, ..Settings::default() };
        let refused = Config::resolve(open.clone()).expect_err("refused").to_string();
        assert!(refused.contains(address) && refused.contains("--admin-token-file"), "{refused}");
        Config::resolve(Settings { admin_token_file: Some("token".into()), ..open }).expect("good");
    }
    let loopback = Some("[::1]:7422".parse().expect("an address"));
    Config::resolve(Settings { admin: loopback, ..Settings::default() }).expect("good");
}

#[test]
fn a_certificate_without_its_key_is_refused_by_the_name_of_what_is_missing() {
    let said = Settings { management_tls_certificate: Some("a.pem".into()), ..Settings::default() };
    let refused = Config::resolve(said).expect_err("refused").to_string();
    assert!(refused.contains("--management-tls-key is missing"), "{refused}");
}

#[test]
fn one_address_for_two_ports_is_refused_by_the_names_of_both() {
    let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7000)));
    let refused = Config::resolve(Settings { management: address, admin: address, ..Settings::default() })
        .expect_err("refused")
        .to_string();
    assert!(refused.contains("--management") && refused.contains("--admin"), "{refused}");
}

#[test]
fn a_database_is_shown_without_its_password() {
    let address: DatabaseAddress =
        "postgres://user:pass@db.example/rr?sslmode=require".parse().expect("good");
    assert_eq!(address.to_string(), "postgres://db.example/rr");
    assert!("mysql://x".parse::<DatabaseAddress>().is_err());
}

#[test]
fn history_is_kept_for_a_quarter_unless_said_otherwise_and_never_for_less_than_a_day() {
    let kept = |days| {
        let settings = Settings { keep_history_days: days, ..Settings::default() };
        Config::resolve(settings).map(|config| config.keep_history)
    };
    assert_eq!(kept(None).expect("good"), DAY * 90);
    assert_eq!(kept(Some(1)).expect("good"), DAY);
    let refused = kept(Some(0)).expect_err("refused").to_string();
    assert!(refused.contains("--keep-history-days is 0: it is 1 to 36500"), "{refused}");
}

#[test]
fn ceilings_are_none_unless_said_and_flags_win_over_the_file() {
    let none = Config::resolve(Settings::default()).expect("good").limit_ceilings;
    assert_eq!(none, fleet::Limits::default());
    let flags = Settings { limit_ceiling_per_minute: Some(50), ..Settings::default() };
    let file: Settings =
        toml::from_str("limit-ceiling-per-minute = 100\nlimit-ceiling-per-day = 20000\n").expect("good");
    let said = Config::resolve(flags.or(file)).expect("good").limit_ceilings;
    assert_eq!(said, fleet::Limits { per_minute_per_node: 50, per_day_per_node: 20_000 });
}

#[test]
fn record_stores_are_named_once_each_and_no_refusal_repeats_an_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("eu.url");
    fs::write(&file, "postgres://rr:hunter2@db.eu.example/records\n").expect("writes");
    let resolved = |database: &str, said: &[&str], files: &[&str]| {
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        let (record_stores, record_store_files) = (texts(said), texts(files));
        let database = Some(database.to_owned());
        Config::resolve(Settings { database, record_stores, record_store_files, ..Settings::default() })
    };
    let central = "postgres://rr@db.example/rr";
    let from_file = format!("eu={}", file.display());
    let good = resolved(central, &["us=postgres://rr@db.us.example/records"], &[&from_file]).expect("good");
    let shown: Vec<_> = good.record_stores.iter().map(|(name, it)| format!("{name} {it}")).collect();
    assert_eq!(shown, ["eu postgres://db.eu.example/records", "us postgres://db.us.example/records"]);
    resolved("sqlite://a.db", &["eu=sqlite://b.db"], &[]).expect("good");
    let outside =
        ["eu=clickhouse+https://rr:hunter2@ch.example:8443/records", "us=clickhouse+http://[::1]:8123/us"];
    let outside = resolved(central, &outside, &[]).expect("good").record_stores;
    let shown: Vec<_> = outside.values().map(|it| format!("{it} {it:?}")).collect();
    assert!(shown[0].starts_with("clickhouse+https://ch.example:8443/records "), "{shown:?}");
    assert!(shown[1].starts_with("clickhouse+http://[::1]:8123/us ") && !shown[0].contains("hunter2"));
    for (said, reason) in [
        (&["postgres://rr:hunter2@x/y"][..], "no. 1"),
        (&["central=postgres://rr:hunter2@x/y"], "not \"central\""),
        (&["Eu=postgres://rr:hunter2@x/y"], "has a name that cannot be one"),
        (&["eu=mysql://rr:hunter2@x/y"], "is not a record store"),
        (&["eu=sqlite://hunter2.db"], "other replicas"),
        (&["eu=clickhouse+http://rr:hunter2@ch.example:8123/records"], "without TLS on another machine"),
        (&["eu=clickhouse+https://rr:hunter2@ch.example:8443"], "without a database"),
        (&["eu=clickhouse+https://rr:hunter2@ch.example/a/b"], "without a database"),
        (&["eu=clickhouse+https://rr:hunter2@ch.example/a?b=c"], "is not an address of ClickHouse"),
        (&["eu=clickhouse+ftp://rr:hunter2@ch.example/a"], "is not an address of ClickHouse"),
        (
            &["eu=clickhouse+https://a:hunter2@x/y", "us=clickhouse+https://b:hunter2@X:443/y"],
            "of another record store",
        ),
        (&["eu=postgres://rr@db.example/rr"], "the database of --database"),
        (&["eu=postgres://rr:hunter2@x/y", "us=postgres://rr:hunter2@x/y"], "of another record store"),
        (&["eu=postgres://rr:hunter2@x/y", "eu=postgres://rr:hunter2@x/z"], "is given twice"),
    ] {
        let refused = resolved(central, said, &[]).expect_err("refused").to_string();
        assert!(refused.contains(reason) && !refused.contains("hunter2"), "{refused}");
    }
    // Said in one place, they hide those of the other.
    let flags = Settings { record_stores: vec!["eu=sqlite://b.db".to_owned()], ..Settings::default() };
    let other: Settings = toml::from_str("record-store = [\"us=sqlite://c.db\"]\n").expect("good");
    let both = Config::resolve(flags.or(other)).expect("good").record_stores;
    assert_eq!(both.into_keys().collect::<Vec<_>>(), ["eu"]);
}
