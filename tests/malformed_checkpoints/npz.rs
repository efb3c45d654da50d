//! NumPy: .npz archives and the .npy files in them.

use super::*;

fn npz(npy: &[u8]) -> Vec<u8> {
    zip_archive(&[("a.npy", npy)], CompressionMethod::Stored)
}

#[test]
fn malformed_npz_files() {
    let npy = |descr: &str, shape: &str, data: usize| {
        let literal = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = npy_header(&literal);
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let good = npy("'<f4'", "(2,)", 8);
    assert!(Checkpoint::from_bytes(npz(&good)).is_ok());
    let stray = zip_archive(&[("a.npy", &good), ("b.txt", b"x")], CompressionMethod::Stored);
    let two = zip_archive(&[("a.npy", &good), ("b.npy", &good)], CompressionMethod::Stored);
    refuse_all(vec![
        ("cut in its magic", npz(&good[..5]), &["truncated .npy header"], is!(Truncated)),
        ("cut in its header", npz(&good[..40]), &["truncated .npy header"], is!(Truncated)),
        ("cut in its data", npz(&cut(&good, 1)), &["2 elements of f32", "7 bytes"], is!(Corrupt)),
        ("bytes after its data", npz(&[&good[..], b"x"].concat()), &["9 bytes"], is!(Corrupt)),
        (
            "wrong magic",
            npz(&patched(&good, b"NUMPY", b"NUMPX")),
            &["\"\\x93NUMPX\""],
            is!(Corrupt),
        ),
        (
            "version 9",
            npz(&patched(&good, b"NUMPY\x01", b"NUMPY\x09")),
            &["version 1, 2 or 3", "found 9"],
            is!(Unsupported),
        ),
        (
            "header of 65535 bytes",
            npz(&patched(&good, b"\x01\0\x76\0", b"\x01\0\xff\xff")),
            &["at most 10000"],
            is!(Corrupt),
        ),
        (
            "version 2 and 4 GiB of header",
            npz(&patched(&good, b"\x01\0\x76\0", b"\x02\0\xff\xff")),
            &["at most 10000"],
            is!(Corrupt),
        ),
        (
            "shape beyond 64 bits",
            npz(&npy("'<f4'", "(4294967296, 4294967296, 4)", 8)),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        ("negative shape", npz(&npy("'<f4'", "(-2,)", 8)), &["not negative"], is!(Corrupt)),
        (
            "code in its header",
            npz(&npy("__import__('os').system('true')", "(2,)", 8)),
            &["a dtype of plain numbers", "__import__"],
            is!(Corrupt),
        ),
        (
            "structured type",
            npz(&npy("[('x', '<f4')]", "(2,)", 8)),
            &["a dtype of plain numbers"],
            is!(Corrupt),
        ),
        (
            "array of objects",
            npz(&npy("'|O'", "(1,)", 8)),
            &["plain numbers", "\"|O\""],
            is!(Unsupported),
        ),
        ("big-endian array", npz(&npy("'>f4'", "(2,)", 8)), &["little-endian"], is!(Unsupported)),
        ("entry that is no array", stray, &["\"b.txt\""], is!(Corrupt)),
        ("name twice", patched(&two, b"b.npy", b"a.npy"), &["zip archive"], is!(Corrupt)),
        (
            "no entries",
            zip_archive(&[], CompressionMethod::Stored),
            &["a zip archive without files"],
            is!(UnknownContainer),
        ),
    ]);

    // Damage to the data is found by the checksum, when they are read.
    let damaged =
        patched(&npz(&npy("'<f4'", "(2,)", 8)), b"\n\0\0\0\0\0\0\0\0", b"\n\0\0\0\0\0\0\x01\0");
    let error = Checkpoint::from_bytes(damaged).unwrap().read_f32("a").unwrap_err();
    assert!(error.to_string().contains("checksum of a zip entry"), "{error}");
}
