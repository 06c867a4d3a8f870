//! What the customer sees and does on the guest's own page, as a browser would.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use super::data;
use crate::demo::http;

/// How long a page may take; some ask the box first.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page `/confirm` of a guest, as it was when it was loaded.
pub(super) struct Page {
    address: SocketAddr,
    html: String,
}

impl Page {
    /// Load it.
    pub(super) fn of(guest_url: &str) -> Result<Self> {
        let address = data::address_of(guest_url)?;
        let answer = http::ask(address, "GET", "/confirm?lang=en", b"", PATIENCE)?;
        answer.ok()?;
        Ok(Self { address, html: String::from_utf8(answer.body).context("the page is no UTF-8")? })
    }

    /// Whether there is a form of this action about this operation or challenge.
    pub(super) fn offers(&self, action: &str, about: &str) -> bool {
        self.fields(action, about).is_some()
    }

    /// Send the form of this action about this operation or challenge, with what was typed. The word that the page says then.
    pub(super) fn send(&self, action: &str, about: &str, typed: Option<&str>) -> Result<String> {
        let found = self.fields(action, about);
        let mut fields = found.with_context(|| format!("the page has no form `{action}` about {about}"))?;
        fields.extend(typed.map(|typed| ("typed".to_owned(), typed.to_owned())));
        let answer = http::form(self.address, action, &fields, PATIENCE)?;
        let to = answer.header("location").unwrap_or_default();
        let said = to.split_once("said=").map(|(_, rest)| rest.split('&').next().unwrap_or_default());
        ensure!(answer.status == 303, "`{action}`: status {} instead of a page to go to", answer.status);
        Ok(said.unwrap_or_default().to_owned())
    }

    /// The hidden fields of that form.
    fn fields(&self, action: &str, about: &str) -> Option<Vec<(String, String)>> {
        let action = format!("action=\"{action}\"");
        let forms = self.html.split("<form").skip(1).filter_map(|rest| rest.split("</form>").next());
        let mut fields = forms.filter(|form| form.contains(&action)).map(hidden);
        fields.find(|fields| fields.iter().any(|(_, value)| value == about))
    }
}

/// Names and values of a form's hidden fields.
fn hidden(form: &str) -> Vec<(String, String)> {
    let inputs = form.split("<input type=\"hidden\" name=\"").skip(1);
    let pair = |rest: &str| {
        let (name, rest) = rest.split_once("\" value=\"")?;
        Some((name.to_owned(), rest.split_once('"')?.0.to_owned()))
    };
    inputs.filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_found_by_its_action_and_what_it_is_about() {
        let form = |action: &str, about: &str| {
            format!(
                "<form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"token\" value=\"t\">\
                 <input type=\"hidden\" name=\"operation\" value=\"{about}\"><button>x</button></form>"
            )
        };
        let html = [form("/veto", "01A"), form("/seen", "01A"), form("/seen", "01B")].join("\n");
        let page = Page { address: "127.0.0.1:1".parse().unwrap(), html };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(page.fields("/seen", "01B"), Some(vec![field("token", "t"), field("operation", "01B")]));
        assert!(
            page.offers("/veto", "01A") && !page.offers("/veto", "01B") && !page.offers("/confirm", "01A")
        );
    }
}
