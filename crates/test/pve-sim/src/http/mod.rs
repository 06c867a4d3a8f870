//! The HTTP side: TLS, tickets and tokens, forms and JSON in, PVE's answers out. What an endpoint does is in [`crate::api`].

pub(crate) mod access_log;
pub(crate) mod answer;
pub(crate) mod auth;
pub(crate) mod conn;
pub(crate) mod decode;
pub(crate) mod params;
pub(crate) mod property;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod ticket;
pub(crate) mod tls;
pub(crate) mod upload;
pub(crate) mod wire;
