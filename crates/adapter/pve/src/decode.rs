//! Tolerant decoding of what PVE answers.
//!
//! Types drift between calls (numbers come as strings, flags as 1, "1" or true) and optional keys are simply absent, so
//! every field goes through one of these.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value;

/// A flag from `1`, `0`, `"1"`, `"0"`, `true`, `false`, PVE's yes/no words; null and absent are `None`.
pub(crate) fn opt_flag<'de, D: Deserializer<'de>>(input: D) -> Result<Option<bool>, D::Error> {
    let value = Value::deserialize(input)?;
    match &value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        Value::Number(number) => Ok(Some(number.as_f64() != Some(0.0))),
        Value::String(text) => {
            flag_from_text(text).ok_or_else(|| D::Error::custom(format!("{text:?} is no flag"))).map(Some)
        }
        Value::Array(_) | Value::Object(_) => Err(D::Error::custom(format!("{value} is no flag"))),
    }
}

/// As [`opt_flag`], absent and null are false.
pub(crate) fn flag<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    Ok(opt_flag(input)?.unwrap_or(false))
}

/// PVE's `parse_boolean`.
pub(crate) fn flag_from_text(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" | "" => Some(false),
        _ => None,
    }
}

/// A whole number from a number or a string; a fraction is cut off; null and absent are `None`.
pub(crate) fn opt_u64<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(input)?;
    let text = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::Array(_) | Value::Object(_) => return Err(D::Error::custom(format!("{value} is no number"))),
    };
    if text.is_empty() {
        return Ok(None);
    }
    whole(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no whole number"))).map(Some)
}

/// As [`opt_u64`], absent and null are 0.
pub(crate) fn u64_or_zero<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    Ok(opt_u64(input)?.unwrap_or(0))
}

fn whole(text: &str) -> Option<u64> {
    if let Ok(number) = text.parse::<u64>() {
        return Some(number);
    }
    let float = text.parse::<f64>().ok()?;
    let fits = float.is_finite() && (0.0..18_446_744_073_709_551_615.0).contains(&float);
    // The range was checked; cutting off the fraction is meant.
    fits.then_some(float as u64)
}

/// A text from a string, number or flag; null and absent are `None`.
pub(crate) fn opt_text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(scalar_text(&Value::deserialize(input)?))
}

/// As [`opt_text`], absent and null are empty.
pub(crate) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Ok(opt_text(input)?.unwrap_or_default())
}

/// The text of a scalar as PVE would write it in a configuration; `None` for null, arrays and objects.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A comma, semicolon or space separated list, without empty parts.
pub(crate) fn list<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    Ok(split_list(&text(input)?))
}

/// Splits as PVE's `split_list` does.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split([',', ';', ' ', '\0']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default, deserialize_with = "flag")]
        on: bool,
        #[serde(default, deserialize_with = "opt_u64")]
        size: Option<u64>,
        #[serde(default, deserialize_with = "text")]
        name: String,
    }

    fn sample(json: &str) -> Sample {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn flags_numbers_and_texts_drift() {
        for on in ["1", "\"1\"", "true", "\"yes\""] {
            assert!(sample(&format!("{{\"on\":{on}}}")).on, "{on}");
        }
        for off in ["0", "\"0\"", "false", "null", "\"\""] {
            assert!(!sample(&format!("{{\"on\":{off}}}")).on, "{off}");
        }
        assert_eq!(sample(r#"{"size":"42"}"#).size, Some(42));
        assert_eq!(sample(r#"{"size":42}"#).size, Some(42));
        assert_eq!(sample(r#"{"size":42.9}"#).size, Some(42));
        assert_eq!(sample(r#"{"size":null}"#).size, None);
        assert_eq!(sample("{}").size, None);
        assert_eq!(sample(r#"{"name":7}"#).name, "7");
        assert!(serde_json::from_str::<Sample>(r#"{"size":"many"}"#).is_err());
        assert!(serde_json::from_str::<Sample>(r#"{"on":[1]}"#).is_err());
    }
}
