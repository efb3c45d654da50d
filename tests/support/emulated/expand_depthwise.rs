//! Launches of `kernels/expand_depthwise.cu`, and their expected outputs.

use super::*;
use effnet::kernels::expand_depthwise;

/// Tensors and options of an expand_depthwise launch.
#[derive(Clone, Debug)]
pub struct ExpandDepthwise {
    pub precision: Precision,
    pub k: usize,
    pub stride: usize,
    pub n: usize,
    pub input_size: [usize; 2],
    pub output_size: [usize; 2],
    pub pad: [usize; 2],
    pub c_in: usize,
    pub c_mid: usize,
    pub activation: i32,
    pub squeeze: bool,
    pub data: Data,
    pub input: Vec<f32>,
    pub expand_weight: Vec<f32>,
    pub expand_scale: Vec<f32>,
    pub expand_shift: Vec<f32>,
    pub depthwise_weight: Vec<f32>,
    pub depthwise_scale: Vec<f32>,
    pub depthwise_shift: Vec<f32>,
}

impl ExpandDepthwise {
    /// The launch with random tensors; `shape` has none.
    pub fn filled(mut shape: ExpandDepthwise, seed: u64) -> ExpandDepthwise {
        let random = &mut Random::new(seed);
        let ExpandDepthwise { precision, k, n, input_size: [h, w], c_in, c_mid, data, .. } = shape;
        shape.input = data.values(random, precision, n * h * w * c_in);
        shape.expand_weight = data.values(random, precision, c_mid * c_in);
        shape.expand_scale = data.scales(random, c_mid);
        shape.expand_shift = data.values(random, Precision::Fp32, c_mid);
        shape.depthwise_weight = data.values(random, precision, k * k * c_mid);
        shape.depthwise_scale = data.scales(random, c_mid);
        shape.depthwise_shift = data.values(random, Precision::Fp32, c_mid);
        shape
    }

