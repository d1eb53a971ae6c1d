//! Each kind by what is said of it: where values go, and what does not fit.

use rr_wire::fleet::secret_plaintext::Means as Wire;

use super::*;

fn said(pairs: &[(&str, &str)]) -> Said {
    let mut said = Said::default();
    for (field, text) in pairs {
        let text = (*text).to_owned();
        match *field {
            "header" => said.header = Some(text),
            "prefix" => said.prefix = Some(text),
            "query" => said.query = Some(text),
            "user" => said.user = Some(text),
            _ => said.headers.push(text),
        }
    }
    said
}

fn header(name: &str, prefix: &str) -> Form {
    Form::One(Slot::header(name, prefix).expect("a slot"))
}

#[test]
fn each_kind_goes_where_it_is_said_to() {
    use SecretKind::{ApiKey, Basic, Bearer, CustomHeaders, Jwt};
    for (kind, pairs, form) in [
        (Bearer, &[][..], header("authorization", "Bearer ")),
        (Jwt, &[], header("authorization", "Bearer ")),
        (Bearer, &[("prefix", "Token ")], header("authorization", "Token ")),
        (Bearer, &[("header", "X-Auth")], header("x-auth", "")),
        (Jwt, &[("header", "x-jwt"), ("prefix", "JWT ")], header("x-jwt", "JWT ")),
        (ApiKey, &[("header", "x-key")], header("x-key", "")),
        (ApiKey, &[("header", "x-key"), ("prefix", "Key ")], header("x-key", "Key ")),
        (ApiKey, &[("query", "key")], Form::One(Slot::query("key").expect("a slot"))),
        (Basic, &[("user", "ann")], Form::Password { user: "ann".to_owned() }),
        (
            CustomHeaders,
            &[("headers", "x-id"), ("headers", "x-key")],
            Form::Several(vec![
                Slot::header("x-id", "").expect("a slot"),
                Slot::header("x-key", "").expect("a slot"),
            ]),
        ),
    ] {
        assert_eq!(kind.form(said(pairs)), Ok(form), "{kind:?} {pairs:?}");
    }
}

#[test]
fn whatever_does_not_fit_a_kind_is_named() {
    use SecretKind::{ApiKey, Basic, Bearer, CustomHeaders};
    for (kind, pairs, text) in [
        (Bearer, &[("query", "key")][..], "kind bearer has no `query`"),
        (Bearer, &[("user", "ann")], "kind bearer has no `user`"),
        (Bearer, &[("headers", "x")], "kind bearer has no `headers`"),
        (Bearer, &[("header", "host")], "`header`: slot.header: decides how"),
        (ApiKey, &[], "kind api-key needs the header or the parameter"),
        (ApiKey, &[("query", "a b")], "`query`: slot.query: is 1 to 256"),
        (ApiKey, &[("query", "k"), ("prefix", "p")], "kind api-key in the query has no `prefix`"),
        (ApiKey, &[("query", "k"), ("header", "h")], "kind api-key in a header has no `query`"),
        (Basic, &[], "kind basic needs the name of the user"),
        (Basic, &[("user", "a:b")], "`user`: user: is one or more characters"),
        (Basic, &[("user", "")], "`user`: user: is one or more characters"),
        (Basic, &[("user", "a"), ("header", "x")], "kind basic has no `header`"),
        (CustomHeaders, &[], "kind custom-headers needs one or more headers"),
        (CustomHeaders, &[("headers", "te")], "`headers`: slot.header: decides how"),
    ] {
        let wrong = kind.form(said(pairs)).expect_err("it does not fit").to_string();
        assert!(wrong.starts_with(text), "{kind:?} {pairs:?}: {wrong}");
    }
}

