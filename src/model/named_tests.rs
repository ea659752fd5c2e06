use std::fmt::Debug;

use serde::{Deserialize, de::DeserializeOwned};

use super::*;

/// An object, as one version has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct Now {
    name: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default = "ten")]
    grace: u64,
}

fn ten() -> u64 {
    10
}

named!(Now, omit & ["args"]);

/// The same, as the next version has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct Next {
    name: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default = "ten")]
    grace: u64,
    #[serde(default)]
    priority: Option<i32>,
    #[serde(default = "one")]
    replicas: u32,
}

fn one() -> u32 {
    1
}

named!(Next, omit & ["args", "priority"]);

fn read_as<T: DeserializeOwned>(value: &impl Serialize) -> T {
    let bytes = postcard::to_stdvec(&(value, 7_u8)).unwrap();
    let (read, end): (T, u8) = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(end, 7);
    read
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    assert_eq!(&read_as::<T>(value), value);
    let bytes = postcard::to_stdvec(value).unwrap();
    for length in 0..bytes.len() {
        assert!(postcard::from_bytes::<T>(&bytes[..length]).is_err(), "{value:?}");
    }
}

fn next() -> Next {
    Next {
        name: "a".into(),
        args: vec!["x".repeat(300)],
        grace: 0,
        priority: Some(-3),
        replicas: 5,
    }
}

#[test]
fn what_is_empty_or_long_or_not_the_default_comes_back() {
    let empty = Now {
        name: String::new(),
        args: Vec::new(),
        grace: 0,
    };
    comes_back(&empty);
    comes_back(&next());
    // A name, a value; what may be left out is.
    let expected = b"\x10\x04name\x01\x00\x05grace\x01\x00";
    let expected = [&[expected.len() as u8 - 1], &expected[1..]].concat();
    assert_eq!(postcard::to_stdvec(&empty).unwrap(), expected);
}

#[test]
fn an_older_version_passes_over_what_it_does_not_know() {
    let old: Now = read_as(&next());
    assert_eq!((old.name, old.args, old.grace), ("a".into(), next().args, 0));
}

#[test]
fn a_newer_version_gives_what_is_missing_its_default() {
    let old = Now {
        name: "a".into(),
        args: vec!["b".into()],
        grace: 3,
    };
    let new: Next = read_as(&old);
    assert_eq!((new.name, new.args, new.grace), (old.name, old.args, 3));
    assert_eq!((new.priority, new.replicas), (None, 1));
    let error = postcard::from_bytes::<Now>(&[0]).unwrap_err();
    assert_eq!(
        error,
        postcard::Error::SerdeDeCustom,
        "a field without a default is needed"
    );
}

#[test]
fn for_people_it_is_what_was_derived_and_as_strict() {
    let json = serde_json::to_value(next()).unwrap();
    assert_eq!(json["replicas"], 5);
    assert_eq!(serde_json::from_value::<Next>(json.clone()).unwrap(), next());
    let error = serde_json::from_value::<Now>(json).unwrap_err().to_string();
    assert!(error.contains("unknown field"), "{error}");
}
