//! HTTP Message Signatures (RFC 9421) with Ed25519 over `@method`, `@path` and `content-digest`.
//!
//! The signature covers method, path, digest of the body, time and nonce. Replay protection (±5 min, requests in turn) is the
//! verifier's, who has a clock and a memory; here only the form and the signature are judged.

use crate::{Key, PublicKey, Signature, SignatureError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// What is signed of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Upper case, e.g. `POST`.
    pub method: &'a str,
    /// Path without the query, e.g. `/api/v1/sync`.
    pub path: &'a str,
    /// The body's bytes as sent.
    pub body: &'a [u8],
}

/// What the signer adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Seconds since 1970.
    pub created: i64,
    /// Unique per request; letters, digits, `-` and `_` only.
    pub nonce: String,
    /// Who signs, e.g. the box id; the same alphabet as the nonce.
    pub key_id: String,
}

/// The three header fields of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Digest`.
    pub content_digest: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

const COMPONENTS: &str = "(\"@method\" \"@path\" \"content-digest\")";

fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

fn signature_params(params: &Params) -> String {
    let Params { created, nonce, key_id } = params;
    format!("{COMPONENTS};created={created};nonce=\"{nonce}\";keyid=\"{key_id}\";alg=\"ed25519\"")
}

fn base(request: &Request<'_>, digest: &str, params: &str) -> String {
    let Request { method, path, .. } = request;
    format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"content-digest\": {digest}\n\"@signature-params\": {params}"
    )
}

/// Signs a request.
pub fn sign(key: &Key, request: &Request<'_>, params: &Params) -> Headers {
    let content_digest = content_digest(request.body);
    let params = signature_params(params);
    let signature = key.sign_raw(base(request, &content_digest, &params).as_bytes());
    Headers {
        content_digest,
        signature_input: format!("felhom={params}"),
        signature: format!("felhom=:{signature}:"),
    }
}

/// Reads who signed and when, so that the key can be looked up. Nothing of it is verified yet.
///
/// # Errors
/// [`SignatureError::Malformed`] if it is not exactly the form that [`sign`] writes.
pub fn claimed(signature_input: &str) -> Result<Params, SignatureError> {
    let bad = |why: &str| SignatureError::Malformed { what: "Signature-Input", why: why.to_owned() };
    let rest = signature_input
        .strip_prefix("felhom=")
        .and_then(|rest| rest.strip_prefix(COMPONENTS))
        .ok_or_else(|| bad("expected `felhom=` over @method, @path and content-digest"))?;
    let mut parts = rest.split(';').skip(1);
    let mut next = |name: &str| {
        let part = parts.next().and_then(|part| part.strip_prefix(name)?.strip_prefix('='));
        part.ok_or_else(|| bad(&format!("no `{name}`")))
    };
    let created = next("created")?.parse().map_err(|_| bad("`created` is no number"))?;
    let nonce = token(next("nonce")?).ok_or_else(|| bad("`nonce`"))?;
    let key_id = token(next("keyid")?).ok_or_else(|| bad("`keyid`"))?;
    let params = Params { created, nonce, key_id };
    if format!("felhom={}", signature_params(&params)) != signature_input {
        return Err(bad("parameters out of order, or unknown ones"));
    }
    Ok(params)
}

fn token(quoted: &str) -> Option<String> {
    let text = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (!text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)).then(|| text.to_owned())
}

/// Verifies a request against the key of the claimed signer; returns what it claimed.
///
/// # Errors
/// [`SignatureError`]: malformed headers, or a body, method, path, time or nonce that was not signed.
pub fn verify(key: &PublicKey, request: &Request<'_>, headers: &Headers) -> Result<Params, SignatureError> {
    let params = claimed(&headers.signature_input)?;
    if headers.content_digest != content_digest(request.body) {
        return Err(SignatureError::Mismatch);
    }
    let malformed = |why: String| SignatureError::Malformed { what: "Signature", why };
    let signature = headers
        .signature
        .strip_prefix("felhom=:")
        .and_then(|rest| rest.strip_suffix(':'))
        .ok_or_else(|| malformed("expected `felhom=:…:`".to_owned()))?;
    let signature: Signature = signature.parse().map_err(|e: crate::KeyError| malformed(e.to_string()))?;
    let signed = base(request, &headers.content_digest, &signature_params(&params));
    key.verify_raw(signed.as_bytes(), &signature)?;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> (Key, Request<'static>, Params) {
        let params = Params { created: 1_700_000_000, nonce: "n-1".into(), key_id: "box-1".into() };
        (Key::from_seed(&[1; 32]), Request { method: "POST", path: "/api/v1/sync", body: b"{}" }, params)
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else() {
        let (key, request, params) = example();
        let headers = sign(&key, &request, &params);
        assert_eq!(verify(&key.public(), &request, &headers), Ok(params));
        for other in [
            Request { method: "PUT", ..request.clone() },
            Request { path: "/api/v1/enroll", ..request.clone() },
            Request { body: b"{ }", ..request.clone() },
        ] {
            assert_eq!(verify(&key.public(), &other, &headers), Err(SignatureError::Mismatch));
        }
        let later = headers.signature_input.replace("1700000000", "1700000001");
        let moved = Headers { signature_input: later, ..headers };
        assert_eq!(verify(&key.public(), &request, &moved), Err(SignatureError::Mismatch));
    }

    proptest! {
        #[test]
        fn claimed_never_panics(text in ".{0,200}") {
            let _ = claimed(&text);
        }
    }

    #[test]
    fn a_token_has_letters_digits_hyphens_and_underscores() {
        for good in ["a", "0-1_z", &"a".repeat(128)] {
            assert_eq!(token(&format!("\"{good}\"")).as_deref(), Some(good));
        }
        for bad in
            ["", "\"\"", "a", "\"a", "\"a b\"", "\"a.b\"", "\"ä\"", &format!("\"{}\"", "a".repeat(129))]
        {
            assert_eq!(token(bad), None, "{bad}");
        }
    }
}
