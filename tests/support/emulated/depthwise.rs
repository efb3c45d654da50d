//! Launches of `kernels/depthwise.cu`, and their expected outputs.

use super::*;
use effnet::kernels::{depthwise, squeeze};

/// Tensors and options of a depthwise launch.
#[derive(Clone, Debug)]
pub struct Depthwise {
    pub precision: Precision,
    pub k: usize,
    pub stride: usize,
    pub n: usize,
    pub input_size: [usize; 2],
    pub output_size: [usize; 2],
    pub pad: [usize; 2],
    pub c: usize,
    pub activation: i32,
    /// Whether there are partial sums.
    pub squeeze: bool,
    /// Rows of the weight that the sums are multiplied by; 0: none.
    pub c_se: usize,
    pub batch_norm: bool,
    pub data: Data,
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    /// `[c_se, c]`.
    pub reduce_weight: Vec<f32>,
}

impl Depthwise {
    /// The launch with random tensors; `shape` has none.
    pub fn filled(mut shape: Depthwise, seed: u64) -> Depthwise {
        let mut random = Random::new(seed);
        let Depthwise { precision, k, n, input_size: [h, w], c, data, .. } = shape;
        shape.input = data.values(&mut random, precision, n * h * w * c);
        shape.weight = data.values(&mut random, precision, k * k * c);
        shape.scale = data.scales(&mut random, c);
        shape.shift = data.values(&mut random, Precision::Fp32, c);
        shape.reduce_weight = data.values(&mut random, precision, shape.c_se * c);
        shape
    }

