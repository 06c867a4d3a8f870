//! Parts of a page that are kept fresh.
//!
//! A page holds sections, each with a digest of its content. Every two seconds it says which digests it has; what differs
//! is sent again and takes its place, the rest stays untouched: focus, selection and opened details survive.

use std::collections::HashMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use felhom_model::Digest;

/// A part of a page.
#[derive(Template)]
#[template(path = "section.html")]
pub(crate) struct Section {
    id: &'static str,
    title: String,
    class: &'static str,
    body: String,
    digest: String,
    replaces: bool,
}
impl askama::filters::HtmlSafe for Section {}

impl Section {
    /// Renders the content.
    ///
    /// # Errors
    /// The template's.
    pub(crate) fn new<T: Template>(
        id: &'static str,
        title: impl Into<String>,
        class: &'static str,
        content: &T,
    ) -> Result<Self, askama::Error> {
        let (title, body) = (title.into(), content.render()?);
        let digest = Digest::of(format!("{title}\n{class}\n{body}").as_bytes()).hex();
        Ok(Self { id, title, class, body, digest: digest[..16].to_owned(), replaces: false })
    }

    /// Whether it is the section of this id.
    pub(crate) fn is(&self, id: &str) -> bool {
        self.id == id
    }
}

/// The answer to a poll: sections whose digest is not the one that the page has; 204 if there are none.
pub(crate) fn changed(sections: Vec<Section>, has: &HashMap<String, String>) -> Response {
    let fresh: Vec<String> = sections
        .into_iter()
        .filter(|section| has.get(section.id) != Some(&section.digest))
        .map(|section| Section { replaces: true, ..section }.to_string())
        .collect();
    if fresh.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    Html(fresh.concat()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(ext = "html", source = "<p>{{ text }}</p>")]
    struct Content {
        text: &'static str,
    }

    #[test]
    fn only_what_changed_is_sent() {
        let sections = || vec![Section::new("a", "A", "", &Content { text: "x" }).unwrap()];
        let digest = sections()[0].digest.clone();
        let same = HashMap::from([("a".to_owned(), digest)]);
        assert_eq!(changed(sections(), &same).status(), StatusCode::NO_CONTENT);
        assert_eq!(changed(sections(), &HashMap::new()).status(), StatusCode::OK);
    }
}
