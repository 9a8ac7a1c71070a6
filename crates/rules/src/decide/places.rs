//! Where an address is, as a database of MaxMind's format says it.
//!
//! Answers: country, region, city and network of a client. The database is bytes that were read elsewhere. Never: IO, or
//! a copy of what it finds.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

use maxminddb::{LookupResult, PathElement, Reader};

use crate::vocab::GeoField;

/// A database that was checked as a whole.
pub struct Places(Reader<Vec<u8>>);

/// What is wrong with a file of places.
#[derive(Debug, thiserror::Error)]
#[error("no database of MaxMind's format: {0}")]
pub struct BadPlaces(String);

const COUNTRY: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];
const REGION: [PathElement<'static>; 3] =
    [PathElement::Key("subdivisions"), PathElement::Index(0), PathElement::Key("iso_code")];
const CITY: [PathElement<'static>; 3] =
    [PathElement::Key("city"), PathElement::Key("names"), PathElement::Key("en")];
const ASN: [PathElement<'static>; 1] = [PathElement::Key("autonomous_system_number")];

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({} of {})", self.kind(), self.built())
    }
}

impl Places {
    /// Reads a database and follows everything in it, so that no lookup comes across what is broken.
    pub fn read(bytes: Vec<u8>) -> Result<Places, BadPlaces> {
        let bad = |error: maxminddb::MaxMindDbError| BadPlaces(error.to_string());
        let reader = Reader::from_source(bytes).map_err(bad)?;
        reader.verify().map_err(bad)?;
        Ok(Places(reader))
    }

    /// What the database calls itself.
    pub fn kind(&self) -> &str {
        &self.0.metadata().database_type
    }

    /// When it was made, in seconds since 1970.
    pub fn built(&self) -> u64 {
        self.0.metadata().build_epoch
    }

    /// Writes the field of an address; false where the database does not have it.
    pub(super) fn write(&self, address: IpAddr, field: GeoField, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Ok(found) = self.0.lookup(address) else { return false };
        let text = |path: &[PathElement<'_>]| text(&found, path);
        let value = match field {
            GeoField::Country => text(&COUNTRY),
            GeoField::Region => text(&REGION),
            GeoField::City => text(&CITY),
            GeoField::Asn => {
                let number = found.decode_path::<u32>(&ASN).ok().flatten();
                // Writing to a vector cannot fail.
                return number.is_some_and(|number| write!(out, "{number}").is_ok());
            }
        };
        value.is_some_and(|value| {
            out.extend_from_slice(value.as_bytes());
            true
        })
    }
}

fn text<'a>(found: &LookupResult<'a, Vec<u8>>, path: &[PathElement<'_>]) -> Option<&'a str> {
    found.decode_path::<&str>(path).ok().flatten()
}
