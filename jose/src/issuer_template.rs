//! One row for all tenants of a provider: an `iss` with one of the token's own claims in it.

use crate::json::Object;

/// An issuer's name with one `{claim}` in it, as `https://login.example/{tid}/v2.0`: the `iss` of its tokens has
/// their own claim `tid` in the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerTemplate {
    prefix: String,
    claim: String,
    suffix: String,
}

/// What may stand in the place: nothing that could lead into another part of a URL.
fn may_stand(text: &str) -> bool {
    let ordinary = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.bytes().all(ordinary)
}

impl IssuerTemplate {
    /// Reads an issuer's name as a template. `None` for a name that is meant as it stands: it has no braces, or other braces than
    /// one pair around the name of a claim that is not `iss`.
    #[must_use]
    pub fn parse(issuer: &str) -> Option<Self> {
        let (prefix, rest) = issuer.split_once('{')?;
        let (claim, suffix) = rest.split_once('}')?;
        let is_clean = |text: &str| !text.contains(['{', '}']);
        let is_template = !claim.is_empty() && claim != "iss" && is_clean(claim);
        (is_template && is_clean(prefix) && is_clean(suffix)).then(|| Self {
            prefix: prefix.to_owned(),
            claim: claim.to_owned(),
            suffix: suffix.to_owned(),
        })
    }

    /// What of an `iss` stands in the place; `None` where it is none of this template's.
    fn place<'i>(&self, issuer: &'i str) -> Option<&'i str> {
        let place = issuer.strip_prefix(self.prefix.as_str())?;
        let place = place.strip_suffix(self.suffix.as_str())?;
        (!place.is_empty() && may_stand(place)).then_some(place)
    }

    /// Can it be the `iss` of a token of this template?
    #[must_use]
    pub fn can_name(&self, issuer: &str) -> bool {
        self.place(issuer).is_some()
    }

    /// Is it the `iss` of a token with this payload?
    pub(crate) fn names(&self, issuer: &str, payload: &Object<'_>) -> bool {
        let claimed = payload.get(&self.claim).and_then(|claim| claim.string());
        self.place(issuer)
            .zip(claimed)
            .is_some_and(|(place, claimed)| place == claimed)
    }

    /// Is there an `iss` that both could name?
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (short, long) = if self.prefix.len() <= other.prefix.len() {
            (self, other)
        } else {
            (other, self)
        };
        let Some(before) = long.prefix.strip_prefix(short.prefix.as_str()) else {
            return false;
        };
        // The longer prefix's place may hold the other's whole text.
        if let Some(behind) = long.suffix.strip_suffix(short.suffix.as_str()) {
            return may_stand(before) && may_stand(behind);
        }
        let Some(behind) = short.suffix.strip_suffix(long.suffix.as_str()) else {
            return false;
        };
        // Places that overlap, or that lie apart with the same text between them.
        (may_stand(before) && may_stand(behind))
            || (1..before.len().min(behind.len())).any(|shared| {
                let (left, right) = (before.len() - shared, shared);
                match (
                    before.split_at_checked(left),
                    behind.split_at_checked(right),
                ) {
                    (Some((place, end)), Some((start, other_place))) => {
                        end == start && may_stand(place) && may_stand(other_place)
                    }
                    _ => false,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::IssuerTemplate;

    fn parse(text: &str) -> IssuerTemplate {
        IssuerTemplate::parse(text).unwrap()
    }

    #[test]
    fn one_pair_of_braces_around_a_claim_makes_a_template() {
        for text in ["https://l/{tid}/v2", "{t}", "a{t}", "{t}b", "{/t}"] {
            assert!(IssuerTemplate::parse(text).is_some(), "{text}");
        }
        for text in [
            "https://l",
            "{}",
            "a{",
            "a}",
            "}{",
            "{a}{b}",
            "{{a}}",
            "{a}}",
            "x{iss}y",
            "",
        ] {
            assert!(IssuerTemplate::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_place_takes_letters_digits_and_three_marks_only() {
        let template = parse("https://l/{tid}/v2");
        for good in ["a", "A-1_b.c", "72f988bf-86f1-41af-91ab-2d7cd011db47"] {
            assert!(template.can_name(&format!("https://l/{good}/v2")), "{good}");
        }
        for bad in ["", "a/b", "é", "a b", "a%2Fb", "{tid}", "a\n"] {
            assert!(!template.can_name(&format!("https://l/{bad}/v2")), "{bad}");
        }
        for other in [
            "https://l/v2",
            "https://l/a/v2/",
            "http://l/a/v2",
            "x https://l/a/v2",
            "",
        ] {
            assert!(!template.can_name(other), "{other}");
        }
    }

    /// Compares the answer with a search among short texts.
    #[test]
    fn two_templates_overlap_exactly_where_a_text_is_of_both() {
        let parts = ["", "a", "/", "a/", "/a", "aa", "a/a", "/a/"];
        let templates: Vec<_> = (parts.iter())
            .flat_map(|prefix| parts.map(|suffix| format!("{prefix}{{c}}{suffix}")))
            .collect();
        let mut texts = vec![String::new()];
        for length in 0..9 {
            let longer: Vec<_> = (texts.iter())
                .filter(|text| text.len() == length)
                .flat_map(|text| ["a", "/"].map(|next| format!("{text}{next}")))
                .collect();
            texts.extend(longer);
        }
        for one in &templates {
            let first = parse(one);
            let of_first: Vec<_> = texts.iter().filter(|text| first.can_name(text)).collect();
            for two in &templates {
                let second = parse(two);
                let found = of_first.iter().any(|text| second.can_name(text));
                assert_eq!(first.overlaps(&second), found, "{one} {two}");
            }
        }
    }
}
