//! Networks to look at: an address and how many of its bits are fixed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a text is not a network that can be scanned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// It is something else.
    #[error("`{0}` is no network: write an address and a prefix, such as `10.1.0.0/24` or `fd00::/120`")]
    Syntax(String),
    /// Bits behind the prefix are set.
    #[error(
        "`{given}` names an address inside a network: write `{network}` for the network, or /{most} for that one address"
    )]
    HostBits {
        /// What was written.
        given: String,
        /// The network it is in.
        network: Cidr,
        /// The prefix of a single address.
        most: u8,
    },
    /// Nobody in particular is there.
    #[error("`{0}` {1}")]
    Unfit(Cidr, &'static str),
}

/// A network in CIDR notation. Its bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network of one address alone.
    pub fn of(address: IpAddr) -> Self {
        Self {
            first: address,
            prefix: width(address),
        }
    }

    /// How many addresses it holds.
    pub fn size(&self) -> u128 {
        1_u128.checked_shl(u32::from(self.bits())).unwrap_or(u128::MAX)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                number(address) & self.mask() == number(self.first)
            }
            _ => false,
        }
    }

    /// Whether all of another one is in it.
    pub fn holds(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }

    /// Its addresses, in order; network and broadcast addresses are nothing special.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> + Send {
        let first = number(self.first);
        let last = first + (self.size() - 1);
        (first..=last).map(move |at| match self.first {
            // Exact: both ends fit, so what is between them does.
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(at as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(at)),
        })
    }

    /// How many bits are free.
    fn bits(&self) -> u8 {
        width(self.first) - self.prefix
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(u32::from(self.bits())).unwrap_or(0)
    }

    fn fit(self) -> Result<Self, CidrError> {
        let why = match self.first {
            _ if self.first.is_multicast() => "is for multicast, where no single container is",
            IpAddr::V6(first) if first.is_unicast_link_local() => {
                "is link-local and means something on one interface only: use a global or a unique local (fd00::/8) address"
            }
            IpAddr::V6(first) if self.prefix >= 96 && first.to_ipv4_mapped().is_some() => {
                "holds IPv4 addresses: write them as such"
            }
            _ => return Ok(self),
        };
        Err(CidrError::Unfit(self, why))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// A single address stands for the network of it alone.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError::Syntax(text.chars().take(80).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = width(given);
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(wrong)?,
            Some(_) => return Err(wrong()),
        };
        let mask = Cidr { first: given, prefix }.mask();
        let first = match given {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((number(given) & mask) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number(given) & mask)),
        };
        let network = Cidr { first, prefix };
        if first != given {
            return Err(CidrError::HostBits {
                given: text.chars().take(80).collect(),
                network,
                most,
            });
        }
        network.fit()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_kinds_are_read_and_gone_through() {
        for (text, size, first, last) in [
            ("10.0.0.0/28", 16, "10.0.0.0", "10.0.0.15"),
            ("255.255.255.254/31", 2, "255.255.255.254", "255.255.255.255"),
            ("127.0.0.1", 1, "127.0.0.1", "127.0.0.1"),
            ("fd00::/126", 4, "fd00::", "fd00::3"),
            ("::1", 1, "::1", "::1"),
        ] {
            let cidr: Cidr = text.parse().unwrap();
            assert_eq!(cidr.size(), size, "{text}");
            let all: Vec<IpAddr> = cidr.addresses().collect();
            assert_eq!(all.len() as u128, size);
            assert_eq!(all[0].to_string(), first);
            assert_eq!(all[all.len() - 1].to_string(), last);
            assert!(all.iter().all(|address| cidr.contains(*address)), "{text}");
            assert_eq!(cidr.to_string().parse(), Ok(cidr));
        }
        let cidr: Cidr = "10.0.0.0/28".parse().unwrap();
        for outside in ["10.0.0.16", "9.255.255.255", "::ffff:10.0.0.1", "::"] {
            assert!(!cidr.contains(outside.parse().unwrap()), "{outside}");
        }
        for all in ["0.0.0.0/0", "::/0"] {
            let cidr: Cidr = all.parse().unwrap();
            assert!(cidr.size() > 1 << 31, "{all}");
            assert!(cidr.contains(cidr.first));
        }
    }

    #[test]
    fn what_is_no_network_is_told_with_what_to_write() {
        for (bad, why) in [
            ("", "is no network"),
            ("10.0.0.0/33", "is no network"),
            ("10.0.0.0/-1", "is no network"),
            ("10.0.0.0/+8", "is no network"),
            ("10.0.0.0/", "is no network"),
            ("10.0.0/8", "is no network"),
            ("host/8", "is no network"),
            ("::1/129", "is no network"),
            ("10.0.0.5/24", "write `10.0.0.0/24`"),
            ("fd00::1/64", "write `fd00::/64`"),
            ("224.0.0.0/24", "multicast"),
            ("ff02::/120", "multicast"),
            ("fe80::/120", "link-local"),
            ("::ffff:10.0.0.0/120", "IPv4"),
        ] {
            let error = bad.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
