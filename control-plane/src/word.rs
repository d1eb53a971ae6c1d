//! Values of enums in sentences for people, as they are typed: `viewer`, `unknown-feature`.
//!
//! Messages of the API keep the whole names; these words are for texts alone.

use rr_contract::wire::fleet::Why;
use rr_contract::wire::management::Role;

pub(crate) fn role(role: Role) -> String {
    of(role.as_str_name(), "ROLE_")
}

pub(crate) fn why(why: Why) -> String {
    of(why.as_str_name(), "WHY_")
}

fn of(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_word_that_can_be_typed() {
        assert_eq!(role(Role::RegionOperator), "region-operator");
        assert_eq!(why(Why::UnknownFeature), "unknown-feature");
    }
}
