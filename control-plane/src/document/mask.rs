//! The fields that an update can change: each path of an update mask with the code that applies it.
//!
//! The invariant: a path is listed only together with that code, so that none is accepted and then ignored.

use rr_contract::wire::management::{Org, User};

/// The path of a field of the message itself, which bears the field's name.
macro_rules! field_path {
    ($message:ty, $field:ident) => {
        $crate::document::mask::MaskPath::<$message> {
            path: stringify!($field),
            is_set: |it: &$message| $crate::document::mask::is_set(&it.$field),
            apply: |to: &mut $message, from: &$message| to.$field.clone_from(&from.$field),
            needs_value: false,
        }
    };
}
pub(super) use field_path;

/// One path of the update mask of a resource.
#[derive(Debug)]
pub(crate) struct MaskPath<R> {
    pub(crate) path: &'static str,
    /// Whether a message has a value there.
    pub(crate) is_set: fn(&R) -> bool,
    /// Copies the value from the second message into the first.
    pub(crate) apply: fn(&mut R, &R),
    /// An update that names the path has to set a value: on create, unset means another value than the empty one.
    pub(crate) needs_value: bool,
}

impl<R> MaskPath<R> {
    pub(super) const fn needing_value(self) -> Self {
        Self { needs_value: true, ..self }
    }
}

/// Paths that services ask for by name, because a change of them needs more than the permission of the call.
impl MaskPath<Org> {
    pub(crate) const SUSPENDED: Self = field_path!(Org, suspended);
    pub(crate) const DEFAULT_LIMITS: Self = field_path!(Org, default_limits);
    pub(crate) const LIMIT_CEILINGS: Self = field_path!(Org, limit_ceilings);
    pub(crate) const ALLOWED_REGIONS: Self = field_path!(Org, allowed_regions);
}

impl MaskPath<User> {
    pub(crate) const DISABLED: Self = field_path!(User, disabled);
}

/// Whether a field differs from its unset value.
pub(super) fn is_set<T: Default + PartialEq>(value: &T) -> bool {
    *value != T::default()
}
