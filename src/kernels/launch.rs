//! A launch, and why there can be none.

/// Grid, block and dynamic shared memory of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block; the shared memory that a kernel declares with a fixed size
    /// comes on top.
    pub shared_bytes: u32,
}

/// The most dynamic shared memory of a block, which every device from sm_75 on grants by opt-in.
pub(super) const MAX_SHARED_BYTES: u64 = 64 << 10;

/// One launch of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch<P> {
    /// The `.cu` file's stem: [`KernelImage::name`](super::KernelImage::name).
    pub image: &'static str,
    /// The kernel's symbol.
    pub kernel: &'static str,
    /// Grid, block, shared memory.
    pub geometry: Geometry,
    /// The kernel's only parameter, passed by value.
    pub params: P,
}

/// Arguments that a kernel does not take.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum LaunchError {
    #[error("{op}: {what} is {found}, expected {expected}")]
    Argument { op: &'static str, what: &'static str, found: i64, expected: &'static str },
    #[error(
        "{op}: {what} is at address {address:#x}, expected a non-null address aligned to {align} bytes"
    )]
    Address { op: &'static str, what: &'static str, address: u64, align: u64 },
    #[error("{op}: {what} has {elems} elements, expected fewer than 2^31; run a smaller batch")]
    TooLarge { op: &'static str, what: &'static str, elems: u128 },
    #[error("{op}: {what} is {found}, expected {expected}")]
    Number { op: &'static str, what: &'static str, found: f32, expected: &'static str },
    #[error("{op}: no kernel for {asked}; there are {available}")]
    NoKernel { op: &'static str, asked: String, available: &'static str },
}

/// Checks arguments on behalf of one operation.
pub(super) struct Check(pub &'static str);

impl Check {
    pub fn at_least(&self, what: &'static str, value: i32, least: i32) -> Result<(), LaunchError> {
        let expected = if least == 0 { "at least 0" } else { "at least 1" };
        self.that(value >= least, what, value.into(), expected)
    }

    pub fn that(
        &self,
        holds: bool,
        what: &'static str,
        found: i64,
        expected: &'static str,
    ) -> Result<(), LaunchError> {
        if holds {
            return Ok(());
        }
        Err(LaunchError::Argument { op: self.0, what, found, expected })
    }

    pub fn number(
        &self,
        holds: impl Fn(f32) -> bool,
        what: &'static str,
        values: [f32; 3],
        expected: &'static str,
    ) -> Result<(), LaunchError> {
        match values.into_iter().find(|&value| !holds(value)) {
            None => Ok(()),
            Some(found) => Err(LaunchError::Number { op: self.0, what, found, expected }),
        }
    }

    pub fn activation(&self, value: i32) -> Result<(), LaunchError> {
        self.that((0..=2).contains(&value), "activation", value.into(), "0, 1 or 2")
    }

    pub fn address(&self, what: &'static str, address: u64, align: u64) -> Result<(), LaunchError> {
        if address != 0 && address.is_multiple_of(align) {
            return Ok(());
        }
        Err(LaunchError::Address { op: self.0, what, address, align })
    }

    /// An address that may be null.
    pub fn optional(&self, what: &'static str, at: u64, align: u64) -> Result<(), LaunchError> {
        if at == 0 { Ok(()) } else { self.address(what, at, align) }
    }

    /// Kernels index with 32-bit integers. The extents must be known to be positive.
    pub fn elems(&self, what: &'static str, extents: &[i32]) -> Result<(), LaunchError> {
        let elems = extents.iter().fold(1u128, |n, &e| n.saturating_mul(e.max(0) as u128));
        if elems < 1 << 31 {
            return Ok(());
        }
        Err(LaunchError::TooLarge { op: self.0, what, elems })
    }

    /// A window of side `k` that lies outside the input altogether is a wrong plan. It also bounds
    /// the kernels' arithmetic: no window starts further out than `k`. The extents must be known to
    /// be positive.
    pub fn window(
        &self,
        [k, stride]: [usize; 2],
        pads: [i32; 2],
        extents_in: [i32; 2],
        extents_out: [i32; 2],
    ) -> Result<(), LaunchError> {
        let names = [("pad_top", "h_out"), ("pad_left", "w_out")];
        for (axis, (pad_name, extent_name)) in names.into_iter().enumerate() {
            let (pad, extent) = (i64::from(pads[axis]), i64::from(extents_out[axis]));
            self.that((0..k as i64).contains(&pad), pad_name, pad, "between 0 and k - 1")?;
            let last = (extent - 1) * stride as i64 - pad;
            let expected = "an extent whose last window touches the input";
            self.that(last < extents_in[axis].into(), extent_name, extent, expected)?;
        }
        Ok(())
    }

    /// The y and z extents of a grid end at 65,535.
    pub fn grid(&self, what: &'static str, blocks: u32) -> Result<(), LaunchError> {
        self.that(blocks <= 65_535, what, blocks.into(), "at most 65535 blocks")
    }
}
