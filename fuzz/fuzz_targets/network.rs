//! The description of a network, as in a packed file's metadata: an error, or a plan and launches.
//!
//! The first byte is the batch, and the second how the launches are made.

#![no_main]

use effnet::arch::{Costs, NetworkGeometry};
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, Path};
use effnet::plan::{Plan, PlanOptions};
use effnet::weights::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[batch, form], text)) = data.split_first_chunk() else { return };
    let Ok(metadata) = serde_json::from_slice::<Metadata>(text) else { return };
    if metadata.classes > Metadata::MAX_CLASSES {
        return;
    }
    let network = metadata.network();
    let batch = usize::from(batch);
    let (size, padding) = (metadata.recipe.size, metadata.padding);
    if let Ok(geometry) = NetworkGeometry::new(&network, size, padding) {
        assert!(Costs::new(&network, &geometry).macs > 0);
    }
    let options = PlanOptions { batch, size, padding, precision: metadata.precision };
    let Ok(plan) = Plan::new(&network, options) else { return };
    assert!(plan.macs() > 0);
    let path = [Path::Fused, Path::Layerwise][usize::from(form & 1)];
    let compute = [Compute::Fp16, Compute::Fp32, Compute::Tf32][usize::from(form / 2 % 3)];
    let mut options = LaunchOptions::new(path, compute);
    options.top_k = usize::from(form / 6);
    let Ok(launches) = LaunchPlan::new(&plan, options) else { return };
    for images in [1, batch, batch + 1] {
        let records = launches.launches(images);
        assert!(images <= batch || records.is_err(), "{images} images of {batch}");
        assert!(records.is_err() || !launches.is_empty());
    }
});
