//! Labels and the selectors that match them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

const MAX_LABELS: usize = 64;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
const MAX_SELECTOR: usize = 32 * 1024;

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
    /// A selector that is longer than one may be.
    #[error("a selector of {size} bytes is too long: at most {limit}")]
    TooLong {
        /// Its bytes.
        size: usize,
        /// The bound.
        limit: usize,
    },
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

/// What a term asks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equals,
    Differs,
    Present,
    Absent,
}

/// One term of a selector, as places in the selector's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    relation: Relation,
    key: Span,
    value: Span,
}

/// A part of a text: its first byte and its length. A selector is short enough for 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: u16,
    len: u16,
}

impl Span {
    /// Where `part` stands in `text`, of which it is a part.
    fn of(text: &str, part: &str) -> Result<Self, LabelError> {
        let at = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        match (u16::try_from(at), u16::try_from(part.len())) {
            (Ok(at), Ok(len)) => Ok(Self { at, len }),
            _ => Err(too_long(text)),
        }
    }

    fn in_text(self, text: &str) -> &str {
        let at = usize::from(self.at);
        text.get(at..at + usize::from(self.len)).unwrap_or_default()
    }
}

fn too_long(text: &str) -> LabelError {
    LabelError::TooLong {
        size: text.len(),
        limit: MAX_SELECTOR,
    }
}

/// A conjunction of label terms; the empty selector matches everything. It is parsed once, and keeps the
/// text as it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    text: Box<str>,
    terms: Box<[Term]>,
}

impl Selector {
    /// Whether every term holds.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.holds(|key| labels.get(key))
    }

    /// Whether every term holds of what `value` gives for a key.
    pub fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| {
            let found = value(term.key.in_text(&self.text));
            let wanted = || Some(term.value.in_text(&self.text));
            match term.relation {
                Relation::Equals => found == wanted(),
                Relation::Differs => found != wanted(),
                Relation::Present => found.is_some(),
                Relation::Absent => found.is_none(),
            }
        })
    }

    /// The text it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl Term {
    /// Reads `raw`, a part of `text`.
    fn parse(text: &str, raw: &str) -> Result<Self, LabelError> {
        let term = raw.trim();
        let (relation, key, value) = if let Some((key, value)) = term.split_once("!=") {
            (Relation::Differs, key, value)
        } else if let Some((key, value)) = term.split_once('=') {
            (Relation::Equals, key, value.trim_start_matches('='))
        } else if let Some(key) = term.strip_prefix('!') {
            (Relation::Absent, key, "")
        } else {
            (Relation::Present, term, "")
        };
        let (key, value) = (key.trim(), value.trim());
        check_key(key).map_err(|_| LabelError::Term(shorten(raw)))?;
        // No label has such a value, so that the term would say nothing.
        check_value(key, value)?;
        let value = if value.is_empty() { &text[..0] } else { value };
        Ok(Self {
            relation,
            key: Span::of(text, key)?,
            value: Span::of(text, value)?,
        })
    }
}

impl FromStr for Selector {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_SELECTOR {
            return Err(too_long(text));
        }
        let terms = text
            .split(',')
            .take(MAX_LABELS + 1)
            .map(|raw| Term::parse(text, raw))
            .collect::<Result<Box<[_]>, _>>()?;
        if terms.len() > MAX_LABELS {
            return Err(LabelError::TooMany(terms.len()));
        }
        let text = text.into();
        Ok(Self { text, terms })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    fn a_selector_keeps_its_text_and_is_bounded() {
        for text in [" tier = web , !zone", "a==b", "é"] {
            if let Ok(selector) = text.parse::<Selector>() {
                assert_eq!(selector.to_string(), text);
            }
        }
        let selector: Selector = "zone = é ,!gpu".parse().unwrap();
        assert!(selector.matches(&labels(&[("zone", "é")])));
        let long = format!("{}a", " ".repeat(MAX_SELECTOR));
        assert!(matches!(
            long.parse::<Selector>(),
            Err(LabelError::TooLong { .. })
        ));
        assert!(
            long[1..]
                .parse::<Selector>()
                .unwrap()
                .matches(&labels(&[("a", "")]))
        );
        assert!("a=b\0".parse::<Selector>().is_err());
        let many = vec!["a"; MAX_LABELS + 1].join(",");
        assert_eq!(many.parse::<Selector>(), Err(LabelError::TooMany(65)));
    }

    #[test]
    fn labels_are_bounded() {
        let many = (0..65).map(|i| (format!("k{i}"), String::new())).collect();
        assert_eq!(Labels::new(many), Err(LabelError::TooMany(65)));
        assert!(serde_json::from_str::<Labels>(r#"{"a\u0000":"b"}"#).is_err());
        assert!(serde_json::from_str::<Labels>(r#"{"a":"b\u0007"}"#).is_err());
    }
}
