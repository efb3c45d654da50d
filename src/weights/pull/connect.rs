//! Connections as pip makes them on the same machine: which index, through which proxy, and which
//! certificate authorities are trusted.
//!
//! A setting comes from pip's environment variable, else from pip's configuration files, the
//! user's before the system's. Authorities add up, as they do for pip: Mozilla's, the system's (or
//! those of `SSL_CERT_FILE` and `SSL_CERT_DIR`), and those of the file that pip's setting `cert`,
//! `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` names.

use super::PullError;
use configparser::ini::Ini;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Far above any bundle of authorities, which have some hundred kilobytes.
const MAX_BUNDLE_BYTES: u64 = 16 << 20;
/// Far above any configuration.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// pip's settings: `[global]` of its configuration files, under its environment variables.
#[derive(Debug, Default)]
pub(super) struct PipSettings {
    files: Vec<Ini>,
}

impl PipSettings {
    /// Reads the configuration files that pip reads. One that cannot be read says nothing.
    pub(super) fn read() -> PipSettings {
        if env::var_os("PIP_CONFIG_FILE").is_some_and(|file| file == "/dev/null") {
            return PipSettings::default();
        }
        let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = folder("HOME");
        let config = folder("XDG_CONFIG_HOME").or(home.as_ref().map(|home| home.join(".config")));
        let candidates = [
            folder("PIP_CONFIG_FILE"),
            folder("VIRTUAL_ENV").map(|folder| folder.join("pip.conf")),
            config.map(|folder| folder.join("pip/pip.conf")),
            home.map(|home| home.join(".pip/pip.conf")),
            Some(PathBuf::from("/etc/xdg/pip/pip.conf")),
            Some(PathBuf::from("/etc/pip.conf")),
        ];
        let files = candidates.into_iter().flatten().filter_map(|path| parse(&path)).collect();
        PipSettings { files }
    }

    /// A setting such as `index-url`.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let variable = format!("PIP_{}", name.to_uppercase().replace('-', "_"));
        let of_files = || self.files.iter().find_map(|file| file.get("global", name));
        env::var(variable)
            .ok()
            .or_else(of_files)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }
}

fn parse(path: &Path) -> Option<Ini> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_CONFIG_BYTES {
        return None;
    }
    // As Python's configparser: only whole lines are comments, for `#` and `;` can be in a URL.
    let mut ini = Ini::new();
    ini.set_multiline(true);
    ini.set_inline_comment_symbols(Some(&[]));
    ini.read(fs::read_to_string(path).ok()?).ok()?;
    Some(ini)
}

/// The file of authorities that pip, or the library under it, would be told to trust.
pub(super) fn bundle(pip: &PipSettings) -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    pip.get("cert")
        .map(PathBuf::from)
        .or_else(|| variable("REQUESTS_CA_BUNDLE"))
        .or_else(|| variable("CURL_CA_BUNDLE"))
}

/// Every authority that is trusted; `bundles` are files, or folders of files, in PEM.
pub(super) fn roots(bundles: &[PathBuf]) -> Result<RootCerts, PullError> {
    let system = rustls_native_certs::load_native_certs();
    // Without a variable, a system without authorities is one that has only Mozilla's.
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) else { continue };
        if system.certs.is_empty() {
            let found = match system.errors.first() {
                Some(error) => error.to_string(),
                None => "no certificate there".to_owned(),
            };
            return Err(PullError::Authorities { path: value.into(), from: variable, found });
        }
    }
    let mut certificates: Vec<Certificate<'static>> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .chain(&system.certs)
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    for path in bundles {
        certificates.extend(read_bundle(path)?);
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate<'static>>, PullError> {
    let fault = |found: String| PullError::Authorities {
        path: path.to_owned(),
        from: "pip's setting cert, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE",
        found,
    };
    let metadata = fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    let files = if metadata.is_dir() {
        let entries = fs::read_dir(path).map_err(|error| fault(error.to_string()))?;
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| file.is_file()).collect()
    } else {
        vec![path.to_owned()]
    };
    let mut certificates = Vec::new();
    for file in files {
        let bytes = fs::metadata(&file).map_err(|error| fault(error.to_string()))?.len();
        if bytes > MAX_BUNDLE_BYTES {
            return Err(fault(format!("{} of {bytes} bytes", file.display())));
        }
        let pem = fs::read(&file).map_err(|error| fault(error.to_string()))?;
        certificates.extend(parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
    }
    if certificates.is_empty() {
        return Err(fault("no certificate there".to_owned()));
    }
    Ok(certificates)
}

/// What to do about an error of a connection.
pub(super) fn advice(error: &ureq::Error) -> &'static str {
    let text = error.to_string();
    if ["certificate", "UnknownIssuer", "Certificate"].iter().any(|word| text.contains(word)) {
        return "the server's certificate is of an authority that is not trusted here: a company's \
                own is named with SSL_CERT_FILE=FILE.pem, PIP_CERT or pip.conf's cert; a wrong name \
                or date in it is the server's fault";
    }
    match error {
        ureq::Error::RequireHttpsOnly(_) => {
            "an https address leads to one without encryption, which only an address that begins \
             with http itself may: give one with --url or PIP_INDEX_URL if you trust the net"
        }
        ureq::Error::TooManyRedirects => "its server sends on from address to address",
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => {
            "behind a proxy set HTTPS_PROXY; an index within reach is named with PIP_INDEX_URL, or \
             a mirror of the file with --url"
        }
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            "the proxy of HTTPS_PROXY, ALL_PROXY or pip's setting proxy refused: look at its \
             address, user name and password, or name hosts that need none in NO_PROXY"
        }
        ureq::Error::Io(source) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens there: look at the address, and at the proxy of HTTPS_PROXY"
        }
        _ => "run the same command again",
    }
}

/// What to do about a status other than success, as an addition to a line.
pub(super) fn status_advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            ": the server wants a user name and a password, or forbids the address: PIP_INDEX_URL \
             may hold them, as in https://user:password@host/simple"
        }
        407 => ": the proxy wants a user name and a password, as in http://user:password@host:port",
        404 | 410 => ": it is not there: --url names a mirror of the file, PIP_INDEX_URL an index",
        429 | 500..=599 => ": the server is busy or broken: run the same command again later",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_s_files_are_read_as_pip_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pip.conf");
        fs::write(
            &path,
            "; a comment\n[global]\nIndex-Url = https://u:p@mirror.example/simple/#x;y\n\
             trusted-host =\n    a.example\n    b.example:8443\n\n[install]\ncert = /no\n",
        )
        .unwrap();
        let pip = PipSettings { files: vec![parse(&path).unwrap()] };
        let of_file = |name| pip.files[0].get("global", name);
        assert_eq!(of_file("index-url").as_deref(), Some("https://u:p@mirror.example/simple/#x;y"));
        let hosts = of_file("trusted-host").unwrap();
        assert_eq!(hosts.split_whitespace().collect::<Vec<_>>(), ["a.example", "b.example:8443"]);
        assert_eq!(of_file("cert"), None);
        assert!(parse(folder.path()).is_none());
        assert!(parse(&folder.path().join("none")).is_none());
    }

    #[test]
    fn a_bundle_without_certificates_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, "-----BEGIN NOTHING-----\n").unwrap();
        for (bundle, found) in [
            (path.clone(), "no certificate there"),
            (folder.path().to_owned(), "no certificate there"),
            (folder.path().join("none.pem"), "No such file"),
        ] {
            let error = roots(std::slice::from_ref(&bundle)).unwrap_err().to_string();
            assert!(error.contains(bundle.to_str().unwrap()) && error.contains(found), "{error}");
        }
    }
}
