//! A run allocates nothing. Alone in its file: the count is of the whole process.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::session::{Session, SessionOptions};
use effnet::weights::Precision;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Random, metadata, random_weights};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_allocates_nothing_after_the_first() {
    for variant in [Variant::B0, Variant::Lite0] {
        let metadata = metadata(variant, Padding::Symmetric, Precision::Fp16);
        let weights = Arc::new(random_weights(&metadata, 1));
        let size = Some(Size { h: 40, w: 56 });
        let options =
            SessionOptions { batch: 2, size, threads: Some(3), ..SessionOptions::default() };
        let mut session = Session::new(weights, options).unwrap();
        let images = Random::new(2).vector(2 * session.input_elems());
        session.run(&images).unwrap();
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        assert!(before > 0, "the counter counts");
        for n in [2, 1, 2] {
            let elems = n * session.input_elems();
            let outputs = session.run(&images[..elems]).unwrap();
            assert!(outputs.logits(0)[0].is_finite());
        }
        assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "{variant}");
    }
}
