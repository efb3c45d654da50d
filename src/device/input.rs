//! The images of a run, in the type that a launch plan takes them in.

use crate::launches::{Input, InputType, InputTypeError};

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

    /// Type of the values.
    pub fn input_type(&self) -> InputType {
        match self {
            InputMut::U8(_) => InputType::U8,
            InputMut::F32(_) => InputType::F32,
        }
    }
}

impl<'a> InputMut<'a> {
    /// The memory for levels; an error where it is for normalised values.
    pub fn u8(self) -> Result<&'a mut [u8], InputTypeError> {
        match self {
            InputMut::U8(levels) => Ok(levels),
            InputMut::F32(_) => {
                Err(InputTypeError { expected: InputType::F32, found: InputType::U8 })
            }
        }
    }

    /// The memory for normalised values; an error where it is for levels.
    pub fn f32(self) -> Result<&'a mut [f32], InputTypeError> {
        match self {
            InputMut::F32(values) => Ok(values),
            InputMut::U8(_) => {
                Err(InputTypeError { expected: InputType::U8, found: InputType::F32 })
            }
        }
    }

    /// Copies the images of a run to it: as many values, of the same type.
    pub(crate) fn write(self, input: Input<'_>) -> Result<(), InputTypeError> {
        match (self, input) {
            (InputMut::U8(to), Input::U8(levels)) => to.copy_from_slice(levels),
            (InputMut::F32(to), Input::F32(values)) => to.copy_from_slice(values),
            (to, input) => input.expect(to.input_type())?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_other_type_is_refused() {
        let (mut values, mut levels) = ([0.0; 3], [0; 3]);
        InputMut::F32(&mut values).write(Input::F32(&[1.0, 2.0, 3.0])).unwrap();
        InputMut::U8(&mut levels).write(Input::U8(&[1, 2, 3])).unwrap();
        assert_eq!((values, levels), ([1.0, 2.0, 3.0], [1, 2, 3]));
        assert_eq!(InputMut::F32(&mut values).f32().unwrap().len(), 3);
        assert_eq!(InputMut::U8(&mut levels).u8().unwrap().len(), 3);
        let errors = [
            InputMut::F32(&mut values).u8().map(|_| ()).unwrap_err(),
            InputMut::F32(&mut values).write(Input::U8(&[1, 2, 3])).unwrap_err(),
        ];
        for error in errors {
            assert_eq!((error.expected, error.found), (InputType::F32, InputType::U8));
        }
        let error = InputMut::U8(&mut levels).f32().unwrap_err();
        assert_eq!((error.expected, error.found), (InputType::U8, InputType::F32));
    }
}
