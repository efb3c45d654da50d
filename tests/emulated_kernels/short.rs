//! Proof that the short tests notice faults: they, too, run on a GPU.

use super::*;
use crate::bn_swish::BnSwish;
use crate::support::emulated::{Data, Expected, Prepared, TestDevice, machine};
use effnet::kernels::bn_swish;
use effnet::kernels::params::BnSwishParams;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Spoil = fn(&mut Prepared);

/// A case whose launch is spoilt.
struct Spoilt(BnSwish, Spoil);

impl Case for Spoilt {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let mut prepared = self.0.prepare(buffers);
        (self.1)(&mut prepared);
        prepared
    }

    fn expected(&self) -> Vec<Expected> {
        self.0.expected()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

fn change(prepared: &mut Prepared, change: impl FnOnce(&mut BnSwishParams)) {
    let mut params: BnSwishParams = bytemuck::pod_read_unaligned(&prepared.params);
    change(&mut params);
    prepared.params = bytemuck::bytes_of(&params).to_vec();
}

/// A wrong value, a tensor that lies 16 bytes further on, and a last block that is missing. A GPU's
/// memory is another poison in each run, which shows where nothing was written.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_list_notices_what_is_wrong() {
    let machine = machine(bn_swish::IMAGE);
    let spoils: [(Spoil, [&str; 2]); 3] = [
        (|p| change(p, |params| params.activation = ACTIVATION_NONE), ["off by", "off by"]),
        (|p| change(p, |params| params.output += 16), ["findings", "written after output"]),
        (
            |p| p.geometry.grid[0] -= 1,
            ["bytes of output that are written", "not the same bytes twice"],
        ),
    ];
    for (spoil, says) in spoils {
        let (shape, parts) = ([1, 400, 232], [true, false, false]);
        let case = BnSwish::new(Precision::Fp32, Data::Uniform, shape, ACTIVATION_SWISH, parts, 1);
        case.check(&machine);
        let case = Spoilt(case, spoil);
        let panic = catch_unwind(AssertUnwindSafe(|| case.check(&machine))).expect_err("spoilt");
        let said = panic.downcast_ref::<String>().expect("a message");
        let says = says[usize::from(TestDevice::chosen().has_gpu())];
        assert!(said.contains(says), "{said:?} does not say {says:?}");
    }
}
