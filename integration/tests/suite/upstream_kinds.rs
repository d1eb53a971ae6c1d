//! Each kind of value for an upstream, from `rrctl` and from files to a request: it is where the upstream looks for it, it can
//! be replaced, and nothing of the installation holds it.

use rr_integration::sample::REGION;
use rr_integration::upstream::Seen;
use rr_integration::wait::eventually;

use crate::own_values::Installation;

const VALUE: &str = "9f86d081884c7d659a2feaa0c55ad015";
const NEXT: &str = "3f2b8c1d7e544a099c6bd18e2f7a5b30";
/// `ann:` and [`VALUE`].
const BASIC: &str = "Basic YW5uOjlmODZkMDgxODg0YzdkNjU5YTJmZWFhMGM1NWFkMDE1";

/// What the upstream saw of a request through the proxy `echo`.
async fn seen(it: &Installation) -> Seen {
    let key = it.sample.key.clone();
    let reply = it.get(&[("authorization", &format!("Bearer {key}"))]).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    it.upstream.seen().pop().expect("it was asked")
}

/// Waits until a header or the query of what the upstream sees is this.
async fn injects(it: &Installation, place: &str, wanted: &str) {
    eventually(&format!("{place} is {wanted}"), || async {
        let seen = seen(it).await;
        let found = match place {
            "?" => seen.uri.query().unwrap_or_default().to_owned(),
            name => seen.headers.get(name).map_or("", |value| value.to_str().expect("text")).to_owned(),
        };
        (found == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_sealed_by_rrctl_injected_replaced_and_found_nowhere() {
    let it = Installation::start().await;
    let (origin, fingerprint) = (it.upstream.url(), format!("{REGION}={}", it.sample.keys.fingerprint()));
    let sealing = ["--region", REGION, "--fingerprint", &*fingerprint];
    std::fs::write(it.values.path().join("id"), "app-1").expect("a file");
    let query = format!("key={VALUE}");
    for (name, more, place, wanted) in [
        (
            "bearer",
            &["--kind", "bearer", "--value-file", "-"][..],
            "authorization",
            &*format!("Bearer {VALUE}"),
        ),
        ("token", &["--kind", "jwt", "--value-file", "-"], "authorization", &format!("Bearer {VALUE}")),
        ("header", &["--kind", "api-key", "--header", "x-key", "--value-file", "-"], "x-key", VALUE),
        ("query", &["--kind", "api-key", "--query", "key", "--value-file", "-"], "?", &query),
        ("basic", &["--kind", "basic", "--user", "ann", "--value-file", "-"], "authorization", BASIC),
        (
            "several",
            &["--kind", "custom-headers", "--set-header", "x-id=id", "--set-header", "x-secret=-"],
            "x-secret",
            VALUE,
        ),
    ] {
        let create = ["credential", "create-upstream", name, "--origin", &*origin];
        it.done(&[&create[..], &sealing, more].concat(), VALUE).await;
        it.done(&["proxy", "update", "echo", "--upstream", name], "").await;
        injects(&it, place, wanted).await;
        if name == "several" {
            injects(&it, "x-id", "app-1").await;
        }
    }
    let replace = ["credential", "replace-secret", "query", "--query", "token", "--origin", &*origin];
    it.done(&[&replace[..], &sealing, &["--value-file", "-"]].concat(), NEXT).await;
    it.done(&["proxy", "update", "echo", "--upstream", "query"], "").await;
    injects(&it, "?", &format!("token={NEXT}")).await;
    let shown = it.done(&["credential", "show", "query"], "").await;
    assert!(shown.contains("sealed for") && shown.contains(&origin), "{shown}");
    // What does not fit a kind is named before anything is asked.
    for (more, part) in [
        (&["--kind", "api-key"][..], "give --header NAME or --query NAME"),
        (&["--kind", "bearer", "--query", "key"], "kind bearer has no --query"),
        (&["--kind", "basic"], "give --user NAME"),
        (&["--kind", "custom-headers", "--value-file", "-"], "give --set-header NAME=FILE for each"),
        (
            &["--kind", "custom-headers", "--set-header", "a=-", "--set-header", "b=-"],
            "standard input can hold one",
        ),
        (&["--kind", "none", "--value-file", "-"], "--kind none has no secret to seal"),
    ] {
        let create = ["credential", "create-upstream", "wrong", "--origin", &*origin];
        let said = it.fails(&[&create[..], &sealing, more].concat(), VALUE).await;
        assert!(said.contains(part), "{more:?}: {said}");
    }
    it.forgets(&[VALUE, NEXT, BASIC]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_bring_each_kind_and_a_target_that_the_secret_could_not_go_to_is_refused() {
    let it = Installation::start().await;
    let origin = it.upstream.url();
    let write = |name: &str, text: &str| {
        std::fs::write(it.values.path().join(name), text).expect("is written");
    };
    write("value", VALUE);
    let place = |more: &str| format!("value_from: {{{more}, origins: ['{origin}']}}\n---\n");
    let documents = [
        ("fixed", "jwt", place("file: value")),
        ("query", "api-key", place("file: value, query: key")),
        ("basic", "basic", place("file: value, user: ann")),
        ("several", "custom-headers", place("headers: {x-id: {file: value}, x-secret: {file: value}}")),
    ];
    let document = |(name, kind, from): &(&str, &str, String)| {
        format!("kind: credential\nname: {name}\nupstream: {{kind: {kind}}}\n{from}")
    };
    write("set.yaml", &documents.iter().map(document).collect::<String>());
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let apply = ["apply", "-f", "set.yaml", "--yes", "--region", REGION, "--fingerprint", &*fingerprint];
    let said = it.done(&apply, "").await;
    assert!(said.contains("4 created"), "{said}");
    let said = it.done(&apply, "").await;
    assert!(said.contains("nothing to change: 4 unchanged"), "{said}");
    for (name, place, wanted) in [
        ("fixed", "authorization", &*format!("Bearer {VALUE}")),
        ("query", "?", &format!("key={VALUE}")),
        ("basic", "authorization", BASIC),
        ("several", "x-secret", VALUE),
    ] {
        it.done(&["proxy", "update", "echo", "--upstream", name], "").await;
        injects(&it, place, wanted).await;
    }
    it.done(&["target", "create", "elsewhere", "--base-url", "https://api.example.org"], "").await;
    let said = it.fails(&["proxy", "update", "echo", "--target", "elsewhere"], "").await;
    assert!(said.contains("is not sealed for https://api.example.org"), "{said}");
    assert!(said.contains("credential replace-secret several --origin https://api.example.org"), "{said}");
    it.forgets(&[VALUE, BASIC]).await;
}
