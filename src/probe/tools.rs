//! What is kept from question to question: HTTP clients, compiled patterns, names being looked up.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex::bytes::Regex;
use reqwest::Client;
use reqwest::header::{CONNECTION, HeaderMap, HeaderValue};
use rustls::crypto::ring;

use crate::probe::names::Names;

/// Clients and patterns kept at most; beyond, all are dropped and made again when asked for.
const KEPT: usize = 256;

/// Made once by whoever asks; everything in it is made when first needed.
#[derive(Debug, Default)]
pub struct Tools {
    clients: Mutex<HashMap<Route, Client>>,
    patterns: Mutex<HashMap<String, Regex>>,
    /// Looks up names.
    pub(super) names: Names,
}

/// What a client is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    /// A unix socket instead of the URL's host.
    pub(super) socket: Option<PathBuf>,
    /// How far the server is trusted.
    pub(super) trust: Trust,
}

/// How far a server is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// Plain HTTP: there is nothing to check.
    Plain,
    /// HTTPS, checked against the system's certificates.
    Checked,
    /// HTTPS with any certificate.
    Anything,
}

impl Tools {
    /// The client for `route`. The first one that checks certificates loads the system's, on a thread of its own.
    ///
    /// # Errors
    /// A sentence, e.g. when the system has no certificates.
    pub(super) async fn client(&self, route: Route) -> Result<Client, String> {
        if let Some(client) = lock(&self.clients).get(&route) {
            return Ok(client.clone());
        }
        let (names, wanted) = (self.names.clone(), route.clone());
        let client = match route.trust {
            Trust::Plain | Trust::Anything => build(names, &wanted)?,
            // Reading some hundred certificates takes too long for the loop.
            Trust::Checked => tokio::task::spawn_blocking(move || build(names, &wanted))
                .await
                .map_err(|error| error.to_string())??,
        };
        keep(&self.clients, route, client.clone());
        Ok(client)
    }

    /// A client that is not kept.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(super) fn single_use(&self, route: &Route) -> Result<Client, String> {
        build(self.names.clone(), route)
    }

    /// The compiled `pattern`.
    ///
    /// # Errors
    /// A sentence; patterns are checked when the file is read, so only one of another origin comes to this.
    pub(super) fn pattern(&self, pattern: &str) -> Result<Regex, String> {
        if let Some(regex) = lock(&self.patterns).get(pattern) {
            return Ok(regex.clone());
        }
        let regex = Regex::new(pattern).map_err(|error| format!("cannot read the pattern /{pattern}/: {error}"))?;
        keep(&self.patterns, pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

fn build(names: Names, route: &Route) -> Result<Client, String> {
    // Each question makes its own connection: a kept one would hide that nobody accepts any more.
    let builder = Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .referer(false)
        .user_agent(concat!("everup/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]))
        .dns_resolver(names);
    let builder = match &route.socket {
        Some(path) => builder.unix_socket(path.clone()),
        None => builder,
    };
    let builder = match route.trust {
        Trust::Plain => builder.tls_backend_preconfigured(no_tls()?),
        Trust::Checked | Trust::Anything => {
            // Refused when a provider is set already, and then that one does.
            let _ = ring::default_provider().install_default();
            builder.tls_danger_accept_invalid_certs(route.trust == Trust::Anything)
        }
    };
    builder.build().map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        format!("cannot prepare the request: {cause}")
    })
}

/// A configuration that trusts nobody: what is made without one loads all certificates of the system.
fn no_tls() -> Result<rustls::ClientConfig, String> {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot prepare the request: {error}"))?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut kept = lock(kept);
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, value);
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
