//! What a call to the box needs: the bootstrap, the token, and a network; looked up anew before each round, because the
//! executor may push new ones at any time.

use crate::{
    engine::net::Net,
    identity,
    identity::Identity,
    paths::Paths,
    state::{NoLink, State},
};
use felhom_client::local::LocalApiClient;
use felhom_protocol::local_api::Bootstrap;
use std::{
    fs, io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Everything for calls to the box.
#[derive(Debug)]
pub struct Session {
    /// What the executor pushed.
    pub bootstrap: Bootstrap,
    /// Speaks with the box.
    pub client: LocalApiClient,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    /// Nothing was pushed (yet). A restored copy stays like this.
    #[error("the box has not given this guest its access yet (no {0}); it does so at each start")]
    NotBootstrapped(String),
    /// The link is down.
    #[error("this guest's network link is down")]
    LinkDown,
    /// What was pushed cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl NoSession {
    /// The reason without the details.
    pub fn reason(&self) -> NoLink {
        match self {
            Self::NotBootstrapped(_) => NoLink::NotBootstrapped,
            Self::LinkDown => NoLink::LinkDown,
            Self::Unusable(_) => NoLink::Unusable,
        }
    }
}

/// Makes sessions and keeps the current one.
#[derive(Debug)]
pub struct Sessions {
    paths: Paths,
    net: Net,
    state: Arc<State>,
    current: Mutex<Option<(Pushed, Arc<Session>)>>,
}

/// The bytes that a session was made from.
type Pushed = (Vec<u8>, String, Option<IpAddr>);

impl Sessions {
    /// Reads below `paths`.
    pub fn new(paths: Paths, net: Net, state: Arc<State>) -> Self {
        Self { paths, net, state, current: Mutex::default() }
    }

    /// The session of now; the same one while nothing was pushed anew and the address stayed.
    ///
    /// # Errors
    /// [`NoSession`].
    pub fn now(&self) -> Result<Arc<Session>, NoSession> {
        let pushed = self.pushed()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, session)) = &*current
            && *of == pushed
        {
            return Ok(session.clone());
        }
        let session = Arc::new(self.open(&pushed)?);
        *current = Some((pushed, session.clone()));
        Ok(session)
    }

    fn pushed(&self) -> Result<Pushed, NoSession> {
        let read = |path: std::path::PathBuf| match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(NoSession::NotBootstrapped(self.paths.guest_path(&path)))
            }
            Err(e) => Err(NoSession::Unusable(format!("{}: {e}", self.paths.guest_path(&path)))),
        };
        let bootstrap = read(self.paths.bootstrap())?;
        let token = String::from_utf8(read(self.paths.token())?)
            .map_err(|_| NoSession::Unusable("the token is no text; restart the guest".into()))?;
        let address = (*self.net.borrow()).ok_or(NoSession::LinkDown)?;
        Ok((bootstrap, token.trim().to_owned(), Some(address).filter(|address| !address.is_unspecified())))
    }

    fn open(&self, (bytes, token, from): &Pushed) -> Result<Session, NoSession> {
        let unusable = |e: &dyn std::fmt::Display| NoSession::Unusable(format!("bootstrap: {e}"));
        let bootstrap: Bootstrap = serde_json::from_slice(bytes).map_err(|e| unusable(&e))?;
        let Bootstrap { guest, name, box_id, .. } = bootstrap.clone();
        identity::keep(&self.paths, &Identity { guest, name, box_id }).map_err(|e| unusable(&e))?;
        self.state.add_apps(&bootstrap.apps).map_err(|e| unusable(&e))?;
        let (url, fingerprint) = (&bootstrap.local_api, bootstrap.local_api_fingerprint);
        let client = LocalApiClient::new(url, fingerprint, token.clone(), *from).map_err(|e| unusable(&e))?;
        Ok(Session { bootstrap, client })
    }
}
