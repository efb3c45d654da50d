//! Any bytes as a request, for fuzzing and for tests: what reads a stranger's bytes panics at none of
//! them, and gives as many images as a request says.

use super::grpc;
use super::oip::{self, Extents, Images, Kind, Request};
use axum::body::Bytes;

/// A model of three classes that takes 2x4 pixels.
fn extents() -> Extents {
    Extents {
        name: "m".to_owned(),
        size: [2, 4],
        classes: 3,
        features: 2,
        has_probabilities: true,
        labels: Vec::new(),
        batch: 4,
    }
}

/// Reads bytes as a request: the first says by which protocol and for which input, the next two how long
/// the JSON is; whether it is one.
#[doc(hidden)]
pub fn read_request(data: &[u8]) -> bool {
    let Some(([form, low, high], body)) = data.split_first_chunk::<3>() else { return false };
    let (extents, kind) = (extents(), Kind::ALL[usize::from(form % 3)]);
    let body = Bytes::copy_from_slice(body);
    let request = match form / 3 % 3 {
        0 => oip::read(&extents, kind, body, None),
        1 => oip::read(&extents, kind, body, Some(usize::from(u16::from_le_bytes([*low, *high])))),
        _ => grpc::read(&extents, kind, body),
    };
    match request {
        Ok(request) => {
            check(&extents, &request);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn check(extents: &Extents, request: &Request) {
    let elems = extents.image_elems();
    match &request.images {
        Images::Encoded(images) => assert!(!images.is_empty()),
        Images::Levels(levels) => {
            assert!(!levels.is_empty() && levels.len().is_multiple_of(elems));
        }
        Images::Values(values) => {
            assert!(!values.is_empty() && values.len().is_multiple_of(elems));
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
    assert!(!request.outputs.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Requests by each protocol, all of them good.
    fn good() -> Vec<Vec<u8>> {
        let json = r#"{"id":"7","parameters":{"timeout":5,"binary_data_output":true},
            "inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,2,4,3],"data":[[0,255],[1,2,3,4,5,6,7,8,9,10],[11,12,13,14,15,16,17,18,19,20,21,22]]}],
            "outputs":[{"name":"logits","parameters":{"classification":2}}]}"#;
        let binary = r#"{"inputs":[{"name":"image","datatype":"BYTES","shape":[2,1],"parameters":{"binary_data_size":11}}]}"#;
        let elements = b"\x02\0\0\0ab\x01\0\0\0c";
        let length = (binary.len() as u16).to_le_bytes();
        vec![
            [&[1, 0, 0][..], json.as_bytes()].concat(),
            [&[3][..], &length, binary.as_bytes(), elements].concat(),
            [&[5, 0, 0][..], &[0; 96]].concat(),
            [&[7, 0, 0][..], &grpc::example()].concat(),
        ]
    }

    #[test]
    fn good_requests_are_read() {
        for request in good() {
            assert!(read_request(&request), "{request:?}");
        }
    }

    proptest! {
        /// Bytes of good requests exchanged, cut out and put in, and any others.
        #[test]
        fn no_bytes_break_the_readers(
            of in 0usize..4,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 0..12),
            other in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut request = good().swap_remove(of);
            for (at, byte, change) in changes {
                let at = at.index(request.len());
                match change {
                    0 => request[at] = byte,
                    1 => request.insert(at, byte),
                    _ => { request.remove(at); }
                }
                if request.is_empty() {
                    break;
                }
            }
            read_request(&request);
            read_request(&other);
        }
    }
}
