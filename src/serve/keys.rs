//! Who may ask.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// Keys, one of which a request has to bring: as `Authorization: Bearer KEY`, or as `X-API-Key: KEY`.
/// Without keys everybody may ask.
#[derive(Clone, Default)]
pub struct Keys {
    digests: Vec<[u8; 32]>,
}

impl fmt::Debug for Keys {
    /// Their number alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.digests.len())
    }
}

impl Keys {
    /// The keys of a text, one in a line; none where it has none.
    pub fn read(text: &str) -> Option<Keys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let digests: Vec<[u8; 32]> = lines.map(digest).collect();
        (!digests.is_empty()).then_some(Keys { digests })
    }

    /// Whether a request brings one of the keys. How long that takes tells nothing of a key: digests
    /// are compared, all of them, in constant time.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        if self.digests.is_empty() {
            return true;
        }
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let bearer = text(AUTHORIZATION.as_str()).and_then(|text| {
            let (scheme, key) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let Some(given) = bearer.or_else(|| text("x-api-key")) else { return false };
        let given = digest(given);
        let found = self.digests.iter().map(|known| known.ct_eq(&given));
        found.fold(Choice::from(0), |any, this| any | this).into()
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn one_of_the_keys_is_asked_for() {
        let keys = Keys::read("first\n\n  second \n").unwrap();
        for (name, value, expected) in [
            ("authorization", "Bearer first", true),
            ("authorization", "bearer second", true),
            ("x-api-key", "second", true),
            ("x-api-key", "secon", false),
            ("x-api-key", "", false),
            ("authorization", "Basic first", false),
            ("authorization", "first", false),
        ] {
            assert_eq!(keys.admit(&headers(name, value)), expected, "{name}: {value}");
        }
        assert!(!keys.admit(&HeaderMap::new()));
        assert!(Keys::default().admit(&HeaderMap::new()));
        assert!(Keys::read(" \n").is_none());
        assert_eq!(format!("{keys:?}"), "2 keys");
    }
}
