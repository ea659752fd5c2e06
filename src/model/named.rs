//! How objects that grow are written: field by field, each with its name.
//!
//! ```text
//! (length of the name | name | length of the value | value in postcard form) ...
//! ```
//!
//! Lengths are varints. A reader passes over fields that it does not know, which a newer version wrote, and gives
//! fields that are missing, which an older version did not have, the default of their `serde` attribute. So a field
//! may be added, with `#[serde(default)]`; it may never change its meaning or its type: it then gets a new name.
//!
//! The macro `named` makes a struct that derives `Serialize` and `Deserialize` with
//! `#[serde(remote = "Self")]` do so in binary formats, where the whole object is one string of bytes. Formats for
//! people, such as JSON, are what was derived, and as strict.
//!
//! Fields that the macro is told to leave out when they are empty are those whose default is written as one zero
//! byte: nothing, an empty text or list, zero, `false`, the first variant of an enum.

use std::fmt::Display;

use serde::{
    Serialize, Serializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
    ser::{self, Impossible, SerializeStruct},
};

/// The postcard form of whatever is empty.
const EMPTY: &[u8] = &[0];

/// Why an object can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// Only structs have named fields.
    #[error("only a struct has fields with names")]
    Shape,
    /// A value has no postcard form, or bytes are none.
    #[error("a field's value can't be written or read")]
    Value(#[from] postcard::Error),
    /// The bytes end inside a field.
    #[error("a field is cut off")]
    Cut,
    /// What a type says.
    #[error("{0}")]
    Custom(String),
}

impl ser::Error for NamedError {
    fn custom<T: Display>(why: T) -> Self {
        Self::Custom(why.to_string())
    }
}

impl de::Error for NamedError {
    fn custom<T: Display>(why: T) -> Self {
        Self::Custom(why.to_string())
    }
}

/// Writes a struct; `omit` are the fields that are left out when they are empty.
#[derive(Debug)]
pub struct Writer {
    omit: &'static [&'static str],
    out: Vec<u8>,
}

impl Writer {
    /// Nothing is written yet.
    pub fn new(omit: &'static [&'static str]) -> Self {
        let out = Vec::with_capacity(128);
        Self { omit, out }
    }

    /// Gives what was written to `to`, as one string of bytes.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn finish<S: Serializer>(self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.out)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NamedError> {
        let start = self.out.len();
        length(name.len(), &mut self.out);
        self.out.extend_from_slice(name.as_bytes());
        // Nearly all values are shorter than 128 bytes: room for a length of one byte.
        let at = self.out.len();
        self.out.push(0);
        let out = std::mem::take(&mut self.out);
        self.out = postcard::to_extend(value, out)?;
        let written = self.out.len() - at - 1;
        if &self.out[at + 1..] == EMPTY && self.omit.contains(&name) {
            self.out.truncate(start);
        } else if written < 0x80 {
            self.out[at] = written as u8;
        } else {
            let mut prefix = Vec::with_capacity(5);
            length(written, &mut prefix);
            self.out.splice(at..=at, prefix);
        }
        Ok(())
    }
}

/// Appends a varint.
fn length(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl SerializeStruct for &mut Writer {
    type Ok = ();
    type Error = NamedError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NamedError> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), NamedError> {
        Ok(())
    }
}

macro_rules! refuse {
    ($($method:ident($($kind:ty),*);)*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<(), NamedError> {
            Err(NamedError::Shape)
        })*
    };
}

impl Serializer for &mut Writer {
    type Ok = ();
    type Error = NamedError;
    type SerializeSeq = Impossible<(), NamedError>;
    type SerializeTuple = Impossible<(), NamedError>;
    type SerializeTupleStruct = Impossible<(), NamedError>;
    type SerializeTupleVariant = Impossible<(), NamedError>;
    type SerializeMap = Impossible<(), NamedError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), NamedError>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NamedError> {
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    refuse! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NamedError> {
        Err(NamedError::Shape)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NamedError> {
        Err(NamedError::Shape)
    }
}

/// Reads a struct out of its bytes.
#[derive(Debug)]
pub struct Reader<'de> {
    left: &'de [u8],
}

impl<'de> Reader<'de> {
    /// Of the whole object.
    pub fn new(bytes: &'de [u8]) -> Self {
        Self { left: bytes }
    }

    fn piece(&mut self) -> Result<&'de [u8], NamedError> {
        let (length, rest) = postcard::take_from_bytes::<u32>(self.left)?;
        let (piece, rest) = rest.split_at_checked(length as usize).ok_or(NamedError::Cut)?;
        self.left = rest;
        Ok(piece)
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = NamedError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NamedError> {
        Err(NamedError::Shape)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NamedError> {
        visitor.visit_map(Fields {
            reader: self,
            known,
            value: EMPTY,
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'de> {
    reader: Reader<'de>,
    known: &'static [&'static str],
    /// Of the field whose name was read last.
    value: &'de [u8],
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = NamedError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, NamedError> {
        while !self.reader.left.is_empty() {
            let name = self.reader.piece()?;
            self.value = self.reader.piece()?;
            if let Some(name) = self.known.iter().find(|known| known.as_bytes() == name) {
                let name: de::value::StrDeserializer<'_, NamedError> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NamedError> {
        // Bytes left over are no error: whoever wrote them may know more of this value.
        let mut value = postcard::Deserializer::from_bytes(self.value);
        Ok(seed.deserialize(&mut value)?)
    }
}

/// Hands the bytes of an object to what reads it.
#[derive(Debug)]
pub struct Whole<F>(pub F);

impl<'de, T, F: FnOnce(Reader<'_>) -> Result<T, NamedError>> Visitor<'de> for Whole<F> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with named fields")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.0)(Reader::new(bytes)).map_err(E::custom)
    }
}

// Makes a struct write its fields with their names in binary formats; see [`mod@crate::model::named`].
macro_rules! named {
    ($kind:ident, omit $omit:expr) => {
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    return $kind::serialize(self, to);
                }
                let mut writer = $crate::model::named::Writer::new($omit);
                $kind::serialize(self, &mut writer).map_err(serde::ser::Error::custom)?;
                writer.finish(to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    return $kind::deserialize(from);
                }
                from.deserialize_bytes($crate::model::named::Whole(
                    |reader: $crate::model::named::Reader<'_>| $kind::deserialize(reader),
                ))
            }
        }
    };
}
pub(crate) use named;

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
