//! Entries as they come, taken apart without trust (ldap3's own `SearchEntry::construct` panics on what it does not expect).

use std::collections::HashMap;

use ldap3::ResultEntry;
use ldap3::asn1::StructureTag;
use ldap3::controls::RawControl;

use super::ber::Malformed;

/// An entry: its name and its attributes, by their names in small letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawEntry {
    /// Distinguished name.
    pub dn: String,
    attributes: HashMap<String, Vec<Vec<u8>>>,
}

/// What a search brings.
#[derive(Debug)]
pub(super) enum Item {
    Entry(RawEntry, Vec<RawControl>),
    /// It is elsewhere.
    Reference(Vec<String>),
    /// Name and value of an intermediate response.
    Intermediate(String, Vec<u8>),
}

impl RawEntry {
    /// All values of an attribute.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Vec<u8>] {
        self.attributes.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// Its first value.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).first().map(Vec::as_slice)
    }

    /// Its first value as text; what is not UTF-8 is shown as it may be.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.first(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// For tests and templates: with one more value.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.entry(name.to_ascii_lowercase()).or_default().push(value.as_bytes().to_vec());
        self
    }
}

/// Takes a message of a search apart.
pub(super) fn item(message: ResultEntry) -> Result<Item, Malformed> {
    let (tag, controls) = (message.0, message.1);
    let kind = tag.id;
    let mut parts = tag.expect_constructed().ok_or(Malformed("an entry without parts"))?.into_iter();
    match kind {
        4 => {
            let name =
                parts.next().and_then(StructureTag::expect_primitive).ok_or(Malformed("an entry without a name"))?;
            let dn = String::from_utf8(name).map_err(|_| Malformed("a name that is not UTF-8"))?;
            let list = parts.next().and_then(StructureTag::expect_constructed);
            let mut attributes: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
            for attribute in list.ok_or(Malformed("an entry without attributes"))? {
                let mut attribute =
                    attribute.expect_constructed().ok_or(Malformed("an attribute without parts"))?.into_iter();
                let name = attribute.next().and_then(StructureTag::expect_primitive);
                let values = attribute.next().and_then(StructureTag::expect_constructed);
                let (Some(name), Some(values)) = (name, values) else {
                    return Err(Malformed("an attribute without a name or values"));
                };
                let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
                let values = values.into_iter().filter_map(StructureTag::expect_primitive);
                attributes.entry(name).or_default().extend(values);
            }
            Ok(Item::Entry(RawEntry { dn, attributes }, controls.into_iter().map(|control| control.1).collect()))
        }
        19 => {
            let urls =
                parts.filter_map(StructureTag::expect_primitive).map(|url| String::from_utf8_lossy(&url).into_owned());
            Ok(Item::Reference(urls.collect()))
        }
        25 => {
            let (mut name, mut value) = (String::new(), Vec::new());
            for part in parts {
                match (part.id, part.expect_primitive()) {
                    (0, Some(bytes)) => name = String::from_utf8_lossy(&bytes).into_owned(),
                    (1, Some(bytes)) => value = bytes,
                    _ => {}
                }
            }
            Ok(Item::Intermediate(name, value))
        }
        _ => Err(Malformed("something else than an entry")),
    }
}
