//! Paddle: pickles with arrays.

use super::*;

/// A Paddle file with one array, named `a`.
fn paddle(descr: &str, order: &str, state: impl FnOnce(&mut Pickle)) -> Vec<u8> {
    let mut file = Pickle::new(4);
    file.op(b"}").text("a").global("numpy.core.multiarray", "_reconstruct");
    file.global("numpy", "ndarray").op(b"K\x00\x85C\x01b\x87R(K\x01");
    let dtype = |file: &mut Pickle| {
        file.global("numpy", "dtype").text(descr).op(b"\x89\x88\x87R(K\x03").text(order);
        file.op(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89");
    };
    // The state is given around the dtype: shape first, bytes last.
    let mut parts = Pickle::default();
    state(&mut parts);
    let split = parts.0.iter().position(|&byte| byte == b'|').unwrap();
    file.op(&parts.0[..split]);
    dtype(&mut file);
    file.op(&parts.0[split + 1..]).op(b"tbs.");
    file.0
}

#[test]
fn malformed_paddle_files() {
    let array = |shape: &[usize], descr: &str, order: &str, bytes: &[u8]| {
        paddle(descr, order, |state| {
            state.tuple(shape).op(b"|B").op(&(bytes.len() as u32).to_le_bytes()).op(bytes);
        })
    };
    assert!(Checkpoint::from_bytes(array(&[2], "f4", "<", &[0; 8])).is_ok());
    let encoded = |text: &str, encoding: &str| {
        paddle("f4", "<", |state| {
            state.tuple(&[1]).op(b"|").global("_codecs", "encode").text(text).text(encoding);
            state.op(b"\x86R");
        })
    };
    assert!(Checkpoint::from_bytes(encoded("\0\u{80}\u{ff}?", "latin1")).is_ok());
    let mut without_state = Pickle::new(4);
    without_state.op(b"}").text("a").global("numpy.core.multiarray", "_reconstruct");
    without_state.global("numpy", "ndarray").op(b"K\x00\x85C\x01b\x87Rs.");
    let good = small(ContainerKind::PaddleProtocol4);
    let protocol_2 = small(ContainerKind::PaddleProtocol2);
    let mut split = Pickle::new(2);
    split.op(b"}").text("UnpackBigParamInfor@@").op(b"}s.");
    refuse_all(vec![
        (
            "one byte too few",
            array(&[2], "f4", "<", &[0; 7]),
            &["\"a\"", "2 elements of f32", "7 bytes"],
            is!(Corrupt),
        ),
        ("one byte too many", array(&[2], "f4", "<", &[0; 9]), &["9 bytes"], is!(Corrupt)),
        (
            "big-endian array",
            array(&[2], "f4", ">", &[0; 8]),
            &["little-endian", "\"a\""],
            is!(Unsupported),
        ),
        ("array of objects", array(&[2], "O8", "|", &[0; 16]), &["\"O8\""], is!(Unsupported)),
        ("byte order that is none", array(&[2], "f4", "!", &[0; 8]), &["byte order"], is!(Corrupt)),
        (
            "shape beyond 64 bits",
            array(&[2_000_000_000; 8], "f4", "<", &[0; 8]),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        (
            "shape of 33 axes",
            array(&[1; 33], "f4", "<", &[0; 4]),
            &["up to 32", "33 of them"],
            is!(Corrupt),
        ),
        (
            "negative shape",
            paddle("f4", "<", |s| {
                s.op(b"J\xff\xff\xff\xff\x85|C\x00");
            }),
            &["not negative"],
            is!(Corrupt),
        ),
        (
            "data that are a list",
            paddle("f4", "<", |s| {
                s.tuple(&[1]).op(b"|]");
            }),
            &["bytes", "a list"],
            is!(Corrupt),
        ),
        (
            "text beyond Latin-1",
            encoded("abc\u{100}", "latin1"),
            &["below 256", "offset "],
            is!(Corrupt),
        ),
        ("text in another encoding", encoded("abcd", "utf-8"), &["latin1"], is!(Corrupt)),
        ("text one byte short", encoded("ab\u{ff}", "latin1"), &["3 bytes"], is!(Corrupt)),
        ("array without its state", without_state.0, &["its state"], is!(Corrupt)),
        (
            "name twice",
            patched(&good, b"b.weight", b"a.weight"),
            &["\"a.weight\" twice"],
            is!(DuplicateTensor),
        ),
        ("array in pieces", split.0, &["whole arrays"], is!(Unsupported)),
        ("protocol 2, cut in a text", protocol_2[..300].to_vec(), &["offset "], is!(Truncated)),
    ]);
}
