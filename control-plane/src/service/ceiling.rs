//! Ceilings: the highest limits that proxies may have, by organization and by installation. The lower one holds.
//!
//! Limits are compared where they are written. A ceiling that is lowered changes no proxy and refuses no write that
//! leaves the limits alone: the proxies above it go on, and are named.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management::{Org, Proxy};

/// How many proxies above a ceiling are named.
const NAMED: usize = 100;

/// What proxies of one organization may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceilings<'a> {
    installation: Limits,
    org: &'a Org,
}

/// A window of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    Minute,
    Day,
}

impl Window {
    const ALL: [Self; 2] = [Self::Minute, Self::Day];

    const fn field(self) -> &'static str {
        match self {
            Self::Minute => "per_minute_per_node",
            Self::Day => "per_day_per_node",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Minute => "a minute",
            Self::Day => "a day",
        }
    }

    /// 0 means none.
    const fn of(self, limits: &Limits) -> u64 {
        match self {
            Self::Minute => limits.per_minute_per_node,
            Self::Day => limits.per_day_per_node,
        }
    }
}

impl<'a> Ceilings<'a> {
    pub(super) const fn new(installation: Limits, org: &'a Org) -> Self {
        Self { installation, org }
    }

    /// The ceiling of a window, and whose it is. None where there is none.
    fn lowest(&self, window: Window) -> Option<(u64, String)> {
        let own = self.org.limit_ceilings.map_or(0, |limits| window.of(&limits));
        let all = window.of(&self.installation);
        match (own, all) {
            (0, 0) => None,
            (own, all) if own == 0 || (all != 0 && all < own) => Some((all, "the installation".to_owned())),
            (own, _) => Some((own, format!("organization {:?}", self.org.name))),
        }
    }

    /// The limits of a proxy that is made without any: the organization's default, or else the ceiling. None where
    /// there is neither.
    pub(super) fn default_limits(&self) -> Option<Limits> {
        let default = self.org.default_limits;
        let limit = |window: Window| {
            let said = default.map_or(0, |limits| window.of(&limits));
            match self.lowest(window) {
                Some((ceiling, _)) if said == 0 || said > ceiling => ceiling,
                _ => said,
            }
        };
        let limits =
            Limits { per_minute_per_node: limit(Window::Minute), per_day_per_node: limit(Window::Day) };
        if limits == Limits::default() { default } else { Some(limits) }
    }

    /// Adds the limits of a proxy that are above a ceiling, and those that are missing where there is one.
    pub(super) fn check(&self, limits: Option<Limits>, field: &str, faults: &mut Violations) {
        self.compare(limits, field, true, faults);
    }

    /// The same for the organization's default limits, which need not be there.
    pub(super) fn check_default(&self, faults: &mut Violations) {
        self.compare(self.org.default_limits, "org.default_limits", false, faults);
    }

    fn compare(&self, limits: Option<Limits>, field: &str, needed: bool, faults: &mut Violations) {
        for window in Window::ALL {
            let Some((ceiling, whose)) = self.lowest(window) else { continue };
            let said = limits.map_or(0, |limits| window.of(&limits));
            let fault = match said {
                0 if needed => "means no limit".to_owned(),
                said if said > ceiling => format!("is {said}"),
                _ => continue,
            };
            faults.add(
                format!("{field}.{}", window.field()),
                format!(
                    "{fault}, and the ceiling of {whose} is {ceiling} {}: set 1 to {ceiling}, or ask an operator to raise the ceiling",
                    window.text()
                ),
            );
        }
    }

    /// Whether a proxy could not be written with the limits that it has.
    pub(super) fn is_exceeded_by(&self, proxy: &Proxy) -> bool {
        let mut faults = Violations::default();
        self.check(proxy.limits, "limits", &mut faults);
        !faults.is_empty()
    }
}

/// Proxies above a ceiling: the first names, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Exceeding {
    pub(crate) names: Vec<String>,
    pub(crate) count: u64,
}

