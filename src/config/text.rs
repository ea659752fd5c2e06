//! Values as they are written in variables and flags, where all is text.

use toml::{Table, Value};

use super::schema::Node;

/// What is wrong with a value for a section.
pub(super) const IS_SECTION: &str = "is a section, not a value";

/// Reads `text` as the kind of value that stands at a key.
///
/// # Errors
/// What is wrong, to follow the key's name.
pub(super) fn parse(text: &str, node: &Node<'_>) -> Result<Value, String> {
    match node {
        Node::Section(_) => Err(IS_SECTION.into()),
        Node::Elements(_) => composite(text)
            .filter(Value::is_array)
            .ok_or_else(|| "must be a TOML array of tables, such as `[{ key = \"value\" }]`".to_owned()),
        Node::Open => table(text),
        Node::Value(Value::Integer(_)) => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| "must be a whole number".to_owned()),
        Node::Value(Value::Boolean(_)) => text
            .parse()
            .map(Value::Boolean)
            .map_err(|_| "must be `true` or `false`".to_owned()),
        Node::Value(Value::Array(like)) => list(text, like.first()),
        Node::Value(_) => Ok(Value::String(text.to_owned())),
    }
}

/// `a,b` or `["a", "b"]`; numbers where the list is of numbers.
fn list(text: &str, like: Option<&Value>) -> Result<Value, String> {
    if text.starts_with('[') {
        return composite(text)
            .filter(Value::is_array)
            .ok_or_else(|| "is not a TOML array".to_owned());
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    if let Some(Value::Integer(_)) = like {
        let numbers = items.map(|item| item.parse().map(Value::Integer));
        let numbers: Result<_, _> = numbers.collect();
        return numbers
            .map(Value::Array)
            .map_err(|_| "must be whole numbers, joined by commas".to_owned());
    }
    Ok(Value::Array(
        items.map(|item| Value::String(item.to_owned())).collect(),
    ))
}

/// `a=b,c=d` or `{ a = "b" }`.
fn table(text: &str) -> Result<Value, String> {
    if text.starts_with('{') {
        return composite(text)
            .filter(Value::is_table)
            .ok_or_else(|| "is not a TOML table".to_owned());
    }
    let mut table = Table::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (key, value) = item
            .split_once('=')
            .ok_or("must be written as `key=value,key=value`")?;
        table.insert(key.trim().to_owned(), Value::String(value.trim().to_owned()));
    }
    Ok(Value::Table(table))
}

fn composite(text: &str) -> Option<Value> {
    format!("value = {text}").parse::<Table>().ok()?.remove("value")
}
