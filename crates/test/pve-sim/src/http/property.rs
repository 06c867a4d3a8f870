//! Property strings as parameters: `name=eth0,bridge=vmbr0`. Their keys are described as parameters are. Pure.
//!
//! What is wrong with the form of such a string is said at once; what is wrong with its values is a format error that names each
//! (rec 89, 90, 1032; the rest is unrecorded: `src/PVE/JSONSchema.pm:1068` of pve-common).

use std::collections::BTreeMap;

use super::schema::{Field, Kind, MISSING};
use crate::state::property::parse_boolean;

/// The values of a property string by key.
pub(crate) type Values<'a> = BTreeMap<&'a str, String>;

/// A rule on values together; it answers what is wrong.
pub(crate) type Rule = fn(&Values) -> Result<(), &'static str>;

/// The description of a property string.
#[derive(Debug)]
pub(crate) struct PropertyString {
    /// The key that may be left out.
    pub(crate) default_key: Option<&'static str>,
    /// Its keys.
    pub(crate) keys: &'static [Field],
    /// What the values must be together.
    pub(crate) rule: Option<Rule>,
}

/// A property string without a default key and without a rule.
pub(crate) const fn keys(keys: &'static [Field]) -> PropertyString {
    PropertyString { default_key: None, keys, rule: None }
}

impl PropertyString {
    /// Checks the value of the parameter called `name`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, name: &str, text: &str) -> Result<(), String> {
        let values = self.parse(text).map_err(|e| format!("invalid format - {e}\n"))?;
        let mut errors = BTreeMap::new();
        for field in self.keys {
            let result = match values.get(field.name) {
                Some(value) => field.check(field.name, value),
                None if field.optional => Ok(()),
                None => Err(MISSING.to_owned()),
            };
            errors.extend(result.err().map(|e| (field.name, e)));
        }
        if !errors.is_empty() {
            let all: String = errors.iter().map(|(key, text)| format!("{name}.{key}: {text}\n")).collect();
            return Err(format!("invalid format - format error\n{all}"));
        }
        self.rule.map_or(Ok(()), |rule| rule(&values)).map_err(|e| format!("invalid format - {e}\n"))
    }

    fn parse<'a>(&self, text: &'a str) -> Result<Values<'a>, String> {
        let twice = |key: &str| format!("duplicate key in comma-separated list property: {key}");
        let mut values = Values::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (key, value) = match (part.split_once('='), self.default_key) {
                (Some((key, value)), _) if !key.is_empty() && !value.is_empty() => (key, value),
                (Some(_), _) => return Err("missing key in comma-separated list property".into()),
                (None, Some(key)) => (key, part),
                (None, None) => {
                    return Err("value without key, but schema does not define a default key".into());
                }
            };
            if values.contains_key(key) {
                return Err(twice(key));
            }
            let Some(field) = self.keys.iter().find(|field| field.name == key) else {
                return Err(format!("invalid key in comma-separated list property: {key}"));
            };
            let flag = parse_boolean(value).filter(|_| matches!(field.kind, Kind::Boolean));
            values.insert(key, flag.map_or_else(|| value.to_owned(), |flag| u8::from(flag).to_string()));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::schema::{opt, req};

    const DISK: PropertyString = PropertyString {
        default_key: Some("volume"),
        keys: &[
            req("volume", Kind::Text(usize::MAX)),
            opt("count", Kind::Integer(1, 9)),
            opt("ro", Kind::Boolean),
        ],
        rule: Some(|values| if values["volume"] == "none" { Err("no volume") } else { Ok(()) }),
    };
    const NET: PropertyString = keys(&[req("name", Kind::Text(4)), opt("up", Kind::Boolean)]);

    fn error(string: &PropertyString, text: &str) -> String {
        string.check("x0", text).unwrap_err()
    }

    #[test]
    fn a_default_key_may_be_left_out_and_booleans_have_many_words() {
        for good in ["a:b", "volume=a:b", "a:b,,count=3", "count=1,a:b,ro=on", "a:b,ro=NO"] {
            assert_eq!(DISK.check("x0", good), Ok(()), "{good}");
        }
        assert_eq!(NET.check("x0", "up=false,name=eth0"), Ok(()));
    }

    /// rec 1032; the other texts are unrecorded: src/PVE/JSONSchema.pm:1096–1128 of pve-common.
    #[test]
    fn a_bad_form_is_said_without_the_words_format_error() {
        let without = "value without key, but schema does not define a default key";
        let twice = "duplicate key in comma-separated list property: volume";
        for (string, text, wanted) in [
            (&NET, "name", without),
            (&NET, "name=eth0,up", without),
            (&NET, "name=", "missing key in comma-separated list property"),
            (&NET, "=eth0", "missing key in comma-separated list property"),
            (&NET, "name=a,nosuch=1", "invalid key in comma-separated list property: nosuch"),
            (&NET, "name=a, up=1", "invalid key in comma-separated list property:  up"),
            (&NET, "name=a,name=b", "duplicate key in comma-separated list property: name"),
            (&DISK, "a,b", twice),
            (&DISK, "a,volume=b", twice),
            (&DISK, "volume=a,b", twice),
            (&DISK, "none", "no volume"),
        ] {
            assert_eq!(error(string, text), format!("invalid format - {wanted}\n"), "{text}");
        }
    }

    /// rec 89, 90, 848.
    #[test]
    fn bad_values_are_format_errors_that_name_each_key() {
        assert_eq!(
            error(&DISK, "count=0,ro=maybe"),
            "invalid format - format error\nx0.count: value must have a minimum value of 1\n\
             x0.ro: type check ('boolean') failed - got 'maybe'\n\
             x0.volume: property is missing and it is not optional\n"
        );
        assert_eq!(
            error(&NET, ""),
            "invalid format - format error\nx0.name: property is missing and it is not optional\n"
        );
        assert_eq!(
            error(&NET, "name=eth10"),
            "invalid format - format error\nx0.name: value may only be 4 characters long\n"
        );
    }
}
