//! What the driver's results mean, and what to do about them.
//!
//! Names and numbers are those of cuda.h (`CUresult`). A context ends with the results of which
//! its notes say that the process is left in an inconsistent state, or that the context cannot be
//! used, and with errors of the hardware.

use std::ffi::c_int;

/// A result of the driver that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: c_int,
    /// cuda.h's, for drivers that do not know it.
    pub name: &'static str,
    pub meaning: &'static str,
    pub advice: &'static str,
    /// Whether no call on the same context will succeed any more.
    pub ends_context: bool,
}

const REPORT: &str = "this is a fault of effnet: report it with this message";
const FIND_THE_LAUNCH: &str = "start the program again; `effnet verify --device cuda` runs each \
     launch by itself and says which it is: report it with that";
const HARDWARE: &str = "start the program again; where it happens again the GPU or its memory is \
     at fault: look at `nvidia-smi -q` and at the system's log for Xid messages";
const DRIVER: &str = "look at `nvidia-smi`; reinstall NVIDIA's driver or start the machine again \
     after an update, or run on the CPU";
const NEWER_DRIVER: &str = "update NVIDIA's driver, or run on the CPU";
const OTHER_GPU: &str = "build effnet with EFFNET_CUDA_ARCHS for this GPU, update NVIDIA's driver, \
     or run on the CPU";
const SMALLER: &str = "choose a smaller batch, or end what else uses the GPU";
const MPS: &str = "look at the logs of NVIDIA's multi-process service (MPS) and start it again, or \
     run without it";
const WITHOUT: &str = "update NVIDIA's driver; effnet does without CUDA graphs and dependent \
     launches where a driver refuses them";
const CAPTURE: &str = "another thread of this process used the GPU in a way that a recording does \
     not allow: make the device before it does, or report this";

macro_rules! faults {
    ($($code:literal $name:ident: $meaning:literal, $advice:expr $(, $ends:ident)?;)*) => {
        /// In the order of their numbers.
        const FAULTS: &[Fault] = &[$(Fault {
            code: $code,
            name: stringify!($name),
            meaning: $meaning,
            advice: $advice,
            ends_context: faults!(@ $($ends)?),
        },)*];
    };
    (@) => { false };
    (@ ends) => { true };
}

