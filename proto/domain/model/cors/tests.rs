//! Which calls from web pages a proxy can take.

use super::*;

fn read(wire: fleet::Cors) -> Result<Cors, Vec<String>> {
    let mut faults = Violations::default();
    let cors = Cors::read(&mut faults, wire);
    let named = |invalid: crate::model::invalid::Invalid| {
        invalid.violations().iter().map(|violation| violation.field.clone()).collect()
    };
    faults.finish(|| cors).map_err(named)
}

fn of(origins: &[&str]) -> fleet::Cors {
    fleet::Cors {
        origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        ..fleet::Cors::default()
    }
}

#[test]
fn a_policy_that_names_only_origins_takes_the_simple_methods() {
    let cors = read(of(&["https://app.example.com", "https://*.example.com"])).expect("it is valid");
    assert!(matches!(&cors.origins, Origins::Some(origins) if origins.len() == 2));
    assert_eq!(*cors.methods, [Method::GET, Method::HEAD, Method::POST]);
    assert_eq!((cors.headers, cors.max_age), (Headers::Some(Box::default()), Duration::from_secs(600)));
}

#[test]
fn a_star_stands_alone_and_excludes_credentials() {
    assert_eq!(read(of(&["*"])).map(|cors| cors.origins), Ok(Origins::All));
    assert_eq!(read(of(&["*", "https://a.example"])), Err(vec!["cors.origins".to_owned()]));
    let cors = fleet::Cors { credentials: true, ..of(&["*"]) };
    assert_eq!(read(cors), Err(vec!["cors.credentials".to_owned()]));
}

#[test]
fn a_star_of_headers_does_not_stand_for_authorization() {
    let headers = |names: &[&str]| {
        let headers = names.iter().map(|&name| name.to_owned()).collect();
        read(fleet::Cors { headers, ..of(&["*"]) }).expect("it is valid").headers
    };
    assert_eq!(headers(&["*"]), Headers::All { authorization: false });
    assert_eq!(headers(&["*", "authorization"]), Headers::All { authorization: true });
    assert!(matches!(headers(&["x-a"]), Headers::Some(names) if names.len() == 1));
}

#[test]
fn every_value_out_of_bounds_is_named() {
    assert_eq!(read(of(&[])), Err(vec!["cors.origins".to_owned()]));
    assert_eq!(read(of(&["app.example.com"])), Err(vec!["cors.origins[0]".to_owned()]));
    let cors = fleet::Cors {
        methods: vec!["get".to_owned()],
        headers: vec!["X-A".to_owned()],
        exposed_headers: vec!["a b".to_owned()],
        max_age: Some(pbjson_types::Duration { seconds: 90_000, nanos: 0 }),
        ..of(&["*"])
    };
    let wanted = ["cors.methods[0]", "cors.headers[0]", "cors.exposed_headers[0]", "cors.max_age"];
    assert_eq!(read(cors), Err(wanted.map(str::to_owned).to_vec()));
}
