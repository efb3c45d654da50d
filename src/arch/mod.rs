//! The EfficientNet family as pure data: variants, block specs, shapes, costs.
//!
//! Nothing here touches files, images or devices; every other module imports this one.
//!
//! Reading order: [`Variant`] (the scaling rules), [`Network`] (the blocks that they give),
//! [`Padding`] and [`ConvGeometry`] (sizes), [`Costs`] (parameters and multiply-accumulates).

mod cost;
mod network;
mod shape;
mod variant;

pub use cost::Costs;
pub use network::{BlockSpec, Network};
pub use shape::{ConvGeometry, GeometryError, NetworkGeometry, Padding, Size};
pub use variant::{Activation, UnknownVariant, Variant};
