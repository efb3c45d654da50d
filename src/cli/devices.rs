//! `effnet devices`: what networks can run on here, and in which form.

use super::Status;
use super::output::{Align, Out, Table, bytes};
use effnet::environment::{KnownDevice, devices};

/// List the devices: GPUs, whether this program's kernels run on each and in which form, and the
/// others.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A GPU runs machine code that was made for it, or PTX, which its driver compiles when the kernels are
loaded. The status is 0 also where there is no GPU, or none that runs the kernels.

Examples:
  effnet devices
  effnet devices --json | jq -r 'select(.usable) | .device'")]
pub struct Args {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Writes the list to standard output.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    let rows = devices();
    if args.json {
        for row in &rows {
            out.json(row)?;
        }
        return Ok(Status::Complete);
    }
    let mut table = Table::new(&[
        ("device", Align::Left),
        ("make", Align::Left),
        ("memory", Align::Right),
        ("runs", Align::Left),
    ]);
    for row in &rows {
        let told = Told(row);
        table.row([row.device.clone(), told.what(), told.memory(), told.runs()]);
    }
    for line in table.lines() {
        out.line(line)?;
    }
    Ok(Status::Complete)
}

/// How a device is told.
struct Told<'a>(&'a KnownDevice);

impl Told<'_> {
    /// The device's make.
    fn what(&self) -> String {
        let capability = self.0.capability.as_ref().map(|c| format!("compute capability {c}"));
        let driver = self.0.driver.as_ref().map(|version| format!("driver of CUDA {version}"));
        let parts = [self.0.name.clone(), capability, driver];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn memory(&self) -> String {
        let free = self.0.memory_free_bytes.map(|free| format!("{} free", bytes(free)));
        self.0.memory_bytes.map(bytes).or(free).unwrap_or_default()
    }

    fn runs(&self) -> String {
        if let Some(why_not) = &self.0.why_not {
            return format!("nothing: {why_not}");
        }
        let target = self.0.target.as_deref().unwrap_or_default();
        let is_gpu = self.0.capability.is_some();
        let runs = match self.0.code {
            Some("ptx") if is_gpu => format!("PTX of {target}, compiled by the driver"),
            Some("ptx") => format!("PTX of {target}, with every check: for tests"),
            Some(code) => format!("{code} of {target}"),
            None => "the network in fp32".to_owned(),
        };
        if self.0.auto { format!("{runs} (what `auto` takes)") } else { runs }
    }
}