    /// A shape without tensors.
    pub fn shape(
        precision: Precision,
        [k, stride]: [usize; 2],
        [h_in, w_in]: [usize; 2],
        [h_out, w_out]: [usize; 2],
        [pad_top, pad_left]: [usize; 2],
        [n, c]: [usize; 2],
    ) -> Depthwise {
        Depthwise {
            precision,
            k,
            stride,
            n,
            input_size: [h_in, w_in],
            output_size: [h_out, w_out],
            pad: [pad_top, pad_left],
            c,
            activation: ACTIVATION_SWISH,
            squeeze: true,
            c_se: 0,
            batch_norm: true,
            data: Data::Uniform,
            input: Vec::new(),
            weight: Vec::new(),
            scale: Vec::new(),
            shift: Vec::new(),
            reduce_weight: Vec::new(),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Depthwise {
        let elems = self.input.len() / self.n;
        Depthwise { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    fn tiles(&self) -> depthwise::Tiles {
        let size = self.output_size.map(|side| side as i32);
        depthwise::Tiles::new(self.precision, self.k, self.stride, size)
    }

    fn count(&self) -> usize {
        self.tiles().count() as usize
    }

    /// Channels of a slice of the squeeze, and the number of slices.
    fn slices(&self) -> [usize; 2] {
        let (c, tiles) = (self.c as i32, self.count() as i32);
        [squeeze::slice(c, tiles), squeeze::slices(c, tiles)].map(|x| x as usize)
    }

    /// The squeeze of the sums, `[n, tiles, slices, stride]`: one fma for each channel of a slice.
    fn squeezed(&self, sums: &[Bounded]) -> Vec<Bounded> {
        let [slice, slices] = self.slices();
        let u = self.data.u();
        let mut squeezed = Vec::new();
        for tile in sums.chunks(self.c) {
            for s in 0..slices {
                let channels = s * slice..((s + 1) * slice).min(self.c);
                for j in 0..squeeze::stride(self.c_se as i32) as usize {
                    let mut sum = Bounded::default();
                    // Beyond c_se, zeros.
                    for c in channels.clone().filter(|_| j < self.c_se) {
                        let w = f64::from(self.reduce_weight[j * self.c + c]);
                        sum.value += tile[c].value * w;
                        let roundings = channels.len() as f64 * u * tile[c].value.abs();
                        sum.error += (tile[c].error + roundings) * w.abs();
                    }
                    squeezed.push(sum);
                }
            }
        }
        squeezed
    }
}

impl Case for Depthwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let pixels = self.output_size[0] * self.output_size[1];
        let squeezed = self.n * self.count() * self.c;
        let input = buffers.input("input", self.precision, &self.input);
        let weight = buffers.input("weight", self.precision, &self.weight);
        let (scale, shift) = match self.batch_norm {
            true => (
                buffers.input("scale", Precision::Fp32, &self.scale),
                buffers.input("shift", Precision::Fp32, &self.shift),
            ),
            false => (0, 0),
        };
        let [slice, slices] = self.slices();
        let reduced = self.n * self.count() * slices * squeeze::stride(self.c_se as i32) as usize;
        let (reduce_weight, c_se, slice) = match self.c_se {
            0 => (0, 0, 0),
            c_se => (
                buffers.input("reduce_weight", self.precision, &self.reduce_weight),
                c_se as i32,
                slice as i32,
            ),
        };
        let params = DepthwiseParams {
            input,
            weight,
            scale,
            shift,
            output: buffers.output("output", self.precision, self.n * pixels * self.c),
            partial_sums: match self.squeeze {
                true => buffers.output("partial_sums", Precision::Fp32, squeezed),
                false => 0,
            },
            reduce_weight,
            squeeze: match self.c_se {
                0 => 0,
                _ => buffers.output("squeeze", Precision::Fp32, reduced),
            },
            c_se,
            slice,
            n: self.n as i32,
            h_in: self.input_size[0] as i32,
            w_in: self.input_size[1] as i32,
            h_out: self.output_size[0] as i32,
            w_out: self.output_size[1] as i32,
            c: self.c as i32,
            pad_top: self.pad[0] as i32,
            pad_left: self.pad[1] as i32,
            activation: self.activation,
            ..Default::default()
        };
        let launch = depthwise::launch(self.precision, self.k, self.stride, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let Depthwise { k, stride, c, data, .. } = *self;
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let tiles = self.tiles();
        // One fma each; on tensor cores six roundings of each product, see the module's head.
        let roundings = match self.precision {
            Precision::Fp32 => k * k,
            Precision::Fp16 => 6 * k * k,
        } as f64;
        let mut output = Vec::with_capacity(self.n * h_out * w_out * c);
        let mut sums = vec![Bounded::default(); self.n * self.count() * c];
        let mut magnitudes = vec![0.0; sums.len()];
        let (mut acc, mut magnitude) = (vec![0.0f64; c], vec![0.0f64; c]);
        for image in 0..self.n {
            for pixel in 0..h_out * w_out {
                acc.fill(0.0);
                magnitude.fill(0.0);
                for (i, j) in (0..k * k).map(|tap| (tap / k, tap % k)) {
                    let y = (pixel / w_out * stride + i).checked_sub(self.pad[0]);
                    let x = (pixel % w_out * stride + j).checked_sub(self.pad[1]);
                    let (Some(y), Some(x)) = (y.filter(|&y| y < h_in), x.filter(|&x| x < w_in))
                    else {
                        continue;
                    };
                    let row = &self.input[((image * h_in + y) * w_in + x) * c..][..c];
                    let weight = &self.weight[(i * k + j) * c..][..c];
                    for channel in 0..c {
                        let product = f64::from(row[channel]) * f64::from(weight[channel]);
                        acc[channel] += product;
                        magnitude[channel] += product.abs();
                    }
                }
                let tile = tiles.of(pixel / w_out, pixel % w_out);
                for channel in 0..c {
                    let error = roundings * data.u() * magnitude[channel];
                    let mut y = Bounded { value: acc[channel], error };
                    if self.batch_norm {
                        y = y.batch_norm(self.scale[channel], self.shift[channel], data);
                    }
                    let y = y.activate(self.activation, data, self.precision);
                    let sum = (image * self.count() + tile) * c + channel;
                    sums[sum].value += y.value;
                    sums[sum].error += y.error;
                    magnitudes[sum] += y.value.abs();
                    output.push(y.stored(self.precision));
                }
            }
        }
        for (sum, magnitude) in sums.iter_mut().zip(magnitudes) {
            sum.error += tiles.additions() as f64 * data.u() * magnitude;
        }
        let mut expected =
            vec![Expected { name: "output", precision: self.precision, values: output }];
        let precision = Precision::Fp32;
        let reduced = self.squeezed(&sums);
        if self.squeeze {
            expected.push(Expected { name: "partial_sums", precision, values: sums });
        }
        if self.c_se > 0 {
            expected.push(Expected { name: "squeeze", precision, values: reduced });
        }
        expected
    }

    fn describe(&self) -> String {
        format!(
            "depthwise k{}s{} {} {:?} -> {:?}, pad {:?}, n {}, c {}, activation {}, squeeze {}, \
             c_se {}, batch_norm {}",
            self.k,
            self.stride,
            self.precision,
            self.input_size,
            self.output_size,
            self.pad,
            self.n,
            self.c,
            self.activation,
            self.squeeze,
            self.c_se,
            self.batch_norm
        )
    }
}
