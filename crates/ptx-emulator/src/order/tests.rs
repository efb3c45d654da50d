use super::*;

const GROUPING: Grouping = Grouping { warps_per_block: 2, blocks_per_cluster: 2 };
const FLAG: Location = Location { block: None, address: 0x100 };
const OTHER: Location = Location { block: None, address: 0x200 };

/// Eight warps of four blocks of two clusters, from warp 16 on.
fn order() -> Order {
    Order::new(16, 8, GROUPING)
}

/// Whether what `from` has done at time `at` happens before what `to` does now.
fn ordered(order: &Order, from: u32, at: u32, to: u32) -> bool {
    at <= order.clock(to).of(from)
}

fn now(order: &Order, warp: u32) -> u32 {
    order.clock(warp).now()
}

#[test]
fn warps_that_never_met_are_not_ordered() {
    let order = order();
    for from in 16..24 {
        for to in (16..24).filter(|&to| to != from) {
            assert!(!ordered(&order, from, 1, to));
        }
    }
    assert_eq!(order.clock(16).of(3), 0, "a warp of another group");
    assert_eq!(order.clock(16).floor(), 0);
}

#[test]
fn a_barrier_orders_what_was_before_it_and_nothing_after() {
    let mut order = order();
    let before = now(&order, 17);
    order.barrier(&[16, 17], &[16, 17]);
    assert!(ordered(&order, 17, before, 16));
    assert!(ordered(&order, 16, before, 17));
    assert!(!ordered(&order, 17, now(&order, 17), 16));
    assert!(!ordered(&order, 17, before, 18), "not at the barrier");
    assert!(!ordered(&order, 18, before, 16));
}

#[test]
fn the_floor_rises_with_a_barrier_of_the_whole_group() {
    let mut order = Order::new(0, 4, GROUPING);
    order.warp_sync(2);
    order.warp_sync(2);
    let all = [0, 1, 2, 3];
    order.barrier(&all, &all);
    for warp in all {
        assert_eq!(order.clock(warp).floor(), now(&order, warp) - 1);
    }
    order.barrier(&all[..2], &all[..2]);
    assert!(order.clock(0).floor() < order.clock(0).of(1), "2 and 3 were not there");
}

#[test]
fn a_single_warp_has_seen_all_before_its_own_time() {
    let mut order = Order::new(5, 1, GROUPING);
    assert_eq!(order.clock(5).floor(), 0);
    order.warp_sync(5);
    assert_eq!(order.clock(5).floor(), now(&order, 5) - 1);
}

#[test]
fn one_that_only_arrives_learns_nothing() {
    let mut order = order();
    let at = now(&order, 16);
    order.barrier(&[16, 17], &[17]);
    assert!(ordered(&order, 16, at, 17));
    assert!(!ordered(&order, 17, at, 16));
}

#[test]
fn knowledge_passes_from_barrier_to_barrier() {
    let mut order = order();
    let at = now(&order, 16);
    order.barrier(&[16, 17], &[16, 17]);
    order.barrier(&[17, 18], &[17, 18]);
    assert!(ordered(&order, 16, at, 18));
    assert!(!ordered(&order, 16, now(&order, 16), 18));
}

#[test]
fn a_release_reaches_an_acquire_of_the_same_place() {
    let mut order = order();
    let at = now(&order, 16);
    order.release_write(16, FLAG, Scope::Gpu);
    let later = now(&order, 16);
    assert!(later > at);
    order.acquire(20, OTHER, Scope::Gpu);
    assert!(!ordered(&order, 16, at, 20));
    order.acquire(20, FLAG, Scope::Gpu);
    assert!(ordered(&order, 16, at, 20));
    assert!(!ordered(&order, 16, later, 20), "what follows the release");
}

#[test]
fn relaxed_accesses_need_fences_on_both_sides() {
    for (before, after) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut order = order();
        let at = now(&order, 16);
        if before {
            order.fence(16, Scope::Gpu);
        }
        order.relaxed_write(16, FLAG);
        order.relaxed_read(20, FLAG);
        if after {
            order.fence(20, Scope::Gpu);
        }
        assert_eq!(ordered(&order, 16, at, 20), before && after, "{before} {after}");
    }
}

