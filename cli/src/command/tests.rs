//! The flags of the tree, against the fields of the schemas.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::*;
use crate::field::{FLAT, RENAMED, WITHIN};

mod examples;
mod grammar;
mod shown;
mod tables;

/// Flags that no fault of a request is about: they concern this machine, or clear or negate what another flag sets.
const WITHOUT_FIELD: &[&str] = &[
    "accept_change",
    "accept_target",
    "adopt",
    "after_restore",
    "allow_empty",
    "allow_refusals",
    "any_region",
    "assertion_audience",
    "auth",
    "authentication",
    "aws_region",
    "ca_file",
    "caller_key_file",
    "context",
    "control_admin_port",
    "data",
    "dir",
    "edge_admin_port",
    "edge_ca",
    "edge_port",
    "edge_token_file",
    "edge_url",
    "edges",
    "endpoint",
    "env",
    "ephemeral",
    "every_request",
    "exclude",
    "file",
    "files",
    "fingerprints",
    "fleet_port",
    "follow",
    "from_passphrase_file",
    "help",
    "keep_used",
    "key_file",
    "keys_out",
    "last",
    "log_level",
    "management_port",
    "mine",
    "no_end",
    "no_metadata",
    "no_recovery_copy",
    "no_tags",
    "out",
    "output",
    "passphrase_file",
    "path_absent",
    "preview",
    "prompt",
    "read_from",
    "recipient_passphrase_file",
    "recipients",
    "recovery_copy",
    "region_key",
    "regions_file",
    "secret_file",
    "session_token_file",
    "set_org",
    "set_regions_file",
    "shell",
    "sign_headers",
    "timeout",
    "token_file",
    "token_headers",
    "token_url",
    "trust_token",
    "upstream_port",
    "value_file",
    "verbose",
    "wait",
    "watch",
    "yes",
];

/// The flag that is named for a field, after a command line was typed.
fn named(line: &str, field: &str) -> Option<String> {
    let mut tree = Args::command();
    let typed = tree.try_get_matches_from_mut(line.split_whitespace()).expect(line);
    Flags::of(&tree, &typed).filling(field)
}

