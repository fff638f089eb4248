//! A JSON text as serde_json reads it, with its numbers as they are written: what jose's own reading is compared with.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// More than jose allows, and little enough to recurse.
const DEEPEST: usize = 40;

#[derive(Clone, Debug)]
pub enum Tree {
    /// true, false, null.
    Word(String),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// A number by its value: its sign, its digits without zeros around them, the power of ten of the last.
#[derive(PartialEq, Eq)]
pub struct Number {
    pub negative: bool,
    pub digits: String,
    pub power: i128,
}

impl Tree {
    /// `None` for what serde_json refuses, and for what is nested deeper than jose could allow.
    pub fn read(text: &str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        Self::read_raw(raw.get(), 1)
    }

    fn read_raw(text: &str, depth: usize) -> Option<Self> {
        if depth > DEEPEST {
            return None;
        }
        let below = |raw: &RawValue| Self::read_raw(raw.get(), depth + 1);
        Some(match text.as_bytes().first()? {
            b'{' => {
                let Pairs(pairs) = serde_json::from_str(text).ok()?;
                let members = pairs
                    .into_iter()
                    .map(|(name, value)| Some((name, below(value)?)));
                Self::Object(members.collect::<Option<_>>()?)
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Self::List(elements.into_iter().map(below).collect::<Option<_>>()?)
            }
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            b't' | b'f' | b'n' => Self::Word(text.to_owned()),
            _ => Self::Number(text.to_owned()),
        })
    }

    /// What jose takes for an object: unique names at the top, and nothing that Postgres cannot hold.
    pub fn strict_object(text: &str) -> Option<Self> {
        Self::read(text).filter(|tree| {
            matches!(tree, Self::Object(members) if are_unique(members))
                && tree.depth() <= 32
                && tree.fits_postgres()
        })
    }

    pub fn members(&self) -> &[(String, Tree)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The member of that name; the last, where there are several.
    pub fn get(&self, name: &str) -> Option<&Tree> {
        self.members()
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(known) if known == word)
    }

    /// No object in it has a name twice.
    pub fn is_unique_throughout(&self) -> bool {
        match self {
            Self::Object(members) => {
                are_unique(members)
                    && members
                        .iter()
                        .all(|(_, value)| value.is_unique_throughout())
            }
            Self::List(elements) => elements.iter().all(Self::is_unique_throughout),
            _ => true,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Object(members) => {
                1 + members
                    .iter()
                    .map(|(_, value)| value.depth())
                    .max()
                    .unwrap_or(0)
            }
            Self::List(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn fits_postgres(&self) -> bool {
        match self {
            Self::Word(_) => true,
            Self::Number(text) => fits_numeric(text),
            Self::Text(text) => !text.contains('\0'),
            Self::List(elements) => elements.iter().all(Self::fits_postgres),
            Self::Object(members) => members
                .iter()
                .all(|(name, value)| !name.contains('\0') && value.fits_postgres()),
        }
    }

    /// As `jsonb` compares.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Word(a), Self::Word(b)) | (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => number(a) == number(b),
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Self::Object(a), Self::Object(b)) => {
                let names = |members: &[(String, Tree)]| {
                    members
                        .iter()
                        .map(|(name, _)| name.clone())
                        .collect::<HashSet<_>>()
                };
                names(a) == names(b)
                    && a.iter().all(|(name, _)| {
                        self.get(name)
                            .zip(other.get(name))
                            .is_some_and(|(a, b)| a.equals(b))
                    })
            }
            _ => false,
        }
    }

    /// Another spelling of the same: members in reverse, every character of a string as an escape, white space everywhere.
    pub fn respelled(&self) -> String {
        match self {
            Self::Word(text) | Self::Number(text) => text.clone(),
            Self::Text(text) => escaped(text),
            Self::List(elements) => {
                let elements: Vec<_> = elements.iter().map(Self::respelled).collect();
                format!("[ {}\t]", elements.join(" ,\n"))
            }
            Self::Object(members) => {
                let members: Vec<_> = (members.iter().rev())
                    .map(|(name, value)| format!("{} : {}", escaped(name), value.respelled()))
                    .collect();
                format!("{{ {}\r}}", members.join(" , "))
            }
        }
    }
}

/// Takes a number that serde_json has read apart.
pub fn number(text: &str) -> Number {
    let negative = text.starts_with('-');
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Enough for every exponent that jose takes; beyond, only the sign matters.
    let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') {
        i128::MIN / 2
    } else {
        i128::MAX / 2
    });
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Number {
            negative: false,
            digits: String::new(),
            power: 0,
        };
    }
    let cut = i128::try_from(all.len() - all.trim_end_matches('0').len()).unwrap();
    let behind_point = i128::try_from(fraction.len()).unwrap();
    Number {
        negative,
        digits: significant.to_owned(),
        power: exponent - behind_point + cut,
    }
}

/// What `numeric_in` takes.
fn fits_numeric(text: &str) -> bool {
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let Some(exponent) = exponent
        .parse::<i128>()
        .ok()
        .filter(|e| e.abs() < 1_073_741_823)
    else {
        return false;
    };
    let fraction = mantissa
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let value = number(text);
    let whole_digits = i128::try_from(value.digits.len()).unwrap() + value.power;
    (value.digits.is_empty() || whole_digits <= 131_072)
        && i128::try_from(fraction).unwrap() - exponent <= 16_383
}

fn are_unique(members: &[(String, Tree)]) -> bool {
    let names: HashSet<_> = members.iter().map(|(name, _)| name).collect();
    names.len() == members.len()
}

fn escaped(text: &str) -> String {
    let units: String = text
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04X}"))
        .collect();
    format!("\"{units}\"")
}

/// Every member in order, those of the same name too.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
