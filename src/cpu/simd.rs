//! Vectors of f32 whose width is chosen when the program runs.
//!
//! Kernels are written once, generic over [`Simd`], and marked `#[inline(always)]`; a token's
//! [`Simd::vectorize`] compiles them with the instructions that the token stands for. A token can
//! only be had from [`Isa`], which asks the CPU first.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Elements in the longest vector.
pub(super) const MAX_LANES: usize = 16;

/// Operations on one vector of [`Simd::LANES`] f32.
pub(super) trait Simd: Copy + Send + Sync {
    /// The vector.
    type V: Copy;
    /// Elements in a vector.
    const LANES: usize;
    /// Rows of the largest register tile: with three vectors a row, its sums and operands fit the
    /// registers.
    const TILE_ROWS: usize;

    /// Runs `f` compiled with this token's instructions.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;
    /// All elements `x`.
    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    ///
    /// `from` must be valid for reading `LANES` f32; it need not be aligned to the vector.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    ///
    /// `to` must be valid for writing `LANES` f32; it need not be aligned to the vector.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `x` where either is NaN.
    fn min(self, bound: Self::V, x: Self::V) -> Self::V;
    /// The larger; `x` where either is NaN.
    fn max(self, bound: Self::V, x: Self::V) -> Self::V;
    /// `x * 2^n` for whole `n` in `-126..=127`.
    fn scale2(self, x: Self::V, n: Self::V) -> Self::V;
}

/// The instruction sets that there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 8 lanes, as the compiler's baseline target vectorises them.
    Portable,
}

impl Isa {
    /// Every instruction set that this CPU has, the widest first.
    pub(super) fn available() -> impl Iterator<Item = Isa> {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f");
            [avx512.then_some(Isa::Avx512), avx2.then_some(Isa::Avx2), Some(Isa::Portable)]
                .into_iter()
                .flatten()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            std::iter::once(Isa::Portable)
        }
    }

    /// Elements in a vector.
    pub(super) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::LANES,
            Isa::Portable => Portable::LANES,
        }
    }

    /// Runs `f` with the token.
    pub(super) fn dispatch<F: WithSimd>(self, f: F) -> F::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma"));
                f.call(Avx512(()))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
                f.call(Avx2(()))
            }
            Isa::Portable => f.call(Portable),
        }
    }
}

/// A computation that is generic over the vectors.
pub(super) trait WithSimd {
    /// Result of the computation.
    type Output;
    /// Runs the computation.
    fn call<S: Simd>(self, s: S) -> Self::Output;
}

/// Proof that the CPU has AVX-512F and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Proof that the CPU has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Needs nothing.
#[derive(Clone, Copy)]
pub(super) struct Portable;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn with_features<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves the features.
        unsafe { with_features(f) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the token proves AVX-512F; the caller, the pointer.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: the token proves AVX-512F; the caller, the pointer.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn min(self, bound: __m512, x: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_min_ps(bound, x) }
    }
    #[inline(always)]
    fn max(self, bound: __m512, x: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_max_ps(bound, x) }
    }
    #[inline(always)]
    fn scale2(self, x: __m512, n: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_scalef_ps(x, n) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma")]
        fn with_features<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: the token proves the features.
        unsafe { with_features(f) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the token proves AVX2; the caller, the pointer.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: the token proves AVX2; the caller, the pointer.
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn min(self, bound: __m256, x: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_min_ps(bound, x) }
    }
    #[inline(always)]
    fn max(self, bound: __m256, x: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_max_ps(bound, x) }
    }
    #[inline(always)]
    fn scale2(self, x: __m256, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
        }
    }
}

const PORTABLE_LANES: usize = 8;

impl Simd for Portable {
    type V = [f32; PORTABLE_LANES];
    const LANES: usize = PORTABLE_LANES;
    const TILE_ROWS: usize = 2;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; PORTABLE_LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for LANES f32; an array is aligned like its elements.
        unsafe { from.cast::<Self::V>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for LANES f32; an array is aligned like its elements.
        unsafe { to.cast::<Self::V>().write(v) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Where the baseline has no fused instruction, `mul_add` would call the C library.
        std::array::from_fn(|i| {
            if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                a[i].mul_add(b[i], c[i])
            } else {
                a[i] * b[i] + c[i]
            }
        })
    }
    #[inline(always)]
    fn min(self, bound: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|i| if bound[i] < x[i] { bound[i] } else { x[i] })
    }
    #[inline(always)]
    fn max(self, bound: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|i| if bound[i] > x[i] { bound[i] } else { x[i] })
    }
    #[inline(always)]
    fn scale2(self, x: Self::V, n: Self::V) -> Self::V {
        std::array::from_fn(|i| x[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
}
