//! Which keys a configuration has, told from a value of it in which every key is filled in.
//!
//! A table whose only key is `*` takes any key (labels); an array of tables describes its elements
//! by the first one.

use toml::{Table, Value};

/// Stands for any key.
const ANY: &str = "*";

/// Every key, with a value of the right kind.
pub(super) struct Schema(Table);

/// What stands at a key.
pub(super) enum Node<'a> {
    /// A table with fixed keys.
    Section(&'a Table),
    /// A table that takes any key.
    Open,
    /// An array of tables.
    Elements(&'a Table),
    /// A value, of the kind of this one.
    Value(&'a Value),
}

impl Schema {
    pub(super) fn new(complete: Table) -> Self {
        Schema(complete)
    }

    pub(super) fn root(&self) -> &Table {
        &self.0
    }

    /// What stands at `path`, written with dots, and the path's parts. Everything after the name
    /// of an open table is one key, dots included.
    pub(super) fn find<'a>(&self, path: &'a str) -> Option<(Vec<&'a str>, Node<'_>)> {
        let mut table = &self.0;
        let mut parts = Vec::new();
        let mut rest = path;
        loop {
            let (part, more) = rest
                .split_once('.')
                .map_or((rest, None), |(part, more)| (part, Some(more)));
            parts.push(part);
            match (node(table, part)?, more) {
                (node, None) => return Some((parts, node)),
                (Node::Section(inner), Some(more)) => (table, rest) = (inner, more),
                (Node::Open, Some(more)) => {
                    parts.push(more);
                    let inner = table.get(part)?.as_table()?;
                    return inner.get(ANY).map(|value| (parts, Node::Value(value)));
                }
                (Node::Elements(_) | Node::Value(_), Some(_)) => return None,
            }
        }
    }

    /// Every path to a value, an open table, or an array of tables: what can be set at once.
    pub(super) fn settable(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk(&self.0, "", &mut |path, node| {
            if !matches!(node, Node::Section(_)) && !path.contains("[]") {
                paths.push(path.to_owned());
            }
        });
        paths
    }

    /// Every path there is, the keys of array elements included.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk(&self.0, "", &mut |path, _| paths.push(path.replace("[]", "")));
        paths
    }

    /// The known path most like `path`: by all of it, or, for a key in the wrong section, by its
    /// last part.
    pub(super) fn nearest(&self, path: &str) -> String {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let likeness = |known: &str| {
            let whole = strsim::normalized_damerau_levenshtein(path, known);
            let end = strsim::normalized_damerau_levenshtein(&last(path), &last(known));
            whole.max(0.9 * end)
        };
        let best = self
            .paths()
            .into_iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        best.unwrap_or_default()
    }

    fn walk(&self, table: &Table, prefix: &str, visit: &mut dyn FnMut(&str, &Node<'_>)) {
        for key in table.keys() {
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            let Some(node) = node(table, key) else { continue };
            visit(&path, &node);
            match node {
                Node::Section(inner) => self.walk(inner, &path, visit),
                Node::Elements(inner) => self.walk(inner, &format!("{path}[]"), visit),
                Node::Open | Node::Value(_) => {}
            }
        }
    }
}

/// What stands at `key` of a table.
pub(super) fn node<'a>(table: &'a Table, key: &str) -> Option<Node<'a>> {
    Some(match table.get(key)? {
        Value::Table(inner) if inner.contains_key(ANY) => Node::Open,
        Value::Table(inner) => Node::Section(inner),
        Value::Array(elements) => match elements.first() {
            Some(Value::Table(inner)) => Node::Elements(inner),
            _ => Node::Value(&table[key]),
        },
        value => Node::Value(value),
    })
}
