//! Each kind by what is said of it: where values go, and what does not fit.

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
