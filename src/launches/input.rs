//! The images of a run, and the types that they may have.

use crate::image::Normalisation;
use std::borrow::Cow;
use std::fmt;

/// Type of the elements of a run's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InputType {
    /// Normalised values: 4 bytes each.
    #[default]
    F32,
    /// Levels, 0 to 255, which the network's first step normalises: 1 byte each.
    U8,
}

impl InputType {
    /// Bytes of an element.
    pub fn elem_bytes(self) -> usize {
        match self {
            InputType::F32 => size_of::<f32>(),
            InputType::U8 => size_of::<u8>(),
        }
    }
}

impl fmt::Display for InputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            InputType::F32 => "f32",
            InputType::U8 => "u8",
        })
    }
}

/// The input that launches are made for, [`Region::Input`](super::Region::Input): `[n, h, w, 3]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LaunchInput {
    /// Normalised values, which the stem takes as they are.
    #[default]
    F32,
    /// Levels, which the stem normalises.
    U8(Normalisation),
}

impl LaunchInput {
    /// Type of the elements.
    pub fn input_type(&self) -> InputType {
        match self {
            LaunchInput::F32 => InputType::F32,
            LaunchInput::U8(_) => InputType::U8,
        }
    }

    /// The values that the stem computes with of a run's images: levels are normalised.
    ///
    /// # Errors
    ///
    /// [`InputTypeError`] if the images are of the other type.
    pub fn values<'a>(&self, images: Input<'a>) -> Result<Cow<'a, [f32]>, InputTypeError> {
        match (self, images) {
            (LaunchInput::F32, Input::F32(values)) => Ok(Cow::Borrowed(values)),
            (LaunchInput::U8(normalisation), Input::U8(levels)) => {
                Ok(Cow::Owned(normalisation.values(levels)))
            }
            _ => {
                let (expected, found) = (self.input_type(), images.input_type());
                Err(InputTypeError { expected, found })
            }
        }
    }
}

/// The images of a run, `[n, h, w, 3]`.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Normalised values.
    F32(&'a [f32]),
    /// Levels, 0 to 255.
    U8(&'a [u8]),
}

impl<'a> Input<'a> {
    /// Type of the elements.
    pub fn input_type(self) -> InputType {
        match self {
            Input::F32(_) => InputType::F32,
            Input::U8(_) => InputType::U8,
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self {
            Input::F32(values) => values.len(),
            Input::U8(levels) => levels.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the elements are of the type that a plan takes.
    ///
    /// # Errors
    ///
    /// [`InputTypeError`] if they are not.
    pub fn expect(self, expected: InputType) -> Result<(), InputTypeError> {
        match self.input_type() {
            found if found == expected => Ok(()),
            found => Err(InputTypeError { expected, found }),
        }
    }

    /// The elements as bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Input::F32(values) => bytemuck::cast_slice(values),
            Input::U8(levels) => levels,
        }
    }
}

impl<'a> From<&'a [f32]> for Input<'a> {
    fn from(values: &'a [f32]) -> Input<'a> {
        Input::F32(values)
    }
}

impl<'a> From<&'a Vec<f32>> for Input<'a> {
    fn from(values: &'a Vec<f32>) -> Input<'a> {
        Input::F32(values)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Input<'a> {
    fn from(values: &'a [f32; N]) -> Input<'a> {
        Input::F32(values)
    }
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(levels: &'a [u8]) -> Input<'a> {
        Input::U8(levels)
    }
}

impl<'a> From<&'a Vec<u8>> for Input<'a> {
    fn from(levels: &'a Vec<u8>) -> Input<'a> {
        Input::U8(levels)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Input<'a> {
    fn from(levels: &'a [u8; N]) -> Input<'a> {
        Input::U8(levels)
    }
}

/// Images of a type that a network was not made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the input is {found}, and what runs it was made for {expected}: give {expected}, or make it for \
     {found}"
)]
pub struct InputTypeError {
    /// The type that the session or device was made for.
    pub expected: InputType,
    /// The type that was given or asked for.
    pub found: InputType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_s_bytes_are_its_elements() {
        assert_eq!(Input::from(&vec![1.0f32, -2.0]).bytes().len(), 2 * InputType::F32.elem_bytes());
        let levels: &[u8] = &[1, 2, 255];
        Input::from(levels).expect(InputType::U8).unwrap();
        let normalisation = Normalisation { mean: [0.0; 3], std: [0.5; 3] };
        let values = LaunchInput::U8(normalisation).values(levels.into()).unwrap();
        assert_eq!(values[..], [2.0 / 255.0, 4.0 / 255.0, 2.0]);
        assert!(LaunchInput::U8(normalisation).values((&vec![0.0f32]).into()).is_err());
        let refused = Input::from(levels).expect(InputType::F32).unwrap_err();
        assert_eq!((refused.expected, refused.found), (InputType::F32, InputType::U8));
        assert!(refused.to_string().starts_with("the input is u8, and what runs it"), "{refused}");
        assert_eq!((Input::from(levels).bytes(), Input::from(levels).len()), (levels, 3));
    }
}
