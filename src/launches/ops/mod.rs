//! What is launched: one file for each op, with its fields, what it reads and writes, and its launch.
//!
//! Shapes are those of one image. An op names buffers and tensors, and addresses follow when it is
//! launched for a number of images.
//!
//! A new op is a file here, its `mod` line, and its line in the list of `ops!`.

mod bn_swish;
mod classifier;
mod depthwise;
mod expand_depthwise;
mod pointwise;
mod pool;
mod squeeze;
mod squeeze_excite;
mod stem;
mod top_k;

use super::Buf;
use super::prepare::{Context, UntypedLaunch};
use crate::kernels::LaunchError;
use crate::weights::TensorId;

pub(crate) use squeeze::{Squeeze, SqueezedGate};

/// Scale and shift of a batch-norm.
pub(crate) type BatchNorm = [TensorId; 2];

/// One op of a launch plan.
pub(crate) trait LaunchOp {
    /// Buffers that are read.
    fn reads(&self) -> Vec<Buf>;

    /// Buffers that are written; scratch space among them.
    fn writes(&self) -> Vec<Buf>;

    /// Tensors of the packed file that are read.
    fn tensors(&self) -> Vec<TensorId>;

    /// The launch for a number of images, or which argument the kernel does not take.
    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError>;

    /// Bytes read and written beside the images' parts of buffers and the tensors.
    fn other_bytes(&self, _context: &Context<'_>) -> u64 {
        0
    }
}

/// From the list of ops: the type that holds any of them, and which op a call of [`LaunchOp`] is for.
macro_rules! ops {
    ($($file:ident::$op:ident),+ $(,)?) => {
        $(pub(crate) use $file::$op;)+

        /// An op of any kind. Without a batch-norm, a convolution's sums are stored as they are.
        #[derive(Clone, Debug)]
        pub(crate) enum Op {
            $($op($op),)+
        }

        impl std::ops::Deref for Op {
            type Target = dyn LaunchOp;

            fn deref(&self) -> &(dyn LaunchOp + 'static) {
                match self {
                    $(Op::$op(op) => op,)+
                }
            }
        }

        $(
            impl From<$op> for Op {
                fn from(op: $op) -> Op {
                    Op::$op(op)
                }
            }
        )+
    };
}

ops! {
    bn_swish::BnSwish,
    classifier::Classifier,
    depthwise::Depthwise,
    expand_depthwise::ExpandDepthwise,
    pointwise::Pointwise,
    pool::Pool,
    squeeze_excite::SqueezeExcite,
    stem::Stem,
    top_k::TopK,
}

/// A convolution's weight, with scale and shift where there is a batch-norm.
fn with_bn(weight: TensorId, bn: Option<BatchNorm>) -> Vec<TensorId> {
    [weight].into_iter().chain(bn.into_iter().flatten()).collect()
}
