//! Regions of device memory, and addresses before a device has put them anywhere.

/// Part of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Region {
    /// Every tensor of the packed file, each aligned to 256 bytes; never written by a launch.
    Weights,
    /// Activations, placed by liveness.
    Arena,
    /// The input images; written by the host before a run.
    Input,
    /// What a run leaves for the host.
    Output,
    /// Zero before the first run. Launches leave it as they found it.
    Counters,
}

/// An address that is not bound yet: the region in the bits above [`Address::OFFSET_BITS`], counted
/// from 1, so that null stays null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The region.
    pub region: Region,
    /// Offset from its start.
    pub offset_bytes: u64,
}

/// Where a device put the regions. Each base is aligned to 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bases {
    /// Of [`Region::Weights`].
    pub weights: u64,
    /// Of [`Region::Arena`].
    pub arena: u64,
    /// Of [`Region::Input`].
    pub input: u64,
    /// Of [`Region::Output`].
    pub output: u64,
    /// Of [`Region::Counters`].
    pub counters: u64,
}

impl Address {
    /// Bits of the offset in a symbolic address.
    pub const OFFSET_BITS: u32 = 40;

    /// As it stands in a parameter struct before it is bound.
    pub fn symbolic(self) -> u64 {
        ((self.region as u64 + 1) << Address::OFFSET_BITS) | self.offset_bytes
    }

    /// The address behind a symbolic one; none behind null.
    pub fn parse(symbolic: u64) -> Option<Address> {
        let region = match symbolic >> Address::OFFSET_BITS {
            1 => Region::Weights,
            2 => Region::Arena,
            3 => Region::Input,
            4 => Region::Output,
            5 => Region::Counters,
            _ => return None,
        };
        Some(Address { region, offset_bytes: symbolic & ((1 << Address::OFFSET_BITS) - 1) })
    }

    /// Where it is on a device.
    pub fn bind(self, bases: &Bases) -> u64 {
        let base = match self.region {
            Region::Weights => bases.weights,
            Region::Arena => bases.arena,
            Region::Input => bases.input,
            Region::Output => bases.output,
            Region::Counters => bases.counters,
        };
        base + self.offset_bytes
    }
}
