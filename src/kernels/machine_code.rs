//! Listings of the embedded machine code.

use super::{KernelImage, UnpackError};
use sass_listing::Listing;

impl KernelImage {
    /// The listing of the machine code of a target, without operands: instructions with the lines
    /// of the source that they come from, basic blocks, calls. None for a target that
    /// [`Built::listed`](super::Built::listed) does not name. Unpacked anew by each call.
    pub fn listing(&self, arch: u32) -> Result<Option<Listing>, UnpackError> {
        let Some((_, packed)) = self.listings.iter().find(|(of, _)| *of == arch) else {
            return Ok(None);
        };
        let text = packed.unpack(self.name)?;
        let text = String::from_utf8(text).map_err(|e| UnpackError::new(self.name, e))?;
        let listing = Listing::from_compact(&text).map_err(|e| UnpackError::new(self.name, e))?;
        Ok(Some(listing))
    }
}
