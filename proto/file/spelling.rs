//! How values are spelled in documents: enums with or without their prefix, numbers as numbers or texts, bytes as
//! base64.
//!
//! The same as `rrctl apply` takes, which reads the JSON form of the schemas.

use std::fmt;
use std::marker::PhantomData;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use pbjson_types::Duration;
use rr_wire::fleet;
use serde::de::{Deserializer, Error, IntoDeserializer, Visitor};
use serde::{Deserialize, de};

/// The values of an enum of the schemas.
pub trait Spelled: Sized {
    const PREFIX: &'static str;
    const EXPECTED: &'static str;
    /// By the whole name.
    fn named(name: &str) -> Option<Self>;
    fn numbered(number: i32) -> Option<Self>;

    /// What `off` means, which YAML reads as false.
    fn off() -> Option<Self> {
        None
    }
}

/// Reads an enum.
pub fn spelled<'de, E: Spelled, D: Deserializer<'de>>(deserializer: D) -> Result<E, D::Error> {
    struct Spelling<E>(PhantomData<E>);

    impl<E: Spelled> Visitor<'_> for Spelling<E> {
        type Value = E;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(E::EXPECTED)
        }

        fn visit_str<X: Error>(self, text: &str) -> Result<E, X> {
            let name = if text.starts_with(E::PREFIX) {
                text.to_owned()
            } else {
                format!("{}{}", E::PREFIX, text.to_uppercase().replace('-', "_"))
            };
            E::named(&name).ok_or_else(|| X::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_bool<X: Error>(self, is_on: bool) -> Result<E, X> {
            let value = if is_on { None } else { E::off() };
            value.ok_or_else(|| X::invalid_value(de::Unexpected::Bool(is_on), &self))
        }

        fn visit_u64<X: Error>(self, number: u64) -> Result<E, X> {
            let value = i32::try_from(number).ok().and_then(E::numbered);
            value.ok_or_else(|| X::invalid_value(de::Unexpected::Unsigned(number), &self))
        }
    }

    deserializer.deserialize_any(Spelling(PhantomData))
}

/// Reads a list of them.
pub fn spelled_list<'de, E: Spelled, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<E>, D::Error> {
    struct Item<E>(E);

    impl<'de, E: Spelled> Deserialize<'de> for Item<E> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            spelled(deserializer).map(Self)
        }
    }

    Ok(Vec::<Item<E>>::deserialize(deserializer)?.into_iter().map(|item| item.0).collect())
}

/// Reads a number that may be written as a text.
pub fn number<'de, N: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    struct Number<N>(PhantomData<N>);

    impl<N: TryFrom<u64>> Visitor<'_> for Number<N> {
        type Value = N;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let most = u128::MAX >> (128 - 8 * size_of::<N>());
            write!(f, "a whole number from 0 to {most}")
        }

        fn visit_u64<X: Error>(self, number: u64) -> Result<N, X> {
            N::try_from(number).map_err(|_| X::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<X: Error>(self, text: &str) -> Result<N, X> {
            match text.parse() {
                Ok(number) => self.visit_u64(number),
                Err(_) => Err(X::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
    }

    deserializer.deserialize_any(Number(PhantomData))
}

/// The same for a number that may be missing.
pub fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Some64(#[serde(deserialize_with = "number")] u64);

    Ok(Option::<Some64>::deserialize(deserializer)?.map(|number| number.0))
}

/// Reads a duration that may be missing.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Seconds(Duration);

    impl<'de> Deserialize<'de> for Seconds {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Spelling).map(Self)
        }
    }

    struct Spelling;

    impl Visitor<'_> for Spelling {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration in seconds, like 1.5s")
        }

        fn visit_str<X: Error>(self, text: &str) -> Result<Duration, X> {
            let read = Duration::deserialize(IntoDeserializer::<de::value::Error>::into_deserializer(text));
            read.map_err(|_| X::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
}

/// Reads bytes in either alphabet of base64, with padding or without.
pub fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bare = text.trim_end_matches('=').as_bytes();
    let decoded = BASE64_NOPAD.decode(bare).or_else(|_| BASE64URL_NOPAD.decode(bare));
    decoded.map_err(|_| D::Error::custom("must be base64"))
}

