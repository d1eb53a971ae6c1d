//! How many schemas are applied to one value, and how many of them each by the other.
//!
//! The invariant: what applies itself to the same value again, by whatever way, is a fault.

use super::super::work::Price;
use super::{Cost, Survey};

/// How many schemas may be applied to one value.
const APPLIED_MAX: u64 = 4_096;
/// How many may be applied to one value each by the other.
const HEIGHT_MAX: u32 = 24;

#[derive(Default, Clone, Copy)]
pub(super) enum Measured {
    #[default]
    Not,
    Begun,
    Is {
        applied: u64,
        height: u32,
    },
}

impl Survey<'_, '_> {
    /// What all schemas cost.
    pub(super) fn cost(&mut self) -> Cost {
        let (mut applied, mut height) = (1, 1);
        for id in 0..self.schemas.len() {
            if !self.faults.is_empty() {
                break;
            }
            let (of_it, its_height) = self.measure(id, 1);
            (applied, height) = (of_it.max(applied), its_height.max(height));
        }
        let value = applied / 8;
        let member = value.saturating_mul(self.price.member.max(1)).saturating_add(self.price.member);
        Cost { price: Price { value, member, ..self.price }, height }
    }

    /// How many schemas are applied to one value with this one, itself included, and each by the other.
    fn measure(&mut self, id: usize, depth: u32) -> (u64, u32) {
        let at = self.schemas[id].at.clone();
        match self.schemas[id].measured {
            Measured::Is { applied, height } => return (applied, height),
            Measured::Begun => {
                self.fault(&at, "is applied to a value because it is applied to it, without end");
                return (1, 1);
            }
            Measured::Not if depth > HEIGHT_MAX => {
                self.fault(&at, too_high());
                return (1, 1);
            }
            Measured::Not => self.schemas[id].measured = Measured::Begun,
        }
        let (mut applied, mut height) = (1_u64, 0);
        for inner in self.schemas[id].same.clone() {
            let (of_inner, its_height) = self.measure(inner, depth + 1);
            (applied, height) = (applied.saturating_add(of_inner), its_height.max(height));
            if !self.faults.is_empty() {
                break;
            }
        }
        height += 1;
        if applied > APPLIED_MAX {
            self.fault(&at, format!("applies more than {APPLIED_MAX} schemas to one value, itself again where it is referred to"));
        } else if height > HEIGHT_MAX {
            self.fault(&at, too_high());
        }
        self.schemas[id].measured = Measured::Is { applied, height };
        (applied, height)
    }
}

fn too_high() -> String {
    format!("is in a row of more than {HEIGHT_MAX} schemas that are applied to one value each by the other")
}
