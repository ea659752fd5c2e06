//! A configuration file: its values, and the lines they stand on.

use std::fs;
use std::path::Path;

use toml::de::{DeArray, DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::schema::{Node, Schema, node};

/// What a file says about one key.
pub(super) enum Found {
    /// It is set.
    Value {
        path: Vec<String>,
        value: Value,
        origin: Origin,
    },
    /// There is no such key.
    Unknown { key: String, origin: Origin },
    /// It is a section and is given a value.
    Section { key: String, origin: Origin },
}

/// Reads all that a TOML file sets.
///
/// # Errors
/// `Read`, `Syntax`.
pub(super) fn read(path: &Path, schema: &Schema) -> Result<Vec<Found>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    // Only the message: the usual picture of the line might show a secret.
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(&text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    };
    let values: Table = text.parse().map_err(syntax)?;
    let spans = DeTable::parse(&text).map_err(syntax)?;
    let mut walk = Walk {
        file: path,
        text: &text,
        found: Vec::new(),
    };
    walk.section(&values, spans.get_ref(), schema.root(), &[]);
    Ok(walk.found)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Goes through a file's values together with the places they stand at.
struct Walk<'a> {
    file: &'a Path,
    text: &'a str,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn origin(&self, at: usize) -> Origin {
        Origin::File {
            path: self.file.to_owned(),
            line: line_of(self.text, at),
        }
    }

    fn section(&mut self, values: &Table, spans: &DeTable<'_>, known: &Table, parent: &[String]) {
        for (key, span) in spans {
            let Some(value) = values.get(key.get_ref().as_ref()) else {
                continue;
            };
            let path = [parent, &[key.get_ref().to_string()]].concat();
            let origin = self.origin(key.span().start);
            match (node(known, key.get_ref()), value, span.get_ref()) {
                (None, ..) => self.found.push(Found::Unknown {
                    key: path.join("."),
                    origin,
                }),
                (Some(Node::Section(known)), Value::Table(values), DeValue::Table(spans)) => {
                    self.section(values, spans, known, &path);
                }
                (Some(Node::Section(_)), ..) => self.found.push(Found::Section {
                    key: path.join("."),
                    origin,
                }),
                (Some(Node::Open), Value::Table(values), DeValue::Table(spans)) => {
                    self.open(values, spans, &path)
                }
                (found, value, span) => {
                    if let (Some(Node::Elements(known)), DeValue::Array(elements)) = (found, span) {
                        self.elements(elements, known, &path);
                    }
                    self.found.push(Found::Value {
                        path,
                        value: value.clone(),
                        origin,
                    });
                }
            }
        }
    }

    /// A table that takes any key: each is a setting of its own.
    fn open(&mut self, values: &Table, spans: &DeTable<'_>, parent: &[String]) {
        for key in spans.keys() {
            let Some(value) = values.get(key.get_ref().as_ref()) else {
                continue;
            };
            let path = [parent, &[key.get_ref().to_string()]].concat();
            let origin = self.origin(key.span().start);
            self.found.push(Found::Value {
                path,
                value: value.clone(),
                origin,
            });
        }
    }

    /// Looks for unknown keys in an array's tables; the array itself is set as a whole.
    fn elements(&mut self, elements: &DeArray<'_>, known: &Table, path: &[String]) {
        for element in elements.iter() {
            let DeValue::Table(table) = element.get_ref() else {
                continue;
            };
            for key in table
                .keys()
                .filter(|key| !known.contains_key(key.get_ref().as_ref()))
            {
                let origin = self.origin(key.span().start);
                self.found.push(Found::Unknown {
                    key: format!("{}.{}", path.join("."), key.get_ref()),
                    origin,
                });
            }
        }
    }
}
