//! Arrays of f32 as NumPy's `.npy`: format version 1.0.

/// The magic, the version, the header's length and the header end at a multiple of this.
const ALIGNMENT: usize = 64;

/// The bytes of a row-major array of f32.
pub(super) fn encode(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(|side| format!("{side},")).collect();
    let dict =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sides.join(" "));
    // The magic with the version is 8 bytes, the length of the header 2, the final newline 1.
    let end = (10 + dict.len() + 1).next_multiple_of(ALIGNMENT);
    let header_len = u16::try_from(end - 10).expect("a few axes fit a header of 64 KiB");
    let mut bytes = Vec::with_capacity(end + 4 * values.len());
    bytes.extend_from_slice(b"\x93NUMPY\x01\x00");
    bytes.extend_from_slice(&header_len.to_le_bytes());
    bytes.extend_from_slice(dict.as_bytes());
    bytes.resize(end - 1, b' ');
    bytes.push(b'\n');
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use effnet::weights::import::{Checkpoint, Container};

    #[test]
    fn an_array_is_read_back() {
        for shape in [&[2, 3][..], &[6], &[1, 6, 1, 1]] {
            let values = [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE, 1e-45, 3.5];
            let bytes = encode(shape, &values);
            assert_eq!((bytes.len() - 4 * values.len()) % ALIGNMENT, 0);
            let read = Checkpoint::from_bytes(bytes).unwrap();
            assert_eq!(read.container(), Container::Npy);
            assert_eq!(read.tensors()["arr_0"].shape, shape);
            let found = read.read_f32("arr_0").unwrap();
            assert_eq!(found.map_bits(), values.to_vec().map_bits());
        }
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|value| value.to_bits()).collect()
        }
    }
}
