//! safetensors: the header, and the bytes that it speaks of.

use super::*;

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn malformed_safetensors() {
    let good = small(ContainerKind::Safetensors);
    let lying = |len: u64| [&len.to_le_bytes(), &good[8..]].concat();
    let one = |dtype: &str, shape: &str, end: usize, data: usize| {
        let entry = format!(r#""dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]"#);
        safetensors(&format!(r#"{{"a":{{{entry}}}}}"#), data)
    };
    let large = (1u64 << 61) - 1;
    let entry = |i: u64| {
        let (start, end) = (i * large, (i + 1) * large);
        format!(r#""{i}":{{"dtype":"U8","shape":[{large}],"data_offsets":[{start},{end}]}}"#)
    };
    let eight_large = format!("{{{}}}", (0..8).map(entry).collect::<Vec<_>>().join(","));
    refuse_all(vec![
        ("cut in its header", good[..20].to_vec(), &["offset 8", "truncated"], is!(Truncated)),
        ("cut in its data", cut(&good, 1), &["as many bytes as"], is!(Corrupt)),
        ("bytes after its data", [&good[..], b"x"].concat(), &["as many bytes"], is!(Corrupt)),
        ("header of 2^63 bytes", lying(1 << 63), &["9223372036854775808"], is!(Truncated)),
        ("header of 2^64-1 bytes", lying(u64::MAX), &["offset 8"], is!(Truncated)),
        (
            // Would be a fault of the JSON if it were parsed.
            "header of more than 4 MB",
            safetensors(&"{".repeat(4_000_001), 0),
            &["offset 0", "at most 4000000, found 4000001", "save the state dict alone"],
            is!(TooLarge),
        ),
        ("header of 4 MB", safetensors(&"{".repeat(4_000_000), 0), &["JSON"], is!(Corrupt)),
        ("header cut by a shorter length", lying(40), &["offset ", "JSON"], is!(Corrupt)),
        ("header that is no JSON", safetensors("{]", 0), &["offset 10", "JSON"], is!(Corrupt)),
        (
            "header that is no UTF-8",
            patched(&good, b"a.weight", b"\xff.weight"),
            &["UTF-8"],
            is!(Corrupt),
        ),
        ("no tensors", safetensors("{}", 0), &["a safetensors file without any"], is!(NoTensors)),
        (
            "size that is not the shape's",
            one("F32", "[3]", 8, 8),
            &["shape and dtype"],
            is!(Corrupt),
        ),
        (
            "shape beyond 64 bits",
            one("F32", "[4294967296,4294967296,4]", 8, 8),
            &["offset 8"],
            is!(Corrupt),
        ),
        (
            // Their end, after header and length, is beyond 64 bits.
            "eight tensors of 2^61 - 1 bytes",
            safetensors(&eight_large, 0),
            &["as many bytes as"],
            is!(Corrupt),
        ),
        ("negative extent", one("F32", "[-2]", 8, 8), &["JSON"], is!(Corrupt)),
        (
            "gap before a tensor",
            patched(&good, b"[96,144]", b"[97,145]"),
            &["\"b.weight\""],
            is!(Corrupt),
        ),
        (
            "tensors that overlap",
            patched(&good, b"[96,144]", b"[92,140]"),
            &["\"b.weight\""],
            is!(Corrupt),
        ),
        ("8-bit floats", one("F8_E4M3", "[2]", 2, 2), &["\"a\"", "F8_E4M3"], is!(Unsupported)),
    ]);
}