#[test]
fn what_follows_a_fence_is_not_released_by_it() {
    let mut order = order();
    order.fence(16, Scope::Gpu);
    let between = now(&order, 16);
    order.relaxed_write(16, FLAG);
    order.acquire(20, FLAG, Scope::Gpu);
    assert!(!ordered(&order, 16, between, 20));
}

#[test]
fn a_fence_and_an_acquire_meet_and_a_release_and_a_fence() {
    let mut order = order();
    let at = now(&order, 16);
    order.fence(16, Scope::Sys);
    order.relaxed_write(16, FLAG);
    order.acquire(20, FLAG, Scope::Gpu);
    assert!(ordered(&order, 16, at, 20));

    order.release(20, OTHER, Scope::Gpu);
    order.relaxed_read(22, OTHER);
    assert!(!ordered(&order, 16, at, 22));
    order.fence(22, Scope::Gpu);
    assert!(ordered(&order, 16, at, 22), "through a third warp");
}

#[test]
fn a_read_before_the_write_carries_nothing() {
    let mut order = order();
    let at = now(&order, 16);
    order.relaxed_read(20, FLAG);
    order.fence(16, Scope::Gpu);
    order.relaxed_write(16, FLAG);
    order.fence(20, Scope::Gpu);
    assert!(!ordered(&order, 16, at, 20));
}

/// Each block writes, fences and counts; the last one to count fences and reads all.
#[test]
fn the_last_block_sees_all_others() {
    let mut order = order();
    let leaders = [16, 18, 20, 22];
    let at: Vec<u32> = leaders.iter().map(|&warp| now(&order, warp)).collect();
    for &warp in &leaders {
        order.fence(warp, Scope::Gpu);
        order.relaxed_rmw(warp, FLAG);
    }
    assert!(!ordered(&order, 16, at[0], 22));
    order.fence(22, Scope::Gpu);
    for (&warp, &at) in leaders.iter().zip(&at) {
        assert!(ordered(&order, warp, at, 22), "{warp}");
    }
    order.fence(20, Scope::Gpu);
    assert!(ordered(&order, 18, at[1], 20), "it counted before this one");
    assert!(!ordered(&order, 22, at[3], 20));
}

#[test]
fn the_last_block_without_its_first_fence_sees_nothing_of_that_block() {
    let mut order = order();
    let at = now(&order, 18);
    order.fence(16, Scope::Gpu);
    order.relaxed_rmw(16, FLAG);
    order.relaxed_rmw(18, FLAG);
    order.fence(20, Scope::Gpu);
    order.relaxed_rmw(20, FLAG);
    order.fence(20, Scope::Gpu);
    assert!(ordered(&order, 16, at, 20), "the sequence goes on over it");
    assert!(!ordered(&order, 18, at, 20));
}

#[test]
fn a_plain_strong_write_ends_the_release_sequence() {
    let mut order = order();
    let at = now(&order, 16);
    order.release_write(16, FLAG, Scope::Gpu);
    order.relaxed_write(18, FLAG);
    order.acquire(20, FLAG, Scope::Gpu);
    assert!(!ordered(&order, 16, at, 20));

    order.release_write(16, OTHER, Scope::Gpu);
    order.relaxed_write(16, OTHER);
    order.acquire(20, OTHER, Scope::Gpu);
    assert!(ordered(&order, 16, at, 20), "of the same warp it does not");
}

#[test]
fn a_releasing_store_replaces_and_a_releasing_update_adds() {
    let mut order = order();
    let at = now(&order, 16);
    order.release(16, FLAG, Scope::Gpu);
    order.release(18, FLAG, Scope::Gpu);
    order.acquire(20, FLAG, Scope::Gpu);
    assert!(ordered(&order, 16, at, 20) && ordered(&order, 18, at, 20));

    order.release_write(18, FLAG, Scope::Gpu);
    order.acquire(22, FLAG, Scope::Gpu);
    assert!(!ordered(&order, 16, at, 22) && ordered(&order, 18, at, 22));
}

