//! Texts of the page in Hungarian and English, from `locales/`.

use fluent_templates::{Loader as _, StaticLoader, fluent_bundle::FluentValue, langid, static_loader};
use jiff::{Timestamp, tz::TimeZone};
use std::{borrow::Cow, collections::HashMap};

static_loader! {
    // Texts, built into the program; never changed.
    static LOCALES = {
        locales: "./locales",
        fallback_language: "hu",
        // Without the marks around values, which some readers show or read aloud.
        customise: |bundle| bundle.set_use_isolating(false),
    };
}

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Hungarian, the default.
    Hu,
    /// English.
    En,
}

impl Language {
    /// The one that was asked for by name, else the first of ours that the browser accepts, else Hungarian.
    pub fn choose(asked: Option<&str>, accepted: Option<&str>) -> Self {
        if let Some(language) = asked.and_then(Self::by_tag) {
            return language;
        }
        let mut accepted: Vec<(f32, Self)> = accepted
            .unwrap_or_default()
            .split(',')
            .filter_map(|entry| {
                let (tag, quality) = entry.trim().split_once(";q=").unwrap_or((entry.trim(), "1"));
                Some((quality.parse().ok().filter(|quality| *quality > 0.0)?, Self::by_tag(tag)?))
            })
            .collect();
        // Stable: of equally welcome ones the first.
        accepted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        accepted.first().map_or(Self::Hu, |(_, language)| *language)
    }

    fn by_tag(tag: &str) -> Option<Self> {
        match tag.split('-').next()?.to_ascii_lowercase().as_str() {
            "hu" => Some(Self::Hu),
            "en" => Some(Self::En),
            _ => None,
        }
    }

    /// Its tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Hu => "hu",
            Self::En => "en",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Hu => Self::En,
            Self::En => Self::Hu,
        }
    }

    /// A text.
    pub fn text(self, id: &str) -> String {
        self.with(id, &[])
    }

    /// A text with values.
    pub fn with(self, id: &str, values: &[(&'static str, &str)]) -> String {
        let language = match self {
            Self::Hu => langid!("hu"),
            Self::En => langid!("en"),
        };
        let values: HashMap<Cow<'static, str>, FluentValue<'_>> =
            values.iter().map(|(name, value)| (Cow::from(*name), FluentValue::from(*value))).collect();
        let loader: &StaticLoader = &LOCALES;
        loader.lookup_with_args(&language, id, &values)
    }

    /// A time as it is written in the language, in the guest's time zone.
    pub fn time(self, time: Timestamp) -> String {
        let format = match self {
            Self::Hu => "%Y. %m. %d. %H:%M",
            Self::En => "%Y-%m-%d %H:%M",
        };
        time.to_zoned(TimeZone::system()).strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_chosen() {
        let choose = Language::choose;
        assert_eq!(choose(None, None), Language::Hu);
        assert_eq!(choose(None, Some("de-DE,en-GB;q=0.8,hu;q=0.5")), Language::En);
        assert_eq!(choose(None, Some("de")), Language::Hu);
        assert_eq!(choose(Some("hu"), Some("en")), Language::Hu);
        assert_eq!(choose(Some("xx"), Some("en;q=0,hu")), Language::Hu);
    }

    #[test]
    fn both_languages_have_the_same_texts() {
        let ids = |text: &'static str| -> Vec<&str> {
            let lines = text.lines().filter_map(|line| line.split_once(" = "));
            lines.map(|(id, _)| id).collect()
        };
        let both = [
            (include_str!("../../locales/hu/page.ftl"), include_str!("../../locales/en/page.ftl")),
            (include_str!("../../locales/hu/confirm.ftl"), include_str!("../../locales/en/confirm.ftl")),
        ];
        let hu: Vec<&str> = both.iter().flat_map(|(hu, _)| ids(hu)).collect();
        assert_eq!(hu, both.iter().flat_map(|(_, en)| ids(en)).collect::<Vec<_>>());
        for id in hu {
            for language in [Language::Hu, Language::En] {
                let values =
                    ["name", "ms", "when", "why", "s", "what", "size", "proven", "n"].map(|name| (name, "x"));
                assert!(!language.with(id, &values).contains("Unknown localization"), "{id}");
            }
        }
    }
}
