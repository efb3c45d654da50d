//! What decoding a picture allocates: what its own pixels justify and a little more, whatever else
//! the file holds. Counted are the bytes that the decoding thread has allocated and not freed.

use effnet::image::{Decoded, ImageError, Library, decode};
use effnet::memory;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::process::Command;

thread_local! {
    /// Bytes in use, and the most that there have been.
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread.
struct Counting;

fn count(bytes: isize) {
    // A thread that is ending has no such variables any more.
    let _ = IN_USE.try_with(|in_use| {
        in_use.set(in_use.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(in_use.get())));
    });
}

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes as isize - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The side of most pictures here: enough that what grows with it shows beside [`OWN`].
const SIDE: usize = 1500;
const PIXELS: usize = SIDE * SIDE;
/// What does not grow with the picture.
const OWN: usize = 4 << 20;

/// Decodes; gives the most bytes that were in use beside those that were before.
fn measured(encoded: &[u8]) -> (Result<Decoded, ImageError>, usize) {
    let before = IN_USE.get();
    MOST.set(before);
    let decoded = decode(encoded, Library::OpenCv, true);
    (decoded, (MOST.get() - before) as usize)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [name, data].concat();
    let crc = flate2::Crc::new();
    let mut sum = crc;
    sum.update(&named);
    [&(data.len() as u32).to_be_bytes(), &named[..], &sum.sum().to_be_bytes()].concat()
}