faults! {
    1 CUDA_ERROR_INVALID_VALUE: "a parameter is out of its range", REPORT;
    2 CUDA_ERROR_OUT_OF_MEMORY: "there is not enough memory", SMALLER;
    3 CUDA_ERROR_NOT_INITIALIZED: "the driver has not been started", REPORT;
    4 CUDA_ERROR_DEINITIALIZED:
        "the driver is shutting down", "use the GPU before the process ends", ends;
    34 CUDA_ERROR_STUB_LIBRARY: "the library is a stub for linking, without a driver",
        "take the folder of CUDA's stubs out of LD_LIBRARY_PATH, or run on the CPU";
    46 CUDA_ERROR_DEVICE_UNAVAILABLE: "another process has the GPU to itself, or it is being reset",
        "end what else uses the GPU, or look at its compute mode with `nvidia-smi -q -d COMPUTE`";
    100 CUDA_ERROR_NO_DEVICE: "there is no GPU", "look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES";
    101 CUDA_ERROR_INVALID_DEVICE: "there is no such GPU", "look at `nvidia-smi`";
    102 CUDA_ERROR_DEVICE_NOT_LICENSED:
        "the virtual GPU has no licence", "license it, or run on the CPU";
    200 CUDA_ERROR_INVALID_IMAGE: "the kernels' file is not understood", OTHER_GPU;
    201 CUDA_ERROR_INVALID_CONTEXT: "there is no such context",
        "something else in this process has reset the GPU: make the device anew", ends;
    209 CUDA_ERROR_NO_BINARY_FOR_GPU: "the kernels' file has no code for this GPU", OTHER_GPU;
    214 CUDA_ERROR_ECC_UNCORRECTABLE:
        "memory had an error that could not be corrected", HARDWARE, ends;
    215 CUDA_ERROR_UNSUPPORTED_LIMIT: "the GPU does not know a limit", NEWER_DRIVER;
    218 CUDA_ERROR_INVALID_PTX: "the kernels' PTX was not compiled", OTHER_GPU;
    220 CUDA_ERROR_NVLINK_UNCORRECTABLE:
        "NVLink had an error that could not be corrected", HARDWARE, ends;
    221 CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
        "the driver's PTX compiler (libnvidia-ptxjitcompiler) is missing",
        "install all of NVIDIA's driver, in a container too, or build effnet for this GPU with \
         EFFNET_CUDA_ARCHS";
    222 CUDA_ERROR_UNSUPPORTED_PTX_VERSION: "the kernels' PTX is newer than the driver", OTHER_GPU;
    223 CUDA_ERROR_JIT_COMPILATION_DISABLED: "compiling PTX is disabled",
        "unset CUDA_DISABLE_PTX_JIT, or build effnet for this GPU with EFFNET_CUDA_ARCHS";
    224 CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY: "the GPU does not give a share of itself", MPS;
    226 CUDA_ERROR_CONTAINED: "a fault on the GPU was kept to this process", HARDWARE, ends;
    304 CUDA_ERROR_OPERATING_SYSTEM: "a call of the operating system failed", DRIVER;
    400 CUDA_ERROR_INVALID_HANDLE: "there is no such thing", REPORT;
    401 CUDA_ERROR_ILLEGAL_STATE: "something is not in a state that allows it", REPORT;
    500 CUDA_ERROR_NOT_FOUND: "there is no such name", REPORT;
    600 CUDA_ERROR_NOT_READY: "work has not ended", REPORT;
    700 CUDA_ERROR_ILLEGAL_ADDRESS: "a kernel used memory that it must not", FIND_THE_LAUNCH, ends;
    701 CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
        "a kernel needs more registers or shared memory than there are",
        "choose `--path layerwise`, and report this message";
    702 CUDA_ERROR_LAUNCH_TIMEOUT:
        "a kernel ran longer than the system allows on a GPU with a screen",
        "choose a smaller batch or size, or another GPU than the screen's; start the program again",
        ends;
    708 CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE: "the context is in use", REPORT;
    709 CUDA_ERROR_CONTEXT_IS_DESTROYED: "the context has been destroyed",
        "something else in this process has reset the GPU: make the device anew", ends;
    710 CUDA_ERROR_ASSERT: "an assertion of a kernel failed", FIND_THE_LAUNCH, ends;
    714 CUDA_ERROR_HARDWARE_STACK_ERROR: "a kernel's stack is damaged", FIND_THE_LAUNCH, ends;
    715 CUDA_ERROR_ILLEGAL_INSTRUCTION:
        "a kernel has an instruction that the GPU does not know", FIND_THE_LAUNCH, ends;
    716 CUDA_ERROR_MISALIGNED_ADDRESS:
        "a kernel used an address that is not aligned", FIND_THE_LAUNCH, ends;
    717 CUDA_ERROR_INVALID_ADDRESS_SPACE:
        "a kernel used an address of the wrong space", FIND_THE_LAUNCH, ends;
    718 CUDA_ERROR_INVALID_PC: "a kernel went where there is no code", FIND_THE_LAUNCH, ends;
    719 CUDA_ERROR_LAUNCH_FAILED: "a kernel failed while it ran", FIND_THE_LAUNCH, ends;
    720 CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE:
        "a launch has more blocks than can be resident", REPORT;
    721 CUDA_ERROR_TENSOR_MEMORY_LEAK: "a kernel kept tensor memory", FIND_THE_LAUNCH, ends;
    800 CUDA_ERROR_NOT_PERMITTED: "it is not permitted", REPORT;
    801 CUDA_ERROR_NOT_SUPPORTED: "this GPU or driver does not support it", WITHOUT;
    802 CUDA_ERROR_SYSTEM_NOT_READY: "the system is not ready for CUDA",
        "wait, and see that nvidia-fabricmanager runs where the GPUs are joined by NVSwitch";
    803 CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
        "the driver's library and its kernel module are of different versions", DRIVER;
    804 CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
        "forward compatibility of the driver does not support this GPU",
        "take the folder of cuda-compat out of LD_LIBRARY_PATH, or update NVIDIA's driver";
    805 CUDA_ERROR_MPS_CONNECTION_FAILED: "MPS cannot be reached", MPS;
    806 CUDA_ERROR_MPS_RPC_FAILURE: "MPS did not answer", MPS;
    807 CUDA_ERROR_MPS_SERVER_NOT_READY: "MPS is starting, or recovering from a fault", MPS;
    808 CUDA_ERROR_MPS_MAX_CLIENTS_REACHED: "MPS has as many clients as it takes", MPS;
    809 CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED: "MPS has as many connections as it takes", MPS;
    810 CUDA_ERROR_MPS_CLIENT_TERMINATED: "MPS has ended this process's work", MPS, ends;
    900 CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: "it cannot be recorded in a graph", CAPTURE;
    901 CUDA_ERROR_STREAM_CAPTURE_INVALIDATED:
        "an error before this one ended the recording", CAPTURE;
    902 CUDA_ERROR_STREAM_CAPTURE_MERGE: "two recordings would become one", CAPTURE;
    903 CUDA_ERROR_STREAM_CAPTURE_UNMATCHED: "nothing was being recorded", CAPTURE;
    904 CUDA_ERROR_STREAM_CAPTURE_UNJOINED: "a part of the recording has not ended", CAPTURE;
    905 CUDA_ERROR_STREAM_CAPTURE_ISOLATION: "work outside a recording depends on it", CAPTURE;
    906 CUDA_ERROR_STREAM_CAPTURE_IMPLICIT:
        "the default stream would depend on a recording", CAPTURE;
    907 CUDA_ERROR_CAPTURED_EVENT: "an event of a recording was waited for", CAPTURE;
    908 CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD: "a recording was ended by another thread", CAPTURE;
    909 CUDA_ERROR_TIMEOUT: "the GPU did not answer in time", HARDWARE;
    910 CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE: "a graph could not be changed", REPORT;
    911 CUDA_ERROR_EXTERNAL_DEVICE: "a device beside the GPU failed", HARDWARE;
    912 CUDA_ERROR_INVALID_CLUSTER_SIZE: "a kernel's cluster is larger than the GPU takes", REPORT;
    913 CUDA_ERROR_FUNCTION_NOT_LOADED: "a kernel has not been loaded", REPORT;
    999 CUDA_ERROR_UNKNOWN: "the driver does not know what happened, as where a GPU is gone",
        "look at `nvidia-smi` and at the system's log for Xid messages; start the program again";
}

