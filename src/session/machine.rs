//! A plan and the machine that runs it.

use super::{InputBuffer, SessionError, buffer::Memory};
use crate::cpu::CpuExecutor;
use crate::device::{BestClasses, CudaDevice, EmulatedDevice};
use crate::image::LevelValues;
use crate::launches::{Input, InputType, LaunchPlan};
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

    /// Runs `n` images and waits for them. `values` are those of levels, without which there are no
    /// levels.
    pub(super) fn run(
        &mut self,
        input: Input<'_>,
        values: Option<&LevelValues>,
        n: usize,
    ) -> Result<(), SessionError> {
        match (self, input, values) {
            (Machine::Cpu(executor), Input::U8(levels), Some(values)) => {
                Ok(executor.run_levels(levels, values, n)?)
            }
            (Machine::Cpu(executor), Input::F32(input), _) => Ok(executor.run(input, n)?),
            (Machine::Cpu(_), input, None) => Ok(input.expect(InputType::F32)?),
            (Machine::Emulated(_, device), ..) => Ok(device.run(input, n)?),
            (Machine::Cuda(_, device), ..) => Ok(device.run(input, n)?),
        }
    }

    /// Begins a run of `n` images, which on the CPU and the emulator is then over.
    pub(super) fn submit(
        &mut self,
        input: Input<'_>,
        values: Option<&LevelValues>,
        n: usize,
    ) -> Result<(), SessionError> {
        match self {
            Machine::Cuda(_, device) => Ok(device.submit(input, n)?),
            Machine::Cpu(_) | Machine::Emulated(..) => self.run(input, values, n),
        }
    }

    /// Begins a run of the first `n` images of a buffer, whose memory a GPU exchanges for other.
    pub(super) fn submit_buffer(
        &mut self,
        buffer: &mut InputBuffer,
        values: Option<&LevelValues>,
        n: usize,
    ) -> Result<(), SessionError> {
        match self {
            Machine::Cuda(_, device) => match buffer.memory_mut() {
                Memory::Pinned(pinned) => Ok(device.submit_pinned(pinned, n)?),
                Memory::F32(_) | Memory::U8(_) => Ok(device.submit(buffer.images(n), n)?),
            },
            Machine::Cpu(_) | Machine::Emulated(..) => self.run(buffer.images(n), values, n),
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

    /// The best classes of each image of the last run, where a device was asked for them.
    pub(super) fn best(&self) -> Option<BestClasses<'_>> {
        match self {
            Machine::Cpu(_) => None,
            Machine::Emulated(_, device) => device.top_k(),
            Machine::Cuda(_, device) => device.top_k(),
        }
    }

    /// Logits of the last run, `[n, classes]`, where a device was asked for the best classes alone.
    pub(super) fn read_logits(&self) -> Result<Vec<f32>, SessionError> {
        match self {
            Machine::Cpu(executor) => Ok(executor.logits().to_vec()),
            Machine::Emulated(_, device) => Ok(device.read_logits()),
            Machine::Cuda(_, device) => Ok(device.read_logits()?),
        }
    }
}
