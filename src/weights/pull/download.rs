//! One file over HTTP, resumed where an earlier attempt stopped.
//!
//! A part is resumed only where the server's own name for that version of the file is known, a
//! strong `ETag` or a `Last-Modified` that counts as one (RFC 9110, 8.8.2.2), and only if the
//! answer is of the same version and length and begins where the part ends. Whatever else is
//! answered, the file is fetched from the start, in the same run.

use super::digest::Expected;
use super::{Downloaded, Job, Progress, PullError, io_at, own, without_login};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use ureq::Body;
use ureq::http::{HeaderValue, Response, StatusCode, header};

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Fetches `url` to `target` by way of `target.part`. The caller holds the lock of `target`.
pub(super) fn download(
    job: &Job,
    url: &str,
    target: &Path,
    expected: &Expected,
    progress: &mut dyn FnMut(Progress),
) -> Result<Downloaded, PullError> {
    let mut part = Part::open(target)?;
    let resume = part.resumable(expected.limit())?;
    if let Some(resume) = resume
        && let Some(downloaded) = attempt(job, url, &mut part, Some(&resume), expected, progress)?
    {
        part.finish(target)?;
        return Ok(downloaded);
    }
    let downloaded = attempt(job, url, &mut part, None, expected, progress)?;
    part.finish(target)?;
    Ok(downloaded.expect("only a resumed download asks for another attempt"))
}

/// Keeps a file that came out of what `url` leads to as `target`, if it is the one that is meant.
/// The caller holds the lock of `target`.
pub(super) fn keep(
    mut file: File,
    url: &str,
    target: &Path,
    expected: &Expected,
) -> Result<(), PullError> {
    let length = file.metadata().map_err(io_at(target))?.len();
    if !expected.takes(length) {
        return Err(expected.length_error(url, Some(length)));
    }
    let mut part = Part::open(target)?;
    part.restart(None, None)?;
    file.seek(SeekFrom::Start(0))
        .and_then(|_| io::copy(&mut file, &mut part.file))
        .and_then(|_| part.file.sync_all())
        .map_err(io_at(&part.path))?;
    if let Err(found) = expected.is_digest_of(&part.path)? {
        part.discard()?;
        return Err(expected.digest_error(url, found));
    }
    part.finish(target)
}

/// Fetches the rest of the part, or all of the file; none if there is no rest of the same file to
/// be had.
fn attempt(
    job: &Job,
    url: &str,
    part: &mut Part,
    resume: Option<&Resume>,
    expected: &Expected,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Downloaded>, PullError> {
    let response = request(job, url, resume)?;
    let resumed_at = match (response.status(), resume) {
        // The whole file: the server cannot resume, or its file is another one by now.
        (StatusCode::OK, _) => 0,
        (StatusCode::PARTIAL_CONTENT, Some(resume)) if resume.goes_on_with(&response) => resume.at,
        // The part is as long as the file, or longer. Its digest, if known, tells which.
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(resume))
            if expected.digest.is_some() && expected.is_digest_of(&part.path)?.is_ok() =>
        {
            progress(Progress::Bytes { done: resume.at, total: Some(resume.at) });
            return Ok(Some(Downloaded { fetched: 0, resumed_at: resume.at }));
        }
        (_, Some(_)) => return Ok(None),
        (status, None) => return Err(job.status(url, status.as_u16())),
    };
    let announced = response.body().content_length().map(|length| resumed_at + length);
    if let Some(length) = announced.filter(|&length| !expected.takes(length)) {
        part.discard()?;
        return Err(expected.length_error(url, Some(length)));
    }
    if resumed_at == 0 {
        part.restart(validator(&response).as_deref(), announced)?;
    }
    let total = announced.or(expected.bytes);
    let mut done = resumed_at;
    progress(Progress::Bytes { done, total });
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                if done + length as u64 > expected.limit() {
                    part.discard()?;
                    return Err(expected.length_error(url, None));
                }
                part.file.write_all(&buffer[..length]).map_err(io_at(&part.path))?;
                done += length as u64;
                progress(Progress::Bytes { done, total });
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(interrupted(job, url, done, total, error)),
        }
    }
    if let Some(expected) = total.filter(|&total| total != done) {
        return Err(truncated(job, url, expected, done));
    }
    part.file.sync_all().map_err(io_at(&part.path))?;
    if let Err(found) = expected.is_digest_of(&part.path)? {
        if resumed_at > 0 {
            return Ok(None);
        }
        part.discard()?;
        return Err(expected.digest_error(url, found));
    }
    Ok(Some(Downloaded { fetched: done - resumed_at, resumed_at }))
}

