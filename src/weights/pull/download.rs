//! One file over HTTP, resumed where an earlier attempt stopped.

use super::{Downloaded, Job, PullError, check, io_at, without_login};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Fetches `url` to `target` by way of `target.part`; `digest` is the expected SHA-256 or its first
/// digits.
pub(super) fn download(
    job: &Job,
    url: &str,
    target: &Path,
    digest: Option<&str>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Downloaded, PullError> {
    let part = with_suffix(target, ".part");
    let etag_file = with_suffix(target, ".part.etag");
    // The rest of an earlier attempt, where something tells that it is of the same file: the
    // server's own comparison, or the digest at the end.
    let etag = fs::read_to_string(&etag_file).ok();
    let mut resume_at = match fs::metadata(&part) {
        Ok(metadata) if etag.is_some() || digest.is_some() => metadata.len(),
        _ => 0,
    };

    let mut response = request(job, url, resume_at, etag.as_deref())?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && resume_at > 0 {
        // The part is as long as the file, or longer. Its digest, if known, tells which.
        if digest.is_some() && check(url, &part, digest).is_ok() {
            finish(&part, &etag_file, target)?;
            progress(resume_at, Some(resume_at));
            return Ok(Downloaded { fetched: 0, resumed_at: resume_at });
        }
        resume_at = 0;
        response = request(job, url, 0, None)?;
    }
    match response.status() {
        StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(resume_at) => {}
        // The whole file: the server cannot resume, or its file is another one by now.
        StatusCode::OK => resume_at = 0,
        status => return Err(job.status(url, status.as_u16())),
    }

    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(resume_at == 0)
        .append(resume_at > 0)
        .open(&part)
        .map_err(io_at(&part))?;
    // Only a strong validator promises the same bytes.
    match header_text(&response, header::ETAG).filter(|etag| !etag.starts_with("W/")) {
        Some(etag) => fs::write(&etag_file, etag).map_err(io_at(&etag_file))?,
        None => remove(&etag_file)?,
    }
    let total = response.body().content_length().map(|length| resume_at + length);
    let mut done = resume_at;
    progress(done, total);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                file.write_all(&buffer[..length]).map_err(io_at(&part))?;
                done += length as u64;
                progress(done, total);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(interrupted(job, url, done, total, error)),
        }
    }
    if let Some(expected) = total.filter(|&total| total != done) {
        return Err(truncated(job, url, expected, done));
    }
    close(file, &part)?;
    if let Err(error) = check(url, &part, digest) {
        remove(&etag_file)?;
        return Err(error);
    }
    finish(&part, &etag_file, target)?;
    Ok(Downloaded { fetched: done - resume_at, resumed_at: resume_at })
}

fn request(
    job: &Job,
    url: &str,
    resume_at: u64,
    etag: Option<&str>,
) -> Result<Response<Body>, PullError> {
    let mut request = job.agent(url).get(url);
    if resume_at > 0 {
        request = request.header(header::RANGE, format!("bytes={resume_at}-"));
        if let Some(etag) = etag {
            request = request.header(header::IF_RANGE, etag);
        }
    }
    request.call().map_err(|source| job.network(url, source, resume_at))
}

fn header_text(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// The first byte of a partial answer, from `Content-Range: bytes 100-199/200`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = header_text(response, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// The connection broke in the middle of the body.
fn interrupted(
    job: &Job,
    url: &str,
    done: u64,
    total: Option<u64>,
    error: std::io::Error,
) -> PullError {
    match total {
        Some(expected) if error.kind() == ErrorKind::UnexpectedEof => {
            truncated(job, url, expected, done)
        }
        _ => job.network(url, ureq::Error::Io(error), done),
    }
}

fn truncated(job: &Job, url: &str, expected: u64, found: u64) -> PullError {
    PullError::Truncated { url: without_login(url), expected, found, by_hand: job.by_hand.clone() }
}

fn close(file: File, path: &Path) -> Result<(), PullError> {
    file.sync_all().map_err(io_at(path))
}

fn finish(part: &Path, etag_file: &Path, target: &Path) -> Result<(), PullError> {
    fs::rename(part, target).map_err(io_at(target))?;
    remove(etag_file)
}

fn remove(path: &Path) -> Result<(), PullError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_at(path)(error)),
        _ => Ok(()),
    }
}
