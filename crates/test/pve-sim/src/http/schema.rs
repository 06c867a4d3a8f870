//! A call's parameter description, and checking against it: all bad parameters at once, in Proxmox VE's words (F8). Pure.

use std::collections::BTreeMap;

use super::params::{Params, Value};
use super::property::PropertyString;
use crate::error::ApiError;

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any text of at most so many characters.
    Text(usize),
    /// An integer within bounds.
    Integer(i64, i64),
    /// An integer that is the id of a guest.
    Vmid,
    /// An integer that is one of these.
    Steps(&'static [&'static str]),
    /// A number (`0.5`) within bounds.
    Number(f64, f64),
    /// `1` or `0`; in JSON also true and false.
    Boolean,
    /// One of these.
    Enum(&'static [&'static str]),
    /// `rootfs`, or one of these with a number up to 255.
    Volumes(&'static [&'static str]),
    /// Text that a function accepts; it answers what is wrong.
    Format(fn(&str) -> Result<(), String>),
    /// Text that has a pattern.
    Pattern(fn(&str) -> bool),
    /// A property string.
    Property(&'static PropertyString),
    /// A list of items, each accepted by a function.
    List(fn(&str) -> Result<(), String>),
}

/// One parameter, or one key of a property string.
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
    /// At least and at most so many characters.
    pub(crate) length: (usize, usize),
    /// Another parameter that must be there with it.
    pub(crate) requires: Option<&'static str>,
}

/// A parameter that may be left out.
pub(crate) const fn opt(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, optional: true, count: 0, length: (0, usize::MAX), requires: None }
}

/// A parameter that must be there.
pub(crate) const fn req(name: &'static str, kind: Kind) -> Field {
    Field { optional: false, ..opt(name, kind) }
}

/// `name[n]`: name0 … up to `count` of them.
pub(crate) const fn many(name: &'static str, kind: Kind, count: u32) -> Field {
    Field { count, ..opt(name, kind) }
}

impl Field {
    /// With at least and at most so many characters.
    pub(crate) const fn length(self, min: usize, max: usize) -> Self {
        Self { length: (min, max), ..self }
    }

    /// Only together with another parameter.
    pub(crate) const fn requires(self, other: &'static str) -> Self {
        Self { requires: Some(other), ..self }
    }

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

    /// Checks a value given under `name`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, name: &str, text: &str) -> Result<(), String> {
        check_text(self.kind, name, text)?;
        let length = text.chars().count();
        if length > self.length.1 {
            Err(format!("value may only be {} characters long", self.length.1))
        } else if length < self.length.0 {
            Err(format!("value must be at least {} characters long", self.length.0))
        } else {
            Ok(())
        }
    }
}

const NOT_DEFINED: &str =
    "property is not defined in schema and the schema does not allow additional properties";
pub(super) const MISSING: &str = "property is missing and it is not optional";

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
                if let Err(text) = check(field, name, value) {
                    errors.insert(name.clone(), text);
                }
            }
        }
    }
    for field in all().filter(|f| !f.optional && !params.0.contains_key(f.name)) {
        errors.insert(field.name.to_owned(), MISSING.to_owned());
    }
    // Unrecorded: src/PVE/JSONSchema.pm:1351 of pve-common.
    for (name, other) in all().filter_map(|f| Some((f.name, f.requires?))) {
        if params.0.contains_key(name) && !params.0.contains_key(other) {
            errors.insert(other.to_owned(), format!("missing property required by '{name}'"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::params(errors)) }
}

fn check(field: &Field, name: &str, value: &Value) -> Result<(), String> {
    match (field.kind, value) {
        // F15: an undefined value passes every check.
        (_, Value::Null) => Ok(()),
        (Kind::List(item), Value::List(all)) => {
            all.iter().flat_map(|t| super::params::split_list(t)).try_for_each(|i| item(&i))
        }
        (_, Value::List(all)) => field.check(name, &all.join(",")),
        (_, Value::Text(text)) => field.check(name, text),
    }
}

fn check_text(kind: Kind, name: &str, text: &str) -> Result<(), String> {
    match kind {
        Kind::Text(max) if text.chars().count() > max => {
            Err(format!("value may only be {max} characters long"))
        }
        Kind::Text(_) => Ok(()),
        Kind::Integer(min, max) => {
            let number = integer(text)?;
            bounds(number < min, number > max, &min.to_string(), &max.to_string())
        }
        Kind::Vmid => {
            integer(text)?;
            valid_vmid(text)
        }
        Kind::Steps(all) => {
            integer(text)?;
            one_of(text, all.contains(&text), || all.join(", "))
        }
        Kind::Number(min, max) => {
            let number = number(text)?;
            bounds(number < min, number > max, &min.to_string(), &max.to_string())
        }
        Kind::Boolean if text == "0" || text == "1" => Ok(()),
        Kind::Boolean => Err(format!("type check ('boolean') failed - got '{text}'")),
        Kind::Enum(all) => one_of(text, all.contains(&text), || all.join(", ")),
        Kind::Volumes(stems) => {
            let all = volumes(stems);
            one_of(text, all.iter().any(|v| v == text), || all.join(", "))
        }
        Kind::Format(check) => check(text),
        Kind::Pattern(fits) if fits(text) => Ok(()),
        Kind::Pattern(_) => Err("value does not match the regex pattern".into()),
        Kind::Property(string) => string.check(name, text),
        Kind::List(item) => super::params::split_list(text).iter().try_for_each(|i| item(i)),
    }
}

fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("type check ('integer') failed - got '{text}'"))
}

/// `1`, `-1.5`, `.5e3`; no `inf`.
fn number(text: &str) -> Result<f64, String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let parsed = text.parse().ok().filter(|_| plain);
    parsed.ok_or_else(|| format!("type check ('number') failed - got '{text}'"))
}

fn one_of(text: &str, found: bool, all: impl Fn() -> String) -> Result<(), String> {
    if found {
        Ok(())
    } else {
        Err(format!("value '{text}' does not have a value in the enumeration '{}'", all()))
    }
}

/// The keys that a [`Kind::Volumes`] takes.
pub(crate) fn volumes(stems: &[&str]) -> Vec<String> {
    let numbered = stems.iter().flat_map(|stem| (0..256).map(move |n| format!("{stem}{n}")));
    std::iter::once("rootfs".to_owned()).chain(numbered).collect()
}

/// A guest's id as text.
///
/// # Errors
/// rec 86, 88.
pub(crate) fn valid_vmid(text: &str) -> Result<(), String> {
    let fits = (3..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fits && !text.starts_with('0') {
        Ok(())
    } else {
        Err("invalid format - value does not look like a valid VM ID\n".into())
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
