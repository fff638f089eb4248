//! Ids travel as text, and are compared as what their column is.

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use crate::pg::probe::ProbedRow;

/// What an id column can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdType {
    /// `text` or `varchar`.
    Text,
    /// `uuid`.
    Uuid,
    /// `bigint`.
    Bigint,
    /// `integer`.
    Integer,
}

impl IdType {
    /// The type of a column; None for one that ids cannot have.
    pub fn of(type_oid: pg_sys::Oid) -> Option<Self> {
        match type_oid {
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Some(Self::Text),
            pg_sys::UUIDOID => Some(Self::Uuid),
            pg_sys::INT8OID => Some(Self::Bigint),
            pg_sys::INT4OID => Some(Self::Integer),
            _ => None,
        }
    }

    /// The type of a query's parameter for such an id.
    pub const fn parameter(self) -> pg_sys::Oid {
        match self {
            Self::Text => pg_sys::TEXTOID,
            Self::Uuid => pg_sys::UUIDOID,
            Self::Bigint => pg_sys::INT8OID,
            Self::Integer => pg_sys::INT4OID,
        }
    }

    /// The id in column `n` of a row, as the type prints it.
    pub fn print(self, row: &ProbedRow<'_>, n: usize) -> Option<String> {
        match self {
            Self::Text => row.get::<String>(n),
            Self::Uuid => row.get::<Uuid>(n).map(|id| id.to_string()),
            Self::Bigint => row.get::<i64>(n).map(|id| id.to_string()),
            Self::Integer => row.get::<i32>(n).map(|id| id.to_string()),
        }
    }

    /// `id` as the type prints it; None when it is no value of the type.
    pub fn canonical(self, id: &str) -> Option<String> {
        match self {
            Self::Text => Some(id.to_owned()),
            Self::Uuid => uuid(id).map(|id| id.to_string()),
            Self::Bigint => id.parse::<i64>().ok().map(|id| id.to_string()),
            Self::Integer => id.parse::<i32>().ok().map(|id| id.to_string()),
        }
    }

    /// `id` as a value of the type; None when it is none, so that nobody has it.
    pub fn datum(self, id: &str) -> Option<pg_sys::Datum> {
        match self {
            Self::Text => id.into_datum(),
            Self::Uuid => uuid(id)?.into_datum(),
            Self::Bigint => id.parse::<i64>().ok()?.into_datum(),
            Self::Integer => id.parse::<i32>().ok()?.into_datum(),
        }
    }
}

/// `id` as a UUID; None when it is none.
pub fn uuid(id: &str) -> Option<Uuid> {
    parse_uuid(id).map(Uuid::from_bytes)
}

/// `id` as a bigint; None unless a bigint prints so: the texts `7` and `007` are two users.
pub fn bigint(id: &str) -> Option<i64> {
    id.parse()
        .ok()
        .filter(|number: &i64| number.to_string() == id)
}

/// A UUID with its hyphens or without, in any case (RFC 9562 section 4).
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hyphens_fit = match text.len() {
        36 => [8, 13, 18, 23]
            .iter()
            .all(|&at| text.as_bytes().get(at) == Some(&b'-')),
        32 => true,
        _ => false,
    };
    let digits: Vec<u8> = text
        .bytes()
        .enumerate()
        .filter(|(at, _)| !(text.len() == 36 && [8, 13, 18, 23].contains(at)))
        .map(|(_, byte)| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    bytes.try_into().ok().filter(|_| hyphens_fit)
}