#[test]
fn a_field_at_fault_is_named_by_the_flag_that_fills_it() {
    for (line, field, flag) in [
        ("rrctl target create echo --base-url x", "target.base_url", "--base-url"),
        ("rrctl target create echo --base-url x", "target.name", "NAME"),
        ("rrctl target update echo --owner git", "target.connect_timeout", "--connect-timeout"),
        ("rrctl proxy update p --caller a --upstream u", "proxy.caller_credentials[0]", "--caller"),
        ("rrctl proxy update p --region eu --region us", "proxy.regions[1]", "--region us"),
        ("rrctl proxy update p --upstream u", "proxy.upstream_credential", "--upstream"),
        ("rrctl proxy update p --per-day 3", "proxy.limits.per_day_per_node", "--per-day"),
        (
            "rrctl proxy update p --per-day-per-caller 3",
            "proxy.limits_per_caller.per_day_per_node",
            "--per-day-per-caller",
        ),
        (
            "rrctl proxy update p --per-minute-per-address 3",
            "proxy.limits_per_address.per_minute_per_node",
            "--per-minute-per-address",
        ),
        ("rrctl proxy update p --max-request-bytes 8MiB", "proxy.max_request_bytes", "--max-request-bytes"),
        ("rrctl proxy update p --observe --per-day 3", "proxy.observe", "--observe"),
        ("rrctl proxy update p --strip-prefix v1", "proxy.rewrite.strip_prefix", "--strip-prefix"),
        ("rrctl proxy update p --host a@b", "proxy.rewrite.host", "--host"),
        (
            "rrctl proxy update p --set-header host:a",
            "proxy.rewrite.request_headers.set[0].name",
            "--set-header",
        ),
        (
            "rrctl proxy update p --remove-header te",
            "proxy.rewrite.request_headers.remove[0]",
            "--remove-header",
        ),
        ("rrctl proxy update p --cors-origin a", "proxy.cors.origins[0]", "--cors-origin"),
        ("rrctl proxy update p --forwarded none", "proxy.forwarded", "--forwarded"),
        ("rrctl proxy update p --cors-max-age 9h", "proxy.cors.max_age", "--cors-max-age"),
        (
            "rrctl proxy update p --record-path /a --record-path b",
            "proxy.recording.path_templates[1]",
            "--record-path b",
        ),
        ("rrctl proxy update p --record-query a", "proxy.recording.query_parameters[0]", "--record-query"),
        (
            "rrctl proxy update p --record-request-header cookie",
            "proxy.recording.request_headers[0]",
            "--record-request-header",
        ),
        ("rrctl proxy update p --retry on=404", "proxy.retry.statuses[0]", "--retry: on"),
        (
            "rrctl target update t --circuit-breaker open=2h",
            "target.circuit_breaker.open_for",
            "--circuit-breaker: open",
        ),
        (
            "rrctl org update acme --ceiling-per-day 3",
            "org.limit_ceilings.per_day_per_node",
            "--ceiling-per-day",
        ),
        ("rrctl org update acme --per-minute 3", "org.default_limits.per_minute_per_node", "--per-minute"),
        ("rrctl org update acme --share targets=off", "org.sharing", "--share"),
        ("rrctl org update acme --record-days 7", "org.record_days", "--record-days"),
        ("rrctl org undelete og_1", "org", "ORG"),
        ("rrctl rule create --on proxy/p --deny", "rule.proxy", "--on"),
        ("rrctl rule create --on proxy/p --deny", "rule.effect", "--deny"),
        ("rrctl rule create --on proxy/p --effect deny", "rule.effect", "--effect"),
        ("rrctl rule create --on proxy/p --deny --path (", "rule.when.path.regex", "--path"),
        (
            "rrctl rule create --on proxy/p --deny --header a --header b",
            "rule.when.headers[1].name.regex",
            "--header b",
        ),
        ("rrctl rule create --on proxy/p --deny --path a --flags i", "rule.when.path.flags", "--flags"),
        (
            "rrctl rule create --on proxy/p --deny --body a=b --flags i",
            "rule.when.body[0].value.flags",
            "--flags",
        ),
        ("rrctl rule update r --observe false", "rule.observe", "--observe"),
        ("rrctl meter update m --on-missing 1", "meter.value.on_missing", "--on-missing"),
        ("rrctl meter update m --reserve 1", "meter.value.reserve", "--reserve"),
        ("rrctl filter create --on proxy/p --mask a..b", "filter.paths[0]", "--mask"),
        ("rrctl filter create --on proxy/p --mask a --mask-with x", "filter.mask", "--mask-with"),
        ("rrctl filter create --on proxy/p --detect email", "filter.detectors[0]", "--detect"),
        ("rrctl filter create --on proxy/p --pattern a+", "filter.patterns[0]", "--pattern"),
        ("rrctl filter create --on proxy/p --detect card --within a..b", "filter.paths[0]", "--within"),
        ("rrctl meter create --on p --value-header x", "meter.value.header", "--value-header"),
        ("rrctl meter create --on p --requests", "meter.proxy", "--on"),
        ("rrctl meter update m --only-when-path (", "meter.only_when.path.regex", "--only-when-path"),
        ("rrctl credential create-caller c --header h", "credential.caller.header", "--header"),
        ("rrctl credential update c --issuer i", "credential.caller.jwt_verify.issuer", "--issuer"),
        (
            "rrctl credential update c --identity-claim sub",
            "credential.caller.jwt_verify.identity_claim",
            "--identity-claim",
        ),
        ("rrctl credential create-caller c --kind bearer", "credential.caller.bearer.prefix", "--prefix"),
        (
            "rrctl credential create-caller c --kind jwt --value-from -",
            "credential.caller.value_hash",
            "--value-from",
        ),
        ("rrctl credential create-caller c --tag a --tag B", "credential.tags[1]", "--tag B"),
        ("rrctl credential update c --metadata a=", "credential.metadata", "--metadata"),
        ("rrctl credential roll c --overlap 1h --prompt", "overlap", "--overlap"),
        ("rrctl credential roll c --overlap 0 --value-from -", "value_hash", "--value-from"),
        ("rrctl member add ada --role owner", "member.user", "USER"),
        ("rrctl token create ci --role editor@a --role viewer@b", "token.grants[1].org", "--role viewer@b"),
        ("rrctl token create ci --role operator --expires 1d", "token.expires_at", "--expires"),
        ("rrctl proxy list --sort size", "order_by", "--sort"),
        ("rrctl audit list --since 7d", "after", "--since"),
        ("rrctl revision wait 7 --region eu", "regions", "--region"),
        ("rrctl org rollback 7 --expect 9", "expected_revision", "--expect"),
        ("rrctl --org acme proxy list", "org", "--org"),
        ("rrctl apply -f a.yaml --owner git", "header.owner", "--owner"),
        ("rrctl init https://api.example.com", "documents[0].target.base_url", "URL"),
        ("rrctl init https://api.example.com", "documents[3].proxy.regions", "--region"),
    ] {
        assert_eq!(named(line, field).as_deref(), Some(flag), "{line}: {field}");
    }
}

