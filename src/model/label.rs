//! Labels and the selectors that match them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

const MAX_LABELS: usize = 64;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Why labels or a selector are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// More labels than an object may carry.
    #[error("{0} labels are too many: at most {MAX_LABELS}")]
    TooMany(usize),
    /// A key outside the rule.
    #[error(
        "`{0}` is not a label key: use 1 to {MAX_KEY} characters of A-Z, a-z, 0-9, `.`, `_`, `-` and `/`"
    )]
    Key(String),
    /// A value outside the rule.
    #[error("the value of label `{0}` is refused: at most {MAX_VALUE} bytes and no control characters")]
    Value(String),
    /// A selector term that is neither `key=value`, `key!=value`, `key` nor `!key`.
    #[error(
        "`{0}` is not a selector term: write `key=value`, `key!=value`, `key` or `!key`, joined by commas"
    )]
    Term(String),
}

/// Key-value pairs attached to an object; bounded in number and size.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

fn check_key(key: &str) -> Result<(), LabelError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(allowed) {
        return Err(LabelError::Key(shorten(key)));
    }
    Ok(())
}

fn check_value(key: &str, value: &str) -> Result<(), LabelError> {
    if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
        return Err(LabelError::Value(shorten(key)));
    }
    Ok(())
}

impl Labels {
    /// Checks and takes the pairs.
    ///
    /// # Errors
    /// [`LabelError`] when there are too many, or one is outside the rule.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, LabelError> {
        if pairs.len() > MAX_LABELS {
            return Err(LabelError::TooMany(pairs.len()));
        }
        for (key, value) in &pairs {
            check_key(key)?;
            check_value(key, value)?;
        }
        Ok(Self(pairs))
    }

    /// Takes what is within the rule and leaves the rest: for labels that others chose (an image's,
    /// say), where refusing the object would help nobody.
    pub fn lenient(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(
            pairs
                .into_iter()
                .filter(|(k, v)| check_key(k).is_ok() && check_value(k, v).is_ok())
                .take(MAX_LABELS)
                .collect(),
        )
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(BTreeMap::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Equals(String, String),
    Differs(String, String),
    Present(String),
    Absent(String),
}

/// A conjunction of label terms; the empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

impl Selector {
    /// Whether every term holds.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.holds(|key| labels.get(key))
    }

    /// Whether every term holds of what `value` gives for a key.
    pub fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Equals(k, v) => value(k) == Some(v),
            Term::Differs(k, v) => value(k) != Some(v),
            Term::Present(k) => value(k).is_some(),
            Term::Absent(k) => value(k).is_none(),
        })
    }
}

impl FromStr for Selector {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let parse = |raw: &str| -> Result<Term, LabelError> {
            let term = raw.trim();
            let parsed = if let Some((key, value)) = term.split_once("!=") {
                Term::Differs(key.trim().into(), value.trim().into())
            } else if let Some((key, value)) = term.split_once('=') {
                Term::Equals(key.trim().into(), value.trim_start_matches('=').trim().into())
            } else if let Some(key) = term.strip_prefix('!') {
                Term::Absent(key.trim().into())
            } else {
                Term::Present(term.into())
            };
            let (Term::Equals(key, _) | Term::Differs(key, _) | Term::Present(key) | Term::Absent(key)) =
                &parsed;
            check_key(key).map_err(|_| LabelError::Term(shorten(raw)))?;
            Ok(parsed)
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let terms = text
            .split(',')
            .take(MAX_LABELS + 1)
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        if terms.len() > MAX_LABELS {
            Err(LabelError::TooMany(terms.len()))
        } else {
            Ok(Self(terms))
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match term {
                Term::Equals(k, v) => write!(f, "{k}={v}")?,
                Term::Differs(k, v) => write!(f, "{k}!={v}")?,
                Term::Present(k) => write!(f, "{k}")?,
                Term::Absent(k) => write!(f, "!{k}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn selectors_match_what_they_say() {
        let web = labels(&[("tier", "web"), ("zone", "a")]);
        for (text, expected) in [
            ("", true),
            ("tier=web", true),
            ("tier==web", true),
            ("tier=db", false),
            ("tier!=db, zone", true),
            ("!zone", false),
            ("!gpu", true),
            ("tier=web,zone=b", false),
        ] {
            assert_eq!(
                text.parse::<Selector>().unwrap().matches(&web),
                expected,
                "{text}"
            );
        }
        for bad in ["=a", ",", "a b", "!", "a=b,,c"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let many = (0..65).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(Labels::new(many), Err(LabelError::TooMany(65)));
        assert!(serde_json::from_str::<Labels>(r#"{"a\u0000":"b"}"#).is_err());
        assert!(serde_json::from_str::<Labels>(r#"{"a":"b\u0007"}"#).is_err());
    }
}
