//! Resources of each kernel, as ptxas reports them: registers, shared memory, spills.

/// One kernel for one target.
pub struct Resources {
    pub arch: u32,
    pub entry: String,
    pub registers: u32,
    pub shared_bytes: u32,
    pub stack_bytes: u32,
    pub spill_store_bytes: u32,
    pub spill_load_bytes: u32,
}

/// Reads the report of `ptxas -v`:
///
/// ```text
/// ptxas info    : Compiling entry function 'NAME' for 'sm_80'
/// ptxas info    : Function properties for NAME
///     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
/// ptxas info    : Used 44 registers, used 1 barriers, 6736 bytes smem, 416 bytes cmem[0]
/// ```
pub fn parse(report: &str) -> Result<Vec<Resources>, String> {
    let mut list: Vec<Resources> = Vec::new();
    for line in report.lines() {
        let unclear = || format!("ptxas' report is not understood: {line}");
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let (entry, rest) = rest.split_once('\'').ok_or_else(unclear)?;
            let arch = rest.split("sm_").nth(1).ok_or_else(unclear)?;
            let digits: String = arch.chars().take_while(char::is_ascii_digit).collect();
            list.push(Resources {
                arch: digits.parse().map_err(|_| unclear())?,
                entry: entry.to_owned(),
                registers: 0,
                shared_bytes: 0,
                stack_bytes: 0,
                spill_store_bytes: 0,
                spill_load_bytes: 0,
            });
            continue;
        }
        let Some(current) = list.last_mut() else { continue };
        // The number before some words.
        let number = |words: &str| -> Option<u32> {
            let before = line.split_once(words)?.0;
            before.rsplit([' ', ',']).find(|word| !word.is_empty())?.parse().ok()
        };
        if line.contains("bytes stack frame") {
            current.stack_bytes = number(" bytes stack frame").ok_or_else(unclear)?;
            current.spill_store_bytes = number(" bytes spill stores").ok_or_else(unclear)?;
            current.spill_load_bytes = number(" bytes spill loads").ok_or_else(unclear)?;
        } else if line.contains(" registers") {
            current.registers = number(" registers").ok_or_else(unclear)?;
            current.shared_bytes = number(" bytes smem").unwrap_or(0);
        }
    }
    match list.iter().find(|kernel| kernel.registers == 0) {
        Some(kernel) => Err(format!("ptxas reports no registers of {}", kernel.entry)),
        None => Ok(list),
    }
}
