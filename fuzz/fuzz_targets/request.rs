//! Any bytes as a request for inference, by HTTP and by gRPC.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    effnet::serve::read_request(data);
});
