//! Callers in a file: what two of them may not have in common, and where a value of one is refused.

use prost::Message as _;
use rr_contract::wire::fleet;

use super::*;

const OWN: &str = "9f86d081884c7d659a2feaa0c55ad015";

/// The gateway with further documents, the first of which begins in line 22, and with these callers of its proxy.
fn with(documents: &[String], callers: &str) -> Place {
    let mut text = GATEWAY.replace("caller_credentials: [app]", &format!("caller_credentials: [{callers}]"));
    for document in documents {
        text.push_str("---\nkind: credential\n");
        text.push_str(document);
    }
    let place = Place::new(&text);
    fs::write(place.path("own"), OWN).expect("a file");
    place
}

fn own(name: &str, kind: &str) -> String {
    format!("name: {name}\ncaller: {{kind: {kind}}}\nvalue_from: {{file: own}}\n")
}

fn user(name: &str, user: &str) -> String {
    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw${}", "A".repeat(43));
    format!("name: {name}\ncaller: {{kind: basic, username: {user}, password_hash: '{hash}'}}\n")
}

fn hex(value: &[u8]) -> String {
    let hash = rr_contract::own_value::hash(value).expect("a value");
    data_encoding::HEXLOWER.encode(hash.as_bytes())
}

#[test]
fn one_value_is_one_credential_of_a_file_whoever_may_call_with_it() {
    let hashes =
        |name: &str, hash: &str| format!("name: {name}\ncaller: {{kind: bearer}}\nkey_hashes: ['{hash}']\n");
    for (documents, callers) in [
        (vec![own("one", "bearer"), own("other", "jwt")], "app, one, other"),
        (vec![own("one", "bearer"), own("other", "bearer")], "app"),
        (vec![own("one", "jwt"), hashes("other", &hex(OWN.as_bytes()))], "one"),
        (vec![hashes("one", &hex(OWN.as_bytes()).to_uppercase()), own("other", "bearer")], "app"),
    ] {
        let fault = with(&documents, callers).fault();
        let wanted = "credential \"other\" has a value that credential \"one\" in line 22 has: give each a value of its own";
        assert!(fault.contains(wanted), "{fault}");
    }
    // A key that was made, too.
    let place = with(&[own("own", "bearer")], "app");
    fs::write(place.path("own"), fs::read(place.path("app.key")).expect("a key")).expect("a file");
    let fault = place.fault();
    assert!(
        fault.contains("credential \"own\" has a value that credential \"app\" in line 10 has"),
        "{fault}"
    );
    let loaded =
        with(&[own("one", "bearer"), hashes("other", &hex(b"kqzvhwmtbxjrnyplcgfdsoaeiukqhzwt"))], "app");
    good(&loaded.loader(), &Held::new());
}

#[test]
fn a_value_that_stands_twice_in_one_credential_would_end_with_the_older_one_and_is_refused() {
    let twice = format!(
        "name: one\ncaller: {{kind: bearer}}\nvalue_from: {{file: own}}\nkey_hashes: ['{}']\n",
        hex(OWN.as_bytes())
    );
    let fault = with(&[twice], "one").fault();
    assert!(fault.contains(":22: credential \"one\" has one value twice: leave one of them out"), "{fault}");
}

#[test]
fn two_callers_of_one_proxy_have_two_users() {
    let both = [user("one", "ann"), user("other", "ann")];
    let fault = with(&both, "app, one, other").fault();
    assert!(
        fault.contains(":18: caller_credentials[2]: \"other\" has user \"ann\", as \"one\" has"),
        "{fault}"
    );
    for (documents, callers) in
        [(&both, "app, one"), (&both, "other"), (&[user("one", "ann"), user("other", "bob")], "one, other")]
    {
        let place = with(documents, callers);
        good(&place.loader(), &Held::new());
    }
    // At proxies of their own they may.
    let text = fs::read_to_string(with(&both, "one").path("gateway.yaml")).expect("a file");
    let second = text.rsplit("kind: proxy\n").next().map(str::to_owned).expect("a proxy");
    let second = second.split("---").next().expect("a document").replace("name: echo", "name: second");
    let place = Place::new(&format!("{text}---\nkind: proxy\n{}", second.replace("[one]", "[other]")));
    good(&place.loader(), &Held::new());
}

