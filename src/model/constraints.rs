//! What an agent asks of its container.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use smol_str::SmolStr;

use super::{LabelError, Selector};

const MAX_BYTES: usize = 8 * 1024;

/// What an agent asks of its container, as a selector: parsed once, when the spec is, and shared by all
/// copies of the spec. In data it is its text. Two are equal when their texts are.
#[derive(Clone, Default)]
pub struct Constraints(Option<Arc<Selector>>);

impl Constraints {
    /// What is told first of a spec whose constraints are refused. They are refused while they are decoded,
    /// where an error is only a text.
    pub const REFUSED: &str = "`constraints` is no label selector: ";

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |selector| selector.as_str())
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether every term holds of what `value` gives for a key.
    pub fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.as_ref().is_none_or(|selector| selector.holds(value))
    }
}

impl FromStr for Constraints {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.len() > MAX_BYTES {
            return Err(LabelError::TooLong {
                size: text.len(),
                limit: MAX_BYTES,
            });
        }
        let selector: Selector = text.parse()?;
        Ok(Self((!selector.is_empty()).then(|| Arc::new(selector))))
    }
}

impl Serialize for Constraints {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Constraints {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = SmolStr::deserialize(d)?;
        text.parse()
            .map_err(|error: LabelError| D::Error::custom(format!("{}{error}", Self::REFUSED)))
    }
}

impl Ord for Constraints {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Some(one), Some(another)) if Arc::ptr_eq(one, another) => Ordering::Equal,
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl PartialOrd for Constraints {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Constraints {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Constraints {}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_their_text_in_data_and_are_refused_while_they_are_read() {
        let text = "zone = a, !spot";
        let constraints: Constraints = text.parse().unwrap();
        let json = serde_json::to_string(&constraints).unwrap();
        assert_eq!(json, serde_json::to_string(text).unwrap());
        assert_eq!(serde_json::from_str::<Constraints>(&json).unwrap(), constraints);
        let bytes = postcard::to_stdvec(&constraints).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(text).unwrap());
        assert_eq!(postcard::from_bytes::<Constraints>(&bytes).unwrap(), constraints);
        assert!(Constraints::default() < constraints && Constraints::default().is_empty());
        assert_eq!(" ".parse::<Constraints>().unwrap(), Constraints::default());

        let error = serde_json::from_str::<Constraints>(r#""a b""#)
            .unwrap_err()
            .to_string();
        let expected = format!("{}`a b` is not a selector term", Constraints::REFUSED);
        assert!(error.starts_with(&expected), "{error}");
        let long = format!("{}a", " ".repeat(MAX_BYTES));
        assert!(long.parse::<Constraints>().is_err() && long[1..].parse::<Constraints>().is_ok());
    }
}
