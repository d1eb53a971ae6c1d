//! Credentials of callers: flags that do not go together, and a value of one's own on its way to the control plane.

use prost::Message as _;
use rr_contract::api_key::hash_foreign;
use rr_contract::password::{PasswordHash, Scratch};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;

use super::recorder::{Answers, Call, run};

const VALUE: &str = "9f86d081884c7d659a2feaa0c55ad015";
const CREATE: [&str; 3] = ["credential", "create-caller", "bot"];
const VERIFY: [&str; 8] = [
    "--issuer",
    "https://i.example",
    "--audience",
    "a",
    "--algorithm",
    "ES256",
    "--jwks-url",
    "https://i.example/keys",
];

/// The field of the API is no word that somebody can type.
#[tokio::test]
async fn what_keeps_a_credential_is_said_with_the_flag_that_takes_it_along() {
    let args = ["credential", "delete", "bot", "--yes"].map(str::to_owned);
    let refused =
        "credential \"bot\" is used by proxy \"echo\": change or delete that first, or name it in `cascade`";
    let answers = Answers::from([("CredentialService.DeleteCredential", Err((9, refused)))]);
    let (output, _) = run(&args, answers).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("or name it in `--cascade`"), "{said}");
}

async fn rrctl(args: &[&str]) -> (Option<i32>, String, Vec<Call>) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (output, calls) = run(&args, Answers::new()).await;
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), calls)
}

#[tokio::test]
async fn flags_that_a_kind_has_no_use_for_or_cannot_do_without_are_refused_before_anybody_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("a path of ours").to_owned();
    let (value, out) = (file("value"), file("out"));
    std::fs::write(&value, VALUE).expect("a file");
    let from = ["--value-from", &*value];
    for (args, parts) in [
        (&["--kind", "jwt"][..], ["--kind jwt needs the token", "--value-from"]),
        (&["--kind", "jwt-verify"], ["--kind jwt-verify needs to know", "--issuer"]),
        (
            &[&["--kind", "jwt-verify"][..], &VERIFY, &from].concat(),
            ["public keys and a shared secret", "--value-from was given"],
        ),
        (&[&["--kind", "bearer"][..], &VERIFY].concat(), ["need --kind jwt-verify", "leave them out"]),
        (&[&["--kind", "basic"][..], &from].concat(), ["needs the name of the user", "--user"]),
        (&["--kind", "basic", "--user", "ann"], ["needs the password", "--prompt"]),
        (&["--user", "ann"], ["--user needs --kind basic", "leave it out"]),
        (&[&["--kind", "bearer", "--out", &out][..], &from].concat(), ["no key is made", "leave --out out"]),
        (&["--kind", "basic", "--user", "ann", "--out", &out], ["no key is made", "leave --out out"]),
        (&[&["--kind", "bearer", "--prompt"][..], &from].concat(), ["--prompt", "cannot be used with"]),
    ] {
        let (code, said, calls) = rrctl(&[&CREATE[..], args].concat()).await;
        assert_eq!((code, calls.len()), (Some(2), 0), "{args:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains(VALUE), "{args:?}: {said}");
    }
    let roll = ["credential", "roll", "bot", "--overlap"];
    for (args, part) in
        [(&[&["0", "--out", &out][..], &from].concat()[..], "--out"), (&["91d"], "90d at most")]
    {
        let (code, said, calls) = rrctl(&[&roll[..], args].concat()).await;
        assert_eq!((code, calls.len()), (Some(2), 0), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
    assert!(!std::path::Path::new(&out).exists());
}

#[tokio::test]
async fn the_control_plane_is_sent_the_hash_of_a_value_and_nothing_of_the_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("value");
    let place = path.to_str().expect("a path of ours");
    for (flags, value) in [
        (&["--kind", "bearer", "--value-from"][..], VALUE),
        (&["--kind", "jwt", "--value-from"], VALUE),
        (&["--kind", "basic", "--user", "ann", "--password-from"], "k3V9-xq7L_2m"),
    ] {
        std::fs::write(&path, format!("{value}\n")).expect("a file");
        let (code, said, calls) = rrctl(&[&CREATE[..], flags, &[place]].concat()).await;
        assert_eq!(code, Some(0), "{said}");
        let [call] = &*calls else { panic!("one call: {calls:?}") };
        let sent = call.message();
        assert!(!sent.windows(value.len()).any(|part| part == value.as_bytes()), "{flags:?}");
        let ask = mg::CreateCredentialRequest::decode(sent).expect("a request");
        let Some(Usage::Caller(caller)) = ask.credential.and_then(|credential| credential.usage) else {
            panic!("a caller credential");
        };
        if caller.password_hash.is_empty() {
            assert_eq!(caller.value_hash, hash_foreign(value.as_bytes()).as_bytes(), "{flags:?}");
        } else {
            let hash = PasswordHash::try_from(&*caller.password_hash).expect("as nodes take it");
            assert!(hash.is_of(value.as_bytes(), &mut Scratch::default()) && caller.value_hash.is_empty());
        }
    }
}
