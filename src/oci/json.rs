//! JSON as Go's programs, which wrote and read all documents first, mean it: a structure is an
//! object and nothing else, and null is the empty value.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// Reads a structure from an object alone. serde's own take an array of their fields as well,
/// which no other program reads as such.
pub struct Object<D>(pub D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Has structures with `#[serde(remote = "Self")]` be read as an [`Object`].
macro_rules! objects {
    ($($structure:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $structure {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                // What is derived is a function of the type's own, and goes before the trait's.
                Self::deserialize(super::json::Object(from))
            }
        }
    )+};
}
pub(super) use objects;

/// A value, the empty one for null.
pub fn value<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A list of texts.
pub fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    let list = Option::<Vec<Option<String>>>::deserialize(from)?;
    Ok(list.map(|list| list.into_iter().map(Option::unwrap_or_default).collect()))
}

/// Texts by their names.
pub fn map<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let map = Option::<BTreeMap<String, Option<String>>>::deserialize(from)?;
    let texts = |map: BTreeMap<String, Option<String>>| {
        let each = map.into_iter();
        each.map(|(name, text)| (name, text.unwrap_or_default()))
            .collect()
    };
    Ok(map.map(texts))
}

/// A digest, which is written as text.
pub mod digest {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::oci::digest::{Digest, clip};

    pub fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(|_| {
            D::Error::custom(format!(
                "{:?} is not a sha256 or sha512 digest",
                clip(&text)
            ))
        })
    }
}
