//! Counters, against what follows from the kernels.
