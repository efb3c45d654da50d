//! The buffers of a launch, with guards around them that must not change.

use effnet::emulator::{Buffer, Memory};
use effnet::weights::Precision;
use half::f16;

/// Length of the guard before and after every buffer, where guards are asked for.
const GUARD_BYTES: usize = 256;

/// Role of a buffer in its launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The buffer has contents, which stay as they are.
    Input,
    /// The buffer is written as a whole.
    Output,
    /// The buffer has contents, and the output takes their place.
    InPlace,
    /// The buffer is written as the launch likes.
    Scratch,
}

pub struct Region {
    pub name: &'static str,
    pub role: Role,
    pub len_bytes: usize,
    /// Contents of [`Role::Input`] and [`Role::InPlace`].
    pub contents: Option<Vec<u8>>,
    /// The buffer on the emulator.
    buffer: Buffer,
}

/// The buffers of one launch.
///
/// Without guards every allocation ends where its tensor ends, and the emulator sees each access
/// beyond. With guards tensors lie within larger allocations, where an access beyond goes unseen
/// but a write leaves its trace.
///
/// A GPU does not report accesses beyond a tensor: there, tensors always have guards. Guards,
/// outputs and scratch are of NaNs in the one case and of other bytes in the other, so that results
/// that depend on them differ.
pub struct Buffers {
    pub memory: Memory,
    guard_bytes: usize,
    pub poison: u8,
    pub regions: Vec<Region>,
}

impl Buffers {
    pub fn exact() -> Buffers {
        Buffers { memory: Memory::new(), guard_bytes: 0, poison: 0xff, regions: Vec::new() }
    }

    pub fn guarded() -> Buffers {
        Buffers { guard_bytes: GUARD_BYTES, poison: 0xa5, ..Buffers::exact() }
    }

    pub fn region(
        &mut self,
        name: &'static str,
        role: Role,
        len_bytes: usize,
        contents: Option<Vec<u8>>,
    ) -> u64 {
        assert_eq!(contents.is_some(), matches!(role, Role::Input | Role::InPlace), "{name}");
        let guard = vec![self.poison; self.guard_bytes];
        let buffer = self.memory.uninitialised(name, len_bytes + 2 * self.guard_bytes);
        self.memory.write(&buffer, 0, &guard);
        self.memory.write(&buffer, self.guard_bytes + len_bytes, &guard);
        if let Some(contents) = &contents {
            self.memory.write(&buffer, self.guard_bytes, contents);
        }
        let address = buffer.address() + self.guard_bytes as u64;
        self.regions.push(Region { name, role, buffer, len_bytes, contents });
        address
    }

    /// Address of a tensor of f16 or f32 values.
    pub fn input(&mut self, name: &'static str, precision: Precision, values: &[f32]) -> u64 {
        self.bytes(name, encode(precision, values))
    }

    /// Address of a tensor given as bytes.
    pub fn bytes(&mut self, name: &'static str, bytes: Vec<u8>) -> u64 {
        self.region(name, Role::Input, bytes.len(), Some(bytes))
    }

    pub fn output(&mut self, name: &'static str, precision: Precision, elems: usize) -> u64 {
        self.output_bytes(name, elems * precision.elem_bytes())
    }

    pub fn output_bytes(&mut self, name: &'static str, bytes: usize) -> u64 {
        self.region(name, Role::Output, bytes, None)
    }

    /// Address of an input whose place the output takes.
    pub fn in_place(&mut self, name: &'static str, precision: Precision, values: &[f32]) -> u64 {
        let bytes = encode(precision, values);
        self.region(name, Role::InPlace, bytes.len(), Some(bytes))
    }

    /// Address of memory whose contents are nobody's business before and after.
    pub fn scratch(&mut self, name: &'static str, bytes: usize) -> u64 {
        self.region(name, Role::Scratch, bytes, None)
    }

    /// Place of `address`, as the index of a region and an offset from its start.
    pub fn find(&self, address: u64) -> Option<(usize, u64)> {
        self.regions.iter().enumerate().find_map(|(i, region)| {
            let start = region.buffer.address() + self.guard_bytes as u64;
            let offset = address.checked_sub(start)?;
            (offset < region.len_bytes as u64).then_some((i, offset))
        })
    }

    /// The bytes of the outputs on the emulator, in the order of their allocation. Guards and
    /// inputs must be as they were, and every byte of every output written.
    pub fn outputs(&self, what: &str) -> Vec<Vec<u8>> {
        let downloads = self.regions.iter().map(|region| {
            if region.role == Role::Output {
                assert_eq!(
                    self.memory.initialised_bytes(&region.buffer),
                    region.buffer.len_bytes(),
                    "{what}: bytes of {} that are written",
                    region.name
                );
            }
            self.memory.download(&region.buffer)
        });
        self.outputs_of(what, self.guard_bytes, downloads)
    }

    /// The outputs among the buffers, each with `guard_bytes` around it. Guards and inputs must be
    /// as they were.
    pub fn outputs_of(
        &self,
        what: &str,
        guard_bytes: usize,
        downloads: impl Iterator<Item = Vec<u8>>,
    ) -> Vec<Vec<u8>> {
        let mut outputs = Vec::new();
        for (Region { name, role, len_bytes, contents, .. }, bytes) in
            self.regions.iter().zip(downloads)
        {
            let (before, rest) = bytes.split_at(guard_bytes);
            let (inside, after) = rest.split_at(*len_bytes);
            assert!(before.iter().all(|&b| b == self.poison), "{what}: written before {name}");
            assert!(after.iter().all(|&b| b == self.poison), "{what}: written after {name}");
            match role {
                Role::Input => {
                    assert!(
                        contents.as_deref() == Some(inside),
                        "{what}: input {name} was written"
                    );
                }
                Role::Output | Role::InPlace => outputs.push(inside.to_vec()),
                Role::Scratch => {}
            }
        }
        outputs
    }

    /// The bytes of the outputs as they are, whatever else happened.
    pub fn raw_outputs(&self) -> Vec<Vec<u8>> {
        let outputs = self.regions.iter().filter(|r| r.role == Role::Output);
        outputs.map(|r| self.memory.download(&r.buffer)).collect()
    }
}

/// Values that are exact in the precision, as bytes.
pub fn encode(precision: Precision, values: &[f32]) -> Vec<u8> {
    match precision {
        Precision::Fp32 => bytemuck::cast_slice(values).to_vec(),
        Precision::Fp16 => {
            let halves: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
    }
}

pub fn decode(precision: Precision, bytes: &[u8]) -> Vec<f64> {
    match precision {
        Precision::Fp32 => {
            bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect()
        }
        Precision::Fp16 => {
            bytemuck::pod_collect_to_vec::<u8, f16>(bytes).into_iter().map(f64::from).collect()
        }
    }
}
