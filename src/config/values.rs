//! Kinds of values: addresses, sizes, durations, secrets.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `host:port`; an IPv6 host is written in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Puts an address together. `host` has no brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Address {
            host: host.into(),
            port,
        }
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 lets the system choose one to listen on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// Whether it stands for all addresses of a machine, and so for none that others can dial.
    pub fn is_unspecified(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is not a value of some kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ValueError {
    text: String,
    expected: &'static str,
}

impl ValueError {
    fn new(text: &str, expected: &'static str) -> Self {
        ValueError {
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

impl FromStr for Address {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "an address such as `host:7400` or `[::1]:7400`");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) => inside.parse::<Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None => host.to_owned(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let name = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
        if name || host.parse::<Ipv6Addr>().is_ok() && text.starts_with('[') {
            Ok(Address { host, port })
        } else {
            Err(wrong())
        }
    }
}

/// A number of bytes, written `1MiB`, `64 KiB` or `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
        {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "a size such as `1MiB`, `64KiB` or a number of bytes");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..].trim() {
            "" | "B" => 1,
            name => {
                UNITS
                    .iter()
                    .find(|(known, _)| *known == name)
                    .ok_or_else(wrong)?
                    .1
            }
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .map(Size)
            .ok_or_else(wrong)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a size such as `\"1MiB\"` or a number of bytes"
        )]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Size(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// A text that is never shown: `Debug` and `Serialize` hide it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Hidden(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

/// Label selectors as texts such as `tier=web,!canary`, for `#[serde(with = …)]`.
pub(super) mod selector {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::model::Selector;

    pub fn serialize<S: Serializer>(value: &Selector, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Selector, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Durations as texts such as `100ms`, `3s`, `5m`, `24h`, for `#[serde(with = …)]`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::ValueError;

    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }

    /// In the largest unit that leaves no fraction.
    pub(in crate::config) fn show(value: Duration) -> String {
        // Only `parse` and the defaults make durations, so nothing below a millisecond is lost.
        let millis = value.as_millis();
        let fits = |unit: u64| millis != 0 && millis.is_multiple_of(u128::from(unit));
        let (name, unit) = UNITS
            .iter()
            .rev()
            .find(|(_, unit)| fits(*unit))
            .unwrap_or(&UNITS[0]);
        format!("{}{name}", millis / u128::from(*unit))
    }

    pub(in crate::config) fn parse(text: &str) -> Result<Duration, ValueError> {
        let wrong = || ValueError::new(text, "a duration such as `100ms`, `3s`, `5m` or `24h`");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == &text[digits.len()..])
            .ok_or_else(wrong)?;
        let millis = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*unit));
        millis.map(Duration::from_millis).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("127.0.0.1:7400", "127.0.0.1", 7400),
            ("localhost:0", "localhost", 0),
            ("m-1.example.org:1", "m-1.example.org", 1),
            ("[::1]:7400", "::1", 7400),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
        let bad = [
            "",
            ":1",
            "host",
            "host:",
            "host:65536",
            "::1:7400",
            "[::1]",
            "[x]:1",
            "a b:1",
            "http://a:1",
            "é:1",
        ];
        for text in bad {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let is = |text: &str| {
            text.parse::<Address>()
                .map(|a| (a.is_loopback(), a.is_unspecified()))
                .unwrap()
        };
        assert_eq!(is("127.0.0.9:1"), (true, false));
        assert_eq!(is("LOCALHOST:1"), (true, false));
        assert_eq!(is("[::1]:1"), (true, false));
        assert_eq!(is("0.0.0.0:1"), (false, true));
        assert_eq!(is("[::]:1"), (false, true));
        assert_eq!(is("10.0.0.1:1"), (false, false));
    }

    #[test]
    fn sizes() {
        for (text, bytes, shown) in [
            ("1MiB", 1 << 20, "1MiB"),
            ("64 KiB", 1 << 16, "64KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("0", 0, "0"),
            ("7B", 7, "7"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size, size.to_string().as_str()), (Size(bytes), shown));
        }
        for text in ["", "MiB", "1MB", "1.5MiB", "-1", "99999999TiB", "1 é"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis, shown) in [
            ("100ms", 100, "100ms"),
            ("3s", 3000, "3s"),
            ("90s", 90_000, "90s"),
            ("60m", 3_600_000, "1h"),
            ("0s", 0, "0ms"),
        ] {
            let value = duration::parse(text).unwrap();
            assert_eq!(
                (value, duration::show(value).as_str()),
                (Duration::from_millis(millis), shown)
            );
        }
        for text in [
            "",
            "1",
            "s",
            "1.5s",
            "-1s",
            "1 s",
            "1d",
            "18446744073709551615h",
            "1é",
        ] {
            assert!(duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hidden_text_is_not_shown() {
        let hidden = Hidden::new("swordfish");
        assert!(!format!("{hidden:?}{}", serde_json::to_string(&hidden).unwrap()).contains("swordfish"));
        assert_eq!(hidden.expose(), "swordfish");
    }
}