#[test]
fn values_are_placed_one_by_one_and_a_password_behind_its_user() {
    let secret = |text: &str| Secret::from(text.to_owned());
    let form = Form::Password { user: "Aladdin".to_owned() };
    let Placed { value, means } = form.place(vec![secret("open sesame")]).expect("one value");
    // The example of RFC 7617.
    assert_eq!(value.expose(), b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(means == Means::sent(Slot::basic()));
    let several = || Form::Several(["a", "b"].map(|name| Slot::header(name, "").expect("a slot")).to_vec());
    let Placed { value, means } = several().place(vec![secret("1"), secret("2")]).expect("two values");
    assert_eq!(value.expose(), b"1");
    let more = vec![(secret("2"), Slot::header("b", "").expect("a slot"))];
    assert!(means == Means::Sent { slot: Slot::header("a", "").expect("a slot"), more });
    assert!(several().place(vec![secret("1")]).is_none());
    assert!(Form::One(Slot::bearer()).place(Vec::new()).is_none());
}

fn means(group: &'static str, means: Wire) -> Said {
    Said { groups: vec![group], means: Some(means), ..Said::default() }
}

fn grant() -> fleet::TokenGrant {
    let authentication = Some(fleet::client_credentials::Authentication::Post(fleet::Empty {}));
    let client = fleet::ClientCredentials { client_id: "edge".to_owned(), authentication };
    fleet::TokenGrant {
        url: "https://login.example/token".to_owned(),
        flow: Some(fleet::token_grant::Flow::ClientCredentials(client)),
        parameters: Vec::new(),
    }
}

#[test]
fn a_token_goes_where_it_is_said_to_and_to_authorization_where_nothing_is() {
    for (pairs, slot) in [
        (&[][..], Slot::bearer()),
        (&[("header", "x-token")], Slot::header("x-token", "").expect("a slot")),
        (&[("prefix", "Token ")], Slot::header("authorization", "Token ").expect("a slot")),
        (&[("query", "token")], Slot::query("token").expect("a slot")),
    ] {
        let said = Said { groups: vec!["oauth2"], means: Some(Wire::TokenGrant(grant())), ..said(pairs) };
        let Form::Made(made) = SecretKind::Oauth2.form(said).expect("a form") else { panic!("a token") };
        let Means::Grant { slot: found, grant: made } = *made else { panic!("a grant") };
        assert_eq!((found, made.url.as_str()), (slot, "https://login.example/token"), "{pairs:?}");
    }
}

#[test]
fn a_kind_whose_value_is_not_sent_needs_its_group_and_no_other() {
    use SecretKind::{AwsSigv4, Bearer, ClientCertificate, CustomToken, Hmac, JwtBearer, Oauth2};
    for (kind, text) in [
        (Oauth2, "kind oauth2-client-credentials needs the URL of the token endpoint and the client's id"),
        (JwtBearer, "kind jwt-bearer needs the URL of the token endpoint and the issuer"),
        (CustomToken, "kind custom-token needs the URL that gives tokens"),
        (AwsSigv4, "kind aws-sigv4 needs the access key id, the region and the service"),
        (Hmac, "kind hmac needs the text that is signed"),
        (ClientCertificate, "kind client-certificate needs the certificate"),
    ] {
        let wrong = kind.form(Said::default()).expect_err("it lacks its group").to_string();
        assert!(wrong.starts_with(text), "{wrong}");
        let other = if kind == Oauth2 { "aws" } else { "oauth2" };
        let wrong = kind.form(means(other, Wire::TokenGrant(grant()))).expect_err("another's").to_string();
        assert_eq!(wrong, format!("kind {} has no `{other}`", kind.as_str()));
    }
    let wrong = Bearer.form(means("aws", Wire::TokenGrant(grant()))).expect_err("it has none").to_string();
    assert_eq!(wrong, "kind bearer has no `aws`");
    let signs = Said { header: Some("x".to_owned()), ..means("aws", Wire::AwsSignature(Default::default())) };
    assert_eq!(AwsSigv4.form(signs).expect_err("no place").to_string(), "kind aws-sigv4 has no `header`");
    let both = Said {
        header: Some("x".to_owned()),
        query: Some("q".to_owned()),
        ..means("oauth2", Wire::TokenGrant(grant()))
    };
    assert!(Oauth2.form(both).expect_err("one place").to_string().contains("has no `header`"));
    let wrong = fleet::TokenGrant { url: "http://login.example/token".to_owned(), ..grant() };
    let wrong = Oauth2.form(means("oauth2", Wire::TokenGrant(wrong))).expect_err("no https").to_string();
    assert!(wrong.starts_with("`oauth2`: token_url: is not https"), "{wrong}");
}
