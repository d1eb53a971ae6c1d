//! What records keep of what callers write, from `rrctl` and REST to the record and to the bytes on both planes' disks.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rr_integration::caller::{Reply, send};
use rr_integration::sample::ORG;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::{Value, json};

use crate::own_values::Installation;

/// None of them is one, and each looks like one in another way.
const PLANTED: [&str; 6] = [
    "sk_live_Zq7Planted01",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJQbGFudGVkIn0.c2lnbmVkLWJ5LW5vYm9keQ",
    "ghp_Zq7Planted03aaaaaaaaaaaa",
    "planted04@example.com",
    "4111111111111111",
    "Zq7pLaN9tEd05xY2wVu8T1sR4",
];
/// Says who somebody is, and looks like nothing.
const PERSON: &str = "planted-person";

async fn ask(it: &Installation, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get(format!("/api/{ORG}.{path}")).header("host", it.edge.listen.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(it.edge.listen, request.body(Full::<Bytes>::default()).expect("a request")).await.expect("answered")
}

async fn listed(it: &Installation, flags: &[&str]) -> Vec<Value> {
    let listed = it.done(&[&["-o", "json", "request", "list"], flags].concat(), "").await;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    listed.as_array().expect("a list").iter().map(|it| it["record"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_hold_templates_and_named_values_and_no_secret_reaches_any_disk() {
    let upstream = Upstream::start_with(|seen| {
        let said = seen.headers.get("x-say").cloned();
        let mut response = Response::new(Full::default());
        if let Some(said) = said {
            response.headers_mut().insert("x-said", said);
        }
        response
    })
    .await;
    let it = Installation::start_before(upstream, &[]).await;
    let key = format!("Bearer {}", it.sample.key);

    // What holds a credential cannot be named, and the error says what to do.
    let said = it.fails(&["proxy", "update", "echo", "--record-request-header", "cookie"], "").await;
    assert!(said.contains("--record-request-header") && said.contains("leave it out"), "{said}");
    let create = ["credential", "create-caller", "partner", "--kind", "bearer", "--header", "x-partner"];
    it.done(&create, "").await;
    let flags = ["--caller", "app", "--caller", "partner", "--record-request-header", "x-partner"];
    let said = it.fails(&[&["proxy", "update", "echo"][..], &flags].concat(), "").await;
    assert!(said.contains("partner") && said.contains("leave it out"), "{said}");

    let flags = [
        "--record-path",
        "/people/{id}",
        "--record-path",
        "/people/{id}/{rest...}",
        "--record-request-header",
        "X-Say",
        "--record-response-header",
        "x-said",
        "--record-query",
        "page",
    ];
    it.done(&[&["proxy", "update", "echo"][..], &flags].concat(), "").await;
    let shown = it.done(&["proxy", "show", "echo"], "").await;
    assert!(shown.contains("/people/{id}/{rest...}"), "{shown}");
    eventually("the node records by template", || async {
        ask(&it, "echo/people/first", &[("authorization", &key)]).await;
        let found = listed(&it, &["--path", "/people/{id}"]).await;
        (!found.is_empty()).then_some(())
    })
    .await;

    for planted in PLANTED {
        let path = format!("echo/people/{PERSON}/{planted}");
        let headers =
            [("authorization", &*key), ("x-say", "fine"), ("x-other", planted), ("cookie", planted)];
        assert_eq!(ask(&it, &path, &headers).await.status, 200);
        // Beside the templates, in a query, in a header that is kept, and of a caller whom nobody knows.
        let path = format!("echo/keys/{planted}/x?page={planted}&other={planted}");
        let headers = [("authorization", &*key), ("x-say", planted)];
        assert_eq!(ask(&it, &path, &headers).await.status, 200);
        assert_eq!(
            ask(&it, &format!("echo/keys/{planted}"), &[("authorization", planted)]).await.status,
            401
        );
    }
    assert!(it.upstream.seen().iter().any(|seen| seen.uri.path().contains(PLANTED[0])), "it went on whole");

    let all = PLANTED.len();
    eventually("all records are there", || async {
        (listed(&it, &["--status", "401"]).await.len() == all
            && listed(&it, &["--path", "/people/{id}/{rest...}"]).await.len() == all
            && listed(&it, &["--path", "/keys/{masked}/*"]).await.len() == all)
            .then_some(())
    })
    .await;
    for record in listed(&it, &["--path", "/people/{id}/{rest...}"]).await {
        assert_eq!(record["pathChanges"], json!(["PATH_CHANGE_TEMPLATED"]));
        let values = [("REQUEST", "x-say"), ("RESPONSE", "x-said")].map(|(place, name)| {
            json!({"place": format!("KEPT_PLACE_{place}_HEADER"), "name": name, "value": "fine"})
        });
        assert_eq!(record["keptValues"], json!(values));
    }
    for record in listed(&it, &["--path", "/keys/{masked}/*"]).await {
        assert_eq!(
            (&record["path"], &record["pathChanges"]),
            (&json!("/keys/{masked}/x"), &json!(["PATH_CHANGE_MASKED"]))
        );
        let kept = record["keptValues"].as_array().expect("a list");
        assert!(
            kept.len() == 3 && kept.iter().all(|it| it["masked"] == true && it.get("value").is_none()),
            "{record}"
        );
        let shown =
            it.done(&["request", "show", record["id"].as_str().expect("an id"), "-o", "wide"], "").await;
        assert!(shown.contains("query page (masked)"), "{shown}");
    }
    // A beginning of what is stored finds it.
    assert!(listed(&it, &["--path", "/people/*"]).await.len() > all);
    assert!(listed(&it, &["--path", &format!("/people/{PERSON}*")]).await.is_empty());
    it.forgets(&[&PLANTED[..], &[PERSON]].concat()).await;
}
