//! The parent of a rule, a filter or a meter on the command line: `proxy/NAME`, `target/NAME`, `credential/NAME`. A name
//! alone is that of a proxy.

use std::str::FromStr;

use rr_contract::wire::management as mg;

/// The resource that a rule or a filter belongs to, by name or id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    Proxy(String),
    Target(String),
    Credential(String),
}

impl FromStr for Parent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            None if !text.is_empty() => return Ok(Self::Proxy(text.to_owned())),
            Some((_, "")) | None => {}
            Some(("proxy" | "proxies", name)) => return Ok(Self::Proxy(name.to_owned())),
            Some(("target" | "targets", name)) => return Ok(Self::Target(name.to_owned())),
            Some(("credential" | "credentials", name)) => return Ok(Self::Credential(name.to_owned())),
            Some(_) => {}
        }
        Err("write it like proxy/NAME, target/NAME or credential/NAME".to_owned())
    }
}

/// The parent of a meter, which only a proxy can be.
pub(crate) fn proxy(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(Parent::Proxy(name)) => Ok(name),
        Ok(_) | Err(_) => Err("a meter belongs to a proxy: write it like proxy/NAME".to_owned()),
    }
}

macro_rules! of {
    ($module:ident) => {
        impl From<Parent> for mg::$module::Parent {
            fn from(parent: Parent) -> Self {
                match parent {
                    Parent::Proxy(name) => Self::Proxy(name),
                    Parent::Target(name) => Self::Target(name),
                    Parent::Credential(name) => Self::Credential(name),
                }
            }
        }

        impl From<&mg::$module::Parent> for Parent {
            fn from(parent: &mg::$module::Parent) -> Self {
                match parent {
                    mg::$module::Parent::Proxy(name) => Self::Proxy(name.clone()),
                    mg::$module::Parent::Target(name) => Self::Target(name.clone()),
                    mg::$module::Parent::Credential(name) => Self::Credential(name.clone()),
                }
            }
        }
    };
}

of!(rule);
of!(filter);

/// A parent as it is typed.
pub(crate) fn text(parent: Option<Parent>) -> String {
    match parent {
        Some(Parent::Proxy(name)) => format!("proxy/{name}"),
        Some(Parent::Target(name)) => format!("target/{name}"),
        Some(Parent::Credential(name)) => format!("credential/{name}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_shown_as_it_is_typed_and_nothing_else_is_one() {
        for typed in ["proxy/echo", "target/tg_1", "credential/key"] {
            assert_eq!(text(Some(typed.parse().expect(typed))), typed);
        }
        for wrong in ["rule/x", "proxy/", "/", ""] {
            assert!(wrong.parse::<Parent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_alone_is_a_proxy_and_a_meter_has_no_other_parent() {
        for typed in ["echo", "proxy/echo", "proxies/echo"] {
            assert_eq!(typed.parse(), Ok(Parent::Proxy("echo".to_owned())));
            assert_eq!(proxy(typed), Ok("echo".to_owned()));
        }
        for wrong in ["target/echo", "credential/key", "rule/x", "proxy/", ""] {
            assert!(proxy(wrong).is_err(), "{wrong}");
        }
    }
}