impl Spelled for fleet::Effect {
    const PREFIX: &'static str = "EFFECT_";
    const EXPECTED: &'static str = "allow or deny";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::Balance {
    const PREFIX: &'static str = "BALANCE_";
    const EXPECTED: &'static str = "round-robin or least-requests";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::ForwardedHeaders {
    const PREFIX: &'static str = "FORWARDED_HEADERS_";
    const EXPECTED: &'static str = "x-forwarded or forwarded";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::EchoGuard {
    const PREFIX: &'static str = "ECHO_GUARD_";
    const EXPECTED: &'static str = "mask, refuse or off";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }

    fn off() -> Option<Self> {
        Some(Self::Off)
    }
}

impl Spelled for fleet::MeterFold {
    const PREFIX: &'static str = "METER_FOLD_";
    const EXPECTED: &'static str = "LAST, MAX or SUM";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::FilterAction {
    const PREFIX: &'static str = "FILTER_ACTION_";
    const EXPECTED: &'static str = "retain, destroy, mask or redact";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::FilterDirection {
    const PREFIX: &'static str = "FILTER_DIRECTION_";
    const EXPECTED: &'static str = "response or request";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::UnlistedOperations {
    const PREFIX: &'static str = "UNLISTED_OPERATIONS_";
    const EXPECTED: &'static str = "refuse or pass";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Spelled for fleet::Detector {
    const PREFIX: &'static str = "DETECTOR_";
    const EXPECTED: &'static str = "a detector, as email, phone, card, iban, key, jwt, pem, random or us-ssn";

    fn named(name: &str) -> Option<Self> {
        Self::from_str_name(name)
    }

    fn numbered(number: i32) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

/// An enum of the management schemas, which a node is not built with. Values stand in the order of their numbers.
macro_rules! kinds {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal, $expected:literal, [$($kind:ident = $text:literal),*]) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum $name {
            #[default]
            $($kind,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$kind),*];
        }

        impl Spelled for $name {
            const PREFIX: &'static str = $prefix;
            const EXPECTED: &'static str = $expected;

            fn named(name: &str) -> Option<Self> {
                match name.strip_prefix($prefix)? {
                    $($text => Some(Self::$kind),)*
                    _ => None,
                }
            }

            fn numbered(number: i32) -> Option<Self> {
                Self::ALL.get(usize::try_from(number).ok()?).copied()
            }
        }
    };
}

kinds!(
    /// What callers present.
    CallerKind, "CALLER_KIND_", "api-key, bearer, basic, jwt, jwt-verify or certificate",
    [
        Unspecified = "UNSPECIFIED", ApiKey = "API_KEY", Bearer = "BEARER", Basic = "BASIC", Jwt = "JWT",
        JwtVerify = "JWT_VERIFY", Certificate = "CERTIFICATE"
    ]
);

kinds!(
    /// What is presented to an upstream.
    UpstreamKind, "UPSTREAM_KIND_",
    "none, bearer, api-key, basic, jwt, oauth2-client-credentials, custom-token, custom-headers, jwt-bearer, aws-sigv4, hmac or client-certificate",
    [
        Unspecified = "UNSPECIFIED", None = "NONE", Bearer = "BEARER", ApiKey = "API_KEY", Basic = "BASIC", Jwt = "JWT",
        Oauth2ClientCredentials = "OAUTH2_CLIENT_CREDENTIALS", CustomToken = "CUSTOM_TOKEN", CustomHeaders = "CUSTOM_HEADERS",
        JwtBearer = "JWT_BEARER", AwsSigv4 = "AWS_SIGV4", Hmac = "HMAC", ClientCertificate = "CLIENT_CERTIFICATE"
    ]
);
