//! A call's parameter description, and checking against it: all bad parameters at once, in Proxmox VE's words (F8). Pure.

use std::collections::BTreeMap;

use super::params::{Params, Value};
use crate::error::ApiError;

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any text of at most so many characters.
    Text(usize),
    /// An integer within bounds.
    Integer(i64, i64),
    /// A number (`0.5`) within bounds.
    Number(f64, f64),
    /// `1` or `0`; in JSON also true and false.
    Boolean,
    /// One of these.
    Enum(&'static [&'static str]),
    /// Text that a function accepts; it answers what is wrong.
    Format(fn(&str) -> Result<(), String>),
    /// A property string: as [`Kind::Format`], the function also gets the parameter's name for its texts.
    Property(fn(&str, &str) -> Result<(), String>),
    /// A list of items, each accepted by a function.
    List(fn(&str) -> Result<(), String>),
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Name; `mp[n]` stands for mp0, mp1, … up to the number in [`Field::count`].
    pub(crate) name: &'static str,
    /// What it must look like.
    pub(crate) kind: Kind,
    /// Whether it may be left out.
    pub(crate) optional: bool,
    /// For `[n]` names: how many there are.
    pub(crate) count: u32,
}

/// A parameter that may be left out.
pub(crate) const fn opt(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, optional: true, count: 0 }
}

/// A parameter that must be there.
pub(crate) const fn req(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, optional: false, count: 0 }
}

/// `name[n]`: name0 … up to `count` of them.
pub(crate) const fn many(name: &'static str, kind: Kind, count: u32) -> Field {
    Field { name, kind, optional: true, count }
}

impl Field {
    /// Whether this field describes the parameter called `name`.
    pub(crate) fn is(&self, name: &str) -> bool {
        match self.name.strip_suffix("[n]") {
            Some(stem) => name
                .strip_prefix(stem)
                .filter(|n| *n == "0" || !n.starts_with('0'))
                .is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n < self.count)),
            None => self.name == name,
        }
    }
}

const NOT_DEFINED: &str =
    "property is not defined in schema and the schema does not allow additional properties";
const MISSING: &str = "property is missing and it is not optional";

/// Checks all parameters.
///
/// # Errors
/// 400 `Parameter verification failed.` with one text for each bad one.
pub(crate) fn verify(fields: &[&[Field]], params: &Params) -> Result<(), ApiError> {
    let all = || fields.iter().flat_map(|f| f.iter());
    let mut errors = BTreeMap::new();
    for (name, value) in &params.0 {
        match all().find(|field| field.is(name)) {
            None => {
                errors.insert(name.clone(), NOT_DEFINED.to_owned());
            }
            Some(field) => {
                if let Err(text) = check(field.kind, name, value) {
                    errors.insert(name.clone(), text);
                }
            }
        }
    }
    for field in all().filter(|f| !f.optional && !params.0.contains_key(f.name)) {
        errors.insert(field.name.to_owned(), MISSING.to_owned());
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::params(errors)) }
}

fn check(kind: Kind, name: &str, value: &Value) -> Result<(), String> {
    match (kind, value) {
        // F15: an undefined value passes every check.
        (_, Value::Null) => Ok(()),
        (Kind::List(item), Value::List(all)) => {
            all.iter().flat_map(|t| super::params::split_list(t)).try_for_each(|i| item(&i))
        }
        (kind, Value::List(all)) => check_text(kind, name, &all.join(",")),
        (kind, Value::Text(text)) => check_text(kind, name, text),
    }
}

fn check_text(kind: Kind, name: &str, text: &str) -> Result<(), String> {
    match kind {
        Kind::Text(max) if text.chars().count() > max => {
            Err(format!("value may only be {max} characters long"))
        }
        Kind::Text(_) => Ok(()),
        Kind::Integer(min, max) => {
            let number =
                text.parse::<i64>().map_err(|_| format!("type check ('integer') failed - got '{text}'"))?;
            bounds(number < min, number > max, &min.to_string(), &max.to_string())
        }
        Kind::Number(min, max) => {
            let number =
                text.parse::<f64>().map_err(|_| format!("type check ('number') failed - got '{text}'"))?;
            bounds(number < min, number > max, &min.to_string(), &max.to_string())
        }
        Kind::Boolean if text == "0" || text == "1" => Ok(()),
        Kind::Boolean => Err(format!("type check ('boolean') failed - got '{text}'")),
        Kind::Enum(all) if all.contains(&text) => Ok(()),
        Kind::Enum(all) => {
            Err(format!("value '{text}' does not have a value in the enumeration '{}'", all.join(", ")))
        }
        Kind::Format(check) => check(text),
        Kind::Property(check) => check(name, text),
        Kind::List(item) => super::params::split_list(text).iter().try_for_each(|i| item(i)),
    }
}

fn bounds(low: bool, high: bool, min: &str, max: &str) -> Result<(), String> {
    if low {
        Err(format!("value must have a minimum value of {min}"))
    } else if high {
        Err(format!("value must have a maximum value of {max}"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::decode::form;

    const FIELDS: &[Field] = &[
        req("vmid", Kind::Integer(100, 999_999_999)),
        opt("memory", Kind::Integer(16, i64::MAX)),
        opt("onboot", Kind::Boolean),
        opt("mode", Kind::Enum(&["snapshot", "suspend", "stop"])),
        many("mp[n]", Kind::Text(100), 256),
    ];

    fn errors(body: &str) -> BTreeMap<String, String> {
        verify(&[FIELDS], &Params(form(body))).map_or_else(|e| e.errors, |()| BTreeMap::new())
    }

    /// F8, F14, rec 87, 89, 106, 261, 379–382.
    #[test]
    fn f8_every_bad_parameter_is_named_at_once() {
        let found = errors("bogus=1&memory=128.5&onboot=yes&mode=bogus&mp256=x");
        assert_eq!(found["bogus"], NOT_DEFINED);
        assert_eq!(found["memory"], "type check ('integer') failed - got '128.5'");
        assert_eq!(found["onboot"], "type check ('boolean') failed - got 'yes'");
        assert_eq!(
            found["mode"],
            "value 'bogus' does not have a value in the enumeration 'snapshot, suspend, stop'"
        );
        assert_eq!(found["vmid"], MISSING);
        assert_eq!(found["mp256"], NOT_DEFINED);
        assert_eq!(errors("vmid=100&memory=5")["memory"], "value must have a minimum value of 16");
        assert!(errors("vmid=100&mp0=a&mp255=b&onboot=1").is_empty());
    }
}
