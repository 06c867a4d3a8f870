//! What the gate says: a verdict always carries its evidence, as lines for people.

use crate::approved::Approved;
use felhom_model::GuestUuid;
use felhom_signing::challenge::Signers;
use std::fmt;

/// The gate's answer.
#[derive(Debug)]
#[must_use = "a verdict that nobody reads is a gate that stands open"]
pub enum Verdict<T> {
    /// Go on; the approval holds the reason.
    Allow(Approved<T>),
    /// Not without these signatures.
    NeedsAuthorization(Requirement, Evidence),
    /// Signed by all who must, and the grace is not over yet.
    Wait {
        /// Seconds that must still pass on the running box.
        left_s: u64,
        /// The rule and who signed.
        reason: Reason,
    },
    /// No, and no signature changes that.
    Refuse(Reason),
}

/// Facts as key and value, in the order in which a person should read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence(Vec<(&'static str, String)>);

impl Evidence {
    /// No facts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more line.
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.push((key, value.to_string()));
        self
    }

    /// All lines.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The first value under this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (key, value) in self.iter() {
            write!(f, "{between}{key}={value}")?;
            between = " ";
        }
        Ok(())
    }
}

/// Why a verdict came out as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The rule that decided, in snake case, for programs; it is not reworded.
    pub code: &'static str,
    /// The rule for people: what, why, and what would help.
    pub text: String,
    /// The facts that it was decided on.
    pub evidence: Evidence,
}

impl Reason {
    /// A reason from its parts.
    pub fn new(code: &'static str, text: impl Into<String>, evidence: Evidence) -> Self {
        Self { code, text: text.into(), evidence }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)?;
        if self.evidence == Evidence::default() { Ok(()) } else { write!(f, " ({})", self.evidence) }
    }
}

/// Whose signatures an operation needs, and how long it then waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Any one of these suffices; none at all where nobody has to sign.
    pub any_of: Vec<Signers>,
    /// Seconds that must pass on the running box after the signatures.
    pub grace_s: u64,
    /// The rule that asks for them, for people.
    pub why: String,
}

impl Requirement {
    /// One operator.
    pub(crate) fn operator(why: impl Into<String>) -> Self {
        Self::of([(1, vec![])], why)
    }

    /// Any one of these: so many operators together with the customers of these guests.
    pub(crate) fn of<const N: usize>(any_of: [(u8, Vec<GuestUuid>); N], why: impl Into<String>) -> Self {
        let any_of = any_of.into_iter().map(|(operators, customers)| Signers { operators, customers });
        Self { any_of: any_of.collect(), grace_s: 0, why: why.into() }
    }

    /// The same with a grace.
    pub(crate) fn after(self, grace_s: u64) -> Self {
        Self { grace_s, ..self }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |signers: &Signers| {
            let operators = match signers.operators {
                0 => None,
                1 => Some("one operator".to_owned()),
                n => Some(format!("{n} operators")),
            };
            let customer = (!signers.customers.is_empty()).then(|| "the customer".to_owned());
            [operators, customer].into_iter().flatten().collect::<Vec<_>>().join(" and ")
        };
        let who: Vec<String> = self.any_of.iter().map(one).collect();
        write!(f, "needs {}: {}", who.join(", or "), self.why)
    }
}