/// For what cuda.h has gained since.
const STRANGE: Fault = Fault {
    code: -1,
    name: "unknown",
    meaning: "unknown",
    advice: "look the number up under CUresult in the documentation of NVIDIA's driver",
    ends_context: false,
};

impl Fault {
    /// What is known of a result that is no success.
    pub fn of(code: c_int) -> &'static Fault {
        FAULTS.iter().find(|fault| fault.code == code).unwrap_or(&STRANGE)
    }
}

const INVALID_VALUE: c_int = 1;
pub const NOT_READY: c_int = 600;
pub const NOT_SUPPORTED: c_int = 801;
/// `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED` to `_WRONG_THREAD`.
const CAPTURE_FAULTS: std::ops::RangeInclusive<c_int> = 900..=908;

/// Whether a function's result says that it does not take an attribute of a launch, or a graph,
/// which a run can do without. An attribute that a driver does not know is an invalid value to it.
pub fn is_refusal(call: &str, code: c_int) -> bool {
    let takes_attributes = ["cuLaunchKernelEx", "cuGraphInstantiateWithFlags"].contains(&call);
    let of_graphs = call.starts_with("cuGraph")
        || ["cuStreamBeginCapture_v2", "cuStreamEndCapture"].contains(&call);
    match code {
        NOT_SUPPORTED => takes_attributes || of_graphs,
        INVALID_VALUE => takes_attributes,
        _ => CAPTURE_FAULTS.contains(&code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cudarc::driver::sys::CUresult;

    #[test]
    fn the_table_is_in_order_and_has_words_for_each() {
        assert!(FAULTS.is_sorted_by(|a, b| a.code < b.code));
        for fault in FAULTS {
            assert!(fault.name.starts_with("CUDA_ERROR_"), "{fault:?}");
            assert!(!fault.meaning.is_empty() && !fault.advice.is_empty(), "{fault:?}");
            assert!(!fault.advice.contains("  "), "{fault:?}");
            assert_eq!(Fault::of(fault.code), fault);
        }
        assert_eq!(Fault::of(12_345).name, "unknown");
    }

    /// Numbers as the header's have them: a name of the table is that of its number.
    #[test]
    fn names_are_those_of_the_header() {
        let all = [
            CUresult::CUDA_ERROR_INVALID_VALUE,
            CUresult::CUDA_ERROR_OUT_OF_MEMORY,
            CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE,
            CUresult::CUDA_ERROR_INVALID_IMAGE,
            CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU,
            CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
            CUresult::CUDA_ERROR_INVALID_PTX,
            CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE,
            CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND,
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
            CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED,
            CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
            CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
            CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED,
            CUresult::CUDA_ERROR_ASSERT,
            CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR,
            CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
            CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
            CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE,
            CUresult::CUDA_ERROR_INVALID_PC,
            CUresult::CUDA_ERROR_LAUNCH_FAILED,
            CUresult::CUDA_ERROR_NOT_PERMITTED,
            CUresult::CUDA_ERROR_NOT_SUPPORTED,
            CUresult::CUDA_ERROR_SYSTEM_NOT_READY,
            CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
            CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE,
            CUresult::CUDA_ERROR_MPS_CONNECTION_FAILED,
            CUresult::CUDA_ERROR_MPS_RPC_FAILURE,
            CUresult::CUDA_ERROR_MPS_CLIENT_TERMINATED,
            CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
            CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
            CUresult::CUDA_ERROR_EXTERNAL_DEVICE,
            CUresult::CUDA_ERROR_UNKNOWN,
        ];
        for result in all {
            assert_eq!(Fault::of(result as c_int).name, format!("{result:?}"));
        }
    }

    #[test]
    fn a_run_does_without_what_is_refused_and_without_nothing_else() {
        assert!(is_refusal("cuLaunchKernelEx", NOT_SUPPORTED));
        assert!(is_refusal("cuLaunchKernelEx", INVALID_VALUE));
        assert!(is_refusal("cuGraphLaunch", NOT_SUPPORTED));
        assert!(is_refusal("cuStreamBeginCapture_v2", NOT_SUPPORTED));
        assert!(is_refusal("cuStreamEndCapture", 901));
        assert!(!is_refusal("cuGraphLaunch", INVALID_VALUE));
        assert!(!is_refusal("cuMemcpyHtoDAsync_v2", NOT_SUPPORTED));
        assert!(
            FAULTS
                .iter()
                .all(|fault| !fault.ends_context || !is_refusal("cuGraphLaunch", fault.code))
        );
    }
}