/// Producers arrive, a consumer waits, as at an mbarrier.
#[test]
fn arrivals_reach_who_waits() {
    let mut order = order();
    let barrier = Location::shared(8, 64);
    let at = [now(&order, 16), now(&order, 17)];
    order.release(16, barrier, Scope::Cta);
    let after = now(&order, 16);
    order.release(17, barrier, Scope::Cta);
    order.acquire(16, barrier, Scope::Cta);
    assert!(ordered(&order, 17, at[1], 16));
    order.acquire(17, barrier, Scope::Cta);
    assert!(ordered(&order, 16, at[0], 17));
    assert!(!ordered(&order, 16, after, 17));
}

#[test]
fn scopes_reach_no_further_than_they_say() {
    // Warp 16 with: 17 its block, 18 its cluster, 20 another cluster.
    for (scope, reached) in [
        (Scope::Cta, [true, false, false]),
        (Scope::Cluster, [true, true, false]),
        (Scope::Gpu, [true, true, true]),
        (Scope::Sys, [true, true, true]),
    ] {
        for (to, reached) in [17, 18, 20].into_iter().zip(reached) {
            let mut release = order();
            release.release(16, FLAG, scope);
            release.acquire(to, FLAG, Scope::Sys);
            assert_eq!(ordered(&release, 16, 1, to), reached, "release {scope:?} {to}");

            let mut acquire = order();
            acquire.release(16, FLAG, Scope::Sys);
            acquire.acquire(to, FLAG, scope);
            assert_eq!(ordered(&acquire, 16, 1, to), reached, "acquire {scope:?} {to}");

            let mut fence = order();
            fence.fence(16, scope);
            fence.relaxed_write(16, FLAG);
            fence.relaxed_read(to, FLAG);
            fence.fence(to, Scope::Gpu);
            assert_eq!(ordered(&fence, 16, 1, to), reached, "first fence {scope:?} {to}");

            let mut fence = order();
            fence.fence(16, Scope::Gpu);
            fence.relaxed_write(16, FLAG);
            fence.relaxed_read(to, FLAG);
            fence.fence(to, scope);
            assert_eq!(ordered(&fence, 16, 1, to), reached, "second fence {scope:?} {to}");
        }
    }
}

#[test]
fn a_narrow_acquire_with_a_wide_fence_after_it_reaches_far() {
    let mut order = order();
    order.release(16, FLAG, Scope::Gpu);
    order.acquire(20, FLAG, Scope::Cta);
    assert!(!ordered(&order, 16, 1, 20));
    order.fence(20, Scope::Gpu);
    assert!(ordered(&order, 16, 1, 20));
}

#[test]
fn later_groups_learn_of_earlier_ones_only_by_what_was_released() {
    let mut order = Order::new(0, 2, GROUPING);
    let at = now(&order, 1);
    order.barrier(&[0, 1], &[0, 1]);
    order.release(0, FLAG, Scope::Gpu);
    order.release(0, OTHER, Scope::Cta);
    let after = now(&order, 0);
    order.next_group(2, 2);
    assert_eq!(order.clock(2).of(1), 0);
    order.acquire(2, OTHER, Scope::Gpu);
    assert_eq!(order.clock(2).of(1), 0, "released to its own block only");
    order.acquire(2, FLAG, Scope::Gpu);
    assert!(ordered(&order, 1, at, 2), "through the barrier");
    assert!(!ordered(&order, 0, after, 2));
    order.release(2, FLAG, Scope::Gpu);

    order.next_group(4, 2);
    order.acquire(5, FLAG, Scope::Gpu);
    assert!(ordered(&order, 1, at, 5) && ordered(&order, 2, 1, 5));
    assert!(!ordered(&order, 3, 1, 5));
}

#[test]
fn the_end_of_time_is_reached_without_overflow() {
    let mut order = Order::new(0, 2, GROUPING);
    order.time = LAST_TIME - 1;
    assert!(!order.clock(0).is_exhausted());
    order.tick(0);
    order.tick(0);
    order.barrier(&[0, 1], &[0, 1]);
    assert!(order.clock(0).is_exhausted() && order.clock(1).is_exhausted());
    assert_eq!(now(&order, 0), LAST_TIME);
}
