//! IP addresses and networks.
//!
//! Owns their text forms and membership. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is the IPv4 address that it
//! stands for, so that a caller behind a dual-stack socket is not outside of its own network.

use std::net::IpAddr;

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    /// The number of leading bits that an address of the network shares.
    prefix: u8,
}

/// Reads an address; `None` if the text is none.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

impl Network {
    /// Reads a network such as `10.0.0.0/8` or `2001:db8::/32`. Bits behind the prefix must be zero. A network of
    /// IPv4-mapped addresses (`::ffff:10.0.0.0/104`) is the IPv4 network.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let is_number = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|digit| digit.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| is_number)?;
        let written: IpAddr = address.parse().ok()?;
        let address = written.to_canonical();
        let prefix = if written.is_ipv6() && address.is_ipv4() { prefix.checked_sub(96)? } else { prefix };
        let network = Self { address, prefix };
        (prefix <= width(address) && network.shared_bits(address)? == bits(address)).then_some(network)
    }

    /// Whether the network contains `address`. An IPv4 address is in no IPv6 network.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address) && self.shared_bits(address) == Some(bits(self.address))
    }

    /// The bits of `address` up to the prefix.
    fn shared_bits(self, address: IpAddr) -> Option<u128> {
        let behind = u32::from(width(address).checked_sub(self.prefix)?);
        Some(bits(address).checked_shr(behind).and_then(|bits| bits.checked_shl(behind)).unwrap_or(0))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(ip: &str, network: &str) -> bool {
        Network::parse(network).unwrap().contains(address(ip).unwrap())
    }

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        assert!(is_in("10.1.2.3", "10.0.0.0/8") && !is_in("11.1.2.3", "10.0.0.0/8"));
        assert!(is_in("255.255.255.255", "0.0.0.0/0") && is_in("10.0.0.1", "10.0.0.1/32"));
        assert!(is_in("2001:db8::1", "2001:db8::/32") && !is_in("2001:db9::1", "2001:db8::/32"));
        assert!(is_in("::1", "::/0") && is_in("::1", "::1/128") && !is_in("::2", "::1/128"));
        assert!(is_in("192.168.1.127", "192.168.1.0/25") && !is_in("192.168.1.128", "192.168.1.0/25"));
    }

    #[test]
    fn a_mapped_address_is_the_address_that_it_stands_for() {
        assert_eq!(address("::ffff:10.1.2.3"), address("10.1.2.3"));
        assert!(is_in("::ffff:10.1.2.3", "10.0.0.0/8") && is_in("10.1.2.3", "::ffff:10.0.0.0/104"));
        assert!(!is_in("10.1.2.3", "::/0") && !is_in("::1", "0.0.0.0/0"));
        assert_eq!(Network::parse("::ffff:10.0.0.0/95"), None);
    }

    #[test]
    fn what_is_no_network_is_rejected() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/+8",
            "10.0.0.0/0008",
            "10.0.0/8",
            "010.0.0.0/8",
            "::/129",
            "::1/64",
            "fe80::%eth0/64",
            "10.0.0.0/8 ",
            "10.0.0.0/256",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert_eq!((address("10.0.0.256"), address(" 10.0.0.1"), address("")), (None, None, None));
    }
}
