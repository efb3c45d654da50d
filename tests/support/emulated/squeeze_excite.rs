//! Launches of `kernels/squeeze_excite.cu`, and their expected outputs.

use super::*;
use effnet::kernels::squeeze_excite;

/// Tensors and options of a squeeze_excite launch.
#[derive(Clone, Debug)]
pub struct SqueezeExcite {
    pub precision: Precision,
    pub n: usize,
    pub tiles: usize,
    pub pixels: usize,
    pub c: usize,
    pub c_se: usize,
    pub partial_sums: Vec<f32>,
    pub reduce_weight: Vec<f32>,
    pub reduce_bias: Vec<f32>,
    pub expand_weight: Vec<f32>,
    pub expand_bias: Vec<f32>,
}

impl SqueezeExcite {
    pub fn new(
        precision: Precision,
        [n, tiles, pixels]: [usize; 3],
        [c, c_se]: [usize; 2],
        seed: u64,
    ) -> SqueezeExcite {
        let mut random = Random::new(seed);
        let data = Data::Uniform;
        // Sums over up to 64 pixels of activations that are more often positive than not.
        let mut sum = |_| 20.0 * random.signed() + 12.0;
        let partial_sums = (0..n * tiles * c).map(&mut sum).collect();
        let random = &mut random;
        SqueezeExcite {
            precision,
            n,
            tiles,
            pixels,
            c,
            c_se,
            partial_sums,
            reduce_weight: data.values(random, precision, c_se * c),
            reduce_bias: data.values(random, Precision::Fp32, c_se),
            expand_weight: data.values(random, precision, c_se * c),
            expand_bias: data.values(random, Precision::Fp32, c),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> SqueezeExcite {
        let elems = self.tiles * self.c;
        let partial_sums = self.partial_sums[i * elems..][..elems].to_vec();
        SqueezeExcite { n: 1, partial_sums, ..self.clone() }
    }
}

impl Case for SqueezeExcite {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (weights, f32) = (self.precision, Precision::Fp32);
        let params = SqueezeExciteParams {
            partial_sums: buffers.input("partial_sums", f32, &self.partial_sums),
            reduce_weight: buffers.input("reduce_weight", weights, &self.reduce_weight),
            reduce_bias: buffers.input("reduce_bias", f32, &self.reduce_bias),
            expand_weight: buffers.input("expand_weight", weights, &self.expand_weight),
            expand_bias: buffers.input("expand_bias", f32, &self.expand_bias),
            gate: buffers.output("gate", f32, self.n * self.c),
            n: self.n as i32,
            tiles: self.tiles as i32,
            pixels: self.pixels as i32,
            c: self.c as i32,
            c_se: self.c_se as i32,
            reserved: 0,
        };
        let launch = squeeze_excite::launch(self.precision, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let SqueezeExcite { c, c_se, tiles, .. } = *self;
        // The sum of products of `x` and a weight, one fma each.
        let dot = |x: &[Bounded], weight: &dyn Fn(usize) -> f32, bias: f32, roundings: usize| {
            let (mut sum, mut magnitude) = (Bounded { value: bias.into(), error: 0.0 }, 0.0);
            magnitude += f64::from(bias).abs();
            for (i, x) in x.iter().enumerate() {
                let weight = f64::from(weight(i));
                sum.value += x.value * weight;
                sum.error += x.error * weight.abs();
                magnitude += (x.value * weight).abs();
            }
            Bounded { error: sum.error + roundings as f64 * U * magnitude, ..sum }
        };
        let mut gate = Vec::new();
        for image in self.partial_sums.chunks(tiles * c) {
            let squeeze: Vec<Bounded> = (0..c)
                .map(|channel| {
                    let terms = (0..tiles).map(|t| f64::from(image[t * c + channel]));
                    let magnitude: f64 = terms.clone().map(f64::abs).sum();
                    let pixels = self.pixels as f64;
                    let value = terms.sum::<f64>() / pixels;
                    // `tiles` additions, over slices or not, and a division.
                    Bounded { value, error: (tiles as f64 + 1.0) * U * magnitude / pixels }
                })
                .collect();
            let reduced: Vec<Bounded> =
                (0..c_se)
                    .map(|j| {
                        let weight = |channel| self.reduce_weight[j * c + channel];
                        // A lane has at most 8 of every 256 channels, or all where there are fewer;
                        // five exchanges, the bias.
                        dot(&squeeze, &weight, self.reduce_bias[j], 8 * c.div_ceil(256) + 6)
                            .activate(ACTIVATION_SWISH, Data::Uniform, self.precision)
                    })
                    .collect();
            gate.extend((0..c).map(|channel| {
                let weight = |j| self.expand_weight[j * c + channel];
                // Each product, up to 16 parts, the bias.
                dot(&reduced, &weight, self.expand_bias[channel], c_se + 1).sigmoid(self.precision)
            }));
        }
        vec![Expected { name: "gate", precision: Precision::Fp32, values: gate }]
    }

    fn describe(&self) -> String {
        let SqueezeExcite { precision, n, tiles, pixels, c, c_se, .. } = self;
        format!("squeeze_excite {precision} n {n}, {pixels} pixels in {tiles}, c {c}, c_se {c_se}")
    }
}
