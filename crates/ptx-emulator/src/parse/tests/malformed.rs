//! Modules and bodies that are wrong: the line, what was expected, what was found.

use super::*;

#[test]
fn malformed_modules() {
    let cases = [
        ("", "line 1: expected `.version` at the start of the file, found the end of the file"),
        (
            "\n.target sm_80",
            "line 2: expected `.version` at the start of the file, found `.target`",
        ),
        (".version 9", "line 1: expected a version such as `9.0` after `.version`, found `9`"),
        (".version 9.0.1", "line 1: expected `.target` after the version, found `.1`"),
        (
            ".version 9.0 .target sm_80 .address_size 32",
            "line 1: expected 64: only 64-bit addresses are supported, found `32`",
        ),
        (
            ".version 9.0 .target sm_80, map_f64_to_f32",
            "line 1: the target `map_f64_to_f32` is not supported",
        ),
        (
            ".version 9.0 .target debug .entry k {}",
            "line 1: expected a target such as `sm_90`, found `.entry`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
    let cases = [
        ("ret;", "expected a directive such as `.entry` or `.global`, found `ret`"),
        (".visible ret;", "expected a directive such as `.entry` or `.global`, found `ret`"),
        (
            ".weak .visible .global .b32 x;",
            "expected a directive such as `.entry` or `.global`, found `.visible`",
        ),
        (".alias a, b;", "`.alias` is not supported"),
        (".tex .u32 t;", "textures and surfaces (`.tex`) are not supported"),
        (".global .texref t;", "textures and surfaces are not supported"),
        (".reg .b32 x;", "`.reg` is supported within functions only"),
        (".global .pred x;", "expected a type such as `.b32`, found `.pred`"),
        (".global .u32;", "expected the variable's name, found `;`"),
        (".global .align 3 .u32 x;", "`.align 3`: expected a power of two"),
        (
            ".global .align 4294967296 .u32 x;",
            "expected a number after `.align` of at most 4294967295, found `4294967296`",
        ),
        (".global .v4 .f64 x;", "a vector of 4 times `.f64` has 32 bytes: expected at most 16"),
        (".global .attribute(.unified(1, 2)) .u32 x;", "expected `.managed`, found `.unified`"),
        (".global .u32 x[];", "`x` has no size: expected a number between the brackets"),
        (".global .u32 x[-1];", "`x` has -1 elements: expected 0 or more"),
        (".global .u32 x[2][];", "expected a number of elements, found `]`"),
        (".global .b8 x[9223372036854775808];", "`x` has more than 2^63 bytes"),
        (".global .b8 x[4294967296][4294967296];", "`x` has more than 2^63 bytes"),
        (
            ".global .u32 x[1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1];",
            "`x` has more than 16 dimensions",
        ),
        (
            ".global .u32 x[18446744073709551616];",
            "`18446744073709551616` is too large: expected at most 64 bits",
        ),
        (
            ".shared .u32 x = 1;",
            "`x` has initial values: expected them of `.global` and `.const` variables that are defined here only",
        ),
        (
            ".extern .global .u32 x = 1;",
            "`x` has initial values: expected them of `.global` and `.const` variables that are defined here only",
        ),
        (".global .u32 x[2] = {1, 2, 3};", "more initial values than the 2 of this dimension"),
        (
            ".global .u32 x[2] = 1;",
            "expected `{` after `=` or `{`, as the variable's dimensions ask, found `1`",
        ),
        (".global .u32 x[2] = {1,};", "expected an initial value, found `}`"),
        (".global .u32 x = {1};", "expected an initial value, found `{`"),
        (
            ".global .u32 x[2][2] = {{1}, {2}};",
            "a list of fewer than 2 initial values is supported at the end only",
        ),
        (
            ".global .b8 x[4] = \"abc\";",
            "expected `{` after `=` or `{`, as the variable's dimensions ask, found `\"abc\"`",
        ),
        (".global .u32 x = 1.5;", "the initial value is not one that a `.u32` can be given"),
        (".global .f32 x = 1;", "the initial value is not one that a `.f32` can be given"),
        (".global .f64 x = 0f3F800000;", "the initial value is not one that a `.f64` can be given"),
        (".global .f16 x = 1.0;", "the initial value is not one that a `.f16` can be given"),
        (".global .b8 x[2] = {0xff(y), 0};", "expected `}` after an initial value, found `(`"),
        (
            ".global .u8 x = y;",
            "an address as the initial value of a `.u8`: expected 32 or 64 bits",
        ),
        (".global .u64 x = y-4;", "expected `;` after the variable, found `-`"),
        (
            ".global .u64 x = y+18446744073709551615;",
            "the offset 18446744073709551615 does not fit a signed 64 bits",
        ),
        (
            ".global .u64 x = 18446744073709551615+1;",
            "the value 18446744073709551616 does not fit 64 bits",
        ),
        (
            ".global .u64 x = 18446744073709551615*18446744073709551615;",
            "a constant expression overflows",
        ),
        (".func f(.param .b8 x[]) { ret; }", "variable argument lists are not supported"),
        (".entry k(.u32 x) {}", "expected `.param`, found `.u32`"),
        (".entry k(.param .u32 x,) {}", "expected `.param`, found `)`"),
        (".entry k() .maxntid 0 {}", "`.maxntid` of 0: expected at least 1"),
        (".entry k() .maxntid 1, 2, 3, 4 {}", "expected `{` and the body of `k`, found `,`"),
        (
            ".entry k() .maxthreads 1 {}",
            "expected the body of `k`, or a directive such as `.maxntid`, found `.maxthreads`",
        ),
        (".entry k() ret;", "expected `{` and the body of `k`, found `ret`"),
        (".extern .func f() { ret; }", "expected `;` after the declaration of `f`, found `{`"),
        (".file \"a.cu\"", "expected a number after `.file`, found `\"a.cu\"`"),
        (".file 1 \"a.cu", "this string has no end: expected `\"` on the same line"),
        (
            ".section .debug_str { .b8 1",
            "expected `}` at the end of the section of line 4, found the end of the file",
        ),
        (
            ".section .debug_str { { } }",
            "expected `}` at the end of the section of line 4, found `{`",
        ),
        ("/* never", "this comment has no end: expected `*/`"),
        ("#define A", "expected a directive such as `.entry` or `.global`, found `#`"),
        ("\u{1F980}", "expected a directive such as `.entry` or `.global`, found `\u{1F980}`"),
        ("\0", "expected a directive such as `.entry` or `.global`, found `\\0`"),
    ];
    for (text, expected) in cases {
        assert_eq!(message(&format!("{HEADER}{text}")), format!("line 4: {expected}"), "{text}");
    }
}

#[test]
fn malformed_bodies() {
    let cases = [
        ("", "expected `}` for the `{` of line 5, found the end of the file"),
        ("{ ret; ", "expected `}` for the `{` of line 5, found the end of the file"),
        ("ret", "expected an operand, found the end of the file"),
        ("ret;; }", "expected an instruction, a label, a directive or `}`, found `;`"),
        (
            "add.s32 %r1, %r2, %r3 ret; }",
            "expected `,` or `;` after an operand of `add.s32` in line 5, found `ret`",
        ),
        ("add.s32 %r1, , %r3; }", "expected an operand, found `,`"),
        ("%r1 = 3; }", "expected an instruction, or `:` after a label, found `%r1`"),
        ("@p lab: ret; }", "expected an operand, found `:`"),
        ("@p { ret; } }", "expected an instruction after the predicate, found `{`"),
        ("@1 ret; }", "expected a predicate after `@`, found `1`"),
        (
            "ld.u32 %r1, [%rd1-4]; }",
            "expected `]` after the address; an offset is written `+8` or `+-8`, found `-`",
        ),
        ("ld.u32 %r1, [%rd1+x]; }", "expected an offset, found `x`"),
        (
            "ld.u32 %r1, [%rd1+9223372036854775808]; }",
            "the offset 9223372036854775808 does not fit a signed 64 bits",
        ),
        ("ld.u32 %r1, [-4]; }", "the address -4 is negative"),
        ("ld.u32 %r1, [1.5]; }", "the address is a float: expected a name or an integer"),
        ("ld.u32 %r1, []; }", "expected an address: a name or a number, found `]`"),
        (
            "tex.2d.v4.f32.s32 {a, b, c, d}, [t, {x, y}]; }",
            "tex.2d.v4.f32.s32: several operands in one pair of brackets, as of tensors and textures, are not supported",
        ),
        (
            "ld.u32 %r1, x[1]; }",
            "expected `,` or `;` after an operand of `ld.u32` in line 5, found `[`",
        ),
        ("mov.b64 %rd1, {{a, b}, c}; }", "expected an element of the vector, found `{`"),
        ("mov.b64 %rd1, {}; }", "expected an element of the vector, found `}`"),
        ("mov.b64 %rd1, {a b}; }", "expected `}` after an element of the vector, found `b`"),
        (
            "setp.eq.u32 p|q|r, a, b; }",
            "expected `,` or `;` after an operand of `setp.eq.u32` in line 5, found `|`",
        ),
        (
            "setp.eq.u32 p|1, a, b; }",
            "the operand before this is not a register, which `|` asks for",
        ),
        ("mov.u32 %r1, %tid.q; }", "expected a component such as `.x`, `,` or `;`, found `.q`"),
        ("mov.u32 %r1, %; }", "expected an operand, found `%`"),
        ("mov.u32 %r1, 08; }", "`08` is not a number in octal, as a leading 0 says"),
        ("mov.u32 %r1, 0xfg; }", "`0xfg` is not a hexadecimal number"),
        ("mov.u32 %r1, 0x; }", "`0x` is not a hexadecimal number"),
        ("mov.u32 %r1, 0b12; }", "`0b12` is not a binary number"),
        ("mov.u32 %r1, 12u; }", "`12u` is not a number"),
        (
            "mov.f32 %f1, 0f3F8; }",
            "`0f3F8` is not a float: expected 8 hexadecimal digits after `0f`",
        ),
        ("mov.f32 %f1, 1.5f; }", "`1.5f` is not a number"),
        ("mov.f32 %f1, -0f3F800000; }", "expected an operand, found `0f3F800000`"),
        (".reg .b32 %r<-1>; }", "expected a number of registers, found `-`"),
        (
            ".reg .b32 %r<4294967296>; }",
            "expected a number of registers of at most 4294967295, found `4294967296`",
        ),
        (".reg .v2 .pred p; }", "`.pred` registers cannot be vectors of 2"),
        (".reg .texref t; }", "textures and surfaces are not supported"),
        (
            ".maxntid 5; }",
            "expected an instruction, a label or a directive of a body, found `.maxntid`",
        ),
        (
            ".extern .shared .b8 x[]; }",
            "expected an instruction, a label or a directive of a body, found `.extern`",
        ),
        (".loc 1 2 }", "expected a column after `.loc`, found `}`"),
        (".loc 1 2 3, inlined_at 1 2 3 }", "`.loc` goes on with a `,`: expected `function_name`"),
        ("t: .branchtargets ; }", "expected a label of `.branchtargets`, found `;`"),
        (".pragma nounroll; }", "expected a string after `.pragma`, found `nounroll`"),
    ];
    for (text, expected) in cases {
        let text = format!("{HEADER}.entry k()\n{{ {text}");
        assert_eq!(message(&text), format!("line 5: {expected}"), "{text}");
    }
}

#[test]
fn a_long_piece_of_the_file_is_cut() {
    let found = format!("`{}…`", "x".repeat(40));
    let expected =
        format!("line 4: expected a directive such as `.entry` or `.global`, found {found}");
    assert_eq!(message(&format!("{HEADER}{}", "x".repeat(1 << 20))), expected);
}

#[test]
fn nesting_is_bounded() {
    let scopes = |depth: usize| {
        parse(&format!("{HEADER}.entry k() {}{}", "{".repeat(depth), "}".repeat(depth)))
    };
    scopes(64).unwrap();
    assert_eq!(scopes(65).unwrap_err().message, "scopes nested deeper than 64");
    scopes(1 << 20).unwrap_err();
    let expression = |open: &str, close: &str, depth: usize| {
        let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        parse(&format!("{HEADER}.global .u32 x = {value};"))
    };
    for (open, close) in [("(", ")"), ("~", ""), ("~(", ")")] {
        expression(open, close, 31).unwrap();
        for depth in [65, 1 << 20] {
            let error = expression(open, close, depth).unwrap_err();
            assert_eq!(error.message, "an expression nested deeper than 64");
        }
    }
}