    /// A shape without tensors.
    pub fn shape(
        precision: Precision,
        [k, stride]: [usize; 2],
        input_size: [usize; 2],
        output_size: [usize; 2],
        pad: [usize; 2],
        [n, c_in, c_mid]: [usize; 3],
    ) -> ExpandDepthwise {
        ExpandDepthwise {
            precision,
            k,
            stride,
            n,
            input_size,
            output_size,
            pad,
            c_in,
            c_mid,
            activation: ACTIVATION_SWISH,
            squeeze: true,
            data: Data::Uniform,
            input: Vec::new(),
            expand_weight: Vec::new(),
            expand_scale: Vec::new(),
            expand_shift: Vec::new(),
            depthwise_weight: Vec::new(),
            depthwise_scale: Vec::new(),
            depthwise_shift: Vec::new(),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> ExpandDepthwise {
        let elems = self.input.len() / self.n;
        ExpandDepthwise { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    fn tiles(&self) -> usize {
        let [h_out, w_out] = self.output_size.map(|x| x as i32);
        expand_depthwise::tiles(self.stride, h_out, w_out) as usize
    }

    /// The expanded map of all images, as it is stored.
    fn expanded(&self) -> Vec<Bounded> {
        let ExpandDepthwise { c_in, data, .. } = *self;
        let roundings = match self.precision {
            Precision::Fp16 => tensor_core_roundings(c_in, 0),
            Precision::Fp32 => c_in as f64,
        };
        let weight: Vec<f64> = self.expand_weight.iter().map(|&w| w.into()).collect();
        let mut mid = Vec::with_capacity(self.input.len() / c_in * self.c_mid);
        for pixel in self.input.chunks(c_in) {
            let pixel: Vec<f64> = pixel.iter().map(|&x| x.into()).collect();
            for (c, weight) in weight.chunks(c_in).enumerate() {
                let products = pixel.iter().zip(weight).map(|(x, w)| x * w);
                let (value, magnitude) =
                    products.fold((0.0, 0.0), |(sum, all), p: f64| (sum + p, all + p.abs()));
                let y = Bounded { value, error: roundings * data.u() * magnitude }
                    .batch_norm(self.expand_scale[c], self.expand_shift[c], data)
                    .activate(self.activation, data);
                mid.push(y.stored(self.precision));
            }
        }
        mid
    }
}

impl Case for ExpandDepthwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (precision, f32) = (self.precision, Precision::Fp32);
        let pixels = self.output_size[0] * self.output_size[1];
        let squeezed = self.n * self.tiles() * self.c_mid;
        let params = ExpandDepthwiseParams {
            input: buffers.input("input", precision, &self.input),
            expand_weight: buffers.input("expand_weight", precision, &self.expand_weight),
            expand_scale: buffers.input("expand_scale", f32, &self.expand_scale),
            expand_shift: buffers.input("expand_shift", f32, &self.expand_shift),
            depthwise_weight: buffers.input("depthwise_weight", precision, &self.depthwise_weight),
            depthwise_scale: buffers.input("depthwise_scale", f32, &self.depthwise_scale),
            depthwise_shift: buffers.input("depthwise_shift", f32, &self.depthwise_shift),
            output: buffers.output("output", precision, self.n * pixels * self.c_mid),
            partial_sums: match self.squeeze {
                true => buffers.output("partial_sums", f32, squeezed),
                false => 0,
            },
            n: self.n as i32,
            h_in: self.input_size[0] as i32,
            w_in: self.input_size[1] as i32,
            h_out: self.output_size[0] as i32,
            w_out: self.output_size[1] as i32,
            c_in: self.c_in as i32,
            c_mid: self.c_mid as i32,
            pad_top: self.pad[0] as i32,
            pad_left: self.pad[1] as i32,
            activation: self.activation,
        };
        let launch = expand_depthwise::launch(precision, self.k, self.stride, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let ExpandDepthwise { k, stride, data, .. } = *self;
        let c = self.c_mid;
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let tile_rows = match stride {
            1 => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1 as usize,
            _ => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2 as usize,
        };
        let tile_cols = EXPAND_DEPTHWISE_TILE_COLS as usize;
        let mid = self.expanded();
        let mut output = Vec::with_capacity(self.n * h_out * w_out * c);
        let mut sums = vec![Bounded::default(); self.n * self.tiles() * c];
        let mut magnitudes = vec![0.0; sums.len()];
        let (mut acc, mut magnitude) = (vec![Bounded::default(); c], vec![0.0f64; c]);
        for image in 0..self.n {
            for (h, w) in (0..h_out * w_out).map(|pixel| (pixel / w_out, pixel % w_out)) {
                acc.fill(Bounded::default());
                magnitude.fill(0.0);
                for (i, j) in (0..k * k).map(|tap| (tap / k, tap % k)) {
                    let y = (h * stride + i).checked_sub(self.pad[0]);
                    let x = (w * stride + j).checked_sub(self.pad[1]);
                    let (Some(y), Some(x)) = (y.filter(|&y| y < h_in), x.filter(|&x| x < w_in))
                    else {
                        continue;
                    };
                    let row = &mid[((image * h_in + y) * w_in + x) * c..][..c];
                    let weight = &self.depthwise_weight[(i * k + j) * c..][..c];
                    for channel in 0..c {
                        let weight = f64::from(weight[channel]);
                        acc[channel].value += row[channel].value * weight;
                        // The error of the stored value, rounding to the other neighbour included.
                        acc[channel].error += row[channel].error * weight.abs();
                        magnitude[channel] += (row[channel].value * weight).abs();
                    }
                }
                let tile = h / tile_rows * w_out.div_ceil(tile_cols) + w / tile_cols;
                for channel in 0..c {
                    let Bounded { value, error } = acc[channel];
                    let error = error + (k * k) as f64 * data.u() * magnitude[channel];
                    let y = Bounded { value, error }
                        .batch_norm(
                            self.depthwise_scale[channel],
                            self.depthwise_shift[channel],
                            data,
                        )
                        .activate(self.activation, data);
                    let sum = (image * self.tiles() + tile) * c + channel;
                    sums[sum].value += y.value;
                    sums[sum].error += y.error;
                    magnitudes[sum] += y.value.abs();
                    output.push(y.stored(self.precision));
                }
            }
        }
        // A thread adds at most 4 pixels, then another 16 threads' sums; in f32 it is 2 and 32.
        for (sum, magnitude) in sums.iter_mut().zip(magnitudes) {
            sum.error += 34.0 * data.u() * magnitude;
        }
        let mut expected =
            vec![Expected { name: "output", precision: self.precision, values: output }];
        if self.squeeze {
            let precision = Precision::Fp32;
            expected.push(Expected { name: "partial_sums", precision, values: sums });
        }
        expected
    }

    fn describe(&self) -> String {
        format!(
            "expand_depthwise k{}s{} {} {:?} -> {:?}, pad {:?}, n {}, c {} -> {}, activation {}, squeeze {}, {:?}",
            self.k,
            self.stride,
            self.precision,
            self.input_size,
            self.output_size,
            self.pad,
            self.n,
            self.c_in,
            self.c_mid,
            self.activation,
            self.squeeze,
            self.data
        )
    }
}