/// A PNG of zeros; `kind` is its colour type, of so many channels.
fn png(side: usize, bits: u8, (kind, channels): (u8, usize), extra: &[u8]) -> Vec<u8> {
    let row = 1 + side * channels * usize::from(bits) / 8;
    let side_bytes = (side as u32).to_be_bytes();
    let header = [&side_bytes[..], &side_bytes, &[bits, kind, 0, 0, 0]].concat();
    [
        b"\x89PNG\r\n\x1a\n",
        &chunk(b"IHDR", &header)[..],
        extra,
        &chunk(b"IDAT", &deflated(&vec![0; row * side])),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

/// A GIF of one frame, whose pixels are zeros. The table of codes is cleared before each second
/// one, so that all codes have three bits.
fn gif(canvas: usize, frame: usize) -> Vec<u8> {
    let side = |side: usize| [(side as u16).to_le_bytes(), (side as u16).to_le_bytes()].concat();
    let pixels = frame * frame;
    let codes = (0..pixels).flat_map(|i| if i % 2 == 0 { vec![4, 0] } else { vec![0] }).chain([5]);
    let bits: Vec<u8> = codes.flat_map(|code| [code & 1, code >> 1 & 1, code >> 2]).collect();
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    let data: Vec<u8> = bits.chunks(8).map(byte).collect();
    let blocks: Vec<u8> = data.chunks(255).flat_map(|b| [&[b.len() as u8], b].concat()).collect();
    let (canvas, frame) = (side(canvas), side(frame));
    let table = [0, 0, 0, 255, 255, 255];
    let frame = [&b",\0\0\0\0"[..], &frame, &[0, 2], &blocks, &[0]].concat();
    [b"GIF89a", &canvas[..], &[0x80, 0, 0], &table, &frame, b";"].concat()
}

/// An uncompressed TIFF of one strip of grey.
fn tiff(side: usize, bits: u16, orientation: u16) -> Vec<u8> {
    let bytes = side * side * usize::from(bits) / 8;
    let entries: [(u16, u32); 9] = [
        (256, side as u32),
        (257, side as u32),
        (258, u32::from(bits)),
        (259, 1),
        (262, 1),
        (273, 8 + 2 + 12 * 9 + 4),
        (274, u32::from(orientation)),
        (278, side as u32),
        (279, bytes as u32),
    ];
    let mut tiff = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, value) in entries {
        // Type 4, a whole number of 32 bits; but for those that are always 16.
        tiff.extend(tag.to_le_bytes());
        tiff.extend(if matches!(tag, 258 | 259 | 262 | 274) { 3_u16 } else { 4 }.to_le_bytes());
        tiff.extend(1_u32.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend([0; 4]);
    tiff.resize(tiff.len() + bytes, 0);
    tiff
}

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    [&[0xff, marker], &(data.len() as u16 + 2).to_be_bytes()[..], data].concat()
}

/// A JPEG up to its scans: quantisation, frame, and Huffman tables of which 0 is a bit, for no
/// change of a mean and the end of a block.
fn jpeg_start(frame: u8, side: usize, samplings: &[u8]) -> Vec<u8> {
    let side = (side as u16).to_be_bytes();
    let mut header = [&[8], &side[..], &side, &[samplings.len() as u8]].concat();
    for (id, &sampling) in (1..).zip(samplings) {
        header.extend([id, sampling, 0]);
    }
    let table = |class: u8, symbols: &[u8]| {
        let mut counts = [0; 16];
        counts[..symbols.len()].fill(1);
        segment(0xc4, &[&[class], &counts[..], symbols].concat())
    };
    [
        &[0xff, 0xd8],
        &segment(0xdb, &[&[0], &[1; 64][..]].concat())[..],
        &segment(frame, &header),
        &table(0, &[0]),
        &table(0x10, &[0]),
    ]
    .concat()
}

fn scan(components: &[u8], (first, last): (u8, u8), bits: u8, data: &[u8]) -> Vec<u8> {
    let mut header = vec![components.len() as u8];
    components.iter().for_each(|&id| header.extend([id, 0]));
    header.extend([first, last, bits]);
    [&segment(0xda, &header)[..], data].concat()
}

const END: &[u8] = &[0xff, 0xd9];

fn blocks(side: usize) -> usize {
    side.div_ceil(8) * side.div_ceil(8)
}

/// Sequential, every block grey: two bits for each.
fn jpeg(samplings: &[u8]) -> Vec<u8> {
    let ids: Vec<u8> = (1..=samplings.len() as u8).collect();
    let data = vec![0; blocks(SIDE + 16) * samplings.len() / 4 + 1];
    [jpeg_start(0xc0, SIDE, samplings), scan(&ids, (0, 63), 0, &data), END.to_vec()].concat()
}

/// Progressive: the means, and so many scans that say of each block that it has no coefficients.
fn progressive(side: usize, components: u8, scans: usize) -> Vec<u8> {
    let ids: Vec<u8> = (1..=components).collect();
    let mut jpeg = jpeg_start(0xc2, side, &vec![0x11; components.into()]);
    let means = vec![0; blocks(side) * ids.len() / 8 + 1];
    jpeg.extend(scan(&ids, (0, 0), 1, &means));
    let nothing = vec![0; blocks(side) / 8 + 1];
    for i in 0..scans {
        jpeg.extend(scan(&[ids[i % ids.len()]], (1, 63), 0, &nothing));
    }
    jpeg.extend(END);
    jpeg
}

#[test]
fn what_the_pixels_justify() {
    let exif = chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0");
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\x04\0\0\x28\0\0\0".to_vec();
    bmp.extend([(SIDE as u32).to_le_bytes(), (SIDE as u32).to_le_bytes()].concat());
    bmp.extend([1, 0, 8, 0, 1]);
    bmp.resize(0x436, 0);
    bmp.extend([0, 1]);
    // A file, and the bytes that each pixel justifies.
    let cases = [
        ("PNG grey", png(SIDE, 8, (0, 1), b""), 3),
        ("PNG grey, turned", png(SIDE, 8, (0, 1), &exif), 6),
        ("PNG RGBA16", png(SIDE, 16, (6, 4), b""), 8),
        ("GIF", gif(SIDE, SIDE), 5),
        ("GIF, a small frame", gif(SIDE, 1), 3),
        ("BMP", bmp, 3),
        ("TIFF grey", tiff(SIDE, 8, 1), 1 + 3),
        ("TIFF grey, turned", tiff(SIDE, 8, 6), 6),
        ("TIFF grey 16", tiff(SIDE, 16, 1), 2 + 3),
        ("JPEG grey", jpeg(&[0x11]), 1 + 3),
        ("JPEG 4:4:4", jpeg(&[0x11; 3]), 3 + 3),
        // One and a half samples, and two components that may be brought to full size.
        ("JPEG 4:2:0", jpeg(&[0x22, 0x11, 0x11]), 2 + 2 + 3),
        ("JPEG progressive 4:4:4", progressive(SIDE, 3, 9), 3 * 3 + 3),
    ];
    for (name, file, bytes_per_pixel) in cases {
        let (decoded, bytes) = measured(&file);
        let image = decoded.unwrap_or_else(|error| panic!("{name}: {error}")).image;
        assert_eq!((image.width, image.height), (SIDE, SIDE), "{name}");
        assert!(bytes >= 3 * PIXELS, "{name}: the counter counts");
        let most = bytes_per_pixel * PIXELS + OWN;
        assert!(bytes <= most, "{name}: {bytes} bytes for {PIXELS} pixels, at most {most}");
    }
}

/// A picture of one pixel, and tens of megabytes of something else.
#[test]
fn what_is_not_the_picture() {
    let zeros = deflated(&vec![0; 48 << 20]);
    let named = |start: &[u8]| [start, &zeros].concat();
    let extra = [
        chunk(b"iCCP", &named(b"k\0\0")),
        chunk(b"zTXt", &named(b"k\0\0")),
        chunk(b"iTXt", &named(b"k\0\x01\0\0\0")),
        chunk(b"eXIf", &vec![b'I'; 16 << 20]),
        chunk(b"tEXt", &vec![b'a'; 16 << 20]),
        chunk(b"tEXt", b"a\0b").repeat(100_000),
    ];
    for extra in extra {
        let file = png(1, 8, (2, 3), &extra);
        let (decoded, bytes) = measured(&file);
        let name = String::from_utf8_lossy(&extra[4..8]);
        assert_eq!(decoded.unwrap().image.pixels, [0; 3], "{name}");
        assert!(bytes <= OWN, "{name}: {bytes} bytes");
    }
    // A TIFF whose list of strips has two million entries of a byte.
    let mut file = tiff(16, 8, 1);
    let list = file.len() as u32;
    for entry in file[10..].chunks_exact_mut(12).take(9) {
        if matches!(entry[..2], [0x11 | 0x17, 1]) {
            entry[2..12].copy_from_slice(
                &[&[1, 0], &2_000_000_u32.to_le_bytes()[..], &list.to_le_bytes()].concat(),
            );
        }
    }
    file.resize(file.len() + 2_000_000, 0);
    let (decoded, bytes) = measured(&file);
    let error = decoded.unwrap_err().to_string();
    assert!(error.contains("2000000 values of tag 273"), "{error}");
    assert!(bytes <= OWN, "{bytes} bytes");
    // A lossy WebP whose canvas has one pixel, and whose picture 16383x12288.
    let riff = |chunks: &[(&[u8; 4], Vec<u8>)]| {
        let chunk = |(name, data): &(&[u8; 4], Vec<u8>)| {
            [&name[..], &(data.len() as u32).to_le_bytes(), data].concat()
        };
        let body: Vec<u8> = chunks.iter().flat_map(chunk).collect();
        [b"RIFF", &(body.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &body].concat()
    };
    let mut lossy = b"\x10\x02\0\x9d\x01\x2a\xff\x3f\0\x30".to_vec();
    lossy.resize(4000, 0);
    let still = riff(&[(b"VP8X", vec![0; 10]), (b"VP8 ", lossy.clone())]);
    let frame = [&[0; 16][..], b"VP8 ", &(lossy.len() as u32).to_le_bytes(), &lossy].concat();
    let flags = [&[2][..], &[0; 9]].concat();
    let animated = riff(&[(b"VP8X", flags), (b"ANIM", vec![0; 6]), (b"ANMF", frame)]);
    for file in [still, animated] {
        let (decoded, bytes) = measured(&file);
        let error = decoded.unwrap_err().to_string();
        assert!(error.contains("16383x12288 in a canvas of 1x1"), "{error}");
        assert!(bytes <= OWN, "{bytes} bytes");
    }
}

/// Scans, whose number is no part of the picture's.
#[test]
fn scans_are_counted_before_they_are_decoded() {
    let refused = |file: &[u8], words: &str| {
        let (decoded, bytes) = measured(file);
        let error = decoded.expect_err(words);
        assert!(matches!(error, ImageError::TooCostly { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(bytes <= OWN, "{bytes} bytes: nothing is decoded");
    };
    // What encoders write, at most, and what they do not.
    decode(&progressive(64, 3, 17), Library::Pillow, false).unwrap();
    decode(&progressive(64, 1, 63), Library::Pillow, false).unwrap();
    refused(&progressive(64, 1, 64), "65 scans, of which 64 are accepted");
    // 5000x5000 pixels in 625x625 blocks: the means, and 44 scans of the same component.
    let samples = 64 * 625 * 625;
    assert!(45 * samples > 1 << 30);
    refused(&progressive(5000, 1, 44), &format!("{samples} samples {} times", 45 * samples));
    // 14000x14000 pixels in 1750x1750 blocks, in so few data as only arithmetic codes need.
    let mut arithmetic = jpeg_start(0xca, 14_000, &[0x11]);
    arithmetic.extend(segment(0xfe, &[0; 60_000]));
    arithmetic.extend(scan(&[1], (0, 0), 1, b"\x7f"));
    (0..6).for_each(|_| arithmetic.extend(scan(&[1], (1, 63), 0, b"\x7f")));
    arithmetic.extend(END);
    refused(&arithmetic, "where 6 visits of each sample are accepted");
}

/// A large picture is refused where there is no memory for it, before anything is allocated.
#[test]
fn a_picture_for_which_there_is_too_little_memory() {
    const MIB: &str = "64";
    if std::env::var(memory::VARIABLE).as_deref() != Ok(MIB) {
        let this_test = ["--exact", "a_picture_for_which_there_is_too_little_memory"];
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output = again.args(this_test).env(memory::VARIABLE, MIB).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    // Its pixels are never read.
    let side = 10_000_u32.to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let file = [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &[0; 20_000])];
    let (decoded, bytes) = measured(&file.concat());
    let error = decoded.unwrap_err();
    assert!(matches!(error, ImageError::TooLittleMemory(_)), "{error}");
    let words =
        "the pixels of an image need 290.1 MiB, and 64.0 MiB are what EFFNET_MEMORY_MIB allows";
    assert!(error.to_string().contains(words), "{error}");
    assert!(bytes <= OWN, "{bytes} bytes");
    // One at a time, small pictures are decoded in any memory.
    decode(&png(100, 8, (2, 3), b""), Library::Pillow, false).unwrap();
}

#[test]
fn arithmetic_codes_without_data() {
    let start = |frame| jpeg_start(frame, 64, &[0x11; 3]);
    let sequential =
        |data| [start(0xc9), scan(&[1, 2, 3], (0, 63), 0, data), END.to_vec()].concat();
    let progressive = |means: &[u8], rest: &[u8]| {
        let mut jpeg = start(0xca);
        jpeg.extend(scan(&[1, 2, 3], (0, 0), 0, means));
        (1..=3).for_each(|id| jpeg.extend(scan(&[id], (1, 63), 0, rest)));
        [jpeg, END.to_vec()].concat()
    };
    let error = |file: &[u8]| decode(file, Library::Pillow, false).unwrap_err().to_string();
    for data in [&b""[..], b"\0\0", &[0; 200]] {
        assert!(error(&sequential(data)).contains("1 of its 1 scans have no data"));
        assert!(error(&progressive(data, data)).contains("3 of its 4 scans have no data"));
        // Means of a grey picture may be all zeros, which an encoder leaves out.
        decode(&progressive(data, b"\x7f"), Library::Pillow, false).unwrap();
    }
    let cut = sequential(b"\x7f\x12");
    let cut = &cut[..cut.len() - 2];
    assert!(matches!(decode(cut, Library::Pillow, false), Err(ImageError::Truncated { .. })));
}
