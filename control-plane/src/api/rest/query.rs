//! Which query parameters a call takes: never what its body or its path says.
//!
//! Looks at names alone; whether a call knows a parameter, and what it makes of it, is the transcoder's.

use http::{Method, Uri};
use url::form_urlencoded;

/// What a call with a body takes from its query: which fields of the body are meant.
const BESIDE_BODY: [&str; 2] = ["updateMask", "update_mask"];
/// Collections of paths, and the variable that the segment behind them is.
const VARIABLES: [(&str, &str); 6] = [
    ("orgs", "org"),
    ("proxies", "proxy"),
    ("targets", "target"),
    ("credentials", "credential"),
    ("regions", "region"),
    ("requests", "request"),
];

/// The first parameter that has no place in this call's query, decoded as the transcoder would.
pub(super) fn misplaced(method: &Method, uri: &Uri) -> Option<String> {
    let mut names = form_urlencoded::parse(uri.query()?.as_bytes()).map(|(name, _)| name);
    let misplaced = match *method {
        Method::PATCH => names.find(|name| !BESIDE_BODY.contains(&&**name)),
        Method::POST | Method::PUT => names.next(),
        _ => names.find(|name| in_path(uri.path(), name)),
    };
    misplaced.map(std::borrow::Cow::into_owned)
}

fn in_path(path: &str, name: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    VARIABLES
        .iter()
        .filter(|(_, variable)| *variable == name)
        .any(|(collection, _)| segments.windows(2).any(|pair| pair[0] == *collection && !pair[1].is_empty()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn check(method: Method, target: &str, refused: Option<&str>) {
        let uri: Uri = target.parse().expect("a URI");
        assert_eq!(misplaced(&method, &uri).as_deref(), refused, "{method} {target}");
    }

    #[test]
    fn a_call_with_a_body_takes_a_mask_alone() {
        let target = "/v1/orgs/acme/targets";
        for name in ["target.base_url", "target.baseUrl", "target", "baseUrl", "org", "anything", ""] {
            check(Method::POST, &format!("{target}?{name}=x"), Some(name));
            check(Method::PATCH, &format!("{target}/echo?updateMask=a&{name}=x"), Some(name));
        }
        check(Method::POST, &format!("{target}?target%2Ebase_url=x"), Some("target.base_url"));
        check(Method::PATCH, &format!("{target}/echo?%74arget.baseUrl=x"), Some("target.baseUrl"));
        check(Method::PATCH, &format!("{target}/echo?updateMask=baseUrl"), None);
        check(Method::PATCH, &format!("{target}/echo?update%5Fmask=base_url"), None);
        check(Method::POST, target, None);
        check(Method::POST, &format!("{target}?"), None);
    }

    #[test]
    fn what_the_path_says_is_not_said_again() {
        check(Method::GET, "/v1/orgs/acme/targets/echo?org=evil", Some("org"));
        check(Method::DELETE, "/v1/orgs/acme/targets/echo?%74arget=other", Some("target"));
        check(Method::GET, "/v1/orgs/acme/proxies/echo/requests?proxy=other", Some("proxy"));
        check(Method::GET, "/v1/orgs/acme/requests?proxy=echo", None);
        check(Method::GET, "/v1/orgs?pageSize=1&page_token=x", None);
    }

    /// A call with a body whose request has another field beside body and path would lose it over REST.
    #[test]
    fn no_request_with_a_mask_needs_more_of_its_query() {
        let set = FileDescriptorSet::decode(rr_contract::wire::DESCRIPTORS).expect("descriptors");
        let messages: BTreeMap<&str, _> = set
            .file
            .iter()
            .filter(|file| file.package() == "requestrocket.management.v1")
            .flat_map(|file| &file.message_type)
            .map(|message| (message.name(), message))
            .collect();
        let mut seen = 0;
        for (name, message) in &messages {
            let Some(noun) = name.strip_prefix("Update").and_then(|name| name.strip_suffix("Request")) else {
                continue;
            };
            let noun = noun.to_lowercase();
            for field in &message.field {
                let known = ["name", "org", "update_mask", noun.as_str()].contains(&field.name());
                assert!(known, "{name}.{}", field.name());
            }
            seen += 1;
        }
        assert!(seen > 2, "{seen}");
    }
}
