//! Launches of `kernels/head.cu`, and their expected outputs.

use super::*;
use effnet::kernels::head;

/// Tensors and options of a pool launch.
#[derive(Clone, Debug)]
pub struct Pool {
    pub precision: Precision,
    pub n: usize,
    pub pixels: usize,
    pub c: usize,
    pub data: Data,
    pub input: Vec<f32>,
}

impl Pool {
    pub fn new(precision: Precision, [n, pixels, c]: [usize; 3], data: Data, seed: u64) -> Pool {
        let input = data.values(&mut Random::new(seed), precision, n * pixels * c);
        Pool { precision, n, pixels, c, data, input }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Pool {
        let elems = self.pixels * self.c;
        Pool { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    fn tiles(&self) -> usize {
        head::pool_tiles(self.pixels as i32) as usize
    }
}

impl Case for Pool {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let sums = self.n * self.tiles() * self.c;
        let params = PoolParams {
            input: buffers.input("input", self.precision, &self.input),
            partial_sums: buffers.output("partial_sums", Precision::Fp32, sums),
            n: self.n as i32,
            pixels: self.pixels as i32,
            c: self.c as i32,
            reserved: 0,
        };
        let launch = head::pool(self.precision, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        // The multiple of 64 that cuts the image into the number of tiles that the launch module
        // states.
        let tile_pixels = (1..).map(|i| 64 * i).find(|t| self.pixels.div_ceil(*t) <= 128).unwrap();
        assert_eq!(self.pixels.div_ceil(tile_pixels), self.tiles());
        let mut values = Vec::new();
        for image in self.input.chunks(self.pixels * self.c) {
            for tile in image.chunks(tile_pixels * self.c) {
                for channel in 0..self.c {
                    let terms = tile[channel..].iter().step_by(self.c).map(|&x| f64::from(x));
                    let magnitude: f64 = terms.clone().map(f64::abs).sum();
                    // A thread's additions: of every 16th pixel at the most; two exchanges; eight
                    // warps.
                    let additions = (tile_pixels / 16 + 2 + 8) as f64;
                    let error = additions * self.data.u() * magnitude;
                    values.push(Bounded { value: terms.sum(), error });
                }
            }
        }
        vec![Expected { name: "partial_sums", precision: Precision::Fp32, values }]
    }

    fn describe(&self) -> String {
        let Pool { precision, n, pixels, c, data, .. } = self;
        format!("pool {precision} n {n}, {pixels} pixels, c {c}, {data:?}")
    }
}

/// Tensors and options of a classifier launch.
#[derive(Clone, Debug)]
pub struct Classifier {
    pub precision: Precision,
    pub n: usize,
    pub tiles: usize,
    pub pixels: usize,
    pub c: usize,
    pub classes: usize,
    pub data: Data,
    pub partial_sums: Vec<f32>,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Classifier {
    /// A classifier with random tensors. With integers, `pixels` has to be a power of two.
    pub fn new(
        precision: Precision,
        [n, tiles, pixels]: [usize; 3],
        [c, classes]: [usize; 2],
        data: Data,
        seed: u64,
    ) -> Classifier {
        assert!(data == Data::Uniform || pixels.is_power_of_two());
        let random = &mut Random::new(seed);
        Classifier {
            precision,
            n,
            tiles,
            pixels,
            c,
            classes,
            data,
            partial_sums: data.values(random, Precision::Fp32, n * tiles * c),
            weight: data.values(random, precision, classes * c),
            bias: data.values(random, Precision::Fp32, classes),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Classifier {
        let elems = self.tiles * self.c;
        let partial_sums = self.partial_sums[i * elems..][..elems].to_vec();
        Classifier { n: 1, partial_sums, ..self.clone() }
    }
}

impl Case for Classifier {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let f32 = Precision::Fp32;
        let params = ClassifierParams {
            partial_sums: buffers.input("partial_sums", f32, &self.partial_sums),
            weight: buffers.input("weight", self.precision, &self.weight),
            bias: buffers.input("bias", f32, &self.bias),
            features: buffers.output("features", f32, self.n * self.c),
            logits: buffers.output("logits", f32, self.n * self.classes),
            n: self.n as i32,
            tiles: self.tiles as i32,
            pixels: self.pixels as i32,
            c: self.c as i32,
            classes: self.classes as i32,
            reserved: 0,
        };
        let launch = head::classifier(self.precision, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let Classifier { c, tiles, data, .. } = *self;
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for image in self.partial_sums.chunks(tiles * c) {
            let mean: Vec<Bounded> = (0..c)
                .map(|channel| {
                    let terms = image[channel..].iter().step_by(c).map(|&x| f64::from(x));
                    let magnitude: f64 = terms.clone().map(f64::abs).sum();
                    let pixels = self.pixels as f64;
                    // `tiles` additions and a division.
                    let error = (tiles as f64 + 1.0) * data.u() * magnitude / pixels;
                    Bounded { value: terms.sum::<f64>() / pixels, error }
                })
                .collect();
            for (weight, &bias) in self.weight.chunks(c).zip(&self.bias) {
                let mut logit = Bounded { value: bias.into(), error: 0.0 };
                let mut magnitude = f64::from(bias).abs();
                for (x, &weight) in mean.iter().zip(weight) {
                    let weight = f64::from(weight);
                    logit.value += x.value * weight;
                    logit.error += x.error * weight.abs();
                    magnitude += (x.value * weight).abs();
                }
                // A lane has at most 8 of every 256 channels, or all where there are fewer; five
                // exchanges; the bias.
                let roundings = (8 * c.div_ceil(256) + 6) as f64;
                logit.error += roundings * data.u() * magnitude;
                logits.push(logit);
            }
            features.extend(mean);
        }
        let precision = Precision::Fp32;
        vec![
            Expected { name: "features", precision, values: features },
            Expected { name: "logits", precision, values: logits },
        ]
    }

    fn describe(&self) -> String {
        let Classifier { precision, n, tiles, pixels, c, classes, data, .. } = self;
        format!(
            "classifier {precision} n {n}, {pixels} pixels in {tiles}, c {c}, classes {classes}, {data:?}"
        )
    }
}

/// Tensors and options of a top_k launch.
#[derive(Clone, Debug)]
pub struct TopK {
    pub n: usize,
    pub classes: usize,
    pub k: usize,
    pub logits: Vec<f32>,
}

impl TopK {
    /// Logits in [-10, 10) of which `distinct` values, if any number is given, are all that there
    /// are.
    pub fn new([n, classes, k]: [usize; 3], distinct: Option<u64>, seed: u64) -> TopK {
        let random = &mut Random::new(seed);
        let logit = |_| match distinct {
            None => 10.0 * random.signed(),
            Some(distinct) => (random.bits() % distinct) as f32 - (distinct / 2) as f32,
        };
        TopK { n, classes, k, logits: (0..n * classes).map(logit).collect() }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> TopK {
        let logits = self.logits[i * self.classes..][..self.classes].to_vec();
        TopK { n: 1, logits, ..self.clone() }
    }
}

/// The outputs of a top_k run: classes, logits, probabilities.
pub fn top_k_outputs(outputs: &[Vec<u8>]) -> (Vec<i32>, Vec<f32>, Vec<f32>) {
    (
        bytemuck::pod_collect_to_vec(&outputs[0]),
        bytemuck::pod_collect_to_vec(&outputs[1]),
        bytemuck::pod_collect_to_vec(&outputs[2]),
    )
}

impl Case for TopK {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let f32 = Precision::Fp32;
        let params = TopKParams {
            logits: buffers.input("logits", f32, &self.logits),
            // As wide as f32.
            top_classes: buffers.output("top_classes", f32, self.n * self.k),
            top_logits: buffers.output("top_logits", f32, self.n * self.k),
            top_probabilities: buffers.output("top_probabilities", f32, self.n * self.k),
            n: self.n as i32,
            classes: self.classes as i32,
            k: self.k as i32,
            reserved: 0,
        };
        let launch = head::top_k(params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    /// For finite logits. Classes are compared by their bits, as those of f32 values.
    fn expected(&self) -> Vec<Expected> {
        let mut values = [const { Vec::new() }; 3];
        for logits in self.logits.chunks(self.classes) {
            let mut order: Vec<usize> = (0..self.classes).collect();
            // A stable sort: equal logits keep their order.
            order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).expect("numbers"));
            let best = f64::from(logits[order[0]]);
            // The difference rounds, and exp makes a relative error of its absolute one.
            let part = |logit: f32| {
                let above = f64::from(logit) - best;
                let value = above.exp();
                Bounded { value, error: value * (EXP_ERROR + U * above.abs()) }
            };
            let sum = logits.iter().fold(Bounded::default(), |sum, &logit| {
                let Bounded { value, error } = part(logit);
                Bounded { value: sum.value + value, error: sum.error + error }
            });
            // A thread's additions, five exchanges, eight warps, the division.
            let roundings = (self.classes.div_ceil(256) + 5 + 8 + 1) as f64;
            for &class in &order[..self.k] {
                let exact = |x: f32| Bounded { value: x.into(), error: 0.0 };
                values[0].push(exact(f32::from_bits(class as u32)));
                values[1].push(exact(logits[class]));
                let part = part(logits[class]);
                let relative = part.error / part.value + sum.error / sum.value + roundings * U;
                let value = part.value / sum.value;
                values[2].push(Bounded { value, error: value * relative });
            }
        }
        let names = ["top_classes", "top_logits", "top_probabilities"];
        let precision = Precision::Fp32;
        let outputs = names.into_iter().zip(values);
        outputs.map(|(name, values)| Expected { name, precision, values }).collect()
    }

    fn describe(&self) -> String {
        let TopK { n, classes, k, .. } = self;
        format!("top_k n {n}, classes {classes}, k {k}")
    }
}
