//! root@pam's password: from a file, or from the terminal without echo.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::SetupError;

/// Reads the password.
///
/// # Errors
/// [`SetupError::Password`] if there is none, or others may read its file.
pub(crate) fn read(file: Option<&Path>) -> Result<SecretString, SetupError> {
    let problem = |why: String| SetupError::Password { why };
    let text = match file {
        Some(path) => {
            let shown = path.display();
            let metadata = fs::metadata(path).map_err(|e| problem(format!("{shown}: {e}")))?;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(problem(format!("{shown} lets others read it (chmod 600)")));
            }
            Zeroizing::new(fs::read_to_string(path).map_err(|e| problem(format!("{shown}: {e}")))?)
        }
        None if io::stdin().is_terminal() => {
            let typed = rpassword::prompt_password("Password of root@pam: ");
            Zeroizing::new(typed.map_err(|e| problem(e.to_string()))?)
        }
        None => return Err(problem("standard input is no terminal".to_owned())),
    };
    let password = text.strip_suffix('\n').unwrap_or(&text);
    if password.is_empty() {
        return Err(problem("it is empty".to_owned()));
    }
    Ok(SecretString::from(password))
}
