//! Launches of `kernels/stem.cu`, and their expected outputs.

use super::*;
use effnet::kernels::stem::{self, StemInput};

/// Means of ImageNet, as most checkpoints have them.
pub const STEM_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviations of ImageNet, as most checkpoints have them.
pub const STEM_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Tensors and options of a stem launch.
#[derive(Clone, Debug)]
pub struct Stem {
    pub input_type: StemInput,
    pub precision: Precision,
    pub n: usize,
    pub input_size: [usize; 2],
    pub output_size: [usize; 2],
    pub pad: [usize; 2],
    pub c_out: usize,
    pub activation: i32,
    pub batch_norm: bool,
    pub data: Data,
    /// Input values; levels where the input is u8.
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Stem {
    /// A stem with random tensors; [`Data::Integers`] is not for u8, whose normalisation rounds.
    pub fn new(
        (input_type, precision): (StemInput, Precision),
        [h_in, w_in]: [usize; 2],
        [h_out, w_out]: [usize; 2],
        [pad_top, pad_left]: [usize; 2],
        [n, c_out]: [usize; 2],
        (activation, data): (i32, Data),
        seed: u64,
    ) -> Stem {
        let mut random = Random::new(seed);
        let elems = n * h_in * w_in * 3;
        let input = match input_type {
            StemInput::U8 => (0..elems).map(|_| (random.bits() % 256) as f32).collect(),
            StemInput::F16 => data.values(&mut random, Precision::Fp16, elems),
            StemInput::F32 => data.values(&mut random, Precision::Fp32, elems),
        };
        Stem {
            input_type,
            precision,
            n,
            input_size: [h_in, w_in],
            output_size: [h_out, w_out],
            pad: [pad_top, pad_left],
            c_out,
            activation,
            batch_norm: true,
            data,
            input,
            weight: data.values(&mut random, precision, 27 * c_out),
            scale: data.scales(&mut random, c_out),
            shift: data.values(&mut random, Precision::Fp32, c_out),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Stem {
        let elems = self.input.len() / self.n;
        Stem { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    /// u8 input, normalised by the host's f32 arithmetic: `src/image/mod.rs`.
    pub fn normalised(&self) -> Stem {
        assert_eq!(self.input_type, StemInput::U8);
        Stem { input_type: StemInput::F32, input: self.values(), ..self.clone() }
    }

    /// Values that the convolution reads.
    fn values(&self) -> Vec<f32> {
        match self.input_type {
            StemInput::U8 => {
                let levels = self.input.iter().enumerate();
                levels.map(|(i, x)| (x / 255.0 - STEM_MEAN[i % 3]) / STEM_STD[i % 3]).collect()
            }
            _ => self.input.clone(),
        }
    }
}

impl Case for Stem {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let pixels = self.output_size[0] * self.output_size[1];
        let input = match self.input_type {
            StemInput::U8 => {
                let levels: Vec<u8> = self.input.iter().map(|&x| x as u8).collect();
                buffers.bytes("input", levels)
            }
            StemInput::F16 => buffers.input("input", Precision::Fp16, &self.input),
            StemInput::F32 => buffers.input("input", Precision::Fp32, &self.input),
        };
        let weight = buffers.input("weight", self.precision, &self.weight);
        let (scale, shift) = match self.batch_norm {
            true => (
                buffers.input("scale", Precision::Fp32, &self.scale),
                buffers.input("shift", Precision::Fp32, &self.shift),
            ),
            false => (0, 0),
        };
        let params = StemParams {
            input,
            weight,
            scale,
            shift,
            output: buffers.output("output", self.precision, self.n * pixels * self.c_out),
            mean: STEM_MEAN,
            std: STEM_STD,
            n: self.n as i32,
            h_in: self.input_size[0] as i32,
            w_in: self.input_size[1] as i32,
            h_out: self.output_size[0] as i32,
            w_out: self.output_size[1] as i32,
            c_out: self.c_out as i32,
            pad_top: self.pad[0] as i32,
            pad_left: self.pad[1] as i32,
            activation: self.activation,
            reserved: 0,
        };
        let launch = stem::launch(self.input_type, self.precision, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let (c, data, input) = (self.c_out, self.data, self.values());
        let mut values = Vec::with_capacity(self.n * h_out * w_out * c);
        let (mut acc, mut magnitude) = (vec![0.0f64; c], vec![0.0f64; c]);
        for (image, pixel) in
            (0..self.n).flat_map(|image| (0..h_out * w_out).map(move |p| (image, p)))
        {
            acc.fill(0.0);
            magnitude.fill(0.0);
            for tap in 0..27 {
                let (i, j, channel) = (tap / 9, tap / 3 % 3, tap % 3);
                let y = (pixel / w_out * 2 + i).checked_sub(self.pad[0]);
                let x = (pixel % w_out * 2 + j).checked_sub(self.pad[1]);
                let (Some(y), Some(x)) = (y.filter(|&y| y < h_in), x.filter(|&x| x < w_in)) else {
                    continue;
                };
                let value = f64::from(input[((image * h_in + y) * w_in + x) * 3 + channel]);
                for (out, &weight) in self.weight[tap * c..][..c].iter().enumerate() {
                    let product = value * f64::from(weight);
                    acc[out] += product;
                    magnitude[out] += product.abs();
                }
            }
            for out in 0..c {
                let error = 27.0 * data.u() * magnitude[out];
                let mut y = Bounded { value: acc[out], error };
                if self.batch_norm {
                    y = y.batch_norm(self.scale[out], self.shift[out], data);
                }
                values.push(y.activate(self.activation, data).stored(self.precision));
            }
        }
        vec![Expected { name: "output", precision: self.precision, values }]
    }

    fn describe(&self) -> String {
        format!(
            "stem {:?} {} {:?} -> {:?}, pad {:?}, n {}, c_out {}, activation {}, batch_norm {}",
            self.input_type,
            self.precision,
            self.input_size,
            self.output_size,
            self.pad,
            self.n,
            self.c_out,
            self.activation,
            self.batch_norm
        )
    }
}