/// A remedy said `set danger_plaintext`, which nobody can type.
#[test]
fn a_field_in_a_remedy_is_named_by_the_flag_that_fills_it() {
    let said = |line: &str, text: &str| {
        let mut tree = Args::command();
        let typed = tree.try_get_matches_from_mut(line.split_whitespace()).expect(line);
        Flags::of(&tree, &typed).in_text(text)
    };
    let create = "rrctl target create t1 --base-url http://x";
    for (line, text, told) in [
        (create, "use https, or set danger_plaintext", "use https, or set `--danger-plaintext`"),
        (create, "give `base_url`.", "give `--base-url`."),
        ("rrctl proxy update p --region eu", "name caller_credentials", "name `--caller`"),
        // A command that has no flag for it, what was typed, and a part of a longer word.
        ("rrctl apply -f a.yaml", "set danger_plaintext", "set danger_plaintext"),
        (create, "names \"danger_plaintext\"", "names \"danger_plaintext\""),
        (create, "px_danger_plaintext and Xbase_url", "px_danger_plaintext and Xbase_url"),
        (create, "is one of three, e.g. a name.", "is one of three, e.g. a name."),
        (create, "größer, ÿ base", "größer, ÿ base"),
    ] {
        assert_eq!(said(line, text), told, "{line}");
    }
}

#[test]
fn a_field_without_a_flag_keeps_its_path() {
    for (line, field) in [
        ("rrctl apply -f a.yaml --owner git", "documents[0].owner"),
        ("rrctl apply -f a.yaml", "documents[12].base_url"),
        ("rrctl credential create-upstream c", "credential.upstream.sealed.wraps[0].region"),
        ("rrctl credential create-upstream c", "credential.upstream.sealed"),
        ("rrctl target create echo --base-url x", "target.etag"),
        ("rrctl rule update r --notes x", "rule.effect"),
        ("rrctl rule create --on proxy/p --deny", "rule.when.colour"),
        ("rrctl org list", ""),
    ] {
        assert_eq!(named(line, field), None, "{line}: {field}");
    }
}

/// Every message of the schemas, by its full name.
fn messages() -> BTreeMap<String, DescriptorProto> {
    let set = FileDescriptorSet::decode(rr_contract::wire::DESCRIPTORS).expect("descriptors");
    let ours = set.file.into_iter().filter(|file| file.package().starts_with("requestrocket."));
    ours.flat_map(|file| {
        let package = file.package().to_owned();
        file.message_type.into_iter().map(move |it| (format!(".{package}.{}", it.name()), it))
    })
    .collect()
}

/// Whether a message has a field, or a choice of fields, at a path.
fn has(messages: &BTreeMap<String, DescriptorProto>, message: &DescriptorProto, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.field.iter().find(|field| field.name() == first);
    match (field, rest) {
        (Some(field), Some(rest)) => {
            messages.get(field.type_name()).is_some_and(|below| has(messages, below, rest))
        }
        (field, None) => field.is_some() || message.oneof_decl.iter().any(|it| it.name() == first),
        (None, Some(_)) => false,
    }
}