#[test]
fn each_kind_of_caller_arrives_in_its_message_with_its_newest_value_first() {
    use fleet::caller_credential::Kind;

    let [own, older] = [OWN, "kqzvhwmtbxjrnyplcgfdsoaeiukqhzwt"]
        .map(|value| rr_contract::own_value::hash(value.as_bytes()).expect("a value").as_bytes().to_vec());
    let older_hex = data_encoding::HEXLOWER.encode(&older);
    let end = "previous_not_after: '2100-01-31T00:00:00Z'";
    let two = format!("value_from: {{file: own}}\nkey_hashes: ['{older_hex}']\n");
    let bearer = format!("name: one\ncaller: {{kind: bearer, header: X-Own, prefix: Key, {end}}}\n{two}");
    let jwt = format!("name: one\ncaller: {{kind: jwt, {end}}}\n{two}");
    let hashes = vec![own, older];
    for (document, header, wanted) in [
        (
            &bearer,
            "x-own",
            Kind::Bearer(fleet::CallerBearer { hashes: hashes.clone(), prefix: "Key".to_owned() }),
        ),
        (&jwt, "", Kind::Jwt(fleet::CallerJwt { hashes })),
    ] {
        let offer = with(std::slice::from_ref(document), "app, one").loader().offer(&Held::new());
        let offer = offer.unwrap_or_else(|fault| panic!("{}", chain(&fault)));
        let callers = offer.resources.iter().filter_map(|(_, offered)| {
            let usage = fleet::CredentialResource::decode(&*offered.payload).ok()?.usage?;
            let fleet::credential_resource::Usage::Caller(caller) = usage else { return None };
            caller.previous_not_after.is_some().then_some(caller)
        });
        let [caller] = callers.collect::<Vec<_>>().try_into().expect("one with two values");
        assert_eq!((&*caller.header, caller.kind), (header, Some(wanted)));
        assert_eq!(caller.previous_not_after.map(|at| at.seconds), Some(4_105_036_800));
    }
}

#[test]
fn a_value_that_can_be_guessed_is_refused_and_one_that_a_kind_has_no_use_for_is_not_read() {
    for (value, caller, wanted) in [
        ("hunter2", "{kind: bearer}", ":25: value_from: the value is 7 characters long: 32 at least"),
        (&*"changeme".repeat(8), "{kind: jwt}", ":25: value_from: the value takes an estimated"),
        (
            "hunter2",
            "{kind: basic, username: ann}",
            ":24: caller: this kind has no key: leave out value_from and key_hashes, and give the hash of the password",
        ),
        ("hunter2", "{header: x-own}", ":24: caller: kind is missing"),
        (OWN, "{kind: jwt, prefix: Key}", ":24: caller.prefix: stands before the value of kind bearer alone"),
        (OWN, "{kind: api-key, prefix: Key}", ":24: caller.prefix: "),
    ] {
        let place = with(&[format!("name: one\ncaller: {caller}\nvalue_from: {{file: own}}\n")], "one");
        fs::write(place.path("own"), value).expect("a file");
        let fault = place.fault();
        assert!(fault.contains(wanted) && !fault.contains("hunter2"), "{caller}: {fault}");
    }
    let place = with(&["name: one\ncaller: {kind: basic, username: ann}\n".to_owned()], "one");
    assert!(
        place.fault().contains(":24: caller.password_hash: is missing: give the hash"),
        "{}",
        place.fault()
    );
}

/// It was served, and each request that had the header for its own purpose was taken for one with a credential.
#[test]
fn a_caller_stands_in_no_header_that_requests_have_for_another_purpose() {
    for header in ["accept", "Content-Type", "x-forwarded-for", "x_real_ip"] {
        let document =
            format!("name: one\ncaller: {{kind: bearer, header: {header}}}\nvalue_from: {{file: own}}\n");
        let fault = with(&[document], "one").fault();
        assert!(fault.contains(":24: caller.header: ") && fault.contains("of its own"), "{header}: {fault}");
    }
}

#[test]
fn what_vouches_for_a_name_is_an_authority() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    let make = |is_ca: IsCa| {
        let mut params = CertificateParams::default();
        params.is_ca = is_ca;
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem()
    };
    let authority = make(IsCa::Ca(BasicConstraints::Unconstrained));
    let place = |bundle: &str| {
        let ca = bundle.replace('\n', "\n      ");
        let document = format!(
            "name: one\ncaller:\n  kind: certificate\n  certificate:\n    spiffe_id: spiffe://example.org/a\n    ca: |\n      {ca}\n"
        );
        with(&[document], "one")
    };
    good(&place(&authority).loader(), &Held::new());
    for leaf in [make(IsCa::ExplicitNoCa), make(IsCa::NoCa)] {
        let fault = place(&format!("{authority}{leaf}")).fault();
        assert!(fault.contains("caller.certificate.ca: certificate 2 is of no authority"), "{fault}");
    }
}
