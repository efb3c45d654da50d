//! Paths as text and as bytes: the name of a file need not be Unicode.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::path::{Path, PathBuf};

/// The bytes of a path in base64, where text cannot hold them; none where it can.
pub fn path_bytes(path: &Path) -> Option<String> {
    let is_text = path.to_str().is_some();
    (!is_text).then(|| BASE64_STANDARD.encode(as_bytes(path)))
}

/// The path of what [`path_bytes`] has written; none where it was not that.
pub fn from_base64(text: &str) -> Option<PathBuf> {
    from_bytes(&BASE64_STANDARD.decode(text).ok()?)
}

/// The bytes of a path as the system has them.
pub fn as_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// The path of these bytes; none where no path of this system has them.
#[cfg(unix)]
pub fn from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    (!bytes.contains(&0)).then(|| OsStr::from_bytes(bytes).into())
}

/// The path of these bytes; none where no path of this system has them.
#[cfg(not(unix))]
pub fn from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_needs_no_bytes() {
        assert_eq!(path_bytes(Path::new("é.png")), None);
        assert_eq!(from_bytes(b"a/b.png"), Some(PathBuf::from("a/b.png")));
        assert_eq!(from_bytes(b"a\0b"), None);
        assert_eq!(from_base64("%"), None);
    }

    #[cfg(unix)]
    #[test]
    fn other_names_survive() {
        let path = from_bytes(b"r\xe9sum\xe9.png").unwrap();
        let text = path_bytes(&path).unwrap();
        assert_eq!(text, "culzdW3pLnBuZw==");
        assert_eq!(from_base64(&text), Some(path));
    }
}
