//! The way to a container, as it was measured, for people.

use std::time::Duration;

use super::output::bytes;
use crate::client::types::EchoView;

/// A size such as `64MiB`, or a number of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
    let (number, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    let number: Option<u64> = number.trim_end().parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is no size: write it as 1000, 64KiB, 64MiB or 1GiB"))
}

/// What came of an echo.
pub(super) fn echoed(view: &EchoView) -> String {
    let [opened, took] = [view.opened_micros, view.took_micros].map(Duration::from_micros);
    // A time below a microsecond is none.
    let rate = (u128::from(view.bytes) * 1_000_000 / u128::from(view.took_micros.max(1))) as u64;
    format!(
        "{} went to container {} and back in {took:.1?} ({}/s each way); opening the stream took {opened:.1?}",
        bytes(view.bytes),
        view.name,
        bytes(rate)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, expected) in [
            ("0", 0),
            ("1000", 1000),
            ("7B", 7),
            ("64KiB", 65_536),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "MiB", "1MB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(size(text).unwrap_err().contains("is no size"), "{text}");
        }
    }

    #[test]
    fn an_echo_is_told_with_its_rate() {
        let view = EchoView {
            container: crate::model::ContainerId(1),
            name: "box-1".parse().unwrap(),
            bytes: 1 << 20,
            opened_micros: 2_500,
            took_micros: 500_000,
        };
        assert_eq!(
            echoed(&view),
            "1.0 MiB went to container box-1 and back in 500.0ms (2.0 MiB/s each way); opening the stream took 2.5ms"
        );
    }
}
