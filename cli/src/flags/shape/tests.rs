//! What flags of shapes make of a proxy, and how a proxy is shown.

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    shape: ShapeArgs,
}

fn typed(flags: &[&str]) -> ShapeArgs {
    Line::try_parse_from([&["rrctl"], flags].concat()).expect("it is typed well").shape
}

#[test]
fn what_is_given_takes_the_place_of_what_was_there_and_the_rest_stays() {
    let add = vec![Pair { name: "x-a".to_owned(), value: "1".to_owned() }];
    let edits = PairEdits { remove: vec!["x-old".to_owned()], add: add.clone(), ..PairEdits::default() };
    let there = Rewrite {
        strip_prefix: "/v1".to_owned(),
        host: "a.example".to_owned(),
        request_headers: Some(edits),
        ..Rewrite::default()
    };
    let given = typed(&["--add-prefix", "/v2", "--set-header", "X-B:  c: d ", "--host", "", "--via"]);
    let rewrite = given.over_rewrite(Some(there)).expect("it is given");
    let set = vec![Pair { name: "x-b".to_owned(), value: "c: d".to_owned() }];
    let edits = PairEdits { remove: vec!["x-old".to_owned()], set, add, ..PairEdits::default() };
    assert_eq!(
        rewrite,
        Rewrite {
            strip_prefix: "/v1".to_owned(),
            add_prefix: "/v2".to_owned(),
            request_headers: Some(edits),
            via: true,
            ..Rewrite::default()
        }
    );
    assert_eq!(given.over_cors(None), None);
    let proxy = Proxy { rewrite: Some(rewrite), ..Proxy::default() };
    assert_eq!(
        rewrite_of(&proxy),
        "strip /v1, add /v2, request remove x-old, request set x-b: c: d, request add x-a: 1, via"
    );
}

#[test]
fn pages_are_named_by_their_origins() {
    let given = typed(&["--cors-origin", "https://a.example", "--cors-header", "Authorization"]);
    let there = Cors { credentials: true, methods: vec!["PUT".to_owned()], ..Cors::default() };
    let cors = given.over_cors(Some(there)).expect("it is given").expect("there are pages");
    assert_eq!(
        (cors.origins, cors.headers),
        (vec!["https://a.example".to_owned()], vec!["authorization".to_owned()])
    );
    assert_eq!((cors.credentials, cors.methods), (true, vec!["PUT".to_owned()]));
    assert!(given.over_rewrite(None).is_none() && given.is_given() && !typed(&[]).is_given());
    assert_eq!(typed(&["--forwarded", "none"]).forwarded(), Some(0));
}

#[test]
fn a_header_without_a_value_is_no_header() {
    assert!(Line::try_parse_from(["rrctl", "--set-header", "x-a"]).is_err());
}

#[test]
fn a_list_can_be_emptied_and_pages_forgotten() {
    let set = vec![Pair { name: "x-a".to_owned(), value: "1".to_owned() }];
    let edits = PairEdits { remove: vec!["x-old".to_owned()], set, ..PairEdits::default() };
    let there = Rewrite { request_headers: Some(edits), ..Rewrite::default() };
    let given = typed(&["--set-header", "none", "--remove-header", "none"]);
    let rewrite = given.over_rewrite(Some(there)).expect("it is given");
    assert_eq!(rewrite.request_headers, Some(PairEdits::default()));
    let there = || Cors {
        origins: vec!["*".to_owned()],
        methods: vec!["PUT".to_owned()],
        headers: vec!["x-a".to_owned()],
        ..Cors::default()
    };
    let given =
        typed(&["--cors-method", "none", "--cors-header", "none", "--cors-exposed-header", "Retry-After"]);
    let cors = given.over_cors(Some(there())).expect("it is given").expect("there are pages");
    let exposed_headers = vec!["retry-after".to_owned()];
    assert_eq!(cors, Cors { origins: vec!["*".to_owned()], exposed_headers, ..Cors::default() });
    assert_eq!(typed(&["--cors-origin", "none"]).over_cors(Some(there())), Some(None));
}

#[test]
fn what_pages_can_do_is_typed_and_shown() {
    let given = typed(&[
        "--cors-origin",
        "https://a.example",
        "--cors-origin",
        "https://*.b.example",
        "--cors-method",
        "GET",
        "--cors-header",
        "Authorization",
        "--cors-exposed-header",
        "x-b",
        "--cors-credentials",
        "--cors-max-age",
        "90s",
    ]);
    let cors = given.over_cors(None).expect("it is given");
    let proxy = Proxy { cors, ..Proxy::default() };
    assert_eq!(
        cors_of(&proxy),
        "https://a.example https://*.b.example, methods GET, headers authorization, exposed x-b, credentials, \
         max age 90s"
    );
}
