//! Texts at random, and real PTX damaged at random: every one is answered.

use super::*;
use proptest::prelude::*;

/// A piece of PTX, or of nothing.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            ".version 9.0",
            ".target",
            "sm_80",
            ".entry",
            ".func",
            ".global",
            ".shared",
            ".extern",
            ".b32",
            ".b8",
            ".align",
            ".v4",
            ".param",
            ".reg",
            ".loc",
            ".section",
            ".branchtargets",
            ".callprototype",
            "k",
            "%r1",
            "%r<5>",
            "add.s32",
            "call",
            "ret",
            "@",
            "!",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ";",
            ":",
            "+",
            "-",
            "*",
            "~",
            "=",
            "|",
            "_",
            "0",
            "4294967296",
            "18446744073709551615",
            "0x",
            "0f3F800000",
            "1.5",
            ".5e",
            "\"s\"",
            "\"",
            "/*",
            "*/",
            "//",
            "\n",
            "generic",
            "WARP_SZ",
            "\\",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ]
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let _ = parse(&text);
        let _ = parse(&format!("{HEADER}{text}"));
        let _ = parse(&format!("{HEADER}.entry k() {{ {text}"));
    }

    #[test]
    fn any_tokens_are_answered(pieces in prop::collection::vec(piece(), 0..40), tight in any::<bool>()) {
        let text = pieces.join(if tight { "" } else { " " });
        let _ = parse(&text);
        let _ = parse(&format!("{HEADER}{text}"));
        let _ = parse(&format!("{HEADER}.entry k() {{ {text}"));
    }

    #[test]
    fn mutated_ptx_is_answered(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, piece()), 1..6)
    ) {
        let mut text = REAL.to_owned();
        for (at, cut, piece) in edits {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((at + cut).min(text.len()));
            text.replace_range(at..end.max(at), &piece);
        }
        if let Err(error) = parse(&text) {
            prop_assert!((1..=text.lines().count() as u32 + 1).contains(&error.line), "{error}");
        }
    }
}