impl Exceeding {
    pub(super) fn of<'a>(ceilings: &Ceilings<'_>, proxies: impl Iterator<Item = &'a Proxy>) -> Self {
        let mut names: Vec<String> =
            proxies.filter(|proxy| ceilings.is_exceeded_by(proxy)).map(|proxy| proxy.name.clone()).collect();
        let count = names.len() as u64;
        names.sort();
        names.truncate(NAMED);
        Self { names, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute_per_node: u64, per_day_per_node: u64) -> Limits {
        Limits { per_minute_per_node, per_day_per_node }
    }

    fn org(default: Option<Limits>, ceilings: Option<Limits>) -> Org {
        Org { name: "acme".to_owned(), default_limits: default, limit_ceilings: ceilings, ..Org::default() }
    }

    fn faults(installation: Limits, org: &Org, said: Option<Limits>) -> Vec<String> {
        let mut faults = Violations::default();
        Ceilings::new(installation, org).check(said, "limits", &mut faults);
        match faults.finish(|| Some(())) {
            Ok(()) => Vec::new(),
            Err(invalid) => {
                invalid.violations().iter().map(|one| format!("{} {}", one.field, one.reason)).collect()
            }
        }
    }

    #[test]
    fn the_lower_ceiling_holds_and_the_text_says_whose_it_is() {
        let acme = org(None, Some(limits(100, 5000)));
        let none = limits(0, 0);
        assert!(faults(none, &acme, Some(limits(100, 5000))).is_empty());
        let told = faults(limits(50, 9000), &acme, Some(limits(60, 6000)));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|it| it.starts_with("limits.per_minute_per_node is 60")
            && it.contains("the ceiling of the installation is 50 a minute")));
        assert!(told.iter().any(|it| it.starts_with("limits.per_day_per_node is 6000")
            && it.contains("the ceiling of organization \"acme\" is 5000 a day")));
    }

    #[test]
    fn no_limit_is_above_every_ceiling_and_without_a_ceiling_anything_goes() {
        let acme = org(None, Some(limits(100, 0)));
        for said in [None, Some(limits(0, 7))] {
            let told = faults(limits(0, 0), &acme, said);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("means no limit") && told[0].contains("100 a minute"), "{told:?}");
        }
        assert!(faults(limits(0, 0), &org(None, None), None).is_empty());
        assert!(faults(limits(0, 0), &org(None, None), Some(limits(u64::MAX, 0))).is_empty());
    }

    #[test]
    fn a_proxy_without_limits_gets_the_default_or_else_the_ceiling_and_never_more() {
        for (default, ceilings, given) in [
            (None, None, None),
            (Some(limits(60, 0)), None, Some(limits(60, 0))),
            (None, Some(limits(100, 0)), Some(limits(100, 0))),
            (Some(limits(60, 0)), Some(limits(100, 5000)), Some(limits(60, 5000))),
            (Some(limits(600, 0)), Some(limits(100, 0)), Some(limits(100, 0))),
        ] {
            let acme = org(default, ceilings);
            let ceilings = Ceilings::new(limits(0, 0), &acme);
            assert_eq!(ceilings.default_limits(), given, "{acme:?}");
            assert!(!ceilings.is_exceeded_by(&Proxy { limits: given, ..Proxy::default() }), "{acme:?}");
        }
    }

    #[test]
    fn proxies_above_a_ceiling_are_named_and_all_of_them_counted() {
        let acme = org(None, Some(limits(10, 0)));
        let proxy = |n: u64| Proxy {
            name: format!("p-{n:03}"),
            limits: Some(limits(1 + n % 20, 0)),
            ..Proxy::default()
        };
        let proxies: Vec<Proxy> = (0..400).map(proxy).collect();
        let told = Exceeding::of(&Ceilings::new(limits(0, 0), &acme), proxies.iter());
        assert_eq!((told.count, told.names.len(), told.names[0].as_str()), (200, NAMED, "p-010"));
    }
}
