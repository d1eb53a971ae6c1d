//! Which addresses a request may be sent to.
//!
//! On by default: whatever is not a global unicast address is refused, unless this node's own configuration
//! opens it. Configuration from the control plane cannot. Resolves nothing: it judges the very address that
//! is connected to, and of an open connection whether it leads back to this machine. As of the IANA registries of special-purpose addresses in November 2026; of those that these call
//! global, it refuses what the nearest of many answers, and what contains the address of another protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The node's own exceptions.
#[derive(Debug, Default)]
pub struct AddressGuard {
    allowed: Vec<IpNet>,
}

impl AddressGuard {
    /// Lets these networks through although they are not public.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether this address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        let is_global = match address {
            IpAddr::V4(v4) => is_global_v4(v4),
            IpAddr::V6(v6) => is_global_v6(v6),
        };
        is_global || self.opens(address)
    }

    /// Whether a connection between these addresses may be used: one that leads back to this machine, by whichever of
    /// its addresses, may not unless an exception covers it.
    pub fn allows_between(&self, local: IpAddr, peer: IpAddr) -> bool {
        local.to_canonical() != peer.to_canonical() || self.opens(peer)
    }

    /// Whether an exception covers this address.
    fn opens(&self, address: IpAddr) -> bool {
        // A mapped address reaches the IPv4 one, so an exception for that one counts; nothing else does.
        let reached = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address) || net.contains(&reached))
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = match a {
        // This network, private, loopback, multicast, reserved and broadcast.
        0 | 10 | 127 | 224..=255 => true,
        // Shared by carriers (RFC 6598).
        100 => (64..=127).contains(&b),
        // Link-local, where clouds keep their metadata.
        169 => b == 254,
        172 => (16..=31).contains(&b),
        // Public by its number, but the host of each virtual machine in Azure, and what it tells of it.
        168 => b == 63 && c == 129 && d == 16,
        192 => {
            // Private; protocol assignments; documentation.
            let is_none = b == 168 || (b == 0 && (c == 0 || c == 2));
            // The nearest of many, which may be in this network: relays of 6to4 and multicast, sinks of DNS (AS112).
            is_none || matches!((b, c), (88, 99) | (52, 193) | (31, 196) | (175, 48))
        }
        // Benchmarks (RFC 2544); documentation.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => false,
    };
    !special
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, _, e, f, ..] = address.segments();
    // Global unicast is 2000::/3. All else is refused by that alone: loopback, unspecified, IPv4-mapped,
    // NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), unique local, link-local, multicast.
    let unicast = a & 0xe000 == 0x2000;
    let special = match a {
        // Protocol assignments, Teredo among them (2001::/23); documentation.
        0x2001 => b < 0x0200 || b == 0x0db8,
        // 6to4: contains an arbitrary IPv4 address.
        0x2002 => true,
        // The sinks of DNS (AS112).
        0x2620 => b == 0x004f && c == 0x8000,
        // Documentation (RFC 9637).
        0x3fff => b < 0x1000,
        _ => false,
    };
    // ISATAP: contains an arbitrary IPv4 address, whatever it begins with.
    let isatap = (e == 0 || e == 0x0200) && f == 0x5efe;
    unicast && !special && !isatap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(guard: &AddressGuard, address: &str) -> bool {
        guard.allows(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_that_are_not_global_are_refused() {
        let guard = AddressGuard::default();
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "168.63.129.16",
            "192.31.196.1",
            "192.52.193.1",
            "192.175.48.1",
            "192.0.0.192",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1::1",
            "2001:3::1",
            "2001:4:112::1",
            "2001:20::1",
            "2001:db8::1",
            "2620:4f:8000::1",
            "2606:4700::5efe:a00:1",
            "2606:4700::200:5efe:a00:1",
            "100:0:0:1::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows(&guard, address), "{address}");
        }
    }

    #[test]
    fn global_addresses_pass() {
        let guard = AddressGuard::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "168.63.129.15",
            "168.63.129.17",
            "172.32.0.1",
            "192.31.195.1",
            "192.52.194.1",
            "192.175.47.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2620:4f:8001::1",
            "2606:4700::400:5efe:a00:1",
            "2606:4700::5eff:a00:1",
            "2a00::1",
        ] {
            assert!(allows(&guard, address), "{address}");
        }
    }

    #[test]
    fn a_public_address_of_this_machine_is_not_reached_unless_it_is_opened() {
        let between = |guard: &AddressGuard, local: &str, peer: &str| {
            let [local, peer] = [local, peer].map(|address| address.parse().expect("an address"));
            guard.allows_between(local, peer)
        };
        let (guard, open) =
            (AddressGuard::default(), AddressGuard::new(vec!["8.8.8.8/32".parse().expect("a network")]));
        for local in ["8.8.8.8", "::ffff:8.8.8.8"] {
            assert!(!between(&guard, local, "8.8.8.8") && between(&open, local, "8.8.8.8"));
        }
        assert!(between(&guard, "8.8.4.4", "8.8.8.8"));
        assert!(!between(&open, "2606:4700::1111", "2606:4700::1111"));
    }

    #[test]
    fn an_exception_opens_what_it_names_and_nothing_beside_it() {
        let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
        assert!(allows(&guard, "127.0.0.1"));
        assert!(allows(&guard, "::ffff:127.0.0.1"));
        for address in ["10.0.0.1", "::1", "64:ff9b::7f00:1", "2002:7f00:1::"] {
            assert!(!allows(&guard, address), "{address}");
        }
    }
}
