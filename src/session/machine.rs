//! A plan and the machine that runs it.

use super::SessionError;
use crate::cpu::CpuExecutor;
use crate::device::{CudaDevice, EmulatedDevice};
use crate::launches::LaunchPlan;
use crate::plan::Plan;

/// A plan and the machine that runs it.
#[derive(Debug)]
pub enum Machine {
    /// The CPU executor, which holds the plan.
    Cpu(Box<CpuExecutor>),
    /// The PTX emulator, which holds the launches of the plan.
    Emulated(Box<Plan>, Box<EmulatedDevice>),
    /// A GPU, which holds the launches of the plan.
    Cuda(Box<Plan>, Box<CudaDevice>),
}

impl Machine {
    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        match self {
            Machine::Cpu(executor) => executor.plan(),
            Machine::Emulated(plan, _) | Machine::Cuda(plan, _) => plan,
        }
    }

    /// The plan as launches; none on the CPU, which runs steps.
    pub fn launches(&self) -> Option<&LaunchPlan> {
        match self {
            Machine::Cpu(_) => None,
            Machine::Emulated(_, device) => Some(device.plan()),
            Machine::Cuda(_, device) => Some(device.plan()),
        }
    }

    /// The machine's own name, as in `NVIDIA H100 80GB HBM3, sm_90`.
    pub fn name(&self) -> String {
        match self {
            Machine::Cpu(_) => "CPU".to_owned(),
            Machine::Emulated(..) => "PTX emulator".to_owned(),
            Machine::Cuda(_, device) => device.name(),
        }
    }

    /// Most runs that may be under way at once.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Machine::Cpu(_) | Machine::Emulated(..) => 1,
            Machine::Cuda(..) => LaunchPlan::SLOTS,
        }
    }

    /// Bytes of this process's memory that the first run of `n` images will touch and no run has
    /// touched yet. What GPUs and the emulator need has been allocated before.
    pub(super) fn untouched_bytes(&self, n: usize) -> u64 {
        match self {
            Machine::Cpu(executor) => executor.untouched_bytes(n),
            Machine::Emulated(..) | Machine::Cuda(..) => 0,
        }
    }

    /// Runs `n` images and waits for them.
    pub(super) fn run(&mut self, input: &[f32], n: usize) -> Result<(), SessionError> {
        match self {
            Machine::Cpu(executor) => Ok(executor.run(input, n)?),
            Machine::Emulated(_, device) => Ok(device.run(input, n)?),
            Machine::Cuda(_, device) => Ok(device.run(input, n)?),
        }
    }

    /// Begins a run of `n` images, which on the CPU and the emulator is then over.
    pub(super) fn submit(&mut self, input: &[f32], n: usize) -> Result<(), SessionError> {
        match self {
            Machine::Cuda(_, device) => Ok(device.submit(input, n)?),
            Machine::Cpu(_) | Machine::Emulated(..) => self.run(input, n),
        }
    }

    /// Waits for the oldest run that was submitted.
    pub(super) fn collect(&mut self) -> Result<(), SessionError> {
        if let Machine::Cuda(_, device) = self {
            device.collect()?;
        }
        Ok(())
    }

    /// Logits `[n, classes]` and features `[n, c_head]` of the last run.
    pub(super) fn outputs(&self) -> (&[f32], &[f32]) {
        match self {
            Machine::Cpu(executor) => (executor.logits(), executor.features()),
            Machine::Emulated(_, device) => (device.logits(), device.features()),
            Machine::Cuda(_, device) => (device.logits(), device.features()),
        }
    }
}
