//! Random bytes from the operating system: keys, tokens, ids.

/// The operating system gives no random bytes; nothing secret can be made then.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub(crate) struct NoRandom(String);

/// Fresh random bytes.
///
/// # Errors
/// [`NoRandom`].
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| NoRandom(e.to_string()))?;
    Ok(bytes)
}

/// Hexadecimal text of `N` random bytes.
///
/// # Errors
/// [`NoRandom`].
pub(crate) fn hex<const N: usize>() -> Result<String, NoRandom> {
    Ok(hex::encode(bytes::<N>()?))
}
