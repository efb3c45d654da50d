//! The images of a run, in the type that a launch plan takes them in.

/// Memory that the images of the next run are written to, `[n, h, w, 3]`.
#[derive(Debug)]
pub enum InputMut<'a> {
    /// Levels from 0 to 255, which the stem normalises.
    U8(&'a mut [u8]),
    /// Normalised values.
    F32(&'a mut [f32]),
}

impl InputMut<'_> {
    /// Values of all images.
    pub fn len(&self) -> usize {
        match self {
            InputMut::U8(levels) => levels.len(),
            InputMut::F32(values) => values.len(),
        }
    }

    /// Whether there are no values; a run has always an image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type's name, as in messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            InputMut::U8(_) => "u8",
            InputMut::F32(_) => "f32",
        }
    }
}
