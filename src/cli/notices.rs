//! `effnet notices`: the licences of what the program is built from.

use super::Status;
use super::output::Out;
use anyhow::anyhow;
use flate2::read::ZlibDecoder;
use std::io::Read;

/// THIRD-PARTY-NOTICES as `build.rs` has packed it.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/notices.zlib"));

/// Print the licences of the software that the program is built from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  effnet notices | less
  effnet notices > THIRD-PARTY-NOTICES")]
pub struct Args {}

/// Writes the notices to standard output.
pub fn run(_: Args, out: &mut Out) -> anyhow::Result<Status> {
    let mut text = Vec::new();
    let read = ZlibDecoder::new(PACKED).read_to_end(&mut text);
    read.map_err(|error| anyhow!("the notices in this program are damaged: {error}"))?;
    out.bytes(&text)?;
    Ok(Status::Complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_carries_the_notices_of_the_source() {
        let mut text = String::new();
        ZlibDecoder::new(PACKED).read_to_string(&mut text).unwrap();
        assert_eq!(text, include_str!("../../THIRD-PARTY-NOTICES"));
        for part in ["\nring ", "ISC", "CDLA", "Independent JPEG Group"] {
            assert!(text.contains(part), "no {part}");
        }
    }
}
