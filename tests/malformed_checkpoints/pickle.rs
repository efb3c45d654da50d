//! Pickles that no container is needed for: opcodes, stacks, names.

use super::*;

/// A pickle of protocol 4 with this body.
fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x04", body].concat()
}

#[test]
fn malformed_pickles() {
    let good = small(ContainerKind::PaddleProtocol4);
    let stack_global = |module: &str, name: &str| {
        let mut pickle = Pickle::new(4);
        pickle.text(module).text(name).op(b"\x93.");
        pickle.0
    };
    let mut reduce_eval = Pickle::new(2);
    reduce_eval.op(b"}").text("model").global("builtins", "eval").text("1").op(b"\x85Rs.");
    let mut system = Pickle::new(2);
    system.op(b"}").text("model").global("os", "system").text("true").op(b"\x85Rs.");
    let mut cyclic = Pickle::new(2);
    cyclic.op(b"}q\x00").text("model").op(b"h\x00s.");
    let mut laughs = Pickle::new(2);
    laughs.op(b"(Nq\x00");
    for _ in 0..2000 {
        laughs.op(b"h\x00h\x00\x86q\x00");
    }
    laughs.op(b"t.");
    let mut flood = Pickle::new(2);
    flood.op(b"(");
    flood.0.extend((0..1_100_000).flat_map(|_| *b"K\x01"));
    flood.op(b"t.");
    let mut copies = Pickle::new(2);
    copies.op(b"](");
    for _ in 0..1000 {
        copies.op(b"NN\x86");
    }
    copies.op(b"eq\x00");
    for _ in 0..2000 {
        copies.op(b"ccollections\nOrderedDict\nh\x00\x85R");
    }

    refuse_all(vec![
        ("nothing after PROTO", pickle(b""), &["offset 2", "truncated pickle"], is!(Truncated)),
        ("no STOP", cut(&good, 1), &["truncated pickle"], is!(Truncated)),
        ("bytes after STOP", [&good[..], b"N."].concat(), &["2 more bytes"], is!(Corrupt)),
        (
            "protocol 9",
            b"\x80\x02\x80\x09N.".to_vec(),
            &["offset 2", "at most 5", "found 9"],
            is!(Corrupt),
        ),
        (
            "os.system by INST",
            pickle(b"(\x8c\x04trueios\nsystem\n."),
            &["offset 9", "\"os.system\"", "a state dict", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system by OBJ",
            pickle(b"(cos\nsystem\n\x8c\x04trueo."),
            &["offset 20", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system by NEWOBJ_EX",
            pickle(b"cos\nsystem\n\x8c\x04true\x85}\x92."),
            &["offset 21", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system through copyreg",
            pickle(b"ccopyreg\n_reconstructor\n(cos\nsystem\ncos\nsystem\nNtR."),
            &["\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system's result called",
            pickle(b"cos\nsystem\n)R)R}b."),
            &["offset 16", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        ("OBJ of nothing", pickle(b"(o."), &["offset 3", "a class"], is!(Corrupt)),
        (
            "OBJ of a number",
            pickle(b"(K\x01o."),
            &["offset 5", "a global and a tuple", "an integer"],
            is!(Corrupt),
        ),
        ("POP of nothing", pickle(b"0."), &["offset 2", "too few"], is!(Corrupt)),
        ("DUP of nothing", pickle(b"(2."), &["offset 3", "too few"], is!(Corrupt)),
        ("POP_MARK without a mark", pickle(b"1."), &["offset 2", "a mark"], is!(Corrupt)),
        (
            "a tensor's type that rebuilds itself",
            pickle(
                &[&b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00h\x00N)Ntq\x01"[..], b"."]
                    .concat(),
            ),
            &["a mark"],
            is!(Corrupt),
        ),
        ("opcode EXT1", pickle(b"\x82\x01."), &["offset 2", "0x82"], is!(ForbiddenOpcode)),
        ("opcode that is none", pickle(b"\xff"), &["offset 2", "0xff"], is!(ForbiddenOpcode)),
        (
            "os.system",
            system.0,
            &["offset 34", "\"model\"", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "eval",
            reduce_eval.0,
            &["offset 35", "\"model\"", "\"builtins.eval\""],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system from the stack",
            stack_global("os", "system"),
            &["\"os.system\""],
            is!(ForbiddenGlobal),
        ),
        (
            "dotted global",
            stack_global("torch", "_utils.x"),
            &["torch._utils.x", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        ("torch.load", stack_global("torch", "load"), &["\"torch.load\""], is!(ForbiddenGlobal)),
        (
            "global of a million letters",
            stack_global("os", &"y".repeat(1_000_000)),
            &["\"os.yyy", "more bytes"],
            is!(ForbiddenGlobal),
        ),
        (
            "global without a line's end",
            pickle(&[b'c'; 2000]),
            &["offset 2", "a line of at most"],
            is!(Corrupt),
        ),
        (
            "global of numbers",
            pickle(b"K\x01K\x02\x93."),
            &["two strings", "an integer"],
            is!(Corrupt),
        ),
        (
            "string of 2^63 bytes",
            pickle(b"\x8d\0\0\0\0\0\0\0\x80abc."),
            &["offset 11", "9223372036854775808", "found 4"],
            is!(Truncated),
        ),
        (
            "bytes of 4 GiB",
            pickle(b"B\xff\xff\xff\xffabc."),
            &["4294967295", "found 4"],
            is!(Truncated),
        ),
        (
            "bytes of 2^64-1",
            pickle(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff."),
            &["pickled bytes"],
            is!(Truncated),
        ),
        (
            "integer of 4 GiB",
            pickle(b"\x8b\xff\xff\xff\xff\x01."),
            &["pickled integer"],
            is!(Truncated),
        ),
        (
            "frame beyond the end",
            pickle(b"\x95\x10\0\0\0\0\0\0\0N."),
            &["pickle frame"],
            is!(Truncated),
        ),
        (
            "string that is no UTF-8",
            pickle(b"\x8c\x02a\xff."),
            &["offset 5", "UTF-8"],
            is!(Corrupt),
        ),
        ("REDUCE of nothing", pickle(b"R."), &["offset 2", "operands"], is!(Corrupt)),
        ("REDUCE across a mark", pickle(b"N(NR."), &["offset 5", "too few"], is!(Corrupt)),
        (
            "REDUCE of a string",
            pickle(b"\x8c\x01a)R."),
            &["a global and a tuple", "a string"],
            is!(Corrupt),
        ),
        ("TUPLE without a mark", pickle(b"Nt."), &["offset 3", "a mark"], is!(Corrupt)),
        (
            "BUILD of a number",
            pickle(b"K\x01Nb."),
            &["target of BUILD", "an integer"],
            is!(Corrupt),
        ),
        ("SETITEMS of three", pickle(b"}(NNNu."), &["pairs"], is!(Corrupt)),
        ("SETITEM of a list", pickle(b"]NNs."), &["a dict", "a list"], is!(Corrupt)),
        ("APPEND to a dict", pickle(b"}Na."), &["a list", "a dict"], is!(Corrupt)),
        ("STOP with two objects", pickle(b"NN."), &["one object at STOP"], is!(Corrupt)),
        ("memo slot that was not set", pickle(b"h\x07."), &["offset 2", "slot 7"], is!(Corrupt)),
        ("MEMOIZE of nothing", pickle(b"\x94N."), &["offset 2"], is!(Corrupt)),
        ("a dict inside itself", cyclic.0, &["a dict of 1", "\"model\""], is!(NoTensors)),
        (
            "nesting of a million",
            pickle(&[vec![b']'; 500_000], vec![b'a'; 499_999], b".".to_vec()].concat()),
            &["found a list"],
            is!(NoTensors),
        ),
        ("references that double 2000 times", laughs.0, &["found a tuple"], is!(NoTensors)),
        ("a million objects", flood.0, &["pickled objects", "at most 1048576"], is!(TooLarge)),
        ("a list copied 2000 times", copies.0, &["copied pickle items"], is!(TooLarge)),
        ("17 million opcodes", pickle(&vec![b'N'; 17 << 20]), &["pickle opcodes"], is!(TooLarge)),
        ("a root that is no dict", pickle(b"]."), &["offset 0", "a list"], is!(NoTensors)),
        (
            "a dict without tensors",
            pickle(b"}\x8c\x05epochK\x03s."),
            &["a dict of 1 with the keys \"epoch\""],
            is!(NoTensors),
        ),
    ]);
}
