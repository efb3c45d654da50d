//! What every request of a pull is made with.

use super::{PullError, PullOptions, connect};
use std::net::IpAddr;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

/// GitHub and the Hugging Face Hub send on once or twice.
const MAX_REDIRECTS: u32 = 10;

/// Settings that every request of a pull needs.
pub(super) struct Job<'a> {
    pub options: &'a PullOptions,
    proxy: Option<Proxy>,
    roots: RootCerts,
    /// The commands that do the same.
    pub by_hand: String,
    /// Whether addresses without TLS are taken: only where the one that was asked for is one.
    plain: bool,
}

impl<'a> Job<'a> {
    /// For `url`, as the user or the catalogue gives it.
    pub fn new(options: &'a PullOptions, url: &str, by_hand: String) -> Result<Job<'a>, PullError> {
        let fault = |proxy: &str| {
            let proxy = without_login(proxy);
            move |source| PullError::Proxy { proxy, source: Box::new(source) }
        };
        let proxy = match &options.proxy {
            Some(proxy) => Some(Proxy::new(proxy).map_err(fault(proxy))?),
            None => Proxy::try_from_env(),
        };
        let plain = url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http"));
        Ok(Job { options, proxy, roots: connect::roots(&options.authorities)?, by_hand, plain })
    }

    /// A client for `url`.
    pub fn agent(&self, url: &str) -> Agent {
        let options = self.options;
        // The environment's proxy, if there is one, is another machine.
        let proxy = self.proxy.clone().filter(|_| !is_this_machine(url));
        Agent::config_builder()
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(self.roots.clone()).build())
            .http_status_as_error(false)
            .https_only(!self.plain)
            .max_redirects(MAX_REDIRECTS)
            .user_agent(concat!("effnet/", env!("CARGO_PKG_VERSION")))
            // Compressed ranges could not be put together.
            .accept_encoding("identity")
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.read_timeout))
            .timeout_per_read(Some(options.read_timeout))
            .build()
            .new_agent()
    }

    pub fn network(&self, url: &str, source: ureq::Error, kept_bytes: u64) -> PullError {
        let by_hand = self.by_hand.clone();
        PullError::Network {
            url: without_login(url),
            source: Box::new(source),
            kept_bytes,
            by_hand,
        }
    }

    pub fn status(&self, url: &str, status: u16) -> PullError {
        PullError::Status { url: without_login(url), status, by_hand: self.by_hand.clone() }
    }
}

/// A URL that may be shown: without user name and password.
pub(super) fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// Whether a URL's host is the local machine.
fn is_this_machine(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_never_shown() {
        for (url, shown) in [
            ("https://user:secret@host.example/simple/", "https://host.example/simple/"),
            ("https://host.example/a@b", "https://host.example/a@b"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(without_login(url), shown);
        }
    }

    #[test]
    fn this_machine_is_known_by_name_and_address() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/a", true),
            ("http://[::1]/a", true),
            ("http://localhost:1", true),
            ("https://localhost.example/a", false),
            ("https://10.0.0.1/", false),
            ("no url", false),
        ] {
            assert_eq!(is_this_machine(url), expected, "{url}");
        }
    }
}
