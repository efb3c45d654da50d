//! PyTorch, zip and legacy: tensors, storages, archives.

use super::*;

/// The parts of a PyTorch file with one float tensor `a` over storage `0` of six elements.
struct Torch {
    storage: &'static str,
    numel: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Default for Torch {
    fn default() -> Self {
        Torch {
            storage: "FloatStorage",
            numel: 6,
            offset: 0,
            shape: vec![2, 3],
            strides: vec![3, 1],
        }
    }
}

impl Torch {
    fn pickle(&self, legacy: bool) -> Vec<u8> {
        let mut pickle = Pickle::new(2);
        let tensor = TorchTensor {
            storage: self.storage,
            key: "0",
            numel: self.numel,
            offset: self.offset,
            shape: &self.shape,
            strides: &self.strides,
        };
        pickle.op(b"}").text("a").torch_tensor(&tensor, legacy).op(b"s.");
        pickle.0
    }

    fn zip(&self) -> Vec<u8> {
        torch_zip(&self.pickle(false), &[("data/0", &[0; 24])])
    }
}

fn torch_zip(pickle: &[u8], entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> =
        entries.iter().map(|&(name, bytes)| (format!("archive/{name}"), bytes)).collect();
    let mut all = vec![("archive/data.pkl", pickle)];
    all.extend(entries.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
    zip_archive(&all, CompressionMethod::Stored)
}

/// A legacy file: the state dict's pickle, the keys, then `(count, bytes)` for each storage.
fn torch_legacy(pickle: &[u8], keys: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    let mut list = Pickle::new(2);
    list.op(b"](");
    for key in keys {
        list.text(key);
    }
    list.op(b"e.");
    let mut file = [&torch_legacy_prelude()[..], pickle, &list.0].concat();
    for (count, bytes) in storages {
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    file
}

#[test]
fn tensors_that_their_storage_does_not_hold() {
    let torch = Torch::default;
    assert!(Checkpoint::from_bytes(torch().zip()).is_ok());
    // BININT holds negative numbers, which the writer's unsigned ones never are.
    let negative = |from: &[u8], to: &[u8]| {
        torch_zip(&patched(&torch().pickle(false), from, to), &[("data/0", &[0; 24])])
    };
    refuse_all(vec![
        (
            "last element outside",
            Torch { offset: 1, ..torch() }.zip(),
            &["\"a\"", "at most the 6 f32 elements", "first element 1"],
            is!(Corrupt),
        ),
        (
            "strides that reach outside",
            Torch { strides: vec![4, 1], ..torch() }.zip(),
            &["strides [4, 1]"],
            is!(Corrupt),
        ),
        (
            "more elements than the storage",
            Torch { shape: vec![5, 2], strides: vec![1, 1], ..torch() }.zip(),
            &["shape [5, 2]"],
            is!(Corrupt),
        ),
        (
            "stride of zero",
            Torch { strides: vec![0, 1], ..torch() }.zip(),
            &["positive stride", "0 along an axis of 2"],
            is!(Unsupported),
        ),
        (
            "offset beyond 63 bits",
            Torch { offset: i64::MAX as usize, ..torch() }.zip(),
            &["first element 9223372036854775807"],
            is!(Corrupt),
        ),
        (
            "stride whose product overflows",
            Torch { shape: vec![3, 2], strides: vec![i64::MAX as usize, 1], ..torch() }.zip(),
            &["9223372036854775807"],
            is!(Corrupt),
        ),
        (
            "shape whose product overflows",
            Torch { shape: vec![1 << 40, 1 << 40], ..torch() }.zip(),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        (
            "zero extent that hides an overflow",
            Torch { shape: vec![1 << 40, 1 << 40, 0], strides: vec![1; 3], ..torch() }.zip(),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        (
            "fewer strides than axes",
            Torch { strides: vec![1], ..torch() }.zip(),
            &["2 of them", "found 1"],
            is!(Corrupt),
        ),
        (
            "33 axes",
            Torch { shape: vec![1; 33], strides: vec![1; 33], ..torch() }.zip(),
            &["up to 32", "33 of them"],
            is!(Corrupt),
        ),
        (
            "negative stride",
            negative(b"J\x03\0\0\0J\x01\0\0\0t", b"J\xfd\xff\xff\xffJ\x01\0\0\0t"),
            &["strides", "not negative", "found -3"],
            is!(Corrupt),
        ),
        (
            "negative extent",
            negative(b"J\x02\0\0\0J\x03\0\0\0t", b"J\xfe\xff\xff\xffJ\x03\0\0\0t"),
            &["shape", "not negative"],
            is!(Corrupt),
        ),
        (
            "negative offset",
            negative(b"QJ\0\0\0\0", b"QJ\xff\xff\xff\xff"),
            &["storage offset", "not negative"],
            is!(Corrupt),
        ),
        (
            "storage larger than its bytes",
            Torch { numel: 7, ..torch() }.zip(),
            &["7 elements of f32", "24 bytes"],
            is!(Corrupt),
        ),
        (
            "storage of 2^62 elements",
            Torch { numel: 1 << 62, ..torch() }.zip(),
            &["24 bytes"],
            is!(Corrupt),
        ),
        (
            "storage smaller than its bytes",
            Torch { numel: 5, ..torch() }.zip(),
            &["5 elements"],
            is!(Corrupt),
        ),
        (
            "storage of wider elements",
            Torch { storage: "DoubleStorage", ..torch() }.zip(),
            &["6 elements of f64"],
            is!(Corrupt),
        ),
        (
            "storage of complex numbers",
            Torch { storage: "ComplexFloatStorage", ..torch() }.zip(),
            &["torch.ComplexFloatStorage"],
            is!(ForbiddenGlobal),
        ),
    ]);
}

#[test]
fn malformed_torch_zip_files() {
    let pickle = Torch::default().pickle(false);
    let data: (&str, &[u8]) = ("data/0", &[0; 24]);
    let good = torch_zip(&pickle, &[data]);
    let mut twice = Pickle::new(2);
    let tensor = TorchTensor {
        storage: "FloatStorage",
        key: "0",
        numel: 6,
        offset: 0,
        shape: &[6],
        strides: &[1],
    };
    twice.op(b"}(").text("a").torch_tensor(&tensor, false).text("a").torch_tensor(&tensor, false);
    twice.op(b"u.");
    let mut module = Pickle::new(2);
    module.op(b"(").text("module").op(b"NNNNtQ.");
    let mut short = Pickle::new(2);
    short.op(b"(").text("storage").op(b"tQ.");
    let mut free = Pickle::new(2);
    free.global("torch._utils", "_rebuild_tensor_v2").op(b"(NK\x00)))tR.");
    // Eight mebibytes of zeros deflate to eight kibibytes: the directory then says 4 GiB.
    let zeros = vec![0; 8 << 20];
    let bomb = zip_archive(&[("archive/data.pkl", &zeros)], CompressionMethod::Deflated);
    let lying = patched(&bomb, &(8u32 << 20).to_le_bytes(), &0xfff0_0000u32.to_le_bytes());
    let encrypted =
        patched(&good, b"PK\x01\x02\x0a\x03\x0a\0\0\0", b"PK\x01\x02\x0a\x03\x0a\0\x01\0");
    refuse_all(vec![
        ("cut in its directory", cut(&good, 1), &["zip archive"], is!(Corrupt)),
        ("cut after its first entry", good[..60].to_vec(), &["zip archive"], is!(Corrupt)),
        ("four bytes", b"PK\x03\x04".to_vec(), &["zip archive"], is!(Corrupt)),
        (
            "no data.pkl",
            zip_archive(&[("readme", b"x")], CompressionMethod::Stored),
            &["a zip archive of 1 files, as \"readme\"", "unpack it"],
            is!(UnknownContainer),
        ),
        (
            "data.pkl two folders down",
            zip_archive(&[("a/b/data.pkl", &pickle)], CompressionMethod::Stored),
            &["data.pkl in an inner folder"],
            is!(UnknownContainer),
        ),
        ("no storage", torch_zip(&pickle, &[]), &["archive/data/0", "found none"], is!(Corrupt)),
        (
            "big-endian",
            torch_zip(&pickle, &[data, ("byteorder", b"big")]),
            &["\"little\"", "\"big\""],
            is!(Unsupported),
        ),
        ("name twice", torch_zip(&twice.0, &[data]), &["\"a\" twice"], is!(DuplicateTensor)),
        (
            "pickled module",
            torch_zip(&module.0, &[data]),
            &["storage", "another kind"],
            is!(Corrupt),
        ),
        (
            "persistent id of one item",
            torch_zip(&short.0, &[data]),
            &["a tuple of 1"],
            is!(Corrupt),
        ),
        (
            "tensor without a storage",
            torch_zip(&free.0, &[data]),
            &["a storage", "None"],
            is!(Corrupt),
        ),
        ("pickle cut", torch_zip(&cut(&pickle, 1), &[data]), &["truncated pickle"], is!(Truncated)),
        ("pickle of zeros", bomb, &["0x00"], is!(ForbiddenOpcode)),
        (
            "zip bomb by its declared size",
            lying,
            &["bytes of zip entry", "4293918720"],
            is!(TooLarge),
        ),
        ("encrypted entry", encrypted, &["encrypted"], is!(Unsupported)),
    ]);
}

#[test]
fn malformed_torch_legacy_files() {
    let pickle = Torch::default().pickle(true);
    let good = torch_legacy(&pickle, &["0"], &[(6, &[0; 24])]);
    assert!(Checkpoint::from_bytes(good.clone()).is_ok());
    let with_view = patched(&pickle, b"J\x06\0\0\0NtQ", b"J\x06\0\0\0K\x01tQ");
    let mut differing = Pickle::new(2);
    differing.op(b"}(");
    for (name, numel) in [("a", 6), ("b", 7)] {
        let tensor = TorchTensor {
            storage: "FloatStorage",
            key: "0",
            numel,
            offset: 0,
            shape: &[6],
            strides: &[1],
        };
        differing.text(name).torch_tensor(&tensor, true);
    }
    differing.op(b"u.");
    let list = b"\x80\x02](X\x01\0\0\x000e.";
    refuse_all(vec![
        ("cut after the magic number", good[..15].to_vec(), &["offset 15"], is!(Truncated)),
        ("cut in a storage", cut(&good, 1), &["truncated storage", "24", "23"], is!(Truncated)),
        ("cut before a storage", cut(&good, 28), &["length of a storage"], is!(Truncated)),
        (
            "bytes after the last storage",
            [&good[..], b"x"].concat(),
            &["1 more bytes"],
            is!(Corrupt),
        ),
        (
            "another version",
            patched(&good, b"\x80\x02M\xe9\x03.", b"\x80\x02M\xe8\x03."),
            &["1001", "found 1000"],
            is!(Unsupported),
        ),
        (
            "big-endian",
            patched(&good, b"little_endian\x88", b"little_endian\x89"),
            &["big-endian"],
            is!(Unsupported),
        ),
        (
            "no byte order",
            patched(&good, b"little_endian", b"middle_endian"),
            &["little_endian"],
            is!(Corrupt),
        ),
        (
            "key that is not listed",
            torch_legacy(&pickle, &[], &[]),
            &["key \"0\"", "none"],
            is!(Corrupt),
        ),
        (
            "key that no tensor has",
            torch_legacy(&pickle, &["0", "1"], &[(6, &[0; 24]), (6, &[0; 24])]),
            &["storage \"1\""],
            is!(Corrupt),
        ),
        (
            "key twice",
            torch_legacy(&pickle, &["0", "0"], &[(6, &[0; 24]), (6, &[0; 24])]),
            &["once"],
            is!(Corrupt),
        ),
        (
            "storage of another length",
            torch_legacy(&pickle, &["0"], &[(5, &[0; 20])]),
            &["6 elements", "found 5"],
            is!(Corrupt),
        ),
        (
            "storage of 2^64-1 elements",
            torch_legacy(&pickle, &["0"], &[(u64::MAX, &[0; 24])]),
            &["18446744073709551615"],
            is!(Corrupt),
        ),
        (
            "storage inside another",
            torch_legacy(&with_view, &["0"], &[(6, &[0; 24])]),
            &["view of a storage"],
            is!(Corrupt),
        ),
        (
            "storage of two lengths",
            torch_legacy(&differing.0, &["0"], &[(6, &[0; 24])]),
            &["one type and size"],
            is!(Corrupt),
        ),
        (
            "keys that are no list",
            patched(&good, list, b"\x80\x02}."),
            &["a list", "a dict"],
            is!(Corrupt),
        ),
        (
            "key that is no string",
            patched(&good, list, b"\x80\x02](K\x01e."),
            &["a string"],
            is!(Corrupt),
        ),
    ]);
}
