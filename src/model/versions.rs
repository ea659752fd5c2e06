//! Which versions of a protocol two sides speak, and the one they use.
//!
//! Each side offers a range. Both use the highest version in both ranges. Where there is none, the side
//! with the lower range is the older program, and has to be upgraded first. That is never final: it is
//! tried again until one of the two was upgraded.

use std::fmt;

use serde::{Deserialize, Serialize};

/// All versions from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    min: u16,
    max: u16,
}

/// Two sides have no version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// All that this side speaks came before what the other one speaks.
    WeAreOlder,
    /// All that the other side speaks came before what this one speaks.
    TheyAreOlder,
}

impl Versions {
    /// One version alone.
    pub const fn only(version: u16) -> Self {
        Self {
            min: version,
            max: version,
        }
    }

    /// From the lower of the two to the higher one.
    pub const fn between(one: u16, other: u16) -> Self {
        if one <= other {
            Self { min: one, max: other }
        } else {
            Self { min: other, max: one }
        }
    }

    /// The last of them.
    pub const fn highest(self) -> u16 {
        self.max
    }

    /// Whether it is one of them.
    pub const fn has(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The highest version that both sides speak.
    ///
    /// # Errors
    /// [`Mismatch`] says which side is the older one. A range that ends before it begins, which only a
    /// peer that lies can send, has nothing in common with any other.
    pub const fn common(ours: Self, theirs: Self) -> Result<u16, Mismatch> {
        let highest = if ours.max < theirs.max {
            ours.max
        } else {
            theirs.max
        };
        if ours.has(highest) && theirs.has(highest) {
            Ok(highest)
        } else if ours.max < theirs.max {
            Err(Mismatch::WeAreOlder)
        } else {
            Err(Mismatch::TheyAreOlder)
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_that_both_speak_is_used(a in 0..9_u16, b in 0..9_u16, c in 0..9_u16, d in 0..9_u16) {
            let (ours, theirs) = (Versions::between(a, b), Versions::between(c, d));
            let expected = (0..9).rev().find(|version| ours.has(*version) && theirs.has(*version));
            prop_assert_eq!(Versions::common(ours, theirs).ok(), expected);
            prop_assert_eq!(Versions::common(theirs, ours).ok(), expected);
        }

        #[test]
        fn without_one_the_lower_range_is_the_older_side(a in 0..5_u16, b in 0..5_u16, gap in 1..5_u16) {
            let lower = Versions::between(a, b);
            let higher = Versions::between(a.max(b) + gap, a.max(b) + gap + 2);
            prop_assert_eq!(Versions::common(lower, higher), Err(Mismatch::WeAreOlder));
            prop_assert_eq!(Versions::common(higher, lower), Err(Mismatch::TheyAreOlder));
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_has_nothing_in_common() {
        let lie = Versions { min: 5, max: 2 };
        assert!(Versions::common(Versions::between(0, 9), lie).is_err());
        assert!(Versions::common(lie, Versions::between(0, 9)).is_err());
    }

    #[test]
    fn ranges_are_told_as_people_say_them() {
        assert_eq!(Versions::only(4).to_string(), "4");
        assert_eq!(Versions::between(3, 2).to_string(), "2 to 3");
    }
}
