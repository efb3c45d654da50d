//! `kernels/head.cu`.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::kernels::head;
use effnet::kernels::params::*;
use effnet::weights::Precision;

// --- A launch, and its expected outputs ---

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
    /// Octets of classes of an FP16 block, where it is not for the launch module to say.
    pub octets: Option<i32>,
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
            octets: None,
            data,
            partial_sums: data.values(random, Precision::Fp32, n * tiles * c),
            weight: data.values(random, precision, classes * c),
            bias: data.values(random, Precision::Fp32, classes),
        }
    }

    /// Roundings of a logit, in units of `u * sum |x * w|`.
    fn roundings(&self) -> f64 {
        match self.precision {
            // A lane has at most 8 of every 256 channels, or all where there are fewer; five
            // exchanges; the bias.
            Precision::Fp32 => (8 * self.c.div_ceil(256) + 6) as f64,
            // Of the steps of 32 channels each of four shares has every fourth. They are added up; so
            // is the sum of the features' second parts, 2^-11 of the first, which is up to 2^-11
            // more than the feature; then scale and bias.
            Precision::Fp16 => {
                let share = 32 * self.c.div_ceil(32).div_ceil(4);
                tensor_core_roundings(share, 4) * (1.0 + 1.0 / 1024.0) + 3.0
            }
        }
    }

    /// By how much the two f16 by which a feature is multiplied differ from it: 11 bits each, or the
    /// second's least subnormal, of a value at most 32 times smaller. Small integers do not.
    fn split(&self, feature: f64) -> f64 {
        match (self.precision, self.data) {
            (Precision::Fp32, _) | (_, Data::Integers) => 0.0,
            _ => feature.abs() * 2f64.powi(-22) + 2f64.powi(-31),
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
            octets: 0,
        };
        let launch = head::classifier(self.precision, params);
        let mut launch = launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe()));
        if let Some(octets) = self.octets {
            let stages = head::classifier_share_steps(params.c).min(16 / octets);
            launch.params.octets = octets;
            launch.geometry.grid[0] = (params.classes as u32).div_ceil(8 * octets as u32);
            launch.geometry.shared_bytes = (4 * stages * octets * 512) as u32;
        }
        launch.into()
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
                    logit.error += (x.error + self.split(x.value)) * weight.abs();
                    magnitude += (x.value * weight).abs();
                }
                logit.error += self.roundings() * data.u() * magnitude;
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
        let Classifier { precision, n, tiles, pixels, c, classes, octets, data, .. } = self;
        format!(
            "classifier {precision} n {n}, {pixels} pixels in {tiles}, c {c}, classes {classes}, \
             octets {octets:?}, {data:?}"
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

// --- On the emulator or a GPU ---

// --- Pool ---

/// The squeezes of B0 and its global average pool, then awkward ones; the largest map of B3 and B7
/// for a tile of more than 64 pixels.
fn pool_sums(precision: Precision) {
    let machine = machine(head::IMAGE);
    let (network, geometry) = b0(Padding::Symmetric);
    let mut shapes = vec![[1, geometry.last().pixels(), network.c_head], [1, 100 * 100, 8]];
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let shape = [1, conv.output.pixels(), block.c_mid];
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    for c in CHANNELS {
        shapes.extend(MAPS.map(|[h, w]| [BATCH, h * w, c]));
    }
    for (seed, shape) in shapes.into_iter().enumerate() {
        let data = [Data::Uniform, Data::Integers][seed % 2];
        let case = Pool::new(precision, shape, data, seed as u64);
        match shape[0] {
            1 => drop(case.check(&machine)),
            n => check_batch(&machine, &case, n, |i| case.image(i)),
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pool_f16() {
    pool_sums(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pool_f32() {
    pool_sums(Precision::Fp32);
}

// --- Classifier ---

/// B0's classifier as a whole, then channels of less than a warp's turn to several turns, numbers
/// of classes that are no multiple of a block's, and batches of one and a part of four.
fn classifier_logits(precision: Precision) {
    let machine = machine(head::IMAGE);
    let b0 = Classifier::new(precision, [1, 1, 49], [1280, 1000], Data::Uniform, 1);
    b0.check(&machine);
    let mut seed = 2;
    for (i, c) in CHANNELS.into_iter().chain([256, 1032, 1536, 2560]).enumerate() {
        for (j, [tiles, pixels]) in [[1, 1], [2, 64], [7, 400]].into_iter().enumerate() {
            let classes = [1, 7, 8, 10, 17][(i + j) % 5];
            let n = [BATCH, 1, 6][(i + j) % 3];
            let data = if pixels == 64 { Data::Integers } else { Data::Uniform };
            let case = Classifier::new(precision, [n, tiles, pixels], [c, classes], data, seed);
            check_batch(&machine, &case, n, |i| case.image(i));
            seed += 1;
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn classifier_f16() {
    classifier_logits(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn classifier_f32() {
    classifier_logits(Precision::Fp32);
}

/// Blocks of one and of four octets of classes, of images that fill none, one and more groups of 16,
/// and of channels whose weights lie in shared memory at once and do not: the bytes of each image are
/// those of the image by itself.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn classifier_f16_gives_the_same_bytes_whatever_its_blocks() {
    let machine = machine(head::IMAGE);
    for (seed, (n, tiles, c, classes)) in
        [(3, 2, 72, 37), (17, 1, 1032, 70), (9, 5, 520, 33), (2, 1, 2184, 65)]
            .into_iter()
            .enumerate()
    {
        let image = [n, tiles, 49];
        let fp16 = Precision::Fp16;
        let one = Classifier::new(fp16, image, [c, classes], Data::Uniform, seed as u64);
        let expected = one.run(&machine, Buffers::exact());
        for octets in [1, 4] {
            let case = Classifier { octets: Some(octets), ..one.clone() };
            check_batch(&machine, &case, n, |i| one.image(i));
            assert!(case.run(&machine, Buffers::exact()) == expected, "{}", case.describe());
        }
    }
    // As the launch module has it.
    for (n, c, octets) in [(33, 72, 1), (49, 40, 4)] {
        let case = Classifier::new(Precision::Fp16, [n, 1, 49], [c, 1000], Data::Uniform, 1);
        let launch = case.prepare(&mut Buffers::exact());
        assert_eq!(launch.geometry.grid, [125u32.div_ceil(octets), n.div_ceil(16) as u32, 1]);
        case.check(&machine);
    }
}

/// Features of f16's whole range and beyond it, and of less than its least, go through the two f16 that
/// they are multiplied as; one that is not finite is in its own image's logits alone.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn classifier_f16_takes_features_that_f16_does_not_hold() {
    let machine = machine(head::IMAGE);
    for magnitude in [1e6, 6e4, 1e-3, 1e-6, 1e-9] {
        let mut case = Classifier::new(Precision::Fp16, [2, 1, 49], [264, 9], Data::Uniform, 7);
        case.partial_sums.iter_mut().for_each(|x| *x *= 49.0 * magnitude);
        case.check(&machine);
    }
    let mut case = Classifier::new(Precision::Fp16, [3, 1, 49], [264, 9], Data::Uniform, 8);
    case.partial_sums[264 + 100] = f32::NAN;
    let outputs = case.run(&machine, Buffers::exact());
    let logits = decode(Precision::Fp32, &outputs[1]);
    for (image, logits) in logits.chunks(9).enumerate() {
        assert!(logits.iter().all(|logit| logit.is_nan() == (image == 1)), "{image}: {logits:?}");
    }
}

// --- Softmax and the best classes ---

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn top_k_finds_the_best_classes_and_their_probabilities() {
    let machine = machine(head::IMAGE);
    for (seed, (shape, distinct)) in [
        ([BATCH, 1000, 5], None),
        ([1, 1000, 32], None),
        ([BATCH, 1000, 40], Some(7)),
        ([BATCH, 1, 1], None),
        ([BATCH, 257, 257], Some(3)),
        ([2, 31, 31], None),
        ([1, 2000, 1024], Some(100)),
        ([1, 21_841, 5], None),
        ([2, 300, 300], Some(1)),
    ]
    .into_iter()
    .enumerate()
    {
        let case = TopK::new(shape, distinct, seed as u64);
        check_batch(&machine, &case, shape[0], |i| case.image(i));
    }
}

/// Zeros of both signs are equal, infinities are ordered, and a NaN is the first. Where a logit is no
/// finite number, among the best or not, every probability says so.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn top_k_orders_zeros_infinities_and_nans() {
    let machine = machine(head::IMAGE);
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases = [
        (vec![1.0, 3.0, -0.0, 3.0, 0.0], 5, vec![1, 3, 0, 2, 4]),
        (vec![inf, 0.0, -inf, inf], 4, vec![0, 3, 1, 2]),
        (vec![-inf, -inf], 2, vec![0, 1]),
        (vec![0.0, -1.0, -nan, inf, nan], 5, vec![2, 4, 3, 0, 1]),
        (vec![-nan], 1, vec![0]),
        (vec![1000.0, 1001.0, -1000.0], 3, vec![1, 0, 2]),
        (vec![f32::MIN, f32::MAX], 2, vec![1, 0]),
        (vec![1.0, -inf, 2.0], 1, vec![2]),
        (vec![1.0, 2.0, inf], 1, vec![2]),
    ];
    for (logits, k, expected) in cases {
        let case = TopK { n: 1, classes: logits.len(), k, logits: logits.clone() };
        let outputs = case.run(&machine, Buffers::exact());
        let (classes, top_logits, probabilities) = top_k_outputs(&outputs);
        assert_eq!(classes, expected, "{logits:?}");
        for (class, logit) in classes.iter().zip(top_logits) {
            assert_eq!(logit.to_bits(), logits[*class as usize].to_bits(), "{logits:?}");
        }
        if logits.iter().any(|logit| !logit.is_finite()) {
            assert!(probabilities.iter().all(|p| p.is_nan()), "{logits:?}: {probabilities:?}");
            continue;
        }
        let sum: f32 = probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-6, "{logits:?}: {probabilities:?}");
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_head() {
    let machine = machine(head::IMAGE);
    for precision in PRECISIONS {
        let pool = Pool::new(precision, [2, 70, 72], Data::Uniform, 1);
        check_batch(&machine, &pool, 2, |i| pool.image(i));
        let classifier = Classifier::new(precision, [5, 2, 49], [264, 21], Data::Uniform, 2);
        check_batch(&machine, &classifier, 5, |i| classifier.image(i));
    }
    let top_k = TopK::new([2, 300, 5], None, 3);
    check_batch(&machine, &top_k, 2, |i| top_k.image(i));
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    fn subject(entry: usize, shapes: Vec<Box<dyn Case>>) -> Subject {
        (head::IMAGE, head::ENTRIES[entry], shapes)
    }

    /// Part-empty groups of channels and tiles of pixels, and more than one step of pixels to a tile.
    fn pool_subjects() -> Vec<Subject> {
        let shapes = [[2, 70, 72], [1, 1, 8], [1, 64 * 128 + 9, 8]];
        let subject = |(i, precision)| {
            let case = |shape| -> Box<dyn Case> {
                Box::new(Pool::new(precision, shape, Data::Uniform, i as u64))
            };
            subject(i, shapes.into_iter().map(case).collect())
        };
        PRECISIONS.into_iter().enumerate().map(subject).collect()
    }

    /// Every remainder of the loop over tiles, part-empty blocks of classes and of images, and channels
    /// of less than a warp's turn, of one, and of more.
    fn classifier_subjects() -> Vec<Subject> {
        let shapes = [
            ([5, 3, 100], [72, 9]),
            ([1, 1, 1], [8, 1]),
            ([2, 6, 49], [1032, 10]),
            ([1, 4, 64], [520, 7]),
        ];
        let subject = |(i, precision)| {
            let case = |(image, channels)| -> Box<dyn Case> {
                Box::new(Classifier::new(precision, image, channels, Data::Uniform, i as u64))
            };
            let mut cases: Vec<Box<dyn Case>> = shapes.into_iter().map(case).collect();
            if precision == Precision::Fp16 {
                // More than eight images, and weights of more steps than have room at once.
                for (octets, shape) in [(1, ([9, 1, 49], [520, 9])), (4, ([17, 1, 49], [648, 9]))] {
                    let (image, channels) = shape;
                    let case = Classifier::new(precision, image, channels, Data::Uniform, 5);
                    cases.push(Box::new(Classifier { octets: Some(octets), ..case }));
                }
            }
            subject(2 + i, cases)
        };
        PRECISIONS.into_iter().enumerate().map(subject).collect()
    }

    /// Fewer and more classes than threads, some and all of them asked for.
    fn top_k_subjects() -> Vec<Subject> {
        let shapes =
            [([2, 300, 7], None), ([1, 1, 1], None), ([1, 37, 37], Some(4)), ([1, 1027, 5], None)];
        let case = |(shape, distinct)| -> Box<dyn Case> { Box::new(TopK::new(shape, distinct, 1)) };
        vec![subject(4, shapes.into_iter().map(case).collect())]
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn head_has_no_report_under_adversarial_schedules() {
        no_report(pool_subjects());
        no_report(classifier_subjects());
        no_report(top_k_subjects());
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_head_are_reported() {
        let subjects = [pool_subjects(), classifier_subjects(), top_k_subjects()];
        all_are_reported(subjects.into_iter().flatten().collect(), 95.0);
    }
}
