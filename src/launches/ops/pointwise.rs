//! A 1x1 convolution, with everything that may be done on its way in and out.

use super::{BatchNorm, LaunchOp, SqueezedGate, with_bn};
use crate::arch::Activation;
use crate::kernels::params::{PointwiseParams, activation_code};
use crate::kernels::{Compute, LaunchError, PointwiseShape, Tiling, pointwise, pointwise_f32};
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::launches::{Buf, Region};
use crate::weights::TensorId;

/// `output = act((input * gate) . weight^T * scale + shift) + skip`, each part where there is one;
/// the gate as it is, or from a squeeze.
#[derive(Clone, Debug)]
pub(crate) struct Pointwise {
    /// Pixels of one image, `h * w`.
    pub pixels: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Applied before the skip.
    pub activation: Activation,
    /// `[n, h, w, c_in]`.
    pub input: Buf,
    /// `[n, c_in]`, f32: multiplies the input per channel.
    pub gate: Option<Buf>,
    /// In place of `gate`, in f16: the gate is computed here.
    pub squeezed_gate: Option<SqueezedGate>,
    /// `[n, h, w, c_out]`: added last.
    pub skip: Option<Buf>,
    /// `[n, h, w, c_out]`; none where only its sums over all pixels are wanted.
    pub output: Option<Buf>,
    /// `[n, tiles, c_out]`, f32: sums of the output over the pixels of each tile.
    pub partial_sums: Option<Buf>,
    /// Room for chunk sums, where some number of images splits them.
    pub chunk_sums: Option<Buf>,
    /// `[c_out, c_in]`.
    pub weight: TensorId,
    /// `[c_out]` each.
    pub bn: Option<BatchNorm>,
}

impl Pointwise {
    /// The convolution's shape for `n` images.
    pub fn shape(&self, n: usize) -> PointwiseShape {
        PointwiseShape {
            rows: int(n.saturating_mul(self.pixels)),
            pixels: int(self.pixels),
            c_in: int(self.c_in),
            c_out: int(self.c_out),
            pooled: self.partial_sums.is_some(),
            gated: self.gate.is_some() || self.squeezed_gate.is_some(),
            c_se: self.squeezed_gate.map_or(0, |gate| int(gate.c_se)),
        }
    }

    /// Tiles of one image whose output is summed over its pixels: the extent of `partial_sums`,
    /// whatever the batch.
    pub fn pooled_tiles(&self, compute: Compute) -> usize {
        tiling(compute, PointwiseShape { pooled: true, ..self.shape(1) }).row_tiles as usize
    }

    /// Elements of chunk sums and of arrivals that suffice for each number of images up to `batch`.
    pub fn scratch_elems(&self, compute: Compute, batch: usize) -> [i64; 2] {
        let (mut sums, mut arrivals) = (0, 0);
        for n in 1..=batch {
            let shape = self.shape(n);
            // More images need none either.
            if compute == Compute::Fp16 && !pointwise::may_split(shape) {
                break;
            }
            let needed = scratch_elems(compute, shape);
            sums = sums.max(needed[0]);
            arrivals = arrivals.max(needed[1]);
        }
        [sums, arrivals]
    }
}

fn tiling(compute: Compute, shape: PointwiseShape) -> Tiling {
    match compute {
        Compute::Fp16 => pointwise::tiling(shape),
        Compute::Fp32 | Compute::Tf32 => pointwise_f32::tiling(shape),
    }
}

/// Elements of chunk sums and of arrivals.
fn scratch_elems(compute: Compute, shape: PointwiseShape) -> [i64; 2] {
    let tiling = tiling(compute, shape);
    match compute {
        Compute::Fp16 => pointwise::scratch_elems(shape, &tiling),
        Compute::Fp32 | Compute::Tf32 => {
            [tiling.chunk_sums_elems(shape), tiling.arrivals_elems(shape)]
        }
    }
}

impl LaunchOp for Pointwise {
    fn reads(&self) -> Vec<Buf> {
        let squeeze = self.squeezed_gate.map(|gate| gate.squeeze);
        [Some(self.input), self.gate, squeeze, self.skip].into_iter().flatten().collect()
    }

    fn writes(&self) -> Vec<Buf> {
        [self.output, self.partial_sums, self.chunk_sums].into_iter().flatten().collect()
    }

    fn tensors(&self) -> Vec<TensorId> {
        let gate = self.squeezed_gate.into_iter().flat_map(|gate| gate.weights);
        with_bn(self.weight, self.bn).into_iter().chain(gate).collect()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let shape = self.shape(context.n);
        let split = tiling(context.compute, shape).split;
        let [scale, shift] = context.bn(self.bn);
        let gate = self.squeezed_gate;
        let [reduce_bias, gate_weight, gate_bias] =
            gate.map_or([0; 3], |gate| gate.weights.map(|id| context.weight(id)));
        let params = PointwiseParams {
            input: context.buffer(self.input),
            weight: context.weight(self.weight),
            scale,
            shift,
            gate: context.optional(self.gate),
            squeeze: context.optional(gate.map(|gate| gate.squeeze)),
            reduce_bias,
            gate_weight,
            gate_bias,
            skip: context.optional(self.skip),
            output: context.optional(self.output),
            partial_sums: context.optional(self.partial_sums),
            chunk_sums: if split { context.optional(self.chunk_sums) } else { 0 },
            // All launches share them: each leaves them zero.
            arrivals: if split { context.region(Region::Counters) } else { 0 },
            rows: shape.rows,
            pixels: shape.pixels,
            c_in: shape.c_in,
            c_out: shape.c_out,
            activation: activation_code(self.activation),
            parts: gate.map_or(0, |gate| int(gate.parts)),
            c_se: gate.map_or(0, |gate| int(gate.c_se)),
            ..Default::default()
        };
        UntypedLaunch::new(match context.compute {
            Compute::Fp16 => pointwise::launch(params),
            Compute::Fp32 | Compute::Tf32 => pointwise_f32::launch(context.compute, params),
        })
    }

    /// Chunk sums, whose number is no matter of one image.
    fn other_bytes(&self, context: &Context<'_>) -> u64 {
        4 * scratch_elems(context.compute, self.shape(context.n))[0] as u64
    }
}