#[test]
fn every_field_of_the_table_is_in_the_schemas_and_every_flag_in_the_tree() {
    let messages = messages();
    let ids: BTreeSet<String> = leaves().into_iter().flat_map(|(_, ids)| ids).collect();
    for (field, flags) in RENAMED {
        assert!(messages.values().any(|it| has(&messages, it, field)), "no field {field}");
        for flag in *flags {
            assert!(ids.contains(*flag), "no flag with the id {flag}");
        }
    }
    for (field, _) in WITHIN {
        assert!(messages.values().any(|it| has(&messages, it, field)), "no field {field}");
    }
    for within in FLAT {
        assert!(messages.values().any(|it| has(&messages, it, within)), "no message at {within}");
    }
}

/// A new flag that is called otherwise than its field would leave errors with the name of the field.
#[test]
fn every_flag_fills_a_field_or_is_known_to_fill_none() {
    let messages = messages();
    let fields: BTreeSet<&str> =
        messages.values().flat_map(|it| it.field.iter().map(|field| field.name())).collect();
    let renamed: BTreeSet<&str> = RENAMED.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
    let mut missing = Vec::new();
    for (path, ids) in leaves() {
        for id in ids {
            let id = id.as_str();
            if !fields.contains(id) && !renamed.contains(id) && !WITHOUT_FIELD.contains(&id) {
                missing.push(format!("{path}: {id}"));
            }
        }
    }
    assert!(missing.is_empty(), "add these to field.rs, or to the list of this file: {missing:#?}");
}

/// Fields that the control plane sets, and the name, which is an argument.
const NOT_TYPED: &[&str] =
    &["id", "org", "name", "urls", "nodes", "over_ceiling", "etag", "created_at", "updated_at", "created_by"];

/// A field that only files and the API can set would be one that nobody finds in `--help`.
#[test]
fn every_field_of_a_target_and_of_a_proxy_has_a_flag() {
    let messages = messages();
    let mut missing = Vec::new();
    for (message, path) in [("Target", "rrctl target update"), ("Proxy", "rrctl proxy update")] {
        let (_, ids) = leaves().into_iter().find(|(it, _)| it == path).expect(path);
        let has = |name: &str| ids.iter().any(|id| id == name);
        for field in &messages[&format!(".requestrocket.management.v1.{message}")].field {
            let is_of = |renamed: &str| renamed.split('.').next() == Some(field.name());
            let is_renamed =
                RENAMED.iter().any(|(name, flags)| is_of(name) && flags.iter().any(|flag| has(flag)));
            if !NOT_TYPED.contains(&field.name()) && !has(field.name()) && !is_renamed {
                missing.push(format!("{path}: {}", field.name()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every command that does something, and the ids of its flags and arguments.
fn leaves() -> Vec<(String, Vec<String>)> {
    fn walk(command: &Command, path: &str, found: &mut Vec<(String, Vec<String>)>) {
        if command.has_subcommands() {
            return command
                .get_subcommands()
                .filter(|it| it.get_name() != "help")
                .for_each(|it| walk(it, &format!("{path} {}", it.get_name()), found));
        }
        let ids = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        found.push((path.to_owned(), ids));
    }
    let mut tree = Args::command();
    tree.build();
    let mut found = Vec::new();
    walk(&tree, "rrctl", &mut found);
    found
}

#[test]
fn no_example_is_broken_by_a_terminal_of_80_columns() {
    fn walk(command: &Command, lines: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        lines.extend(
            help.lines()
                .filter(|line| line.starts_with("  rrctl ") || line.starts_with("    "))
                .map(str::to_owned),
        );
        command.get_subcommands().for_each(|it| walk(it, lines));
    }
    let mut lines = Vec::new();
    walk(&Args::tree(), &mut lines);
    assert!(lines.len() > 50, "{lines:?}");
    lines.retain(|line| line.chars().count() > 80);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
