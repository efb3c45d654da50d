//! The network in other programs' formats: [`onnx`].

pub mod onnx;
