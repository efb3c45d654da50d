//! The operations of a plan as naive loops in f64, after the definitions in `src/plan/step.rs`.

use effnet::arch::{Activation, ConvGeometry};
use effnet::plan::{BufferId, Op, Plan};
use effnet::weights::{TensorId, Weights};

/// A packed tensor in f64.
pub fn tensor(weights: &Weights, id: TensorId) -> Vec<f64> {
    match (weights.f32(id), weights.f16(id)) {
        (Some(values), _) => values.iter().map(|&x| f64::from(x)).collect(),
        (_, Some(values)) => values.iter().map(|x| x.to_f64()).collect(),
        _ => unreachable!("a tensor is f32 or f16"),
    }
}

pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Swish => x / (1.0 + (-x).exp()),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::None => x,
    }
}

/// The value at `(y, x)`, counted from the padded corner; zero outside of the map.
fn at(map: &[f64], conv: &ConvGeometry, [y, x]: [usize; 2], c: usize, channel: usize) -> f64 {
    let inside = |v: usize, pad: usize, side: usize| v.checked_sub(pad).filter(|&v| v < side);
    match (inside(y, conv.pad_top, conv.input.h), inside(x, conv.pad_left, conv.input.w)) {
        (Some(y), Some(x)) => map[(y * conv.input.w + x) * c + channel],
        _ => 0.0,
    }
}

/// Dense convolution, `weight` `[k, k, c_in, c_out]`.
pub fn dense(map: &[f64], conv: &ConvGeometry, c_in: usize, c_out: usize, w: &[f64]) -> Vec<f64> {
    let mut out = Vec::new();
    for oy in 0..conv.output.h {
        for ox in 0..conv.output.w {
            for o in 0..c_out {
                let mut sum = 0.0;
                for ky in 0..conv.k {
                    for kx in 0..conv.k {
                        for i in 0..c_in {
                            let place = [oy * conv.stride + ky, ox * conv.stride + kx];
                            sum += at(map, conv, place, c_in, i)
                                * w[((ky * conv.k + kx) * c_in + i) * c_out + o];
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Depthwise convolution, `weight` `[k, k, c]`.
pub fn depthwise(map: &[f64], conv: &ConvGeometry, c: usize, w: &[f64]) -> Vec<f64> {
    let mut out = Vec::new();
    for oy in 0..conv.output.h {
        for ox in 0..conv.output.w {
            for channel in 0..c {
                let mut sum = 0.0;
                for ky in 0..conv.k {
                    for kx in 0..conv.k {
                        let place = [oy * conv.stride + ky, ox * conv.stride + kx];
                        sum +=
                            at(map, conv, place, c, channel) * w[(ky * conv.k + kx) * c + channel];
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// `x . w^T`, `x` `[rows, c_in]`, `w` `[c_out, c_in]`.
pub fn matrix(x: &[f64], c_in: usize, w: &[f64]) -> Vec<f64> {
    let mut out = Vec::new();
    for x in x.chunks(c_in) {
        for w in w.chunks(c_in) {
            out.push(x.iter().zip(w).map(|(x, w)| x * w).sum());
        }
    }
    out
}

/// The mean of each channel.
pub fn mean(x: &[f64], c: usize) -> Vec<f64> {
    let pixels = x.len() / c;
    (0..c).map(|channel| x.iter().skip(channel).step_by(c).sum::<f64>() / pixels as f64).collect()
}

/// `act(x * scale + shift)` per channel.
pub fn normalise(x: &mut [f64], scale: &[f64], shift: &[f64], activation: Activation) {
    for (i, x) in x.iter_mut().enumerate() {
        let c = i % scale.len();
        *x = activate(activation, *x * scale[c] + shift[c]);
    }
}

/// Every buffer of a plan after one image `[h, w, 3]`.
pub fn run(plan: &Plan, weights: &Weights, image: &[f32]) -> Vec<Vec<f64>> {
    let mut buffers = vec![Vec::new(); plan.buffers.len()];
    buffers[plan.input.0 as usize] = image.iter().map(|&x| f64::from(x)).collect();
    for step_of in &plan.steps {
        let (y, output) = step(&step_of.op, weights, &mut buffers);
        buffers[output.0 as usize] = y;
    }
    buffers
}

/// One step's result, and the buffer that it belongs in. The squeeze is put into its buffer.
pub fn step(op: &Op, weights: &Weights, buffers: &mut [Vec<f64>]) -> (Vec<f64>, BufferId) {
    let t = |id| tensor(weights, id);
    match *op {
        Op::Stem { conv, c_out, activation, input, output, weight, scale, shift } => {
            let x = &buffers[input.0 as usize];
            let mut y = dense(x, &conv, 3, c_out, &t(weight));
            normalise(&mut y, &t(scale), &t(shift), activation);
            (y, output)
        }
        Op::Pointwise {
            c_in, activation, input, gate, skip, output, weight, scale, shift, ..
        } => {
            let mut x = buffers[input.0 as usize].clone();
            if let Some(gate) = gate {
                let gate = &buffers[gate.0 as usize];
                x.iter_mut().enumerate().for_each(|(i, x)| *x *= gate[i % c_in]);
            }
            let mut y = matrix(&x, c_in, &t(weight));
            normalise(&mut y, &t(scale), &t(shift), activation);
            if let Some(skip) = skip {
                y.iter_mut().zip(&buffers[skip.0 as usize]).for_each(|(y, skip)| *y += skip);
            }
            (y, output)
        }
        Op::Depthwise { conv, c, activation, input, output, squeeze, weight, scale, shift } => {
            let mut y = depthwise(&buffers[input.0 as usize], &conv, c, &t(weight));
            normalise(&mut y, &t(scale), &t(shift), activation);
            if let Some(squeeze) = squeeze {
                buffers[squeeze.0 as usize] = mean(&y, c);
            }
            (y, output)
        }
        Op::SqueezeExcite {
            c,
            c_se,
            squeeze,
            gate,
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
        } => {
            let mut reduced = matrix(&buffers[squeeze.0 as usize], c, &t(reduce_weight));
            for (x, bias) in reduced.iter_mut().zip(t(reduce_bias)) {
                *x = activate(Activation::Swish, *x + bias);
            }
            let (w, bias) = (t(expand_weight), t(expand_bias));
            let y = (0..c).map(|i| {
                let sum: f64 = (0..c_se).map(|j| w[j * c + i] * reduced[j]).sum();
                1.0 / (1.0 + (-(sum + bias[i])).exp())
            });
            (y.collect(), gate)
        }
        Op::Pool { c, input, output, .. } => (mean(&buffers[input.0 as usize], c), output),
        Op::Classifier { c_in, input, output, weight, bias, .. } => {
            let mut y = matrix(&buffers[input.0 as usize], c_in, &t(weight));
            y.iter_mut().zip(t(bias)).for_each(|(y, bias)| *y += bias);
            (y, output)
        }
    }
}
