//! Plots as SVG, from plain data.
//!
//! - [`lines`]: series of points over a common axis, linear or logarithmic;
//! - [`bars`]: horizontal bars, alone or in groups;
//! - [`stacked`]: horizontal bars whose parts lie end to end;
//! - [`roofline`]: points under the limits of a device.
//!
//! Text and grid take the colour of the text around (`currentColor`), and the background is left to
//! the page: the same plot is readable on light and dark. Series differ in colour, from the palette
//! of Okabe and Ito, which people with colour-blindness tell apart, and in the shape of their
//! marks. Each mark says its name and values where a pointer rests on it. Values that cannot be
//! drawn (not finite; not positive on a logarithmic axis) are left out.

mod axis;
mod bars;
mod canvas;
mod lines;
mod roofline;
mod stacked;

pub use axis::Scale;
pub use bars::{BarGroup, Bars, bars};
pub use canvas::alone;
pub use lines::{Lines, Series, lines};
pub use roofline::{Limit, Point, Roofline, roofline};
pub use stacked::{Stacked, StackedBar, stacked};
