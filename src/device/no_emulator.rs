//! What stands for the emulated device in a build without the feature `emulator`: a device that
//! nobody can make, so that whoever runs one compiles with and without it.

use super::{BestClasses, EmulatedWork};
use crate::launches::{Input, LaunchPlan};
use crate::weights::Weights;

/// Why there is no emulated device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmulatedError {
    /// The emulator is no part of this build.
    #[error(
        "no PTX emulator in this build: build effnet with its feature `emulator` (cargo build \
         --features emulator), or run on cpu or cuda"
    )]
    NoEmulator,
}

/// A device without values, as this build has no emulator.
#[derive(Debug)]
pub enum EmulatedDevice {}

impl EmulatedDevice {
    /// Always [`EmulatedError::NoEmulator`].
    pub fn new(_plan: LaunchPlan, _weights: &Weights) -> Result<EmulatedDevice, EmulatedError> {
        Err(EmulatedError::NoEmulator)
    }

    /// The launch plan.
    pub fn plan(&self) -> &LaunchPlan {
        match *self {}
    }

    /// Runs `n` images: `input` is `[n, h, w, 3]`.
    pub fn run<'a>(
        &mut self,
        _input: impl Into<Input<'a>>,
        _n: usize,
    ) -> Result<(), EmulatedError> {
        match *self {}
    }

    /// Work of all runs so far.
    pub fn work(&self) -> EmulatedWork {
        match *self {}
    }

    /// Logits of the last run, `[n, classes]`.
    pub fn logits(&self) -> &[f32] {
        match *self {}
    }

    /// The best classes of each image of the last run.
    pub fn top_k(&self) -> Option<BestClasses<'_>> {
        match *self {}
    }

    /// Logits of the last run, `[n, classes]`.
    pub fn read_logits(&self) -> Vec<f32> {
        match *self {}
    }

    /// Features of the last run, `[n, c_head]`.
    pub fn features(&self) -> &[f32] {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::{Padding, Size, Variant};
    use crate::session::{Device, Session, SessionError, SessionOptions};
    use crate::weights::Precision;
    use crate::weights::stand_in::{metadata, weights};
    use std::sync::Arc;

    #[test]
    fn a_session_on_the_emulator_says_which_feature_is_missing() {
        let metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
        let options = SessionOptions {
            device: Device::Emulator,
            size: Some(Size::square(32)),
            ..SessionOptions::default()
        };
        let error = Session::new(Arc::new(weights(&metadata, 1).unwrap()), options).unwrap_err();
        assert!(matches!(&error, SessionError::Emulated(_)), "{error:?}");
        let said = error.to_string();
        for part in ["feature `emulator`", "--features emulator", "run on cpu or cuda"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