fn request(job: &Job, url: &str, resume: Option<&Resume>) -> Result<Response<Body>, PullError> {
    let mut request = job.agent(url).get(url);
    if let Some(resume) = resume {
        request = request
            .header(header::RANGE, format!("bytes={}-", resume.at))
            .header(header::IF_RANGE, &resume.validator);
    }
    request.call().map_err(|source| job.network(url, source, resume.map_or(0, |part| part.at)))
}

/// What of an earlier attempt can be gone on with.
struct Resume {
    /// Bytes that are there.
    at: u64,
    /// An entity tag in quotes, or the date of the last change.
    validator: String,
    /// Length of the whole file, where the server told it.
    total: Option<u64>,
}

impl Resume {
    /// Whether a partial answer (206) is the rest of the same file.
    fn goes_on_with(&self, response: &Response<Body>) -> bool {
        let name = match self.validator.starts_with('"') {
            true => header::ETAG,
            false => header::LAST_MODIFIED,
        };
        let same = header_text(response, name) == Some(&self.validator);
        let Some((first, last, total)) = content_range(response) else { return false };
        let length = response.body().content_length();
        same && first == self.at
            && last.checked_add(1) == Some(total)
            && self.total.is_none_or(|known| known == total)
            && length.is_none_or(|length| Some(length) == total.checked_sub(first))
    }
}

/// The server's name for this version of its file, if it promises the same bytes.
fn validator(response: &Response<Body>) -> Option<String> {
    if let Some(etag) = header_text(response, header::ETAG) {
        return etag.starts_with('"').then(|| etag.to_owned());
    }
    // A file that changed in the second in which it was sent may change again in it.
    let modified = header_text(response, header::LAST_MODIFIED)?;
    let sent = header_text(response, header::DATE)?;
    (modified != sent && !modified.starts_with('"')).then(|| modified.to_owned())
}

fn header_text(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// First byte, last byte and length of the file, from `Content-Range: bytes 100-199/200`.
fn content_range(response: &Response<Body>) -> Option<(u64, u64, u64)> {
    let range = header_text(response, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse().ok();
    Some((number(first)?, number(last)?, number(total)?))
}

/// `FILE.part`, open, and `FILE.part.etag` beside it: the validator, and the length of the whole
/// file where it is known, a line each.
struct Part {
    file: File,
    path: PathBuf,
    etag_path: PathBuf,
}

impl Part {
    fn open(target: &Path) -> Result<Part, PullError> {
        let (path, etag_path) = (with_suffix(target, ".part"), with_suffix(target, ".part.etag"));
        let file = own::open_own(&path).map_err(io_at(&path))?;
        Ok(Part { file, path, etag_path })
    }

    /// What can be gone on with; the file is left at its end.
    fn resumable(&mut self, limit: u64) -> Result<Option<Resume>, PullError> {
        let at = self.file.seek(SeekFrom::End(0)).map_err(io_at(&self.path))?;
        let text = own::read_own(&self.etag_path).map_err(io_at(&self.etag_path))?;
        let text = text.unwrap_or_default();
        let mut lines = text.lines();
        let validator = lines.next().unwrap_or_default().to_owned();
        let total = lines.next().and_then(|line| line.parse().ok());
        let sound = !validator.is_empty() && HeaderValue::from_str(&validator).is_ok();
        Ok((at > 0 && at <= limit && sound).then_some(Resume { at, validator, total }))
    }

    /// Empties the part for a file that is sent from the start.
    fn restart(&mut self, validator: Option<&str>, total: Option<u64>) -> Result<(), PullError> {
        // In this order: a validator never stands beside the bytes of another version.
        own::remove(&self.etag_path).map_err(io_at(&self.etag_path))?;
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(io_at(&self.path))?;
        let Some(validator) = validator else { return Ok(()) };
        let total = total.map(|total| total.to_string()).unwrap_or_default();
        own::write_own(&self.etag_path, &format!("{validator}\n{total}\n"))
            .map_err(io_at(&self.etag_path))
    }

    fn finish(&self, target: &Path) -> Result<(), PullError> {
        fs::rename(&self.path, target).map_err(io_at(target))?;
        own::remove(&self.etag_path).map_err(io_at(&self.etag_path))
    }

    fn discard(&self) -> Result<(), PullError> {
        own::remove(&self.etag_path).map_err(io_at(&self.etag_path))?;
        own::remove(&self.path).map_err(io_at(&self.path))
    }
}

impl Drop for Part {
    /// An empty part is nothing to go on with.
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = own::remove(&self.path).and_then(|()| own::remove(&self.etag_path));
        }
    }
}

/// The connection broke in the middle of the body.
fn interrupted(job: &Job, url: &str, done: u64, total: Option<u64>, error: io::Error) -> PullError {
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
